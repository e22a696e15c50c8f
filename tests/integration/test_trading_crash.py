"""The server is killed while trading is written: what was confirmed is stored, doubts are settled truly."""

import asyncio
import os
import random
import shutil
import signal
from collections.abc import AsyncGenerator
from uuid import UUID

import psycopg
import pytest

from meltica.errors import ChangeInDoubt, DatabaseUnavailable
from meltica.persistence import migrate
from meltica.persistence.database import Database
from meltica.persistence.lock import GatewayLock
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.persistence.stores.trading.writer import GroupCommitWriter
from tests.conftest import folder_for_server
from tests.support.trading_rows import fill, order, position

KILLS = 5


@pytest.fixture(name="server")
async def _server() -> AsyncGenerator[EmbeddedPostgres]:
    folder = folder_for_server()
    with EmbeddedPostgres(folder / "pg") as server:
        await migrate.up(server.dsn)
        supervision = asyncio.create_task(server.supervise())
        yield server
        supervision.cancel()
        await asyncio.wait({supervision})
    shutil.rmtree(folder)


async def test_what_was_confirmed_survives_kills_of_the_server(server: EmbeddedPostgres) -> None:
    chance = random.Random(7)
    changes: list[bool] = []
    lock = GatewayLock(server.dsn, on_change=changes.append)
    await lock.acquire()
    await lock.claim()
    stored: set[UUID] = set()
    lost: set[UUID] = set()
    async with await Database.open(server.dsn) as database:
        writer = GroupCommitWriter(database, lock)
        for number in range(KILLS):
            delay = chance.uniform(0.02, 0.3)
            asyncio.get_running_loop().call_later(delay, _kill, server)
            while changes.count(False) <= number:
                new = order()
                batch = [new, fill(new), position(new, str(len(stored) + 1))]
                try:
                    await writer.commit(batch)
                    stored.add(new.id)
                except ChangeInDoubt:
                    (stored if await _settled(writer) else lost).add(new.id)
                except DatabaseUnavailable:
                    lost.add(new.id)
            await lock.wait_held()
        await writer.commit([])
    await lock.release()
    with psycopg.connect(server.dsn) as connection:
        orders = {id for (id,) in connection.execute("select id from meltica.orders")}
        fills = {id for (id,) in connection.execute("select order_id from meltica.fills")}
        row = connection.execute("select quantity from meltica.positions").fetchone()
    assert (orders, fills) == (stored, stored)
    assert not orders & lost
    assert row == (len(stored),), "the position is the sum of the stored fills"
    assert len(stored) > KILLS


async def _settled(writer: GroupCommitWriter) -> bool:
    while True:
        try:
            return await writer.settle()
        except DatabaseUnavailable:
            await asyncio.sleep(0.01)


def _kill(server: EmbeddedPostgres) -> None:
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
