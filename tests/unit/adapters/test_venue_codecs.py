"""The codecs of venues, on sessions whose books and trades are known."""

import random
from decimal import Decimal
from functools import lru_cache
from typing import Any

import pytest

from meltica import BookSnapshot, Trade
from meltica._core import Codec, Core
from meltica.adapters import registry
from tests.support.venue_sessions import Faults, fed, session

FAULTS = Faults(
    lose=frozenset({31, 150, 377}),
    repeat=frozenset({60, 61, 200}),
    swap=frozenset({90, 260}),
    restart=frozenset({210}),
    cut=frozenset({185}),
)
SESSIONS = ("binance", "binance-usdm")
EVERY_VENUE = pytest.mark.parametrize("name", SESSIONS)


def codec_of(name: str) -> str:
    return name.partition("-")[0]


@lru_cache(maxsize=32)
def run(name: str, connections: int = 1, *, faulty: bool = False) -> fed.Fed:
    made = session(name, connections=connections, faults=FAULTS if faulty else None)
    return fed.feed(registry.codec(codec_of(name)), made)


@EVERY_VENUE
@pytest.mark.parametrize("faulty", [False, True])
def test_each_book_of_a_session_is_the_markets(name: str, faulty: bool) -> None:
    result = run(name, faulty=faulty)
    scales = {i.symbol: i for i in result.session.instruments}
    checked = 0
    for line, book, _ in result.states():
        assert line.message
        if line.expected is not None:
            expected = fed.expected_top(scales[line.message.symbol or ""], line.expected)
            assert book == expected, f"{line.ns}: {line.message.frame[:300]}"
            checked += 1
    assert checked > 400


@EVERY_VENUE
def test_two_connections_publish_no_book_that_is_not_the_markets(name: str) -> None:
    result = run(name, 2, faulty=True)
    scales = {i.symbol: i for i in result.session.instruments}
    published = 0
    for line, book, came in result.states():
        assert line.message
        if came and line.expected is not None:
            assert book == fed.expected_top(scales[line.message.symbol or ""], line.expected)
            published += 1
    assert published > 400


@EVERY_VENUE
def test_each_trade_of_a_session_is_delivered_once(name: str) -> None:
    result = run(name, faulty=True)
    scales = {i.symbol: i for i in result.session.instruments}
    for symbol, trades in result.session.trades().items():
        expected = [scales[symbol].level(trade.price, trade.quantity) for trade in trades]
        got: list[Any] = [event for event in result.of(Trade) if event.symbol == symbol]
        assert [(Decimal(str(t.price_decimal)), Decimal(str(t.quantity_decimal))) for t in got] == expected
        assert [str(t.side) for t in got] == [trade.side for trade in trades]


@EVERY_VENUE
def test_each_lost_frame_is_noticed(name: str) -> None:
    result = run(name, faulty=True)
    states = [(line.ns, line.message, book) for line, book, _ in result.states() if line.message]
    for before, lost in result.session.lost:
        since = result.session.lines[before - 1].ns
        later = [(m.kind, book) for ns, m, book in states if ns > since and m.symbol == lost.symbol]
        due = [kind for kind, _ in later].index("snapshot")
        waiting = [book for _, book in later[:due]]
        assert None in waiting


@EVERY_VENUE
def test_nothing_of_a_session_is_refused(name: str) -> None:
    result = run(name)
    assert not result.bad_frames, result.bad_frames[0]
    assert result.stats["gaps"] == 0
    assert len({event.symbol for event in result.of(BookSnapshot)}) == 3


def damaged(frame: bytes, rng: random.Random) -> bytes:
    """Returns a frame that is cut, or has bytes changed, removed or doubled."""
    at = rng.randrange(len(frame))
    match rng.randrange(5):
        case 0:
            return frame[:at]
        case 1:
            return frame[:at] + bytes([rng.choice(b'{}[]",:-0e. \\\x00\xff')]) + frame[at + 1 :]
        case 2:
            return frame[:at] + frame[at + 1 :]
        case 3:
            return frame[:at] + frame[at : at + rng.randrange(1, 30)] + frame[at:]
        case _:
            return frame.replace(*rng.choice([(b"1", b"9"), (b"0.", b"-0."), (b"[[", b"["), (b'"', b"")]), 1)


@EVERY_VENUE
def test_damaged_frames_are_counted_and_never_stop_a_feed(name: str) -> None:
    made, rng = session(name, seed=5, steps=120), random.Random(6)
    whole = [line.message.frame.encode() for line in made.lines if line.message]
    core = Core()
    try:
        producer = core.producer("venue", Codec(registry.codec(codec_of(name))))
        for number, frame in enumerate(whole):
            producer.feed(damaged(frame, rng), number * 2 + 1)
            producer.feed(frame, number * 2 + 2)
        stats = producer.stats()
        assert stats["frames"] == 2 * len(whole)
        assert sum(stats["errors"].values()) > len(whole) // 10
    finally:
        core.close()
