"""Desired states while the database refuses writes, and while another gateway holds the lock."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Callable
from os import dup

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier

from meltica.errors import Conflict, DatabaseUnavailable, LockNotHeld
from meltica.persistence.database import Database
from meltica.persistence.lock import GatewayLock
from meltica.persistence.stores.desired import DesiredStates
from meltica.persistence.stores.providers import ProviderRecord, ProviderStore
from meltica.runtime.lifecycle import Desired
from meltica.runtime.state_writer import StateWriter

NAME = "demo"
END_LOCK = (
    "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'meltica gateway%'"
)


class Lock(GatewayLock):
    """A lock whose connection the test can break."""

    taken: psycopg.AsyncConnection

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.gate = asyncio.Event()
        self.gate.set()

    async def _take(self) -> psycopg.AsyncConnection:
        await self.gate.wait()
        self.taken = await super()._take()
        return self.taken


class World:
    """The store of a gateway with its lock, and the desired states of its providers."""

    def __init__(self, url: str, database: Database, lock: Lock) -> None:
        self.url = url
        self.lock = lock
        self.store = ProviderStore(database, lock)
        self.writer = StateWriter(retry=0.05)
        self.desired = DesiredStates(self.store, self.writer, "provider")
        self.regained: list[bool] = []
        lock.on_regain = self.regained.append

    async def row(self) -> str:
        """Returns the desired state in the database."""
        async with await psycopg.AsyncConnection.connect(self.url) as connection:
            row = await (await connection.execute("select desired from meltica.providers")).fetchone()
        assert row is not None
        return row[0]

    async def superseded(self) -> None:
        """Ends the session of the lock while another gateway takes it, and waits until it is held again."""
        rival = GatewayLock(self.url)
        self.lock.gate.clear()
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:
            while True:
                await connection.execute(END_LOCK)
                with contextlib.suppress(Exception):
                    await rival.acquire()
                    break
        await rival.claim()
        await rival.release()
        self.lock.gate.set()
        await eventually(lambda: bool(self.regained) and self.lock.held)


@pytest.fixture(name="world")
async def _world(database_url: str) -> AsyncGenerator[World]:
    async with await Database.open(database_url) as database:
        lock = Lock(database_url)
        await lock.acquire()
        await lock.claim()
        world = World(database_url, database, lock)
        await world.store.load()
        await world.store.add(ProviderRecord(name=NAME, adapter="replay"), Desired.RUNNING)
        world.writer.start()
        yield world
        await world.writer.close(0.0)
        await lock.release()


async def waiting(connection: psycopg.AsyncConnection) -> None:
    """Waits until a write waits for the table of the providers, which the connection has locked."""
    query = "select from pg_locks where relation = 'meltica.providers'::regclass and not granted"
    while await (await connection.execute(query)).fetchone() is None:
        pass


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_stop_that_a_read_only_database_refuses_is_recorded_later(world: World) -> None:
    name = Identifier(str(conninfo_to_dict(world.url)["dbname"]))
    pool = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'meltica'"
    async with await psycopg.AsyncConnection.connect(world.url, autocommit=True) as connection:
        await connection.execute(SQL("alter database {} set default_transaction_read_only = on").format(name))
        await connection.execute(pool)
        world.desired.record_stop(NAME)
        await world.writer.wait_written("stopped provider", NAME, 0.5)
        assert world.desired.is_pending(NAME)
        await connection.execute("set transaction_read_only = off")
        await connection.execute("set default_transaction_read_only = off")
        await connection.execute(SQL("alter database {} reset default_transaction_read_only").format(name))
        await connection.execute(pool)
    await eventually(lambda: not world.desired.is_pending(NAME))
    assert await world.row() == "stopped"


async def test_a_superseded_stop_is_not_reported_as_recorded(world: World) -> None:
    await world.writer.close(0.0)
    world.desired.record_stop(NAME)
    waiting = asyncio.ensure_future(world.desired.wait_recorded(NAME))
    await asyncio.sleep(0)
    assert world.desired.discard_unrecorded() == [NAME]
    with pytest.raises(Conflict, match="superseded by another gateway"):
        await waiting


async def test_a_write_that_waited_while_another_gateway_had_the_lock_is_refused(world: World) -> None:
    async with await psycopg.AsyncConnection.connect(world.url) as connection:
        await connection.execute("lock table meltica.providers in access exclusive mode")
        reading = asyncio.ensure_future(world.store.load())
        await asyncio.sleep(0)
        writing = asyncio.ensure_future(world.store.set_desired(NAME, Desired.STOPPED))
        await asyncio.sleep(0)
        await world.superseded()
    await reading
    with pytest.raises(LockNotHeld):
        await writing
    assert world.regained == [True]
    assert await world.row() == "running"


@pytest.mark.parametrize("order", ["stop, start", "start, stop"])
async def test_a_superseded_stop_beside_a_start_is_reported_and_not_recorded(
    world: World, order: str
) -> None:
    async with await psycopg.AsyncConnection.connect(world.url) as connection:
        await connection.execute("lock table meltica.providers in exclusive mode")
        if order == "stop, start":
            world.desired.record_stop(NAME)
        starting = asyncio.ensure_future(world.desired.record_start(NAME))
        await waiting(connection)
        if order == "start, stop":
            assert world.desired.withdraw_start(NAME)
        assert world.desired.discard_unrecorded() == [NAME]
        starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    assert not world.desired.is_pending(NAME)


async def test_a_superseded_stop_is_not_recorded_when_its_start_is_confirmed(world: World) -> None:
    async with await psycopg.AsyncConnection.connect(world.url) as connection:
        await connection.execute("lock table meltica.providers in exclusive mode")
        starting = asyncio.ensure_future(world.desired.record_start(NAME))
        await waiting(connection)
        assert world.desired.withdraw_start(NAME)
        assert world.desired.discard_unrecorded() == [NAME]
    await starting
    assert not world.desired.is_pending(NAME)
    assert await world.row() == "running"


async def test_a_start_alone_is_not_reported_as_a_superseded_stop(world: World) -> None:
    async with await psycopg.AsyncConnection.connect(world.url) as connection:
        await connection.execute("lock table meltica.providers in exclusive mode")
        starting = asyncio.ensure_future(world.desired.record_start(NAME))
        await waiting(connection)
        assert world.desired.discard_unrecorded() == []
    await starting


async def test_a_raised_epoch_without_a_response_is_not_another_gateway(world: World) -> None:
    async with await psycopg.AsyncConnection.connect(world.url, autocommit=True) as connection:
        await connection.execute(
            "create sequence public.times; create function public.slow() returns trigger language plpgsql as "
            "'begin if nextval(''public.times'') = 1 then perform pg_sleep(1); end if; return new; end';"
            "create constraint trigger slow after update on meltica.gateway deferrable initially deferred"
            " for each row execute function public.slow()"
        )
        world.lock.gate.clear()
        claiming = asyncio.ensure_future(world.lock.claim())
        while True:
            query = "select 1 from pg_stat_activity where wait_event = 'PgSleep'"
            if await (await connection.execute(query)).fetchone() is not None:
                break
        with socket.socket(fileno=dup(world.lock.taken.fileno())) as peer:
            peer.shutdown(socket.SHUT_RDWR)
        with pytest.raises(DatabaseUnavailable):
            await claiming
        while True:
            row = await (await connection.execute("select epoch from meltica.gateway")).fetchone()
            if row == (2,):
                break
        world.lock.gate.set()
        await eventually(lambda: bool(world.regained))
    assert world.regained == [False]
