"""The audit: one row for each change, in its transaction, in a chain that shows every later edit."""

import asyncio
import json
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import LiteralString

import psycopg
import pytest
from click.testing import CliRunner, Result

from meltica.cli import cli
from meltica.errors import AlreadyExists, DatabaseError, DatabaseUnavailable
from meltica.persistence import migrate
from meltica.persistence.database import Database
from meltica.persistence.stores.audit import Act, AuditEntry, AuditLog, acting_as, append, deferred
from meltica.persistence.stores.desired import DesiredStates
from meltica.persistence.stores.providers import ProviderRecord, ProviderStore
from meltica.runtime.lifecycle import Desired, ProviderState
from meltica.runtime.state_writer import StateWriter
from tests.integration.test_migration_vocabulary import catalogue

INSERT = """
    insert into audit select {}, acted_at, 'b', action, subject, before, after, previous, hash
    from audit where id = 1
"""


@pytest.fixture(name="database")
async def _database(database_url: str) -> AsyncGenerator[Database]:
    async with await Database.open(database_url) as database:
        yield database


async def entries(database: Database, *actions: str) -> None:
    """Appends rows."""
    for action in actions:
        async with database.transaction() as connection:
            await append(connection, AuditEntry(actor="a", action=action, subject="s", after={"x": "é 1.50"}))


async def verify(url: str, *options: str) -> Result:
    """Runs the command, which has an event loop of its own."""
    command = ["audit", "verify", "--dsn", url, *options]
    return await asyncio.to_thread(lambda: CliRunner().invoke(cli, command, standalone_mode=False))


def edit(url: str, *statements: LiteralString) -> None:
    """Changes the table as somebody with the rights of its owner could."""
    with psycopg.connect(url, options="-c search_path=meltica", autocommit=True) as connection:
        connection.execute("alter table audit disable trigger all")
        for statement in statements:
            connection.execute(statement)
        connection.execute("alter table audit enable trigger all")


async def test_changes_on_behalf_of_a_client_are_audited(database: Database) -> None:
    store = ProviderStore(database)
    await store.add(ProviderRecord(name="quiet", adapter="fake"))
    with acting_as(Act("alice")):
        await store.add(ProviderRecord(name="p", adapter="fake", settings={"seed": 1}))
        with pytest.raises(AlreadyExists):
            await store.add(ProviderRecord(name="p", adapter="fake"))
        await store.set_desired("p", Desired.RUNNING)
        await store.set_actual("p", ProviderState.RUNNING)
        await store.update(ProviderRecord(name="p", adapter="fake", settings={"seed": 2}))
        await store.delete("p")
    rows = (await AuditLog(database).latest(10))[::-1]
    assert [(row.id, row.actor, row.action, row.subject) for row in rows] == [
        (1, "alice", "provider.create", "p"),
        (2, "alice", "provider.start", "p"),
        (3, "alice", "provider.update", "p"),
        (4, "alice", "provider.delete", "p"),
    ]
    assert [(row.before, row.after) for row in rows[1:3]] == [
        ({"desired": "stopped"}, {"desired": "running"}),
        ({"settings": {"seed": 1}}, {"settings": {"seed": 2}}),
    ]
    assert rows[0].before is None
    assert rows[3].after is None
    assert (await AuditLog(database).verify()).fault is None


async def test_a_change_without_its_audit_is_not_made(database: Database, database_url: str) -> None:
    store = ProviderStore(database)
    await store.add(ProviderRecord(name="p", adapter="fake"))
    with psycopg.connect(database_url, options="-c search_path=meltica", autocommit=True) as connection:
        connection.execute("alter table audit add constraint full_up check (id < 1)")
    with acting_as(Act("alice")), pytest.raises(DatabaseError, match="full_up"):
        await store.set_desired("p", Desired.RUNNING)
    assert store.get("p").desired is Desired.STOPPED
    await store.load()
    assert store.get("p").desired is Desired.STOPPED


