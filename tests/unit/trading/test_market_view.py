"""The market that risk reads: exact, fresh as stated, and absent as soon as it may be outdated."""

from collections.abc import Generator
from decimal import Decimal
from typing import Any

import pytest

from meltica._core import Core, Producer
from meltica.errors import CapacityError
from meltica.model.enums import Side
from meltica.trading import clock
from meltica.trading.market_view import MarketFeed
from meltica.trading.risk.market import Quote
from tests.support.fake_venue import PATIENCE, FakeVenue, wait_until
from tests.support.risk import BTC, ETH

SECOND = 10**9
ROUTES = {("p", BTC), ("p", ETH)}


class World:
    """A market feed of BTC-USDT and ETH-USDT at the provider `p`."""

    def __init__(self) -> None:
        self.core = Core()
        self.producer: Producer = self.core.producer("p")
        self.market = MarketFeed(self.core)
        self.market.watch(ROUTES)

    def quote(self, symbol: str = BTC) -> Quote:
        """Returns the quote of a symbol, which has one."""
        quote = self.market.quote("p", symbol)
        assert quote is not None
        return quote

    def book(self, bids: Any, asks: Any, symbol: str = BTC) -> None:
        """Publishes a book."""

        def levels(side: Any) -> list[dict[str, str]]:
            return [{"price": price, "quantity": quantity} for price, quantity in side]

        assert self.producer.publish("BookSnapshot", symbol, {"bids": levels(bids), "asks": levels(asks)})

    def trade(self, price: str, symbol: str = BTC, **times: int) -> None:
        """Publishes a trade."""
        payload = {"tradeId": "1", "side": "Buy", "price": price, "quantity": "1"}
        assert self.producer.publish("Trade", symbol, payload, **times)


@pytest.fixture(name="world")
def _world() -> Generator[World]:
    world = World()
    yield world
    world.market.close()


def test_a_quote_has_the_exact_prices_of_the_latest_events(world: World) -> None:
    assert world.market.quote("p", BTC) is None
    before = clock.now()
    world.trade("100.10000000000000000001")
    world.book([("99.99", "1.5")], [("100.01", "2")])
    quote = world.quote()
    assert (quote.bid, quote.ask) == (Decimal("99.99"), Decimal("100.01"))
    assert quote.last == Decimal("100.10000000000000000001")
    assert (quote.of_book, quote.lag) == (True, None)
    assert before - SECOND < quote.last_time <= quote.top_time <= clock.now()
    world.producer.publish("Ticker", BTC, {"bidPrice": "99.995", "lastPrice": "101"})
    quote = world.quote()
    assert (quote.bid, quote.ask, quote.last) == (Decimal("99.995"), None, 101)
    assert world.market.quote("p", ETH) is None
    assert world.market.quote("q", BTC) is None


def test_the_depth_is_the_exact_quantity_up_to_the_limit(world: World) -> None:
    def depth(side: Side, limit: str) -> Decimal | None:
        return world.market.depth("p", BTC, side, Decimal(limit))

    assert depth(Side.BUY, "1000") is None
    world.book([("99.99", "1.5"), ("99.98", "0.1")], [("100.01", "2"), ("100.03", "0.0001")])
    assert depth(Side.BUY, "100.02") == 2
    assert depth(Side.BUY, "100.03") == Decimal("2.0001")
    assert depth(Side.BUY, "100.00") == 0
    assert depth(Side.SELL, "99.98") == Decimal("1.6")
    world.producer.restart()
    assert depth(Side.BUY, "1000") is None
    assert world.market.depth("p", "XRP-USDT", Side.BUY, Decimal(1)) is None


def test_after_a_disconnect_no_price_from_before_it_comes_back(world: World) -> None:
    world.book([("99", "1")], [("101", "1")])
    world.trade("100")
    world.producer.restart()
    assert world.market.quote("p", BTC) is None
    world.trade("90")
    quote = world.quote()
    assert (quote.bid, quote.ask, quote.last, quote.of_book) == (None, None, 90, False)
    world.book([("89", "1")], [("91", "1")])
    assert (world.quote().bid, world.quote().of_book) == (89, True)


def test_a_book_that_is_stale_has_no_prices(world: World) -> None:
    world.book([("99", "1")], [("101", "1")])
    world.trade("100")
    # A crossed book is not dispatched, but makes the symbol's book stale.
    assert not world.producer.publish(
        "BookSnapshot",
        BTC,
        {"bids": [{"price": "102", "quantity": "1"}], "asks": [{"price": "101", "quantity": "1"}]},
    )
    quote = world.quote()
    assert (quote.bid, quote.ask, quote.last, quote.crossed) == (None, None, 100, True)


