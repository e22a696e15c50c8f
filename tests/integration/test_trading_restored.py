"""A database that is restored from a dump: orders since the dump are lost, until an operator adopts them."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest

from meltica.errors import OrderRefused
from meltica.model.enums import Mode, Side
from meltica.persistence import backup
from meltica.persistence.lock import GatewayLock
from meltica.persistence.postgres import binaries
from meltica.trading.faults import FaultKind
from meltica.trading.operator import Act
from tests.support.risk import BTC
from tests.support.trading_world import PaperVenue, TradingWorld

ACT = Act("alice", "a dump of yesterday was restored")


@asynccontextmanager
async def gateway(url: str, venue: PaperVenue, uid: UUID | None) -> AsyncGenerator[TradingWorld]:
    """Runs a gateway from its lock to its end; its account is not reconciled yet."""
    lock = GatewayLock(url)
    await lock.acquire()
    await lock.claim()
    world = TradingWorld(url, lock, venue, uid)
    await asyncio.to_thread(world.trading.start)
    try:
        yield world
    finally:
        await asyncio.to_thread(world.close)
        await lock.release()


def wait_trading(world: TradingWorld) -> None:
    """Waits until orders may leave."""
    while not world.call(lambda: world.trader.trading):
        pass


def differences(world: TradingWorld) -> set[Decimal | None]:
    """Returns the unexplained part of each currency."""
    return {world.books.lines("p", currency).difference for currency in ("BTC", "USDT")}


def first_day(world: TradingWorld) -> str:
    """Buys 1, and leaves an order at 50; returns its client order id."""
    wait_trading(world)
    world.buy("1", "100.01")
    world.quote()
    world.wait_for("filled")
    resting = world.buy("1", "50")
    world.wait_for("filled", "acknowledged")
    return resting.client_order_id


def second_day(world: TradingWorld) -> list[str]:
    """Leaves five orders, of which one is filled and one in part; returns their client order ids."""
    wait_trading(world)
    orders = [world.buy("1", str(price)) for price in range(99, 94, -1)]
    world.wait_for(*["acknowledged"] * 5)
    for price, quantity in (("98.5", "1"), ("97.5", "0.25")):
        world.account.trade(BTC, Decimal(price), Decimal(quantity), Side.SELL, world.desk.clock())
    world.wait_for("filled", "partial_fill")
    return [order.client_order_id for order in orders]


def restored_day(world: TradingWorld, resting: str, lost: list[str]) -> None:
    """Trades only once each lost order was adopted; then also knows what was filled before."""
    while set(world.desk.accounts.link("p", Mode.LIVE).lost) != set(lost):
        pass
    kinds = [fault.kind for fault in world.trading.faults()]
    assert kinds.count(FaultKind.ORDERS_LOST) == 5
    world.account.trade(BTC, Decimal("97.5"), Decimal("0.25"), Side.SELL, world.desk.clock())
    while len(world.desk.accounts.link("p", Mode.LIVE).lost) != 5:
        pass
    for id in lost:
        with pytest.raises(OrderRefused, match="not_reconciled"):
            world.buy("1", "50")
        world.operate(lambda operator, id=id: operator.adopt("p", Mode.LIVE, id, world.owner, ACT))
    wait_trading(world)
    check(world, resting, lost)


def check(world: TradingWorld, resting: str, lost: list[str]) -> None:
    """Checks that ours and the venue's agree."""
    assert world.call(lambda: world.trader.position(BTC)).quantity == Decimal("2.5")
    assert differences(world) == {0}
    assert {order.id for order in world.account.resting_orders()} == {resting, *lost[1:]}
    with world.desk.lock:
        records = [machine.record for machine in world.desk.open_machines()]
        held = world.risk.registry.held("p", "USDT")
    assert {each.client_order_id for each in records} == {resting, *lost[1:]}
    assert held == (50 + 98 * Decimal("0.5") + 97 + 96 + 95) * Decimal("1.001")
    assert world.trading.faults() == []


async def test_a_dump_of_yesterday_is_restored_with_five_orders_since(
    database_url: str, tmp_path: Path
) -> None:
    venue, binary = PaperVenue(), binaries.find()
    async with gateway(database_url, venue, None) as world:
        uid = world.owner.uid
        resting = await asyncio.to_thread(first_day, world)
    dump = tmp_path / "yesterday.sql.gz"
    await asyncio.to_thread(backup.dump, database_url, dump, binary)
    async with gateway(database_url, venue, uid) as world:
        lost = await asyncio.to_thread(second_day, world)
    await asyncio.to_thread(lambda: backup.restore(database_url, dump, binary, force=True))
    async with gateway(database_url, venue, uid) as world:
        await asyncio.to_thread(restored_day, world, resting, lost)
    async with gateway(database_url, venue, uid) as world:
        await asyncio.to_thread(wait_trading, world)
        await asyncio.to_thread(check, world, resting, lost)
