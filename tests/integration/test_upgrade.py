"""Upgrades of the schema: a dump before each one, the way back, and every row on the way up and down."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

import meltica
from meltica.errors import MigrationError
from meltica.persistence import backup, migrate
from meltica.persistence.database import connect
from meltica.persistence.postgres import binaries
from tests.integration.test_migration_vocabulary import ROWS, catalogue
from tests.support.serving import Project, environment, one_line, project

PUBLISHED = (
    "60b9b4035da9f24cf1899dd87b69bb4a4cc34ddb6f5543338dd46422c58695a0",
    "d2f3dd6f6764ac8750c37fb69a01daf503653fdc2cb693ccf29c9a4118ee4a36",
)
"""Checksums of the first two migrations, which databases have applied."""
MORE_ROWS: tuple[LiteralString, ...] = (
    """
    insert into providers (name, adapter, settings, origin, desired, actual, last_error, enabled)
    values ('p', 'fake', '{"symbols": ["BTC-USDT"]}', 'baseline', 'running', 'running', null, true),
           ('q', 'gone', '{}', 'dynamic', 'stopped', 'failed', 'no such adapter', null)
    """,
    """
    insert into instances (id, strategy, selector, tag, revision, config, scope, host, on_stop, origin,
                           desired, actual, last_error, enabled)
    values ('i', 's', 's:prod', 'prod', 'sha256:1', '{"a": 1.50}', '{"p": "*"}', 'shared', 'keep', 'dynamic',
            'running', 'stuck', 'late', false)
    """,
    """
    insert into halts (scope, subject, rule, reason, cleared_at, cleared_by)
    values ('global', '', 'manual', 'first', now(), 'operator'),
           ('instance', 'i', 'loss', 'second', null, null)
    """,
    "insert into outbox_consumers (name) values ('hook')",
    """
    insert into outbox (aggregate_type, aggregate_id, event_type, payload, headers)
    values ('order', 'a1', 'placed', '{"price": 64000.0}', '{"trace": "x"}')
    """,
    """
    insert into outbox_deliveries (consumer, event, attempts, last_error, dead)
    select 'hook', id, 3, 'refused', true from outbox
    """,
)
RENAMED = {"executions": "fills"}
NEWEST = len(migrate.load())


@pytest.fixture(name="project")
def _project() -> Generator[Project]:
    with project(copied=False) as created:
        yield created


async def old_schema(dsn: str) -> None:
    """Migrates to 0002, the first schema that was published, and fills every table."""
    await migrate.up(dsn, 2)
    async with await connect(dsn) as connection:
        rows = await connection.execute("select checksum from schema_migrations order by version")
        assert tuple(checksum for (checksum,) in await rows.fetchall()) == PUBLISHED
        for statement in (*ROWS, *MORE_ROWS):
            await connection.execute(statement)


def content(dsn: str, tables: list[str]) -> dict[str, list[str]]:
    """Returns every row of the tables as PostgreSQL writes it."""
    with psycopg.connect(dsn) as connection:
        return {
            table: [
                row[0]
                for row in connection.execute(f"select t::text from meltica.{table} t order by 1".encode())
            ]
            for table in tables
        }


def tables(dsn: str) -> list[str]:
    query = (
        "select tablename from pg_tables where schemaname = 'meltica' and tablename <> 'schema_migrations'"
    )
    with psycopg.connect(dsn) as connection:
        return sorted(name for (name,) in connection.execute(query))


def version(dsn: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("select max(version) from meltica.schema_migrations").fetchone()
    assert row is not None
    return int(row[0])


async def test_an_old_schema_goes_up_down_and_up_with_every_row(empty_database_url: str) -> None:
    dsn = empty_database_url
    await old_schema(dsn)
    old = tables(dsn)
    before, catalogue_before = content(dsn, old), catalogue(dsn)
    assert all(before.values()), "every table has rows"
    new = [RENAMED.get(table, table) for table in old]
    # Up to here, migrations rename; 0005 converts, and has tests of its own.
    await migrate.up(dsn, 2)
    up = content(dsn, new)
    assert {table: up[RENAMED.get(table, table)] for table in old} == before
    assert len(await migrate.up(dsn)) == NEWEST - 4
    up, catalogue_up = content(dsn, new), catalogue(dsn)
    await migrate.down(dsn, NEWEST - 2)
    assert (content(dsn, old), catalogue(dsn)) == (before, catalogue_before)
    await migrate.up(dsn)
    # Each migration gives the instances new uids.
    again = content(dsn, new)
    assert len(again.pop("instances")) == len(up.pop("instances"))
    assert (again, catalogue(dsn)) == (up, catalogue_up)


async def test_a_changed_migration_is_refused(empty_database_url: str) -> None:
    dsn = empty_database_url
    await old_schema(dsn)
    async with await connect(dsn) as connection:
        await connection.execute(
            "update schema_migrations set checksum = %s where version = 2", [PUBLISHED[0]]
        )
    with pytest.raises(MigrationError, match="0002_enabled was changed after it ran"):
        await migrate.up(dsn)


def kept(project: Project) -> list[str]:
    """Returns the schema versions of the dumps in the home, the oldest first."""
    names = sorted((project.home / "dumps").glob("*"), key=lambda path: path.name.split("-")[1])
    return [path.name.split("-")[0] for path in names]


def restore(command: str) -> None:
    """Runs a printed command."""
    shell = command.replace("meltica db", f"{shlex.quote(sys.executable)} -m meltica db", 1)
    subprocess.run(["sh", "-ec", shell], check=True, timeout=60, env=environment(), capture_output=True)


def older(folder: Path, *names: str) -> dict[str, str]:
    """Copies the package without some migrations; returns the environment that runs the copy."""
    copy = folder / "older" / "meltica"
    shutil.copytree(Path(meltica.__file__).parent, copy)
    for name in names:
        for path in (copy / "migrations").glob(f"{name}.*"):
            path.unlink()
    return {**environment(), "PYTHONPATH": str(copy.parent)}


async def test_serve_dumps_the_embedded_database_before_an_upgrade(project: Project) -> None:
    with project.database() as dsn:
        await old_schema(dsn)
        old = tables(dsn)
        before = content(dsn, old)
    with project.serving():
        assert kept(project) == ["0002"]
    dump = next((project.home / "dumps").glob("*"))
    assert (dump.stat().st_uid, dump.stat().st_mode & 0o777) == ((project.home / "data").stat().st_uid, 0o600)
    # A process that has the newest version does not dump again, and a new database has no dump at all.
    with project.serving():
        assert kept(project) == ["0002"]
    restore(f"meltica db restore --force --home {project.home} {dump}")
    with project.database() as dsn:
        assert (version(dsn), content(dsn, old)) == (2, before)
    project.nothing_left()


async def test_the_last_three_dumps_are_kept(project: Project) -> None:
    with project.serving():
        assert not (project.home / "dumps").exists(), "a new database is not dumped"
    (project.home / "dumps").mkdir()
    for day in (1, 2, 3):
        (project.home / "dumps" / f"0001-2026010{day}T000000Z.sql.gz").touch()
    (project.home / "dumps" / "mine.sql.gz").touch()
    with project.database() as dsn:
        await migrate.down(dsn, 1)
    with project.serving():
        pass
    names = sorted(path.name for path in (project.home / "dumps").glob("*"))
    assert [name[:13] for name in names[:2]] == ["0001-20260102", "0001-20260103"]
    assert [name[:4] for name in names[2:]] == [f"{NEWEST - 1:04}", "mine"]


async def test_parts_of_dumps_of_killed_upgrades_are_removed(project: Project) -> None:
    with project.database() as dsn:
        await migrate.up(dsn)
        await migrate.down(dsn, 1)
    # `backup.dump` writes into a directory of this form, which a kill leaves behind.
    part = project.home / "dumps" / ".0003-20260101T000000Z.sql.gz-k3x_9a"
    part.mkdir(parents=True)
    (part / "0003-20260101T000000Z.sql.gz").write_bytes(b"part of a dump")
    mine = project.home / "dumps" / ".mine"
    mine.mkdir()
    with project.serving():
        assert (part.exists(), mine.exists()) == (False, True)


async def test_a_failed_upgrade_keeps_earlier_dumps(project: Project) -> None:
    with project.database() as dsn:
        await old_schema(dsn)
        async with await connect(dsn) as connection:
            await connection.execute("update orders set client_order_id = 'A-1' where client_order_id = 'a1'")
    (project.home / "dumps").mkdir()
    (project.home / "dumps" / "0001-20260101T000000Z.sql.gz").touch()
    for _ in range(2):
        done = project.refused()
        assert done.returncode == 6
        one_line(done.stderr, "client order ids other than")
    assert kept(project) == ["0001"]


async def test_a_dump_that_cannot_be_written_stops_the_upgrade(project: Project) -> None:
    with project.database() as dsn:
        await old_schema(dsn)
    (project.home / "dumps").write_text("")
    done = project.refused()
    assert done.returncode == 6
    one_line(done.stderr, "the schema was not upgraded", f"meltica db up --home {project.home}")
    with project.database() as dsn:
        assert version(dsn) == 2


async def test_an_older_version_names_the_way_back(project: Project) -> None:
    with project.database() as dsn:
        await old_schema(dsn)
        old = tables(dsn)
        before = content(dsn, old)
    with project.serving():
        pass
    names = [str(migration) for migration in migrate.load()[2:]]
    old_environment = older(project.folder, *names)

    def run() -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            project.command(), check=False, capture_output=True, text=True, timeout=60, env=old_environment
        )

    done = run()
    assert done.returncode == 6
    dump = next((project.home / "dumps").glob("*"))
    command = f"meltica db restore --force --home {project.home} {dump}"
    one_line(done.stderr, f"is at {names[-1]}", "migrations up to 0002", f"{command} (changes after 20")
    restore(command)
    with project.database() as dsn:
        assert (version(dsn), content(dsn, old)) == (2, before)
    dump.unlink()
    with project.serving():
        pass
    shutil.rmtree(project.home / "dumps")
    done = run()
    one_line(done.stderr, f"--force --home {project.home} FILE", "has none of 0002 or older")


async def test_for_a_dsn_the_command_is_printed(project: Project, empty_database_url: str) -> None:
    dsn = empty_database_url
    await old_schema(dsn)
    password = conninfo_to_dict(dsn)["password"]
    assert isinstance(password, str)
    with project.serving(database=dsn) as gateway:
        message = next(line["message"] for line in gateway.lines() if "pg_dump" in line["message"])
        assert password not in gateway.log.read_text()
    printed = message[message.index("pg_dump") :]
    await migrate.down(dsn, NEWEST - 2)
    old = tables(dsn)
    before = content(dsn, old)
    binary = binaries.find()
    path = f"{binary.directory}:{os.environ['PATH']}"
    variables = {**environment(), "PATH": path, "PGPASSWORD": password}
    subprocess.run(["sh", "-ec", printed], check=True, timeout=60, cwd=project.folder, env=variables)
    with project.serving(database=dsn):
        pass
    with psycopg.connect(dsn) as connection:
        connection.execute("delete from meltica.schema_migrations where version > 2")
    done = project.refused("--set", "database.runMigrations=false", database=dsn)
    one_line(done.stderr, f"dump the database with `{printed}`, then run `meltica db up`")
    backup.restore(dsn, project.folder / "meltica-0002.sql.gz", binary, force=True)
    assert (version(dsn), content(dsn, old)) == (2, before)
