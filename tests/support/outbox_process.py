"""Processes for the tests of the outbox, which kill them: `python -m tests.support.outbox_process ROLE URL`.

`writer` is a gateway that commits orders, each with its event, until it is killed. `consumer` delivers events
until nothing waits. Each prints a line per commit or delivery.
"""

import asyncio
import itertools
import sys

from meltica.errors import GatewayAlreadyRunning
from meltica.persistence.database import Database
from meltica.persistence.lock import GatewayLock
from meltica.persistence.stores.outbox import Outbox, order_event
from meltica.persistence.stores.trading.writer import GroupCommitWriter
from tests.support.trading_rows import order

CONSUMER = "hook"
LEASE = 0.5
BATCH = 10


async def write(database: Database) -> None:
    """Commits orders with their events."""
    lock = GatewayLock(database.dsn)
    while True:
        try:
            await lock.acquire()
            break
        except GatewayAlreadyRunning:
            # The server has not noticed yet that the killed predecessor is gone.
            await asyncio.sleep(0.01)
    await lock.claim()
    writer = GroupCommitWriter(database, lock)
    for number in itertools.count():
        orders = [order() for _ in range(number % BATCH + 1)]
        await writer.commit([*orders, *map(order_event, orders)])
        print(number, flush=True)


async def consume(database: Database) -> None:
    """Delivers events, and records each delivery after it."""
    outbox = Outbox(database, lease=LEASE)
    while (await outbox.backlog())[0].waiting:
        for delivery in await outbox.claim(CONSUMER, BATCH):
            print(delivery.id, delivery.aggregate_id, flush=True)
            await outbox.delivered(CONSUMER, [delivery.id])
        await asyncio.sleep(0.01)


async def main(role: str, url: str) -> None:
    """Runs one role."""
    async with await Database.open(url) as database:
        await (write if role == "writer" else consume)(database)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
