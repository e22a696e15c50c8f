"""A strategy trades on the fake venue, which loses orders and fills; its reports arrive through the core."""

from collections.abc import AsyncGenerator, Generator
from decimal import Decimal

import pytest

from meltica._core import Core
from meltica.errors import OrderRefused
from meltica.model.enums import Mode, OrderState, Side
from meltica.persistence.lock import GatewayLock
from meltica.trading.account_feed import AccountFeed
from meltica.trading.faults import FaultKind
from tests.support.fake_venue import FakeVenue, wait_until
from tests.support.trading_world import TradingWorld

BTC = "BTC-USDT"
SYMBOLS = [{"symbol": BTC, "price": 100}, {"symbol": "ETH-USDT", "price": 10}]


@pytest.fixture(name="venue")
def _venue() -> Generator[FakeVenue]:
    core = Core()
    venue = FakeVenue(core, symbols=SYMBOLS)
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
    book = venue.market.book(BTC, 1)
    bid, ask = str(book.bids[0].price), str(book.asks[0].price)
    world.quote(bid, ask)
    return bid, ask


def test_an_order_is_filled_and_ours_agrees_with_the_venue(world: TradingWorld, venue: FakeVenue) -> None:
    _, ask = _quote(world, venue)
    order = world.buy("0.5", ask, time_in_force="IOC")
    world.wait_for("filled")
    assert (order.state, order.filled_quantity) == (OrderState.FILLED, Decimal("0.5"))
    assert world.call(lambda: world.trader.position(BTC)).quantity == Decimal("0.5")
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
    venue.market.operator.cancel(BTC, resting.venue_order_id)
    venue.market.operator.mute(False)
    with world.desk.lock:
        world.desk.accounts.lose_reports("p", Mode.LIVE)
        assert not world.desk.accounts.link("p", Mode.LIVE).ready
    world.wait_for("acknowledged", "cancelled")
    assert resting.state is OrderState.CANCELLED
    wait_until(lambda: world.call(lambda: world.trader.trading), "a reconciled account")


@pytest.fixture(name="impatient")
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets accounts be compared all the time, and differences be faults at once."""
    monkeypatch.setattr("meltica.trading.comparison.EVERY", 0.01)
    monkeypatch.setattr("meltica.trading.comparison.SETTLED", 0)
    monkeypatch.setattr("meltica.trading.balances.SETTLES_WITHIN", 0)


def _differences(world: TradingWorld) -> dict[str | None, Decimal]:
    """Returns the amounts of the faults by currency."""
    faults = world.trading.faults()
    return {each.subject: Decimal(each.detail) for each in faults if each.kind is FaultKind.DIFFERENCE}


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("traded", ["0", "0.5"])
def test_an_order_that_the_venue_forgets_ends_once_fills_and_balances_agree(
    world: TradingWorld, venue: FakeVenue, traded: str
) -> None:
    _, ask = _quote(world, venue)
    if Decimal(traded):
        world.buy(traded, ask, time_in_force="IOC")
        world.wait_for("filled")
    before = world.names
    resting = world.buy("0.25", "90")
    world.wait_for(*before, "acknowledged")
    venue.market.operator.forget(resting.client_order_id)
    world.wait_for("cancelled")
    assert (resting.state, resting.reason) == (OrderState.CANCELLED, "forgotten")
    with world.desk.lock:
        assert world.risk.registry.held("p", "USDT") == 0
    assert world.call(lambda: world.trader.position(BTC)).quantity == Decimal(traded)
    wait_until(lambda: world.trading.faults() == [], "no fault")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("mute", [True, False])
def test_a_fill_that_the_venue_withholds_is_a_difference_until_it_is_listed(
    world: TradingWorld, venue: FakeVenue, monkeypatch: pytest.MonkeyPatch, mute: bool
) -> None:
    if not mute:
        # The stream reports the balances.
        monkeypatch.setattr("meltica.trading.comparison.EVERY", 3600.0)
    bid, ask = _quote(world, venue)
    operator = venue.market.operator
    # Without reports, the answer to the order is the first that is heard of it: it has ended.
    operator.mute(mute)
    operator.set_report_faults(withhold_fills=True)
    order = world.buy("0.5", ask, time_in_force="IOC")
    wait_until(lambda: _differences(world).get("BTC") == Decimal("0.5"), "a difference of 0.5 BTC")
    assert (order.is_open, order.filled_quantity) == (True, 0)

    def is_refused_for_the_difference() -> bool:
        # The account may be reconciled meanwhile, which refuses orders too.
        with pytest.raises(OrderRefused, match=r"differs from|not_reconciled") as refused:
            world.buy("0.25", bid)
        return "differs from" in str(refused.value)

    wait_until(is_refused_for_the_difference, "a refusal for the difference")
    operator.mute(False)
    operator.set_report_faults(withhold_fills=False)
    world.wait_for("filled")
    assert (order.state, order.filled_quantity) == (OrderState.FILLED, Decimal("0.5"))
    wait_until(lambda: world.trading.faults() == [], "no fault")
    world.buy("0.25", bid)


@pytest.mark.usefixtures("impatient")
def test_a_deposit_that_the_stream_does_not_report_stops_its_currency_only(
    world: TradingWorld, venue: FakeVenue
) -> None:
    bid, ask = _quote(world, venue)
    world.buy("0.5", ask, time_in_force="IOC")
    world.wait_for("filled")
    operator = venue.market.operator
    operator.mute(True)
    operator.transfer("ETH", 3)
    wait_until(lambda: _differences(world) == {"ETH": 3}, "a difference of 3 ETH")
    resting = world.buy("0.25", bid)
    world.wait_for("filled", "acknowledged")
    operator.transfer("BTC", 2)
    wait_until(lambda: _differences(world) == {"ETH": 3, "BTC": 2}, "a difference of 2 BTC")
    with pytest.raises(OrderRefused, match="BTC at p differs from the venue's balance by 2"):
        world.buy("0.25", bid)
    # What only reduces the position passes.
    world.call(lambda: world.trader.place(Side.SELL, BTC, "0.5", ask, reduce_only=True))
    assert resting.is_open


@pytest.mark.usefixtures("impatient")
def test_an_order_that_the_venue_forgets_hides_no_difference(
    world: TradingWorld, venue: FakeVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No difference is a fault before the order is forgotten.
    monkeypatch.setattr("meltica.trading.balances.SETTLES_WITHIN", 3600 * 10**9)
    _quote(world, venue)
    order = world.buy("0.25", "90")
    world.wait_for("acknowledged")
    operator = venue.market.operator
    operator.mute(True)
    operator.transfer("BTC", 2)
    operator.forget(order.client_order_id)
    world.wait_for("unknown")
    monkeypatch.setattr("meltica.trading.balances.SETTLES_WITHIN", 0)
    wait_until(lambda: _differences(world) == {"BTC": 2}, "a difference of 2 BTC")
    assert (order.state, order.reason) == (OrderState.UNKNOWN, "forgotten")
    operator.transfer("BTC", -2)
    world.wait_for("cancelled")
    wait_until(lambda: world.trading.faults() == [], "no fault")
