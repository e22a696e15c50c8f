"""Risk with the market of the core: no order is priced by crossed, removed or outdated prices."""

from collections.abc import Generator
from decimal import Decimal
from typing import Any

import pytest

from meltica._core import Core
from meltica.errors import OrderRefused
from meltica.trading import clock
from meltica.trading.market_view import MarketFeed
from meltica.trading.risk.rules import Rule
from tests.support.risk import BTC, BUY, SECOND, SELL, RiskWorld, world

OLD = 3 * SECOND
"""Above the limit of 2 s."""


class Venue:
    """Risk with a band of 1 % and a limit of 2 s, and a producer of market data."""

    def __init__(self) -> None:
        core = Core()
        self.producer = core.producer("p")
        self.market = MarketFeed(core)
        self.market.watch({("p", BTC)})
        self.risk: RiskWorld = world({"priceBandPercent": 1, "staleMarketSeconds": 2})
        self.risk.hold(10)

    def publish(self, kind: str, payload: dict[str, Any], age: int = 0) -> bool:
        """Publishes an event that was received some time ago."""
        return self.producer.publish(kind, BTC, payload, received_time=clock.now() - age)

    def ticker(self, bid: str | None, ask: str | None, last: str | None = None, age: int = 0) -> None:
        """Publishes a ticker with some of its prices."""
        prices = {"bidPrice": bid, "askPrice": ask, "lastPrice": last}
        assert self.publish("Ticker", {k: v for k, v in prices.items() if v is not None}, age)

    def trade(self, price: str, age: int = 0) -> None:
        """Publishes a trade."""
        assert self.publish("Trade", {"tradeId": "1", "price": price, "quantity": "1"}, age)

    def book(self, bid: str | None, ask: str | None, age: int = 0) -> bool:
        """Publishes a book of one level on each side that has a price."""
        sides = {"bids": bid, "asks": ask}
        levels = {k: [{"price": p, "quantity": "1"}] if p else [] for k, p in sides.items()}
        return self.publish("BookSnapshot", levels, age)

    def rule(self, price: str, *, reduce_only: bool = False) -> tuple[str, str]:
        """Requests an order; returns the rule that refuses it and the message, or `approved`."""
        side = SELL if reduce_only else BUY
        request = self.risk.request(side, "0.5", price, reduce_only=reduce_only)
        try:
            self.risk.risk.approve(request, self.market, clock.now())
        except OrderRefused as refused:
            return refused.reason, refused.message
        self.risk.risk.release(request.order_id)
        return "approved", ""


@pytest.fixture(name="venue")
def _venue() -> Generator[Venue]:
    venue = Venue()
    yield venue
    venue.market.close()


@pytest.mark.parametrize(("bid", "ask"), [("200", "100"), ("100", "100")])
def test_a_ticker_whose_bid_reaches_its_ask_prices_nothing_until_a_good_one(
    venue: Venue, bid: str, ask: str
) -> None:
    venue.ticker("99", "101", "100")
    assert venue.rule("100") == ("approved", "")
    venue.ticker(bid, ask, "100")
    for price in ("100", "150", "99"):
        rule, message = venue.rule(price)
        assert (rule, "crossed" in message) == (Rule.NO_REFERENCE, True)
    # Neither does a trade: what the venue states is ambiguous.
    venue.trade("100")
    assert venue.rule("100")[0] == Rule.NO_REFERENCE
    assert venue.rule("100", reduce_only=True)[0] == "approved"
    venue.ticker("99", "101")
    assert venue.rule("100") == ("approved", "")


def test_a_crossed_book_prices_nothing_until_a_good_one(venue: Venue) -> None:
    venue.book("99", "101")
    venue.trade("100")
    assert not venue.book("101", "101")
    assert venue.rule("100")[0] == Rule.NO_REFERENCE
    venue.trade("100")
    assert venue.rule("100")[0] == Rule.NO_REFERENCE
    venue.book("99", "101")
    assert venue.rule("100") == ("approved", "")


def test_a_side_that_a_ticker_leaves_out_is_removed(venue: Venue) -> None:
    venue.ticker("99", "101")
    venue.ticker(None, "51")
    quote = venue.market.quote("p", BTC)
    assert quote is not None
    assert (quote.bid, quote.ask) == (None, 51)
    assert venue.rule("75")[0] == Rule.NO_REFERENCE
    venue.trade("51")
    assert venue.rule("75")[0] == Rule.PRICE_BAND
    venue.ticker("50", None)
    quote = venue.market.quote("p", BTC)
    assert quote is not None
    assert (quote.bid, quote.ask) == (50, None)


def test_each_price_is_as_old_as_the_event_that_stated_it(venue: Venue) -> None:
    venue.ticker("99", "101", age=OLD)
    venue.trade("50")
    rule, message = venue.rule("100")
    assert (rule, "bid and ask" in message) == (Rule.MARKET_STALE, True)
    venue.ticker("99", "101")
    assert venue.rule("100") == ("approved", "")
    # A ticker without a last price makes the last one not younger.
    venue.trade("100", age=OLD)
    venue.ticker("99", None)
    rule, message = venue.rule("100")
    assert (rule, "last price" in message) == (Rule.MARKET_STALE, True)
    venue.trade("100")
    assert venue.rule("100") == ("approved", "")


def test_a_complete_book_keeps_its_own_prices_fresh_and_not_those_of_a_ticker(venue: Venue) -> None:
    venue.book("99", "101", age=OLD)
    assert venue.rule("100") == ("approved", "")
    venue.ticker("99", "101", age=OLD)
    assert venue.rule("100") == ("approved", ""), "the ticker agrees with the book"
    venue.ticker("98.9", "100.9", age=OLD)
    assert venue.rule("100")[0] == Rule.MARKET_STALE, "it does not"


def test_a_gap_of_the_book_removes_its_prices(venue: Venue) -> None:
    venue.book("99", "101")
    venue.trade("100", age=OLD)
    assert venue.rule("100") == ("approved", "")
    venue.producer.publish("BookGap", BTC, {"expected": 1, "seen": 5})
    rule, message = venue.rule("100")
    assert (rule, "last price" in message) == (Rule.MARKET_STALE, True)
    assert venue.market.depth("p", BTC, BUY, Decimal(1000)) is None
    venue.producer.restart()
    assert venue.rule("100")[0] == Rule.NO_REFERENCE
