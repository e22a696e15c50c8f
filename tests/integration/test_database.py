"""The connection pool and the gateway lock, on servers that stop, restart and hang."""

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

QUICK = PoolOptions(min_size=2, max_size=4, acquire_timeout=1.0, connect_timeout=2)


@pytest.fixture(name="server", scope="module")
def _server() -> Generator[EmbeddedPostgres]:
    """A server for this module alone, which its tests stop, kill and suspend."""
    folder = folder_for_server()
    with EmbeddedPostgres(folder / "pg") as server:
        yield server
    shutil.rmtree(folder)


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def query(database: Database) -> object:
    async with database.connection() as connection:
        row = await (await connection.execute("select 42")).fetchone()
        return row[0] if row else None


# The pool


async def test_connections_have_the_parameters_of_meltica(database_url: str) -> None:
    async with await Database.open(database_url, PoolOptions(statement_timeout=7)) as database:
        async with database.connection() as connection:
            names = ["application_name", "search_path", "timezone", "statement_timeout"]
            rows = [await (await connection.execute(f"show {name}".encode())).fetchone() for name in names]
            assert rows == [("meltica",), ("meltica",), ("UTC",), ("7s",)]
        assert await database.healthy()
        stats = database.stats()
        assert (stats["pool_max"], stats["requests_num"]) == (16, 2)


async def test_a_transaction_that_is_left_open_is_ended(database_url: str) -> None:
    """Otherwise a gateway that is suspended inside one would keep the epoch locked."""
    options = PoolOptions(transaction_timeout=0.1)
    async with await Database.open(database_url, options) as database:
        async with database.connection() as connection:
            async with connection.pipeline():
                await connection.execute("begin")
            pid = connection.info.backend_pid
            with psycopg.connect(database_url, autocommit=True) as observer:
                while observer.execute("select from pg_stat_activity where pid = %s", [pid]).fetchone():
                    pass
            await connection.close()
        assert await database.healthy()


async def test_a_transaction_is_atomic(database_url: str) -> None:
    async with await Database.open(database_url) as database:
        insert = "insert into outbox_consumers (name) values (%s)"
        async with database.transaction() as connection:
            await connection.execute(insert, ["kept"])
        with pytest.raises(RuntimeError, match="abort"):
            async with database.transaction() as connection:
                await connection.execute(insert, ["lost"])
                raise RuntimeError("abort")
        async with database.connection() as connection:
            rows = await (await connection.execute("select name from outbox_consumers")).fetchall()
        assert rows == [("kept",)]


async def test_the_pool_recovers_from_an_outage_of_the_server(server: EmbeddedPostgres) -> None:
    async with await Database.open(server, QUICK) as database:
        # More than one connection is idle when the server stops.
        async with database.connection(), database.connection():
            pass
        await asyncio.to_thread(server.stop)
        with pytest.raises(DatabaseUnavailable, match=r"meltica at .*cannot be reached"):
            await query(database)
        assert not await database.healthy()
        await asyncio.to_thread(server.start)
        async with asyncio.timeout(10):
            while not await database.healthy():
                await asyncio.sleep(0.01)
        assert [await query(database) for _ in range(8)] == [42] * 8


async def test_the_pool_replaces_idle_connections_after_a_restart(server: EmbeddedPostgres) -> None:
    async with await Database.open(server, PoolOptions(min_size=4)) as database:
        async with database.connection(), database.connection(), database.connection():
            pass
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        assert [await query(database) for _ in range(8)] == [42] * 8


async def test_a_connection_that_breaks_in_use_is_reported_and_replaced(database_url: str) -> None:
    async with await Database.open(database_url) as database:
        with pytest.raises(DatabaseUnavailable, match="terminating connection"):
            async with database.connection() as connection:
                await connection.execute("select pg_terminate_backend(pg_backend_pid())")
        assert await query(database) == 42


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


async def test_a_statement_times_out(database_url: str) -> None:
    async with await Database.open(database_url, PoolOptions(statement_timeout=0.05)) as database:
        with pytest.raises(DatabaseUnavailable, match="statement timeout"):
            async with database.connection() as connection:
                await connection.execute("select pg_sleep(30)")


async def test_an_exhausted_pool_is_distinguished_from_an_outage(database_url: str) -> None:
    options = PoolOptions(max_size=1, acquire_timeout=0.1)
    async with await Database.open(database_url, options) as database, database.connection():
        with pytest.raises(DatabaseUnavailable, match=r"free within 0\.1 s: all 1 are in use; raise"):
            await query(database)


async def test_errors_in_sql_are_not_reported_as_outages(database_url: str) -> None:
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
async def test_opening_reports_why_the_database_is_unavailable(
    database_url: str, change: dict[str, str], text: str
) -> None:
    with pytest.raises(DatabaseUnavailable, match=text) as failure:
        await Database.open(make_conninfo(database_url, **change))
    assert "\n" not in str(failure.value)
    assert "wrong" not in str(failure.value)


