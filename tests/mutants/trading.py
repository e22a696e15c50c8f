"""Applies the mutants of trading*.toml to a copy of the Python sources; runs the tests that must detect them.

`python -m tests.mutants.trading`; with a NAME, the mutants whose names contain it.
"""

import os
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.paths import ROOT

LISTS = sorted(Path(__file__).parent.glob("trading*.toml"))
COPY = ROOT / "target" / "mutants-python"
TIMEOUT = 60.0
"""Seconds after which a mutant counts as detected: it may make its test wait for ever."""
GRACE = 30.0
"""Seconds that a test which was interrupted has to end."""


@dataclass(frozen=True)
class PythonMutant:
    """One change of one file, and the test of pytest that must fail with it."""

    name: str
    file: str
    old: str
    new: str
    test: str

    def apply(self, source: str) -> str:
        """Returns the source with the mutant. Raises ValueError unless its text is found once."""
        if (count := source.count(self.old)) != 1:
            raise ValueError(f"not applied: expected one place, saw {count} of {self.old!r}; update its list")
        return source.replace(self.old, self.new)


def load() -> list[PythonMutant]:
    """Returns the mutants of all lists."""
    return [
        PythonMutant(**entry)
        for each in LISTS
        for entry in tomllib.loads(each.read_text(encoding="utf-8"))["mutant"]
    ]


def copy_sources() -> None:
    """Copies sources and tests; the compiled core is linked."""
    shutil.rmtree(COPY, ignore_errors=True)
    ignored = shutil.ignore_patterns("__pycache__", "*.so")
    for name in ("python", "tests"):
        shutil.copytree(ROOT / name, COPY / name, symlinks=True, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", COPY)
    for library in (ROOT / "python" / "meltica").glob("_core*.so"):
        (COPY / "python" / "meltica" / library.name).symlink_to(library)


def failure(tests: Sequence[str], timeout: float | None = None) -> str:
    """Runs tests in the copy; returns the end of their output if one fails or does not end in time."""
    environment = {**os.environ, "PYTHONPATH": str(COPY / "python"), "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests],
        cwd=COPY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            output = process.communicate(timeout=timeout)[0][-800:]
        except subprocess.TimeoutExpired:
            # The interrupt lets pytest stop the database that it started.
            process.send_signal(signal.SIGINT)
            try:
                process.communicate(timeout=GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
            return f"no end within {timeout} s"
    if process.returncode not in (0, 1):
        raise RuntimeError(f"tests not run: pytest returned {process.returncode}: {output}")
    return output if process.returncode else ""


def fault(mutant: PythonMutant) -> str:
    """Returns why the mutant was not detected, or an empty string."""
    path = COPY / mutant.file
    source = path.read_text(encoding="utf-8")
    try:
        path.write_text(mutant.apply(source), encoding="utf-8")
        return "" if failure([mutant.test], TIMEOUT) else f"survived {mutant.test}"
    except ValueError as error:
        return str(error)
    finally:
        path.write_text(source, encoding="utf-8")


def main(names: Sequence[str]) -> int:
    """Returns 0 if every mutant was detected."""
    # A shell starts background jobs with the interrupt ignored, which the tests would inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    mutants = [each for each in load() if not names or any(name in each.name for name in names)]
    copy_sources()
    if broken := failure(sorted({mutant.test for mutant in mutants})):
        print(f"fault: tests fail without a mutant: {broken}", file=sys.stderr)
        return 1
    faults = 0
    for mutant in mutants:
        reason = fault(mutant)
        faults += bool(reason)
        print(f"{mutant.name}: {reason or f'detected by {mutant.test}'}", flush=True)
    print(f"{len(mutants) - faults} of {len(mutants)} mutants detected")
    return 1 if faults or not mutants else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