def test_a_quiet_symbol_stays_fresh_while_its_connection_delivers_and_not_when_it_is_frozen(
    world: World,
) -> None:
    world.book([("99", "1")], [("101", "1")])
    before = world.quote()
    read_at = clock.now()
    # Time goes by on the connection: the thread checks it, too.
    wait_until(lambda: clock.now() > read_at + SECOND // 4, "some time")
    world.trade("10", ETH)
    quiet = world.quote()
    assert quiet.top_time == before.top_time
    assert quiet.connection_time >= read_at
    assert quiet.fresh_until(SECOND) >= read_at + SECOND
    # Frozen: however often it is read, the time stays.
    frozen_at = clock.now()
    wait_until(lambda: clock.now() > frozen_at + SECOND // 4, "some time")
    assert world.quote().connection_time == quiet.connection_time <= frozen_at
    # Without a complete book, no event does not mean no change.
    assert world.quote(ETH).fresh_until(0) == world.quote(ETH).last_time


def test_reports_of_the_account_and_instruments_are_no_sign_of_life_of_the_market(world: World) -> None:
    host = world.core.host("thread")
    kinds = ("ExecReport", "BalanceUpdate", "InstrumentUpdate")
    host.add("all", callbacks={}, routes=[("p", kind, None) for kind in kinds]).start()
    world.book([("99", "1")], [("101", "1")])
    before = world.quote().connection_time
    update = {"currency": "BTC", "total": "1", "available": "1"}
    assert world.producer.publish("BalanceUpdate", "BTC", update, venue_time=1)
    instrument = {
        "symbol": BTC,
        "type": "spot",
        "baseCurrency": "BTC",
        "quoteCurrency": "USDT",
        "venue": "FAKE",
    }
    assert world.producer.publish("InstrumentUpdate", BTC, {"instrument": instrument})
    assert world.quote().connection_time == before
    assert host.stop()


def test_the_lag_is_the_delay_of_the_feed_above_its_least_one(world: World) -> None:
    now = clock.now()
    world.trade("100", venue_time=now - 1270, received_time=now)
    assert world.quote().lag == 0
    world.trade("100", ETH, venue_time=now, received_time=now + SECOND)
    assert world.quote(ETH).lag == SECOND - 1270
    assert world.quote().lag == SECOND - 1270, "it is that of the feed, not of a symbol"
    world.trade("100", received_time=now + SECOND)
    assert world.quote().lag == SECOND - 1270, "a message without a time of the venue"


def test_a_receive_time_in_the_future_or_after_a_set_clock_is_not_believed(world: World) -> None:
    for ahead in (-7200 * SECOND, 7200 * SECOND):
        world.trade("100", received_time=clock.now() + ahead)
        assert world.quote().last_time <= clock.now()


def test_symbols_are_watched_and_left_while_events_arrive(world: World) -> None:
    world.trade("1")
    world.market.watch({("p", ETH)})
    assert world.market.quote("p", BTC) is None
    world.trade("2", ETH)
    assert ("p", "Trade", BTC) not in world.core.routes()
    world.market.watch(ROUTES)
    assert world.quote(ETH).last == 2
    assert world.market.quote("p", BTC) is None, "a price from before is not kept"
    world.trade("3")
    assert world.quote().last == 3
    world.market.close()
    assert world.core.routes() == []
    assert world.market.quote("p", BTC) is None


def test_without_room_a_symbol_is_refused_and_the_others_are_watched() -> None:
    core = Core(max_pool_bytes=2_000_000)
    market = MarketFeed(core)
    with pytest.raises(CapacityError, match="not watched"):
        market.watch({("p", f"{number:03}-USDT") for number in range(500)})
    core.producer("p").publish("Ticker", "000-USDT", {"lastPrice": "5"})
    quote = market.quote("p", "000-USDT")
    assert quote is not None
    assert quote.last == 5
    market.close()


def test_ten_thousand_changes_leave_nothing_behind(world: World) -> None:
    def held(world: World) -> tuple[int, int]:
        return world.core.stats()["reserved_bytes"], len(world.core.routes())

    for number in range(10_000):
        world.market.watch({("p", BTC), ("p", f"{number % 7}-USDT")})
        world.trade("1")
    world.market.watch(ROUTES)
    unchanged = World()
    # A queue holds its reservation until its reader is dropped, which the thread does soon.
    wait_until(lambda: held(world) == held(unchanged), "the reservations of two symbols")
    unchanged.market.close()
    assert world.quote().last == 1


def test_the_market_of_the_fake_venue(world: World) -> None:
    with FakeVenue(world.core, book_snapshot_interval="0s", ticker_interval="0s") as venue:
        venue.market.submit("v1", BTC, "buy", Decimal("0.5"), Decimal(200), "IOC")
        assert venue.producer.drain(PATIENCE)
        book = venue.market.book(BTC)
        quote = world.quote()
        assert (quote.bid, quote.ask) == (book.bids[0].price, book.asks[0].price)
        assert quote.last is not None
        assert quote.of_book
        total = sum(level.quantity for level in book.asks[:3])
        assert world.market.depth("p", BTC, Side.BUY, book.asks[2].price) == total