async def test_a_server_that_accepts_connections_but_never_responds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://me:secret@127.0.0.1:{silent.getsockname()[1]}/trading"
        with pytest.raises(
            DatabaseUnavailable, match=r"\(trading at 127.0.0.1:\d+\) cannot be reached"
        ) as failure:
            await Database.open(url, PoolOptions(connect_timeout=2))
        assert "secret" not in str(failure.value)


async def test_an_invalid_url_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected postgresql://user:password@host:5432/name") as failure:
        await Database.open("postgress://me:secret@host/db")
    assert "secret" not in str(failure.value)


# The gateway's lock


async def test_a_second_gateway_is_refused_with_the_name_of_the_first(database_url: str) -> None:
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


async def test_each_database_has_its_own_lock(database_url: str, empty_database_url: str) -> None:
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


async def test_the_loss_of_the_lock_is_reported_and_the_lock_regained(database_url: str) -> None:
    changes: asyncio.Queue[bool] = asyncio.Queue()
    lock = GatewayLock(database_url, on_change=changes.put_nowait)
    await lock.acquire()
    (backend,) = await backends(database_url)
    async with await connect(database_url) as connection:
        await connection.execute("select pg_terminate_backend(%s)", [backend])
    assert await changes.get() is False
    assert await changes.get() is True
    await lock.wait_held()
    assert await backends(database_url) != [backend]
    with pytest.raises(GatewayAlreadyRunning):
        await GatewayLock(database_url).acquire()
    await lock.release()
    assert changes.empty()


async def test_the_lock_is_regained_after_another_session_took_it(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    lock = GatewayLock(database_url)
    await lock.acquire()
    (backend,) = await backends(database_url)
    async with await connect(database_url, application_name="rival") as rival:
        # A session that already waits for the lock gets it before the gateway can retry.
        taking = asyncio.create_task(rival.execute("select pg_advisory_lock(%s)", [LOCK]))
        async with await connect(database_url) as connection:
            waits = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
            while await (await connection.execute(waits)).fetchone() != (1,):
                await asyncio.sleep(0.01)
            await connection.execute("select pg_terminate_backend(%s)", [backend])
        await taking
        await eventually(lambda: "another gateway uses the database" in caplog.text)
        assert "rival" in caplog.text
        assert not lock.held
    await eventually(lambda: lock.held)
    await lock.release()


async def test_a_hanging_server_counts_as_a_lost_lock(server: EmbeddedPostgres) -> None:
    changes: asyncio.Queue[bool] = asyncio.Queue()
    lock = GatewayLock(server.dsn, on_change=changes.put_nowait, heartbeat=0.1)
    await lock.acquire()
    (backend,) = await backends(server.dsn)
    os.kill(backend, signal.SIGSTOP)
    try:
        assert await changes.get() is False
        assert not lock.held
    finally:
        os.kill(backend, signal.SIGCONT)
    assert await changes.get() is True
    await lock.release()


class Proxy:
    """A proxy of a Unix socket that can silently stop forwarding, as a failed network does."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._cuts = 0
        self._writers: list[asyncio.StreamWriter] = []

    def cut(self) -> None:
        """Stops forwarding on all current connections; new ones work."""
        self._cuts += 1

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_unix_connection(self._target)
        self._writers += [writer, server_writer]
        await asyncio.gather(self._forward(reader, server_writer), self._forward(server_reader, writer))

    async def close(self) -> None:
        for writer in self._writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        cuts = self._cuts
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                if cuts == self._cuts:
                    writer.write(data)
            if cuts == self._cuts:
                writer.close()


async def test_the_old_session_is_terminated_after_a_network_failure(
    server: EmbeddedPostgres, tmp_path: Path
) -> None:
    """The server has not noticed the failure, so the old session still holds the lock."""
    parameters = conninfo_to_dict(server.dsn)
    proxy = Proxy(Path(str(parameters["host"])) / ".s.PGSQL.5432")
    changes: asyncio.Queue[bool] = asyncio.Queue()
    async with await asyncio.start_unix_server(proxy.connect, tmp_path / ".s.PGSQL.5432"):
        dsn = make_conninfo(server.dsn, host=str(tmp_path))
        lock = GatewayLock(dsn, on_change=changes.put_nowait, heartbeat=0.2)
        await lock.acquire()
        (backend,) = await backends(server.dsn)
        proxy.cut()
        assert await changes.get() is False
        assert await changes.get() is True
        assert backend not in await backends(server.dsn)
        await lock.release()
        await proxy.close()


async def test_the_lock_requires_a_database() -> None:
    with pytest.raises(DatabaseUnavailable, match="cannot be reached"):
        await GatewayLock("host=/nowhere dbname=x").acquire()
