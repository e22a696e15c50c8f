"""A gateway that a test suspends with 50 orders on their way: `python -m tests.support.trading_gateway`.

Parameters: the database, the venue's REST endpoint, and where the orders wait: `queue` is before the commit,
`account` is after it, before the connection. It prints a line when they wait there, lets them go on at a line
of its input, and prints how each has ended.
"""

import asyncio
import sys
import threading
from collections import Counter

from meltica.adapters.fake.wire import FakeWire
from meltica.adapters.live.clock import TokenBucket, VenueClock
from meltica.adapters.live.rest import RestClient
from meltica.model.account import LastCheck, unchecked
from meltica.model.enums import Mode, Side
from meltica.model.orders import NewOrder, OrderSnapshot
from meltica.persistence.lock import GatewayLock
from tests.support.lossy_account import LossyAccount
from tests.support.risk import BTC
from tests.support.trading_world import TradingWorld

ORDERS = 50


class WireAccount(LossyAccount):
    """An account that sends its orders over REST, and fills them on paper."""

    rest: RestClient

    async def submit(self, order: NewOrder, last_check: LastCheck = unchecked) -> OrderSnapshot:
        """Sends an order."""
        await self.admits.wait()
        await self.rest.call(
            "POST", "/v1/orders", body=order.client_order_id, changes=True, last_check=last_check
        )
        return await super().submit(order)


def hold(world: TradingWorld, place: str) -> threading.Event:
    """Lets orders wait at a place; returns what lets them go on."""
    released, holding = threading.Event(), threading.Event()

    async def hold_loop() -> None:
        holding.set()
        released.wait()

    async def hold_account() -> None:
        world.lossy.admits.clear()
        holding.set()
        await asyncio.to_thread(released.wait)
        world.lossy.admits.set()

    work = hold_loop if place == "queue" else hold_account
    threading.Thread(target=world.call_loop, args=[work], daemon=True).start()
    holding.wait()
    return released


def run(world: TradingWorld, place: str) -> None:
    """Places the orders, and waits for their ends."""
    released = hold(world, place)

    def place_all() -> list[object]:
        return [world.trader.place(Side.BUY, BTC, "0.3", "50") for _ in range(ORDERS)]

    orders = world.call(place_all)
    machines = [world.desk.find(order.id) for order in orders]
    while place == "account" and not all(each and each.record.committed_at for each in machines):
        pass
    print("waiting", flush=True)
    sys.stdin.readline()
    released.set()
    while not all(world.call(lambda: [not order.is_open for order in orders])):
        pass
    print(dict(Counter((order.reason, order.sent_at) for order in orders)), flush=True)


async def main(url: str, endpoint: str, place: str) -> None:
    """Runs the gateway."""
    lock = GatewayLock(url)
    await lock.acquire()
    await lock.claim()
    world = TradingWorld(url, lock)
    world.lossy = account = WireAccount(world.account)
    account.rest = RestClient(
        endpoint,
        clock=VenueClock(),
        bucket=TokenBucket(0),
        errors=FakeWire.errors,
        parse_error=lambda _: None,
    )
    world.desk.connect("p", Mode.LIVE, account)
    await asyncio.to_thread(world.start)
    await asyncio.to_thread(run, world, place)
    await world.trading.call(account.rest.close)
    await asyncio.to_thread(world.close)
    await lock.release()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
