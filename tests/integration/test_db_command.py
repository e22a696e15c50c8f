"""The output and the exit codes of `meltica db`, and that failed commands change nothing."""

import asyncio
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import psycopg
import pytest

from meltica.persistence import migrate
from meltica.persistence.lock import GatewayLock
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from tests.conftest import folder_for_server

NEWEST = len(migrate.load())


def db(*arguments: str, url: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "MELTICA_DATABASE__DSN")}
    return subprocess.run(
        [sys.executable, "-m", "meltica", "db", *arguments, *(["--dsn", url] if url else [])],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={**inherited, **environment},
    )


def refused(done: subprocess.CompletedProcess[str], code: int, text: str) -> None:
    """Asserts one clear line on stderr, an empty stdout, and an exit code."""
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("Error: ")
    assert text in last


def fill(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("insert into meltica.outbox_consumers (name) values ('kept')")


def consumers(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [name for (name,) in connection.execute("select name from meltica.outbox_consumers")]


@pytest.fixture(name="dump")
def _dump(database_url: str, tmp_path: Path) -> Path:
    """A dump of a database that has one consumer, `kept`."""
    fill(database_url)
    path = tmp_path / "meltica.sql.gz"
    assert db("dump", str(path), url=database_url).returncode == 0
    return path


def test_up_status_and_down(empty_database_url: str) -> None:
    url = empty_database_url
    status = json.loads(db("status", "--json", url=url).stdout)
    assert (status["pending"], status["faults"]) == (NEWEST, [])
    assert {row["state"] for row in status["migrations"]} == {"pending"}
    done = db("up", url=url)
    assert done.returncode == 0
    assert "applied 0001_initial\n" in done.stdout
    assert done.stdout.endswith(f"the schema is at {NEWEST:04}\n")
    assert json.loads(db("up", "--json", url=url).stdout) == {"applied": [], "version": NEWEST}
    done = db("status", url=url)
    assert f"{NEWEST} migrations, 0 pending" in done.stdout
    assert "0001_initial" in done.stdout
    refused(db("down", url=url), 2, "this drops tables with their data; dump the database, then add --yes")
    back = json.loads(db("down", str(NEWEST), "--yes", "--json", url=url).stdout)
    assert (back["version"], back["reverted"][-1]) == (0, "0001_initial")


def test_drift_and_failures_have_an_exit_code(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("update meltica.schema_migrations set checksum = '' where version = 1")
    refused(db("up", url=database_url), 6, "0001_initial was changed after it ran")
    done = db("status", "--json", url=database_url)
    assert done.returncode == 6
    assert json.loads(done.stdout)["migrations"][0]["state"] == "drifted"
    assert "Error: 0001_initial was changed" in done.stderr


def test_a_dump_can_be_restored(dump: Path, empty_database_url: str) -> None:
    assert stat.S_IMODE(dump.stat().st_mode) == 0o600
    output = json.loads(db("restore", str(dump), "--json", url=empty_database_url).stdout)
    assert output == {"file": str(dump), "pending": 0}
    assert consumers(empty_database_url) == ["kept"]
    assert json.loads(db("up", "--json", url=empty_database_url).stdout)["applied"] == []


def test_a_database_without_tables_is_not_dumped(tmp_path: Path, empty_database_url: str) -> None:
    done = db("dump", str(tmp_path / "none.sql.gz"), url=empty_database_url)
    refused(done, 6, "it has no schema meltica, so there is nothing to dump; `meltica db up` creates one")
    assert list(tmp_path.iterdir()) == []


def test_a_restore_replaces_data_only_with_force(dump: Path, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("update meltica.outbox_consumers set name = 'newer'")
        connection.execute("create table meltica.later ()")
        connection.execute("create table public.theirs ()")
    refused(db("restore", str(dump), url=database_url), 2, "tables of Meltica; add --force to replace them")
    assert consumers(database_url) == ["newer"]
    assert db("restore", str(dump), "--force", url=database_url).returncode == 0
    assert consumers(database_url) == ["kept"]
    with psycopg.connect(database_url) as connection:
        cursor = connection.execute("select to_regclass('meltica.later'), to_regclass('theirs')::text")
        assert cursor.fetchall() == [(None, "theirs")]


@pytest.mark.parametrize("part", [0.2, 0.7, 0.98])
def test_restoring_a_truncated_dump_changes_nothing(dump: Path, database_url: str, part: float) -> None:
    whole = dump.read_bytes()
    cut = dump.with_name("cut.dump")
    cut.write_bytes(whole[: int(len(whole) * part)])
    refused(db("restore", str(cut), "--force", url=database_url), 2, "is not a complete dump of Meltica")
    assert consumers(database_url) == ["kept"]


def test_a_restore_that_fails_midway_changes_nothing(dump: Path, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("update meltica.outbox_consumers set name = 'newer'")
        # Refuses the last steps of the restore, not the first.
        connection.execute(
            "create function public.refuse() returns event_trigger language plpgsql as "
            "$$ begin raise exception 'no more indexes'; end $$"
        )
        connection.execute(
            "create event trigger refuse on ddl_command_start when tag in ('CREATE INDEX') "
            "execute function public.refuse()"
        )
    refused(
        db("restore", str(dump), "--force", url=database_url),
        6,
        "nothing was restored and nothing changed: ",
    )
    assert consumers(database_url) == ["newer"]


def test_restoring_a_damaged_dump_changes_nothing(dump: Path, database_url: str) -> None:
    whole = bytearray(dump.read_bytes())
    whole[len(whole) // 2] ^= 0xFF
    dump.write_bytes(whole)
    refused(db("restore", str(dump), "--force", url=database_url), 2, "is not a complete dump of Meltica")
    assert consumers(database_url) == ["kept"]


def test_files_that_are_not_dumps_are_refused(tmp_path: Path, database_url: str) -> None:
    text = tmp_path / "text"
    text.write_text("select 1")
    refused(db("restore", str(text), "--force", url=database_url), 2, "is not a complete dump of Meltica")
    refused(db("restore", str(tmp_path / "none"), url=database_url), 2, "does not exist")
    other = tmp_path / "other.dump"
    with psycopg.connect(database_url) as connection:
        connection.execute("drop table meltica.schema_migrations")
    assert db("dump", str(other), url=database_url).returncode == 0
    refused(db("restore", str(other), "--force", url=database_url), 2, "is not a dump of Meltica")


def test_a_dump_never_overwrites_a_file_or_leaves_a_partial_one(
    dump: Path, tmp_path: Path, database_url: str
) -> None:
    before = dump.read_bytes()
    refused(db("dump", str(dump), url=database_url), 2, "exists already; remove it, or choose another file")
    assert dump.read_bytes() == before
    refused(db("dump", str(tmp_path / "no" / "file"), url=database_url), 2, "cannot be written")
    with psycopg.connect(database_url) as connection:
        connection.execute("drop schema meltica cascade")
    refused(db("dump", str(tmp_path / "new"), url=database_url), 6, "the database was not dumped")
    assert [path.name for path in tmp_path.iterdir()] == [dump.name]


async def test_destructive_commands_are_refused_while_a_gateway_runs(dump: Path, database_url: str) -> None:
    lock = GatewayLock(database_url)
    await lock.acquire()
    try:
        for arguments in (("down", "--yes"), ("restore", str(dump), "--force")):
            done = await asyncio.to_thread(db, *arguments, url=database_url)
            refused(done, 7, "another gateway uses the database")
            assert f"process {os.getpid()}" in done.stderr
        again = dump.with_name("again.dump")
        assert (await asyncio.to_thread(db, "dump", str(again), url=database_url)).returncode == 0
    finally:
        await lock.release()
    assert consumers(database_url) == ["kept"]


def test_unavailable_databases(database_url: str) -> None:
    refused(
        db("status", url="postgresql://me:secret@127.0.0.1:1/x"), 5, "(x at 127.0.0.1:1) cannot be reached"
    )
    done = db("up", url="postgress://me:secret@host/x")
    refused(done, 2, "expected postgresql://user:password@host:5432/name")
    assert "secret" not in done.stderr
    refused(db("status", "--home", "/x", url=database_url), 2, "give --dsn or --home, not both")
    refused(db("status", "--home", "/" + "long" * 40), 5, "choose a shorter directory with --home")


@pytest.mark.parametrize("password", ["pass@word", "p@ss@word", "1/pass@word", "pass@word/1"])
def test_an_unescaped_password_is_not_shown(password: str, tmp_path: Path) -> None:
    url = f"postgresql://me:{password}@127.0.0.1:1/x"
    for arguments in (("status",), ("dump", str(tmp_path / "a.sql.gz"))):
        done = db(*arguments, url=url)
        refused(done, 2, "write %40 for `@`")
        assert "word" not in done.stderr.replace("a password", "")


@pytest.mark.parametrize("variable", ["DATABASE_URL", "MELTICA_DATABASE__DSN"])
def test_the_url_can_be_an_environment_variable(database_url: str, variable: str) -> None:
    done = db("status", "--json", **{variable: database_url})
    assert json.loads(done.stdout)["pending"] == 0


@pytest.fixture(name="folder")
def _folder() -> Generator[Path]:
    folder = folder_for_server()
    yield folder
    shutil.rmtree(folder)


def test_the_embedded_server_is_used_without_a_url(folder: Path, tmp_path: Path) -> None:
    home = str(folder / "pg")
    # What is said on the command line counts for more than the environment.
    assert db("up", "--home", home, DATABASE_URL="postgresql://nowhere/x").returncode == 0
    assert db("dump", str(tmp_path / "a.sql.gz"), "--home", home).returncode == 0
    assert db("down", str(NEWEST), "--yes", "--home", home).returncode == 0
    assert db("restore", str(tmp_path / "a.sql.gz"), "--home", home).returncode == 0
    assert json.loads(db("status", "--json", "--home", home).stdout)["pending"] == 0
    assert not EmbeddedPostgres(Path(home)).running
