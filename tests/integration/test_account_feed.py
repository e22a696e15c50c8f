"""A strategy trades on the fake venue; its reports arrive through the core."""

from collections.abc import AsyncGenerator, Generator
from decimal import Decimal

import pytest

from meltica._core import Core
from meltica.model.enums import Mode, OrderState
from meltica.persistence.lock import GatewayLock
from meltica.trading.account_feed import AccountFeed
from tests.support.fake_venue import FakeVenue, wait_until
from tests.support.trading_world import TradingWorld


@pytest.fixture(name="venue")
def _venue() -> Generator[FakeVenue]:
    core = Core()
    venue = FakeVenue(core)
    with venue:
        yield venue


@pytest.fixture(name="world")
async def _world(database_url: str, venue: FakeVenue) -> AsyncGenerator[TradingWorld]:
    lock = GatewayLock(database_url)
    await lock.acquire()
    await lock.claim()
    world = TradingWorld(database_url, lock)
    feed = AccountFeed(venue.core, world.desk)
    feed.watch({"p"})
    world.desk.connect("p", Mode.LIVE, venue.account)
    world.start()
    yield world
    world.close()
    assert feed.close()
    await lock.release()


def _quote(world: TradingWorld, venue: FakeVenue) -> tuple[str, str]:
    book = venue.market.book("BTC-USDT", 1)
    bid, ask = str(book.bids[0].price), str(book.asks[0].price)
    world.quote(bid, ask)
    return bid, ask


def test_an_order_is_filled_and_ours_agrees_with_the_venue(world: TradingWorld, venue: FakeVenue) -> None:
    _, ask = _quote(world, venue)
    order = world.buy("0.5", ask, time_in_force="IOC")
    world.wait_for("filled")
    assert (order.state, order.filled_quantity) == (OrderState.FILLED, Decimal("0.5"))
    assert world.call(lambda: world.trader.position("BTC-USDT")).quantity == Decimal("0.5")
    balances = venue.do(venue.account.balances())
    for currency in ("BTC", "USDT"):
        with world.desk.lock:
            lines = world.books.lines("p", currency)
        assert (lines.venue, lines.difference) == (balances[currency].total, 0)


def test_after_reports_were_lost_the_account_is_reconciled_before_orders_leave(
    world: TradingWorld, venue: FakeVenue
) -> None:
    bid, _ = _quote(world, venue)
    resting = world.buy("0.25", bid)
    world.wait_for("acknowledged")
    assert resting.venue_order_id is not None
    venue.market.operator.mute(True)
    venue.market.operator.cancel("BTC-USDT", resting.venue_order_id)
    venue.market.operator.mute(False)
    with world.desk.lock:
        world.desk.accounts.lose_reports("p", Mode.LIVE)
        assert not world.desk.accounts.link("p", Mode.LIVE).ready
    world.wait_for("acknowledged", "cancelled")
    assert resting.state is OrderState.CANCELLED
    wait_until(lambda: world.call(lambda: world.trader.trading), "a reconciled account")
