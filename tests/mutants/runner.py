"""Builds the tests of the Rust sources with every mutant, and runs each named test with its own."""

import json
import os
import subprocess
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.paths import ROOT

LIST = Path(__file__).with_name("mutants.toml")
SOURCES = ("Cargo.toml", "Cargo.lock", "crates")
VARIABLE = "MELTICA_MUTANT"
SWITCH = f"""
/// Returns whether the mutant with this number is on.
pub(crate) fn is_mutant(number: usize) -> bool {{
    static MUTANT: std::sync::LazyLock<Option<usize>> =
        std::sync::LazyLock::new(|| std::env::var("{VARIABLE}").ok()?.parse().ok());
    *MUTANT == Some(number)
}}
"""
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
    within: str = ""
    """Text around `old` that the file contains once, if it contains `old` more often."""
    loom: bool = False
    package: str = "meltica-core"
    ci: bool = False
    """Whether it runs in CI."""


def load() -> list[Mutant]:
    """Returns the mutants of the list."""
    return [Mutant(**entry) for entry in tomllib.loads(LIST.read_text(encoding="utf-8"))["mutant"]]


def place(mutant: Mutant, source: str) -> tuple[int, int]:
    """Returns the start and the end of `old` in the source. Raises ValueError unless it is there once."""
    within = mutant.within or mutant.old
    for text, where in ((within, source), (mutant.old, within)):
        if (count := where.count(text)) != 1:
            raise ValueError(
                f"{mutant.name}: not applied: expected one place, saw {count} of {text!r}; update {LIST.name}"
            )
    start = source.index(within) + within.index(mutant.old)
    return start, start + len(mutant.old)


def switched(source: str, mutants: dict[int, Mutant]) -> str:
    """Returns a source with a switch between old and new code for each of its mutants, by number."""
    places = sorted(((place(mutant, source), number) for number, mutant in mutants.items()), reverse=True)
    for (start, end), number in places:
        switch = f"if crate::is_mutant({number}) {{ {mutants[number].new} }} else {{ {source[start:end]} }}"
        if not mutants[number].old.endswith(";"):
            switch = f"({switch})"
        source = source[:start] + switch + source[end:]
    return source


class Tree:
    """A copy of the Rust sources with a switch for every mutant.

    The tests are built once for all mutants. The project's target directories already have the dependencies.
    """

    def __init__(self) -> None:
        self._root = ROOT / "target" / "mutants"
        mutants = dict(enumerate(load(), 1))
        self._numbers = {mutant.name: number for number, mutant in mutants.items()}
        self._programs: dict[tuple[str, bool], str] = {}
        files = {name: (ROOT / name).read_text(encoding="utf-8") for name in _sources(ROOT)}
        for name in {mutant.file for mutant in mutants.values()}:
            own = {number: mutant for number, mutant in mutants.items() if mutant.file == name}
            files[name] = switched(files[name], own)
        for package in {mutant.package for mutant in mutants.values()}:
            files[f"crates/{package}/src/lib.rs"] += SWITCH
        for name, text in files.items():
            _write(self._root / name, text)
        for name in set(_sources(self._root)) - files.keys():
            (self._root / name).unlink()

    def broken(self, mutants: Iterable[Mutant]) -> Iterator[str]:
        """Yields the named tests that fail without a mutant."""
        for test in {(mutant.loom, mutant.package, mutant.test): mutant for mutant in mutants}.values():
            if failure := self._failure(test, 0):
                yield f"{test.test} fails without a mutant: {failure}"

    def survived(self, mutant: Mutant) -> bool:
        """Returns whether the test passes with the mutant."""
        return not self._failure(mutant, self._numbers[mutant.name])

    def _failure(self, mutant: Mutant, number: int) -> str:
        """Runs the test with a mutant, 0 for none; returns the end of its output if it fails."""
        # Not by cargo, which would leave the test behind when the time is over.
        command = [self._program(mutant.package, mutant.loom), "--exact", mutant.test]
        folder, environment = self._root / "crates" / mutant.package, {**os.environ, VARIABLE: str(number)}
        try:
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT
            )
        except subprocess.TimeoutExpired:
            return f"no end within {TIMEOUT:.0f} s"
        if "running 1 test\n" not in done.stdout:
            raise ValueError(f"{mutant.test}: expected one test of this path: {done.stderr[-800:]}")
        return (done.stdout + done.stderr)[-800:] if done.returncode else ""

    def _program(self, package: str, loom: bool) -> str:
        """Returns the program of a package's tests."""
        if (package, loom) not in self._programs:
            self._programs[package, loom] = self._build(package, loom)
        return self._programs[package, loom]

    def _build(self, package: str, loom: bool) -> str:
        target = ROOT / "target" / "loom" if loom else ROOT / "target"
        command = ["cargo", "test", "-p", package, "--lib", "--locked", "--target-dir", str(target)]
        # One build of the whole crate is faster without.
        environment = {**os.environ, "CARGO_TERM_COLOR": "never", "CARGO_INCREMENTAL": "0"}
        if loom:
            command += ["--profile", "loom"]
            environment["RUSTFLAGS"] = "--cfg loom"
        command += ["--no-run", "--message-format", "json-render-diagnostics"]
        done = subprocess.run(command, cwd=self._root, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise ValueError(f"{package} does not compile with the mutants: {done.stderr[-4000:]}")
        programs = (json.loads(line).get("executable") for line in done.stdout.splitlines())
        return next(program for program in programs if program)


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
