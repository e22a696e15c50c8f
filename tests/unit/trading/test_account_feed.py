"""Reports of accounts reach the desk, and one that does not is never lost silently."""

import logging
from collections.abc import Generator
from decimal import Decimal
from typing import Any

import pytest

from meltica._core import Core
from meltica.model.enums import Mode, Side
from meltica.model.fills import START
from meltica.model.orders import NewOrder
from meltica.trading import clock
from meltica.trading.account_feed import AccountFeed
from meltica.trading.accounts import AccountLink
from meltica.trading.balances import Balances, Lines
from meltica.trading.desk import Desk
from meltica.trading.positions import Positions
from meltica.trading.risk.risk import Risk
from tests.support.fake_venue import PATIENCE, FakeVenue, wait_until
from tests.support.risk import BTC, UNLIMITED, FakeMarket

WAITING = 65_536
"""Private events that may wait for an instance."""

REPORT: dict[str, Any] = {
    "clientOrderId": "foreign",
    "venueOrderId": "7",
    "state": "PARTIAL",
    "side": "Buy",
    "orderType": "Limit",
    "price": "100",
    "quantity": "2",
    "filledQuantity": "1",
    "executionId": "e1",
    "lastQuantity": "1",
    "lastPrice": "100",
    "liquidity": "maker",
    "lastFee": "0.1",
    "lastFeeCurrency": "USDT",
}


class World:
    """A desk whose account feed follows the provider `p`."""

    def __init__(self) -> None:
        self.core = Core()
        books = Balances(Mode.LIVE)
        risk = Risk(Mode.LIVE, books, UNLIMITED)
        self.desk = Desk({Mode.LIVE: risk}, Positions(), {Mode.LIVE: books}, FakeMarket(), clock.now)
        self.feed = AccountFeed(self.core, self.desk)
        self.feed.watch({"p"})

    @property
    def link(self) -> AccountLink:
        """The account of `p`."""
        with self.desk.lock:
            return self.desk.accounts.link("p", Mode.LIVE)

    def lines(self, currency: str) -> Lines:
        """Returns the four lines of a currency."""
        with self.desk.lock:
            return self.desk.accounts.balances[Mode.LIVE].lines("p", currency)

    def reconcile(self) -> None:
        """Marks the account as reconciled now."""
        self.desk.set_reconciled("p", Mode.LIVE, reconciled=True, gaps=self.link.gaps)


@pytest.fixture(name="world")
def _world() -> Generator[World]:
    world = World()
    yield world
    assert world.feed.close()


def test_orders_fills_balances_and_transfers_of_the_venue_reach_the_desk(world: World) -> None:
    with FakeVenue(world.core) as venue:
        world.desk.connect("p", Mode.LIVE, venue.account)
        wait_until(lambda: world.lines("USDT").venue == 1_000_000, "the announced balance")
        ask = venue.market.book(BTC, 1).asks[0]
        venue.do(venue.account.submit(NewOrder("foreign", BTC, Side.BUY, Decimal("0.5"), ask.price)))
        transfer = venue.market.operator.transfer("BTC", Decimal(-3))
        assert transfer
        assert venue.producer.drain(PATIENCE)
        fills = venue.do(venue.account.fills_since({BTC: START}))
        assert sum(fill.quantity for fill in fills) == Decimal("0.5")
        assert world.desk.fills_booked == len(fills)
        paid = sum(fill.quantity * fill.price + fill.fee for fill in fills)
        balances = venue.do(venue.account.balances())
        assert world.lines("BTC")[:3] == (balances["BTC"].total, 0, Decimal("-2.5"))
        assert world.lines("USDT")[:3] == (balances["USDT"].total, 0, -paid)
        # The queried fills are the reported ones: none is booked twice.
        assert [world.desk.found_fill("p", Mode.LIVE, fill) for fill in fills] == [None] * len(fills)


@pytest.mark.parametrize(
    "absent",
    ["executionId", "venueOrderId", "lastPrice", "lastQuantity", "lastFee", "lastFeeCurrency", "time"],
)
def test_an_incomplete_fill_is_not_booked_and_the_account_is_not_reconciled(
    world: World, absent: str, caplog: pytest.LogCaptureFixture
) -> None:
    producer = world.core.producer("p")
    with FakeVenue(world.core, "other") as venue:
        world.desk.connect("p", Mode.LIVE, venue.account)
        world.reconcile()
        assert world.link.ready
        payload = {key: value for key, value in REPORT.items() if key != absent}
        with caplog.at_level(logging.ERROR, logger="meltica.trading"):
            assert producer.publish(
                "ExecReport", BTC, payload, venue_time=None if absent == "time" else clock.now()
            )
            assert producer.drain(PATIENCE)
        assert not world.link.ready
        assert world.desk.fills_booked == 0
        assert f"expected `{absent}`, saw none" in caplog.text
        world.reconcile()
        assert world.link.ready
        assert producer.publish("ExecReport", BTC, REPORT, venue_time=clock.now())
        assert producer.drain(PATIENCE)
        assert (world.desk.fills_booked, world.link.ready) == (1, True)


def test_a_transfer_is_booked_once_and_a_balance_without_a_time_is_refused(world: World) -> None:
    producer = world.core.producer("p")
    update = {"currency": "BTC", "total": "12", "available": "12"}
    deposit = update | {"change": "2", "reason": "deposit", "transferId": "t1"}
    for _ in range(2):
        assert producer.publish("BalanceUpdate", "BTC", deposit, venue_time=5)
    assert producer.drain(PATIENCE)
    assert world.lines("BTC")[:3] == (12, 0, 2)
    losses = world.link.losses
    assert producer.publish("BalanceUpdate", "BTC", update)
    assert producer.drain(PATIENCE)
    assert world.lines("BTC").venue == 12
    assert world.link.losses == losses + 1


def test_when_too_many_reports_wait_the_account_is_not_reconciled_and_the_feed_goes_on(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    producer = world.core.producer("p")
    with FakeVenue(world.core, "other") as venue:
        world.desk.connect("p", Mode.LIVE, venue.account)
        world.reconcile()
        before = world.link.losses
        with world.desk.lock:  # the feed waits in its first report
            for time in range(1, WAITING + 300):
                update = {"currency": "BTC", "total": str(time), "available": "0"}
                producer.publish("BalanceUpdate", "BTC", update, venue_time=time)
        wait_until(lambda: world.link.losses == before + 2, "the end and the replacement of the reader")
        assert not world.link.ready
        assert "reports of the account of p were lost" in caplog.text
        received = world.lines("BTC").venue
        assert received is not None
        assert WAITING <= received < WAITING + 299
        producer.publish("ExecReport", BTC, REPORT, venue_time=clock.now())
        assert producer.drain(PATIENCE)
        assert world.desk.fills_booked == 1


def test_a_provider_that_is_no_longer_watched_is_not_followed(world: World) -> None:
    producer = world.core.producer("p")
    losses = world.link.losses
    world.feed.watch({"p"})
    assert world.link.losses == losses
    world.feed.watch({"q"})
    assert not producer.publish("ExecReport", BTC, REPORT, venue_time=clock.now())
    world.feed.watch({"p", "q"})
    assert world.link.losses == losses + 1
    assert producer.publish("ExecReport", BTC, REPORT, venue_time=clock.now())
    assert producer.drain(PATIENCE)
    assert world.desk.fills_booked == 1
