"""The prices that `self.market` returns are those of one event."""

from collections.abc import Iterator

import pytest

from meltica import _core


class Market:
    """An instance that keeps the prices of one symbol, and the producer of its events."""

    def __init__(self) -> None:
        core = _core.Core()
        self.producer = core.producer("p")
        self.host = core.host("thread")
        routes = [("p", kind, "BTC-USDT") for kind in ("BookSnapshot", "Ticker", "Trade")]
        self.instance = self.host.add("reader", callbacks={}, routes=routes, keep_market=True)
        self.instance.start()

    def publish(self, kind: str, **payload: object) -> tuple[float | None, float | None, float | None, bool]:
        """Publishes an event; returns bid, ask, last price, and whether they are stale."""
        self.producer.publish(kind, "BTC-USDT", payload)
        assert self.producer.drain(10)
        market = self.instance.market("BTC-USDT")
        assert market is not None
        return market.bid, market.ask, market.last, market.stale


@pytest.fixture
def market() -> Iterator[Market]:
    market = Market()
    yield market
    assert market.host.stop()


def levels(price: str) -> list[dict[str, str]]:
    return [{"price": price, "quantity": "1"}]


def test_a_ticker_removes_the_price_that_it_leaves_out(market: Market) -> None:
    assert market.publish("Ticker", bidPrice="100", askPrice="101", lastPrice="100") == (100, 101, 100, False)
    assert market.publish("Ticker", bidPrice="50") == (50, None, 100, False)
    assert market.publish("Ticker", bidPrice="50", askPrice="51") == (50, 51, 100, False)
    assert market.publish("Ticker", lastPrice="50.5") == (None, None, 50.5, False)


def test_the_bid_of_a_ticker_is_not_paired_with_the_ask_of_a_book(market: Market) -> None:
    assert market.publish("BookSnapshot", bids=levels("10"), asks=levels("11")) == (10, 11, None, False)
    assert market.publish("Ticker", bidPrice="20") == (20, None, None, False)


@pytest.mark.parametrize("ask", ["20", "30"])
def test_prices_are_stale_while_the_bid_reaches_the_ask(market: Market, ask: str) -> None:
    assert market.publish("Ticker", bidPrice="30", askPrice=ask)[3]
    assert market.publish("Trade", tradeId="1", price="25", quantity="1")[3]
    assert market.publish("Ticker", bidPrice="30", askPrice="31") == (30, 31, 25, False)


def test_an_event_that_only_updates_the_prices_counts_as_delivered(market: Market) -> None:
    assert market.instance.delivered_at == 0
    market.publish("Ticker", bidPrice="30", askPrice="31")
    assert market.instance.delivered_at > 0
