"""Migrations on a real PostgreSQL: up, down, drift, failures, concurrency."""

import asyncio
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from meltica.errors import DatabaseUnavailable, MigrationError
from meltica.persistence import migrate
from meltica.persistence.database import connect

FIRST = "create table first (id integer primary key);\ninsert into first values (1);"
# SQL that is hard to split and escape: $$ bodies with semicolons, quotes, percent signs.
SECOND = """
create function twice(n integer) returns integer language plpgsql as $$
begin
    raise notice 'semicolon; and 100%% of ''quotes''';
    return n * 2;
end;
$$;
insert into first values (2); -- 50%
"""


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    write(tmp_path, 1, "first", FIRST, "drop table first;")
    write(tmp_path, 2, "second", SECOND, "drop function twice; delete from first where id = 2;")
    return tmp_path


def write(folder: Path, number: int, name: str, up: str, down: str | None = None) -> None:
    (folder / f"{number:04}_{name}.up.sql").write_text(up)
    if down is not None:
        (folder / f"{number:04}_{name}.down.sql").write_text(down)


async def query(dsn: str, sql: bytes) -> list[tuple[object, ...]]:
    async with await connect(dsn) as connection:
        return await (await connection.execute(sql)).fetchall()


async def states(dsn: str, folder: Path) -> list[str]:
    return [f"{each} {each.state}" for each in await migrate.status(dsn, migrate.load(folder))]


async def up(dsn: str, folder: Path, count: int | None = None) -> list[str]:
    return [str(each) for each in await migrate.up(dsn, count, migrate.load(folder))]


async def test_up_and_down_step_by_step(empty_database_url: str, folder: Path) -> None:
    dsn = empty_database_url
    assert await states(dsn, folder) == ["0001_first pending", "0002_second pending"]
    assert await up(dsn, folder, 1) == ["0001_first"]
    assert await states(dsn, folder) == ["0001_first applied", "0002_second pending"]
    assert await up(dsn, folder) == ["0002_second"]
    assert await up(dsn, folder) == []
    assert await query(dsn, b"select twice(id) from first order by id") == [(2,), (4,)]
    back = await migrate.down(dsn, 1, migrate.load(folder))
    assert [str(each) for each in back] == ["0002_second"]
    assert await query(dsn, b"select id from first") == [(1,)]
    back = await migrate.down(dsn, 9, migrate.load(folder))
    assert [str(each) for each in back] == ["0001_first"]
    assert await states(dsn, folder) == ["0001_first pending", "0002_second pending"]


async def test_the_migrations_of_the_project_can_be_reverted_and_reapplied(empty_database_url: str) -> None:
    dsn = empty_database_url
    tables = b"select tablename from pg_tables where schemaname = 'meltica' order by 1"
    ran = await migrate.up(dsn)
    assert [each.version for each in ran] == list(range(1, len(migrate.load()) + 1))
    before = await query(dsn, tables)
    assert ("orders",) in before
    await migrate.down(dsn, len(ran))
    assert await query(dsn, tables) == [("schema_migrations",)]
    assert await query(dsn, b"select typname from pg_type where typname = 'amount'") == []
    await migrate.up(dsn)
    assert await query(dsn, tables) == before


async def test_all_tables_are_in_the_schema_of_meltica(empty_database_url: str) -> None:
    await migrate.up(empty_database_url)
    outside = await query(empty_database_url, b"select tablename from pg_tables where schemaname = 'public'")
    assert outside == []


async def test_only_a_failing_migration_is_rolled_back(empty_database_url: str, folder: Path) -> None:
    dsn = empty_database_url
    write(folder, 3, "bad", "create table third ();\ninsert into first values (3);\nselect nothing;\n")
    with pytest.raises(MigrationError, match=r'0003_bad \(up\) failed in line 3: column "nothing"'):
        await up(dsn, folder)
    assert await states(dsn, folder) == ["0001_first applied", "0002_second applied", "0003_bad pending"]
    assert await query(dsn, b"select to_regclass('third')") == [(None,)]
    assert await query(dsn, b"select count(*) from first") == [(2,)]
    write(folder, 3, "bad", "create table third ();")
    assert await up(dsn, folder) == ["0003_bad"]


async def test_a_migration_must_not_end_its_transaction(empty_database_url: str, folder: Path) -> None:
    write(folder, 3, "commits", "create table third (); commit;")
    with pytest.raises(MigrationError, match=r"0003_commits .* ends its transaction itself"):
        await up(empty_database_url, folder)


