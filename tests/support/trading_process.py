"""Processes that tests suspend and kill: `python -m tests.support.trading_process ROLE URL`.

`writer` is a gateway that commits orders, each with its event, until it is killed; its process id is the
instance of the orders. `consumer` delivers events until nothing waits. Each prints a line per commit or
delivery.
"""

import asyncio
import itertools
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

from meltica.errors import DatabaseUnavailable, GatewayAlreadyRunning
from meltica.persistence.database import Database, PoolOptions
from meltica.persistence.lock import GatewayLock
from meltica.persistence.stores.outbox import Outbox, order_event
from meltica.persistence.stores.trading.writer import GroupCommitWriter
from tests.support.paths import ROOT
from tests.support.trading_rows import order

CONSUMER = "hook"
LEASE = 0.5
BATCH = 10


@contextmanager
def running(role: str, url: str) -> Generator["subprocess.Popen[str]"]:
    """Runs a process, and kills it in the end."""
    command = [sys.executable, "-m", "tests.support.trading_process", role, url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            yield process
        finally:
            process.kill()


def lines(process: "subprocess.Popen[str]", count: int | None = None) -> list[str]:
    """Returns the next lines of a process, or all until its end."""
    assert process.stdout is not None
    if count is None:
        return list(process.stdout)
    return [line for _ in range(count) if (line := process.stdout.readline())]


async def write(database: Database) -> None:
    """Commits orders with their events."""
    lock = GatewayLock(database.dsn)
    name = str(os.getpid())
    while True:
        try:
            await lock.acquire()
            await lock.claim()
            break
        except (DatabaseUnavailable, GatewayAlreadyRunning):
            # A predecessor that was killed or suspended has the lock or the epoch until the server notices.
            await lock.release()
            await asyncio.sleep(0.01)
    writer = GroupCommitWriter(database, lock)
    for number in itertools.count():
        orders = [order(instance=name) for _ in range(number % BATCH + 1)]
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
    async with await Database.open(url, PoolOptions(transaction_timeout=2)) as database:
        await (write if role == "writer" else consume)(database)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
