"""The pool and the gateway's lock, on servers that go away, come back and hang."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
from collections.abc import Callable, Generator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from meltica.errors import ConfigError, DatabaseUnavailable, GatewayAlreadyRunning
from meltica.persistence.database import Database, PoolOptions, connect
from meltica.persistence.lock import LOCK, GatewayLock
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from tests.conftest import folder_for_server

QUICK = PoolOptions(min_size=2, max_size=4, acquire_timeout=0.3, connect_timeout=2)


@pytest.fixture(name="server", scope="module")
def _server() -> Generator[EmbeddedPostgres]:
    """A server of this file's own, to be stopped, killed and halted."""
    folder = folder_for_server()
    with EmbeddedPostgres(folder / "pg") as server:
        yield server
    shutil.rmtree(folder)


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def answer(database: Database) -> object:
    async with database.connection() as connection:
        row = await (await connection.execute("select 42")).fetchone()
        return row[0] if row else None


# The pool


async def test_what_connections_have_in_common(database_url: str) -> None:
    async with await Database.open(database_url, PoolOptions(statement_timeout=7)) as database:
        async with database.connection() as connection:
            names = ["application_name", "search_path", "timezone", "statement_timeout"]
            rows = [await (await connection.execute(f"show {name}".encode())).fetchone() for name in names]
            assert rows == [("meltica",), ("meltica",), ("UTC",), ("7s",)]
        assert await database.healthy()
        stats = database.stats()
        assert (stats["pool_max"], stats["requests_num"]) == (16, 2)


async def test_a_transaction_is_whole_or_not_at_all(database_url: str) -> None:
    async with await Database.open(database_url) as database:
        insert = "insert into outbox_consumers (name) values (%s)"
        async with database.transaction() as connection:
            await connection.execute(insert, ["kept"])
        with pytest.raises(RuntimeError, match="change of mind"):
            async with database.transaction() as connection:
                await connection.execute(insert, ["lost"])
                raise RuntimeError("change of mind")
        async with database.connection() as connection:
            rows = await (await connection.execute("select name from outbox_consumers")).fetchall()
        assert rows == [("kept",)]


async def test_a_server_that_goes_and_comes_back(server: EmbeddedPostgres) -> None:
    async with await Database.open(server, QUICK) as database:
        # More than one connection is idle when the server goes.
        async with database.connection(), database.connection():
            pass
        await asyncio.to_thread(server.stop)
        with pytest.raises(DatabaseUnavailable, match=r"meltica at .*cannot be reached"):
            await answer(database)
        assert not await database.healthy()
        await asyncio.to_thread(server.start)
        async with asyncio.timeout(10):
            while not await database.healthy():
                await asyncio.sleep(0.01)
        assert [await answer(database) for _ in range(8)] == [42] * 8


async def test_a_server_that_was_restarted_unseen(server: EmbeddedPostgres) -> None:
    async with await Database.open(server, PoolOptions(min_size=4)) as database:
        async with database.connection(), database.connection(), database.connection():
            pass
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        assert [await answer(database) for _ in range(8)] == [42] * 8


async def test_a_connection_that_breaks_while_it_is_used(database_url: str) -> None:
    async with await Database.open(database_url) as database:
        with pytest.raises(DatabaseUnavailable, match="terminating connection"):
            async with database.connection() as connection:
                await connection.execute("select pg_terminate_backend(pg_backend_pid())")
        assert await answer(database) == 42


async def test_a_server_that_hangs_is_not_healthy(server: EmbeddedPostgres) -> None:
    async with await Database.open(server, PoolOptions(min_size=1, max_size=1)) as database:
        assert server.pid is not None
        async with database.connection() as connection:
            backend = connection.info.backend_pid
        for pid in (backend, server.pid):
            os.kill(pid, signal.SIGSTOP)
        try:
            assert not await database.healthy(0.1)
        finally:
            for pid in (backend, server.pid):
                os.kill(pid, signal.SIGCONT)
        assert await database.healthy(10)


async def test_a_statement_that_takes_too_long(database_url: str) -> None:
    async with await Database.open(database_url, PoolOptions(statement_timeout=0.05)) as database:
        with pytest.raises(DatabaseUnavailable, match="statement timeout"):
            async with database.connection() as connection:
                await connection.execute("select pg_sleep(30)")


async def test_all_connections_in_use_is_told_apart(database_url: str) -> None:
    options = PoolOptions(max_size=1, acquire_timeout=0.1)
    async with await Database.open(database_url, options) as database, database.connection():
        with pytest.raises(DatabaseUnavailable, match="answers, but none of 1 connections was free"):
            await answer(database)


async def test_mistakes_in_sql_are_not_the_server_s(database_url: str) -> None:
    async with await Database.open(database_url) as database:
        with pytest.raises(psycopg.errors.UndefinedTable):
            async with database.connection() as connection:
                await connection.execute("select from nothing")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"password": "wrong"}, "password authentication failed"),
        ({"dbname": "none"}, 'database "none" does not exist'),
        ({"host": "/nowhere"}, "cannot be reached"),
    ],
)
async def test_a_database_that_cannot_be_opened(database_url: str, change: dict[str, str], text: str) -> None:
    with pytest.raises(DatabaseUnavailable, match=text) as failure:
        await Database.open(make_conninfo(database_url, **change))
    assert "\n" not in str(failure.value)
    assert "wrong" not in str(failure.value)