async def test_a_stop_that_is_recorded_later_has_the_time_of_the_act(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, writer = ProviderStore(database), StateWriter(retry=0.01)
    await store.add(ProviderRecord(name="p", adapter="fake"), Desired.RUNNING)
    back, write = asyncio.Event(), store.set_desired

    async def away(key: str, desired: Desired) -> object:
        if not back.is_set():
            raise DatabaseUnavailable("away")
        return await write(key, desired)

    monkeypatch.setattr(store, "set_desired", away)
    writer.start()
    desired = DesiredStates(store, writer, "provider")
    with acting_as(Act("alice")):
        desired.record_stop("p")
    released = datetime.now(UTC)
    back.set()
    await desired.wait_recorded("p")
    assert await writer.close(1.0)
    [row] = await AuditLog(database).latest(10)
    assert (row.actor, row.action) == ("alice", "provider.stop")
    assert row.acted_at <= released


@pytest.mark.parametrize("fails", [False, True])
async def test_a_stop_that_is_not_recorded_is_audited_before_a_start(
    database: Database, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    store, writer = ProviderStore(database), StateWriter(retry=60.0 if not fails else 0.01)
    await store.add(ProviderRecord(name="p", adapter="fake"), Desired.RUNNING)
    back, tried, write = asyncio.Event(), asyncio.Event(), store.set_desired

    async def away(key: str, desired: Desired) -> object:
        tried.set()
        if not back.is_set():
            raise DatabaseUnavailable("away")
        return await write(key, desired)

    monkeypatch.setattr(store, "set_desired", away)
    writer.start()
    desired = DesiredStates(store, writer, "provider")
    with acting_as(Act("alice")):
        desired.record_stop("p")
    await tried.wait()
    stopped = datetime.now(UTC)
    with acting_as(Act("bob")):
        if fails:
            with pytest.raises(DatabaseUnavailable):
                await desired.record_start("p")
        back.set()
        if not fails:
            await desired.record_start("p")
    await desired.wait_recorded("p")
    assert store.get("p").desired is (Desired.STOPPED if fails else Desired.RUNNING)
    rows = (await AuditLog(database).latest(10))[::-1]
    starts = [] if fails else [("bob", "provider.start")]
    assert [(row.actor, row.action) for row in rows] == [("alice", "provider.stop"), *starts]
    assert rows[0].acted_at <= stopped
    await writer.close(0.0)


async def test_a_start_that_another_client_withdraws_is_two_acts(database: Database) -> None:
    store, writer = ProviderStore(database), StateWriter(retry=0.01)
    await store.add(ProviderRecord(name="p", adapter="fake"))
    desired = DesiredStates(store, writer, "provider")
    writer.start()
    async with store._writing:  # pyright: ignore[reportPrivateUsage]
        with acting_as(Act("alice")):
            start = asyncio.ensure_future(desired.record_start("p"))
        await asyncio.sleep(0)
        with acting_as(Act("bob")):
            assert desired.withdraw_start("p")
    await asyncio.wait({start})
    assert start.exception() is not None
    await desired.wait_recorded("p")
    assert await writer.close(1.0)
    rows = await AuditLog(database).latest(10)
    assert [(row.actor, row.action) for row in rows] == [
        ("bob", "provider.stop"),
        ("alice", "provider.start"),
    ]
    assert deferred() is None


async def test_writers_at_once_make_one_chain(database: Database) -> None:
    async def write(number: int) -> None:
        async with database.transaction() as connection:
            await append(connection, AuditEntry(actor=f"a{number}", action="x", subject="s"))
            if number % 3 == 0:
                raise ZeroDivisionError

    results = await asyncio.gather(*(write(number) for number in range(30)), return_exceptions=True)
    assert sum(isinstance(result, ZeroDivisionError) for result in results) == 10
    verified = await AuditLog(database).verify()
    assert (verified.rows, verified.last, verified.fault) == (20, 20, None)


async def test_rows_cannot_be_changed(database: Database) -> None:
    await entries(database, "one")
    statements: list[LiteralString] = [
        "update audit set actor = 'b'",
        "delete from audit",
        "truncate audit",
        "insert into audit (id, actor, action, subject, previous, hash) values (9, 'a', 'b', 's', '', '')",
    ]
    for statement in statements[:3]:
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="audit"):
            async with database.connection() as connection:
                await connection.execute(statement)
    async with database.connection() as connection:
        await connection.execute(statements[3])  # a number and a hash of its own are replaced
    verified = await AuditLog(database).verify()
    assert (verified.rows, verified.last, verified.fault) == (2, 2, None)


@pytest.mark.parametrize(
    ("statements", "fault"),
    [
        (("update audit set actor = 'b' where id = 2",), "row 2 was changed"),
        (("update audit set after = '{\"x\": 2}' where id = 2",), "row 2 was changed"),
        (("update audit set acted_at = acted_at + interval '1 us' where id = 2",), "row 2 was changed"),
        (("update audit set before = '{}' where id = 2",), "row 2 was changed"),
        (("update audit set acted_at = 'infinity' where id = 2",), "row 2 was changed"),
        (("update audit set acted_at = '-infinity' where id = 2",), "row 2 was changed"),
        (("update audit set id = 0 where id = 1",), "row 0 was inserted"),
        ((INSERT.format(0),), "row 0 was inserted"),
        ((INSERT.format(-7),), "row -7 was inserted"),
        (("alter table audit drop constraint audit_pkey", INSERT.format(2)), "row 2 was inserted"),
        (("delete from audit where id = 2",), "rows 2 to 2 are missing"),
        (("delete from audit where id = 1",), "rows 1 to 1 are missing"),
        (("delete from audit where id = 4",), "rows 4 to 4 are missing"),
        (("delete from audit",), "rows 1 to 4 are missing"),
        (
            ("delete from audit where id = 4", "update audit_head set id = 3"),
            "row 3 is not the one in audit_head",
        ),
        (
            (
                "update audit set actor = 'b' where id = 2",
                "update audit set hash = sha256(previous || convert_to(audit_text(audit), 'UTF8'))"
                " where id = 2",
            ),
            "row 3 does not follow row 2",
        ),
    ],
)
async def test_edits_are_found(
    database: Database, database_url: str, statements: tuple[LiteralString, ...], fault: str
) -> None:
    await entries(database, "one", "two", "three", "four")
    edit(database_url, *statements)
    assert (await AuditLog(database).verify()).fault == fault
    done = await verify(database_url)
    assert done.return_value == 3
    assert done.stderr == f"Error: the audit is not complete: {fault}\n"


async def test_the_command_prints_the_last_hash(database: Database, database_url: str) -> None:
    await entries(database, "one", "two")
    verified = await AuditLog(database).verify()
    done = await verify(database_url)
    assert done.stdout == f"2 rows verified; row 2 has the hash {verified.hash.hex()}\n"
    shown = json.loads((await verify(database_url, "--json")).stdout)
    assert shown == {"rows": 2, "last": 2, "hash": verified.hash.hex()}


async def test_times_of_acts_may_be_in_the_past(database: Database) -> None:
    at = datetime.now(UTC) - timedelta(hours=1)
    async with database.transaction() as connection:
        await append(connection, AuditEntry(actor="a", action="x", subject="s", acted_at=at))
    [row] = await AuditLog(database).latest(10)
    assert row.acted_at == at


async def test_the_migration_goes_up_and_down(empty_database_url: str) -> None:
    await migrate.up(empty_database_url, 5)
    before = catalogue(empty_database_url)
    await migrate.up(empty_database_url, 1)
    with psycopg.connect(empty_database_url, options="-c search_path=meltica") as connection:
        connection.execute("insert into audit (actor, action, subject) values ('a', 'b', 'c')")
    after = catalogue(empty_database_url)
    await migrate.down(empty_database_url, 1)
    assert catalogue(empty_database_url) == before
    await migrate.up(empty_database_url, 1)
    assert catalogue(empty_database_url) == after
