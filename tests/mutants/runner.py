"""Applies mutants to a copy of the Rust sources and runs the tests that must detect them."""

import os
import subprocess
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.english import ROOT

LIST = Path(__file__).with_name("mutants.toml")
SOURCES = ("Cargo.toml", "Cargo.lock", "crates")
LOOM_FLAGS = "--cfg loom -C overflow-checks=on -C debug-assertions=off"
"""Overflows fail the models. Other assertions of debug builds would add steps to them."""
TIMEOUT = 300.0
"""Seconds after which a test counts as failed: a mutant may make it wait for ever."""


@dataclass(frozen=True)
class Mutant:
    """One change of one file, and the test that must fail with it."""

    name: str
    file: str
    old: str
    new: str
    test: str
    """The path of a Rust test, as `cargo test` prints it."""
    loom: bool = False
    package: str = "meltica-core"


def load() -> list[Mutant]:
    """Returns the mutants of the list."""
    return [Mutant(**entry) for entry in tomllib.loads(LIST.read_text(encoding="utf-8"))["mutant"]]


def mutated(mutant: Mutant, source: str) -> str:
    """Returns the source with the mutant. Raises ValueError unless its text is there once."""
    count = source.count(mutant.old)
    if count != 1:
        raise ValueError(
            f"not applied: its text is found {count} times in {mutant.file}; update mutants.toml"
        )
    return source.replace(mutant.old, mutant.new)


class Tree:
    """A copy of the Rust sources. The project's target directories already have its dependencies."""

    def __init__(self) -> None:
        self._root = ROOT / "target" / "mutants"
        names = set(_sources(ROOT))
        for name in names:
            _write(self._root / name, (ROOT / name).read_text(encoding="utf-8"))
        for name in set(_sources(self._root)) - names:
            (self._root / name).unlink()

    def broken(self, mutants: Iterable[Mutant]) -> Iterator[str]:
        """Yields the named tests that fail without a mutant."""
        for test in {(mutant.loom, mutant.package, mutant.test): mutant for mutant in mutants}.values():
            try:
                self._cargo(test, "--no-run", check=True)
                failure = self._failure(test)
            except subprocess.CalledProcessError as error:
                failure = f"does not compile: {error.stderr[-800:]}"
            except ValueError as error:
                failure = str(error)
            if failure:
                yield f"{test.test} fails without a mutant: {failure}"

    def fault(self, mutant: Mutant) -> str:
        """Returns why the mutant was not detected, or an empty string."""
        path = self._root / mutant.file
        source = path.read_text(encoding="utf-8")
        try:
            _write(path, mutated(mutant, source))
            self._cargo(mutant, "--no-run", check=True)
            return "" if self._failure(mutant) else f"survived {mutant.test}"
        except subprocess.CalledProcessError as error:
            return f"does not compile: {error.stderr[-800:]}"
        except ValueError as error:
            return str(error)
        finally:
            _write(path, source)

    def _failure(self, mutant: Mutant) -> str:
        """Runs the test; returns the end of its output if it fails. Raises ValueError for an unknown test."""
        try:
            done = self._cargo(mutant, "--", "--exact", mutant.test)
        except subprocess.TimeoutExpired:
            return f"no end within {TIMEOUT:.0f} s"
        if "running 1 test\n" not in done.stdout:
            raise ValueError(f"{mutant.test}: expected one test of this path: {done.stderr[-800:]}")
        return (done.stdout + done.stderr)[-800:] if done.returncode else ""

    def _cargo(
        self, mutant: Mutant, *arguments: str, check: bool = False
    ) -> subprocess.CompletedProcess[str]:
        target = ROOT / "target" / "loom" if mutant.loom else ROOT / "target"
        command = ["cargo", "test", "-p", mutant.package, "--lib", "--locked", "--target-dir", str(target)]
        environment = {**os.environ, "CARGO_TERM_COLOR": "never"}
        if mutant.loom:
            environment["RUSTFLAGS"] = LOOM_FLAGS
        return subprocess.run(
            [*command, *arguments],
            cwd=self._root,
            env=environment,
            capture_output=True,
            text=True,
            check=check,
            timeout=None if check else TIMEOUT,
        )


def _sources(root: Path) -> Iterator[str]:
    for name in SOURCES:
        for path in [root / name, *(root / name).rglob("*")]:
            if path.is_file():
                yield path.relative_to(root).as_posix()


def _write(path: Path, text: str) -> None:
    """Writes a file only if it changes, because cargo compares the times of files."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