async def test_a_server_that_accepts_and_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://me:secret@127.0.0.1:{silent.getsockname()[1]}/trading"
        with pytest.raises(
            DatabaseUnavailable, match=r"\(trading at 127.0.0.1:\d+\) cannot be reached"
        ) as failure:
            await Database.open(url, PoolOptions(connect_timeout=2))
        assert "secret" not in str(failure.value)


async def test_a_url_that_is_none() -> None:
    with pytest.raises(ConfigError, match="expected postgresql://user:password@host:5432/name") as failure:
        await Database.open("postgress://me:secret@host/db")
    assert "secret" not in str(failure.value)


# The gateway's lock


async def test_a_second_gateway_learns_who_the_first_is(database_url: str) -> None:
    first, second = GatewayLock(database_url), GatewayLock(database_url)
    await first.acquire()
    assert first.held
    with pytest.raises(GatewayAlreadyRunning) as failure:
        await second.acquire()
    for text in (f"process {os.getpid()}", socket.gethostname()[:24], "connected since", "stop it first"):
        assert text in str(failure.value)
    assert not second.held
    assert first.held
    await first.release()
    assert not first.held
    await second.acquire()
    await second.release()


async def test_databases_have_locks_of_their_own(database_url: str, empty_database_url: str) -> None:
    locks = [GatewayLock(database_url), GatewayLock(empty_database_url)]
    for lock in locks:
        await lock.acquire()
    for lock in locks:
        await lock.release()


async def backends(dsn: str) -> list[int]:
    async with await connect(dsn) as connection:
        query = "select pid from pg_stat_activity where application_name like 'meltica gateway%'"
        rows = await connection.execute(query + " and datname = current_database()")
        return [pid async for (pid,) in rows]


async def test_a_lock_that_is_lost_is_told_and_regained(database_url: str) -> None:
    heard: asyncio.Queue[bool] = asyncio.Queue()
    lock = GatewayLock(database_url, on_change=heard.put_nowait)
    await lock.acquire()
    (backend,) = await backends(database_url)
    async with await connect(database_url) as connection:
        await connection.execute("select pg_terminate_backend(%s)", [backend])
    assert await heard.get() is False
    assert await heard.get() is True
    await lock.wait_held()
    assert await backends(database_url) != [backend]
    with pytest.raises(GatewayAlreadyRunning):
        await GatewayLock(database_url).acquire()
    await lock.release()
    assert heard.empty()


async def test_a_lock_that_another_took_meanwhile(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    lock = GatewayLock(database_url)
    await lock.acquire()
    (backend,) = await backends(database_url)
    async with await connect(database_url, application_name="thief") as thief:
        # Who already waits for the lock gets it before the one that lost it can ask again.
        theft = asyncio.create_task(thief.execute("select pg_advisory_lock(%s)", [LOCK]))
        async with await connect(database_url) as connection:
            waits = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
            while await (await connection.execute(waits)).fetchone() != (1,):
                await asyncio.sleep(0.01)
            await connection.execute("select pg_terminate_backend(%s)", [backend])
        await theft
        await eventually(lambda: "another gateway runs on the database" in caplog.text)
        assert "thief" in caplog.text
        assert not lock.held
    await eventually(lambda: lock.held)
    await lock.release()


async def test_a_server_that_hangs_takes_the_lock_away(server: EmbeddedPostgres) -> None:
    heard: asyncio.Queue[bool] = asyncio.Queue()
    lock = GatewayLock(server.dsn, on_change=heard.put_nowait, heartbeat=0.1)
    await lock.acquire()
    (backend,) = await backends(server.dsn)
    os.kill(backend, signal.SIGSTOP)
    try:
        assert await heard.get() is False
        assert not lock.held
    finally:
        os.kill(backend, signal.SIGCONT)
    assert await heard.get() is True
    await lock.release()


class Wire:
    """A TCP proxy that can drop a connection without notifying either end."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._cuts = 0
        self._writers: list[asyncio.StreamWriter] = []

    def cut(self) -> None:
        """Lets nothing more pass on the connections there are; new ones work."""
        self._cuts += 1

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(self._target)
        self._writers += [writer, far_writer]
        await asyncio.gather(self._carry(reader, far_writer), self._carry(far_reader, writer))

    async def close(self) -> None:
        for writer in self._writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        cuts = self._cuts
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                if cuts == self._cuts:
                    writer.write(data)
            if cuts == self._cuts:
                writer.close()


async def test_a_connection_that_is_dead_and_does_not_know_it(
    server: EmbeddedPostgres, tmp_path: Path
) -> None:
    """The server still has the old session, and the lock with it: it is ended, not waited for."""
    known = conninfo_to_dict(server.dsn)
    wire = Wire(Path(str(known["host"])) / ".s.PGSQL.5432")
    heard: asyncio.Queue[bool] = asyncio.Queue()
    async with await asyncio.start_unix_server(wire.connect, tmp_path / ".s.PGSQL.5432"):
        dsn = make_conninfo(server.dsn, host=str(tmp_path))
        lock = GatewayLock(dsn, on_change=heard.put_nowait, heartbeat=0.2)
        await lock.acquire()
        (backend,) = await backends(server.dsn)
        wire.cut()
        assert await heard.get() is False
        assert await heard.get() is True
        assert backend not in await backends(server.dsn)
        await lock.release()
        await wire.close()


async def test_no_lock_without_a_database() -> None:
    with pytest.raises(DatabaseUnavailable, match="cannot be reached"):
        await GatewayLock("host=/nowhere dbname=x").acquire()
