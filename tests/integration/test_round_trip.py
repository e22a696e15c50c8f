"""Statements in one round trip, on a real server."""

import asyncio
from collections.abc import AsyncGenerator

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from meltica.errors import DatabaseUnavailable
from meltica.persistence import round_trip as module
from meltica.persistence.database import Database, PoolOptions, connect
from meltica.persistence.round_trip import round_trip

ONE = PoolOptions(min_size=1, max_size=1)


@pytest.fixture(name="database")
async def _database(database_url: str) -> AsyncGenerator[Database]:
    async with await Database.open(database_url, ONE) as database:
        yield database


async def test_each_statement_answers_with_its_first_row(database: Database) -> None:
    async with database.connection() as connection:
        for _ in range(2):  # prepared, then reused
            answers = await round_trip(
                connection,
                [
                    (b"BEGIN", ()),
                    (b"select %s::int + %s::int, null, 'x'", [b"1", b"2"]),
                    (b"select where false", ()),
                    (b"ROLLBACK", ()),
                ],
            )
            assert answers == [None, ("3", None, "x"), None, None]
        assert connection.info.transaction_status is TransactionStatus.IDLE
        assert await (await connection.execute("select 42")).fetchone() == (42,)
        named = await (await connection.execute("select count(*) from pg_prepared_statements")).fetchone()
        assert named == (1,)


async def test_the_first_error_is_raised_and_the_connection_can_be_used_again(database: Database) -> None:
    async with database.connection() as connection:
        with pytest.raises(psycopg.errors.DivisionByZero):
            await round_trip(
                connection,
                [(b"BEGIN", ()), (b"select 1 / %s::int", [b"0"]), (b"select 'not executed'", ())],
            )
        assert connection.info.transaction_status is TransactionStatus.INERROR
        await connection.rollback()
        # What was prepared beside a failed statement is prepared again.
        assert await round_trip(connection, [(b"select 1 / %s::int", [b"1"])]) == [("1",)]


async def test_a_rollback_keeps_the_prepared_statements(database: Database) -> None:
    async with database.connection() as connection:
        for _ in range(10):  # psycopg would prepare this query, and deallocate all others at the rollback
            await connection.execute("select 1")
        statement = (b"select %s::int", [b"1"])
        assert await round_trip(connection, [statement]) == [("1",)]
        await connection.execute("BEGIN")
        await connection.rollback()
        await connection.execute("select 1")
        assert await round_trip(connection, [statement]) == [("1",)]


async def test_statements_beyond_the_limit_are_executed_unprepared(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PREPARED", 2)
    async with database.connection() as connection:
        for number in range(4):
            statement = b"select %%s::int + %d" % number
            assert await round_trip(connection, [(statement, [b"1"])]) == [(str(number + 1),)]
        named = await (await connection.execute("select count(*) from pg_prepared_statements")).fetchone()
        assert named == (2,)


async def test_parameters_and_rows_larger_than_the_buffers_of_the_socket(database: Database) -> None:
    text = b"x" * 20_000_000
    async with database.connection() as connection:
        statement = b"select %s::text"
        assert await round_trip(connection, [(statement, [text]), (statement, [text])]) == [
            (text.decode(),),
            (text.decode(),),
        ]


async def test_a_cancelled_round_trip_closes_its_connection(database: Database) -> None:
    async with database.connection() as connection:
        waiting = asyncio.ensure_future(round_trip(connection, [(b"select pg_sleep(60)", ())]))
        async with await connect(database.dsn) as other, asyncio.timeout(30):
            while not await _sleepers(other):
                pass
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        assert connection.closed
        assert not connection.broken
    async with database.connection() as connection:
        assert await round_trip(connection, [(b"select 42", ())]) == [("42",)]


async def test_a_connection_that_the_server_ends_is_unavailable(database: Database) -> None:
    with pytest.raises(DatabaseUnavailable, match="closed the connection"):
        async with database.connection() as connection:
            await round_trip(connection, [(b"select pg_terminate_backend(pg_backend_pid())", ())])
    async with database.connection() as connection:
        assert await round_trip(connection, [(b"select 42", ())]) == [("42",)]
    with pytest.raises(DatabaseUnavailable):
        async with database.connection() as connection, await connect(database.dsn) as other:
            pid = connection.info.backend_pid
            await other.execute("select pg_terminate_backend(%s, 10000)", [pid])
            await round_trip(connection, [(b"select 42", ())])


async def _sleepers(connection: psycopg.AsyncConnection) -> bool:
    query = "select from pg_stat_activity where query like '%pg_sleep(60)%' and pid <> pg_backend_pid()"
    return bool(await (await connection.execute(query)).fetchall())