async def test_a_statement_that_cannot_run_in_a_transaction(empty_database_url: str, folder: Path) -> None:
    dsn = empty_database_url
    statement = "create index concurrently if not exists first_id on first (id);"
    write(folder, 3, "index", statement)
    with pytest.raises(MigrationError, match="cannot run inside a transaction block"):
        await up(dsn, folder)
    write(folder, 3, "index", f"-- meltica:no-transaction\n{statement}")
    assert await up(dsn, folder) == ["0003_index"]
    assert await query(dsn, b"select to_regclass('first_id') is not null") == [(True,)]


async def test_a_migration_changed_after_it_ran_has_drifted(empty_database_url: str, folder: Path) -> None:
    dsn = empty_database_url
    await up(dsn, folder, 1)
    (folder / "0001_first.up.sql").write_text(FIRST.replace("\n", "\r\n"), newline="")
    assert await states(dsn, folder) == ["0001_first applied", "0002_second pending"]
    write(folder, 1, "first", FIRST + " ")
    assert await states(dsn, folder) == ["0001_first drifted", "0002_second pending"]
    for run in (migrate.up, migrate.down):
        with pytest.raises(MigrationError, match="0001_first was changed after it ran"):
            await run(dsn, 1, migrate.load(folder))
    assert await states(dsn, folder) == ["0001_first drifted", "0002_second pending"]


async def test_a_database_of_a_newer_version_is_refused(empty_database_url: str, folder: Path) -> None:
    dsn = empty_database_url
    await up(dsn, folder)
    old = migrate.load(folder)[:1]
    assert [each.state for each in await migrate.status(dsn, old)] == ["applied", "unknown"]
    with pytest.raises(MigrationError, match="0002_second is in the database, but not in this version"):
        await migrate.up(dsn, None, old)


async def test_a_skipped_migration_is_reported(empty_database_url: str, folder: Path) -> None:
    dsn = empty_database_url
    await up(dsn, folder)
    async with await connect(dsn) as connection:
        await connection.execute("delete from schema_migrations where version = 1")
    with pytest.raises(MigrationError, match="0001_first did not run, but 0002_second did"):
        await up(dsn, folder)


async def test_concurrent_runs_apply_each_migration_once(empty_database_url: str, folder: Path) -> None:
    ran = await asyncio.gather(*(up(empty_database_url, folder) for _ in range(4)))
    assert sorted(ran) == [[], [], [], ["0001_first", "0002_second"]]


async def test_waiting_for_another_run_times_out(empty_database_url: str, folder: Path) -> None:
    async with await connect(empty_database_url) as other:
        await other.execute("select pg_advisory_lock(%s)", [migrate.LOCK])
        with pytest.raises(MigrationError, match="another process is still migrating this database"):
            await migrate.up(empty_database_url, None, migrate.load(folder), lock_timeout=0.2)
    assert await up(empty_database_url, folder) == ["0001_first", "0002_second"]


async def test_a_lost_connection_is_not_reported_as_a_failed_migration(
    empty_database_url: str, folder: Path
) -> None:
    write(folder, 3, "dies", "select pg_terminate_backend(pg_backend_pid());")
    with pytest.raises(DatabaseUnavailable, match=r"0003_dies .* the connection to the database was lost"):
        await up(empty_database_url, folder)
    assert await states(empty_database_url, folder) == [
        "0001_first applied",
        "0002_second applied",
        "0003_dies pending",
    ]


async def test_a_migration_without_a_down_file_cannot_be_reverted(
    empty_database_url: str, folder: Path
) -> None:
    write(folder, 3, "final", "create table third ();")
    await up(empty_database_url, folder)
    with pytest.raises(MigrationError, match="0003_final has no down file; restore a dump instead"):
        await migrate.down(empty_database_url, 1, migrate.load(folder))


async def test_a_role_without_the_privilege_to_create_the_schema(
    empty_database_url: str, folder: Path
) -> None:
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute("create role guest login password 'guest'")
    try:
        dsn = make_conninfo(empty_database_url, user="guest", password="guest")
        with pytest.raises(MigrationError, match="may not create the schema `meltica`"):
            await up(dsn, folder)
        await up(empty_database_url, folder)
        # The role may not use an existing schema either.
        with pytest.raises(MigrationError, match="the database refused: no schema has been selected"):
            await up(dsn, folder)
    finally:
        with psycopg.connect(empty_database_url, autocommit=True) as connection:
            connection.execute("drop role guest")
