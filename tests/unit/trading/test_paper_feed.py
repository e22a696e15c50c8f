"""Paper orders fill against the live market of the fake venue, and not against a market that is stale."""

from collections.abc import Generator, Mapping
from decimal import Decimal

import pytest

from meltica._core import Core
from meltica.errors import OrderRefused
from meltica.model.balances import Balance
from meltica.model.enums import OrderState, Side, TimeInForce
from meltica.model.orders import NewOrder, OrderSnapshot
from meltica.simulator import catalogue
from meltica.simulator.paper.account import PaperAccount
from meltica.simulator.paper.orders import PaperReport
from meltica.simulator.paper.settings import PaperSettings
from meltica.trading import clock
from meltica.trading.paper_feed import PaperFeed
from tests.support.fake_venue import PATIENCE, FakeVenue, wait_until
from tests.support.risk import BTC


class World:
    """The fake venue as the provider `p`, and a paper account that watches BTC-USDT there."""

    def __init__(self) -> None:
        self.core = Core()
        self.reports: list[PaperReport] = []
        settings = PaperSettings.model_validate({"latency": "0s", "quiet": "1ms"})
        self.account = PaperAccount(settings, self._publish, clock.now)
        self.feed = PaperFeed(self.core, {"p": self.account})
        self.venue = FakeVenue(self.core, book_snapshot_interval="0s", self_trade="allow")

    def _publish(self, report: PaperReport, _balances: Mapping[str, Balance]) -> None:
        self.reports.append(report)

    def submit(self, id: str, side: Side, quantity: str, price: Decimal | None, ioc: bool = False) -> None:
        """Sends a paper order."""
        kind = TimeInForce.IOC if ioc else TimeInForce.GTC
        order = NewOrder(id, BTC, side, Decimal(quantity), price, time_in_force=kind)
        self.venue.do(self.account.submit(order))

    def trade(self, side: Side, quantity: str) -> None:
        """Trades at the venue with the best price, as another trader."""
        book = self.venue.market.book(BTC, 1)
        price = (book.asks if side is Side.BUY else book.bids)[0].price
        self.venue.market.submit(f"v{clock.now()}", BTC, side.value.lower(), quantity, price, "IOC")
        assert self.venue.producer.drain(PATIENCE)

    def last(self, id: str) -> OrderSnapshot:
        """Returns the last report of an order."""
        return [report.order for report in self.reports if report.order.client_order_id == id][-1]


@pytest.fixture(name="world")
def _world() -> Generator[World]:
    world = World()
    world.feed.watch({("p", BTC)})
    with world.venue:
        wait_until(lambda: _listed(world), "the announced instrument")
        world.trade(Side.BUY, "0.2")
        yield world
        assert world.feed.close()


def _listed(world: World) -> bool:
    try:
        world.venue.do(world.account.order(BTC, "none"))
    except OrderRefused:
        return False
    return True


def test_orders_fill_against_books_and_trades_of_the_venue(world: World) -> None:
    book = world.venue.market.book(BTC, 1)
    bid, ask = book.bids[0], book.asks[0]
    world.submit("taker", Side.BUY, "0.5", ask.price, ioc=True)
    wait_until(lambda: (world.account.advance(), world.reports)[1], "the fill of the taker")
    assert world.reports[0].fill is not None
    assert world.reports[0].fill.price == ask.price
    world.submit("maker", Side.BUY, "0.5", bid.price)
    # Another order arrives at the venue behind the paper order, and a taker trades with all of the price.
    world.venue.market.submit("behind", BTC, "buy", Decimal(1), bid.price)
    world.trade(Side.SELL, str(bid.quantity + 1))
    wait_until(lambda: world.reports[1:], "a fill of the maker")
    assert [report.fill and report.fill.rule for report in world.reports[1:]] == ["queue"]
    last = world.last("maker")
    assert (last.state, last.average_price) == (OrderState.FILLED, bid.price)


def test_nothing_fills_after_a_disconnect_until_the_next_book(world: World) -> None:
    world.venue.producer.restart()
    assert world.venue.producer.drain(PATIENCE)
    ask = world.venue.market.book(BTC, 1).asks[0]
    world.submit("waits", Side.BUY, "0.5", ask.price)
    assert world.account.advance() is None
    assert world.reports == []
    world.trade(Side.SELL, "0.2")
    wait_until(lambda: world.reports, "a fill against the next book")
    assert world.last("waits").filled_quantity > 0


def test_a_fill_has_the_time_of_the_clock_of_trading(world: World) -> None:
    world.submit("waits", Side.BUY, "0.5", Decimal(102))
    levels = {"bids": [{"price": "1", "quantity": "1"}], "asks": [{"price": "100", "quantity": "1"}]}
    # The wall clock was set back by two hours after this book was received.
    received_time = clock.now() + 7200 * 10**9
    world.venue.producer.publish("BookSnapshot", BTC, levels, received_time=received_time)
    assert world.venue.producer.drain(PATIENCE)
    assert world.reports[0].fill is not None
    assert world.reports[0].fill.time <= clock.now()


def test_a_symbol_that_is_no_longer_watched_fills_nothing(world: World) -> None:
    world.feed.watch(())
    ask = world.venue.market.book(BTC, 1).asks[0]
    world.submit("waits", Side.BUY, "0.5", ask.price)
    world.trade(Side.BUY, "0.2")
    assert world.account.advance() is None
    assert world.reports == []
    world.feed.watch({("p", BTC)})
    world.trade(Side.SELL, "0.2")
    wait_until(lambda: world.reports, "a fill against the next book")


def test_a_change_of_an_instrument_changes_the_rules(world: World) -> None:
    instrument = dict(catalogue.instrument(BTC)) | {"minQuantity": "2"}
    assert world.venue.producer.publish("InstrumentUpdate", BTC, {"instrument": instrument})
    assert world.venue.producer.drain(PATIENCE)
    with pytest.raises(OrderRefused):
        world.submit("small", Side.BUY, "1", Decimal(90))
