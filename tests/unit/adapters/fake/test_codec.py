"""The frames of docs/venue.md, decoded by the codec of the fake venue; and unsynced books."""

from collections.abc import Generator
from decimal import Decimal
from typing import cast

import pytest

from meltica._core import BookSnapshot, Codec, Core, Event, KlineSummary, Producer, Ticker, Trade
from meltica.adapters import registry
from meltica.adapters.fake.codec import FAKE
from meltica.model.enums import Side

TIME = 1_767_225_600_000_000_001
KINDS = ("Trade", "Ticker", "BookSnapshot", "KlineSummary")

TRADE = (
    b'{"type":"trade","symbol":"BTC-USDT","id":17,"side":"buy","price":"60000.01","quantity":"0.5",'
    b'"time":1767225600000000001}'
)
TICKER = (
    b'{"type":"ticker","symbol":"BTC-USDT","last":"60000.01","bid":"60000.00","bidQuantity":"1.5",'
    b'"ask":"60000.02","askQuantity":"0.0001","volume24h":"0","time":1767225600000000001}'
)
QUIET = (
    b'{"type":"ticker","symbol":"BTC-USDT","ask":"5","askQuantity":"1","volume24h":"0",'
    b'"time":1767225600000000001}'
)
CANDLE = (
    b'{"type":"candle","symbol":"BTC-USDT","interval":"1m","open":"1","high":"4","low":"0.5","close":"2",'
    b'"volume":"10","openTime":1767225540000000000,"closeTime":1767225600000000000,"closed":true,'
    b'"time":1767225600000000001}'
)


def depth(first: int, last: int, symbol: str = "BTC-USDT", bid: str = "1") -> bytes:
    return (
        f'{{"type":"depth","symbol":"{symbol}","first":{first},"last":{last},"bids":[["100","{bid}"]],'
        f'"asks":[],"time":{TIME}}}'
    ).encode()


def snapshot(last: int, symbol: str = "BTC-USDT") -> bytes:
    return (
        f'{{"type":"depthSnapshot","symbol":"{symbol}","last":{last},"bids":[["100","1"],["99.5","2"]],'
        f'"asks":[["101","3"]],"time":{TIME}}}'
    ).encode()


class Plane:
    """One producer, and its events."""

    def __init__(self) -> None:
        core = Core()
        self.producer: Producer = core.producer("fake", Codec(FAKE))
        self.events: list[Event] = []
        self.host = core.host("thread")
        self.host.add(
            "test",
            callbacks=dict.fromkeys((*KINDS, "BookGap", "MarketStale"), self.events.append),
            routes=[("fake", kind, None) for kind in KINDS],
            policies=dict.fromkeys(KINDS, "block"),
        ).start()

    def feed(self, *frames: bytes) -> list[Event]:
        """Feeds frames and returns their events."""
        before = len(self.events)
        for frame in frames:
            self.producer.feed(frame)
        assert self.producer.drain(20)
        return self.events[before:]


@pytest.fixture
def plane() -> Generator[Plane]:
    plane = Plane()
    yield plane
    assert plane.host.stop()
    assert plane.producer.stats()["errors"] == {}


def test_the_codec_is_found_by_name() -> None:
    assert registry.codec("fake") is FAKE


def test_a_trade(plane: Plane) -> None:
    [trade] = cast(list[Trade], plane.feed(TRADE))
    assert (trade.symbol, trade.trade_id, trade.side) == ("BTC-USDT", "17", Side.BUY)
    assert (trade.price_decimal, trade.quantity_decimal) == (Decimal("60000.01"), Decimal("0.5"))
    assert trade.venue_time == TIME
    assert plane.feed(TRADE) == [], "the same again"
    [sold] = cast(list[Trade], plane.feed(TRADE.replace(b"buy", b"sell").replace(b"17", b"18")))
    assert sold.side is Side.SELL


def test_tickers(plane: Plane) -> None:
    whole, quiet = cast(list[Ticker], plane.feed(TICKER, QUIET))
    assert (whole.last_decimal, whole.bid_decimal, whole.bid_quantity_decimal) == (
        Decimal("60000.01"),
        Decimal(60000),
        Decimal("1.5"),
    )
    assert (whole.ask_decimal, whole.ask_quantity_decimal) == (Decimal("60000.02"), Decimal("0.0001"))
    assert whole.volume_24h_decimal == 0
    assert (quiet.last, quiet.bid, quiet.bid_quantity, quiet.ask) == (None, None, None, 5)


def test_a_candle(plane: Plane) -> None:
    [candle] = cast(list[KlineSummary], plane.feed(CANDLE))
    assert (candle.open, candle.high, candle.low, candle.close, candle.volume) == (1, 4, 0.5, 2, 10)
    assert (candle.open_time, candle.close_time) == (1_767_225_540 * 10**9, 1_767_225_600 * 10**9)
    assert (candle.interval, candle.closed) == ("1m", True)


def test_a_book_is_a_snapshot_and_the_diffs_after_it(plane: Plane) -> None:
    assert plane.feed(depth(9, 10), depth(11, 12, bid="7")) == []
    [book] = cast(list[BookSnapshot], plane.feed(snapshot(10)))
    assert (book.last_update_id, book.first_update_id) == (12, 11)
    assert [tuple(level) for level in book.bids] == [(100, 7), (99.5, 2)]
    [book] = cast(list[BookSnapshot], plane.feed(depth(13, 13, bid="0")))
    assert [tuple(level) for level in book.bids] == [(99.5, 2)]


def test_replies_and_instruments_are_control_messages(plane: Plane) -> None:
    instrument = b'{"type":"instrument","time":1,"instrument":{"symbol":"BTC-USDT"}}'
    assert plane.feed(b'{"op":"pong","id":3,"time":1}', instrument, b'{"type":"novelty"}') == []
    stats = plane.producer.stats()
    assert (stats["control"], stats["unmatched"]) == (2, 1)


def test_unsynced_books_are_listed(plane: Plane) -> None:
    producer = plane.producer
    assert producer.unsynced() == []
    plane.feed(depth(1, 1), depth(1, 1, "ETH-USDT"))
    assert sorted(producer.unsynced()) == ["BTC-USDT", "ETH-USDT"]
    assert producer.stats()["unsynced_books"] == 2
    plane.feed(snapshot(1), snapshot(1, "ETH-USDT"))
    assert producer.unsynced() == []
    gap, stale = plane.feed(depth(5, 6))
    assert (gap.kind, stale.kind) == ("BookGap", "MarketStale")
    assert producer.unsynced() == ["BTC-USDT"]
    plane.feed(snapshot(3))
    assert producer.unsynced() == ["BTC-USDT"], "that one was too old"
    plane.feed(snapshot(6))
    assert producer.unsynced() == []
    assert producer.stats()["unsynced_books"] == 0
    producer.restart()
    assert sorted(producer.unsynced()) == ["BTC-USDT", "ETH-USDT"]
