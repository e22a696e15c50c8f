"""The codecs of venues, on sessions whose books and trades are known."""

import json
import random
from decimal import Decimal
from functools import lru_cache
from typing import Any

import pytest

from meltica import BookSnapshot, Ticker, Trade
from meltica._core import Codec, Core
from meltica.adapters.binance.codec import BINANCE
from meltica.adapters.bybit.codec import BYBIT
from meltica.adapters.coinbase.codec import COINBASE
from meltica.adapters.kraken.codec import KRAKEN
from meltica.adapters.okx.codec import OKX
from tests.support.codecs import deliver
from tests.support.venue_sessions import FAULTS, VENUES, Session, Stream, fed, generate, kraken

CODECS = {
    "binance": BINANCE,
    "binance-usdm": BINANCE,
    "okx": OKX,
    "okx-without-checksums": OKX,
    "bybit-spot": BYBIT,
    "bybit-linear": BYBIT,
    "kraken": KRAKEN,
    "kraken-deep": KRAKEN,
    "coinbase": COINBASE,
}
EVERY_VENUE = pytest.mark.parametrize("name", CODECS)


@lru_cache(maxsize=32)
def made(
    name: str, connections: int = 1, *, faulty: bool = False, seed: int = 1, steps: int = 300
) -> Session:
    """Returns a session."""
    stream, instruments, _ = VENUES[name]
    faults = FAULTS if faulty else None
    return generate(stream, instruments, seed=seed, steps=steps, connections=connections, faults=faults)


@lru_cache(maxsize=32)
def run(name: str, connections: int = 1, *, faulty: bool = False) -> fed.Fed:
    return fed.feed(CODECS[name], made(name, connections, faulty=faulty))


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
    assert checked > 250


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
    assert published > 250


def test_derivatives_in_contracts_are_refused_without_the_list_of_instruments() -> None:
    stream, instruments, _ = VENUES["okx"]
    assert {i.contract is None for i in instruments} == {True, False}
    session = generate(stream, instruments, steps=60)
    unlisted = [line for line in session.lines if line.message and "ctVal" not in line.message.frame]
    result = fed.feed(OKX, Session(instruments, unlisted))
    delivered = {event.symbol for kind in (Trade, Ticker, BookSnapshot) for event in result.of(kind)}
    assert delivered == {i.symbol for i in instruments if i.contract is None}
    assert set(result.stats["errors"]) == {"unknown_contract_size"}


@EVERY_VENUE
def test_each_trade_of_a_session_is_delivered_once(name: str) -> None:
    result = run(name, faulty=True)
    scales = {i.symbol: i for i in result.session.instruments}
    for symbol, trades in result.session.trades().items():
        expected = [scales[symbol].level(trade.price, trade.quantity) for trade in trades]
        got: list[Any] = [event for event in result.of(Trade) if event.symbol == symbol]
        assert [(Decimal(str(t.price_decimal)), Decimal(str(t.quantity_decimal))) for t in got] == expected
        sides = [None if name == "coinbase" else trade.side for trade in trades]
        assert [t.side for t in got] == sides


COVERED = {"kraken-deep": 10}
"""Best levels a side that a venue's checksum covers: a lost change beyond them is not noticed."""


@pytest.mark.parametrize("name", ["kraken", "coinbase"])
def test_trades_that_were_missed_while_a_connection_was_lost_are_late(name: str) -> None:
    result = run(name, faulty=True)
    seen: set[tuple[str | None, int]] = set()
    late: list[tuple[str | None, str]] = []
    for line in result.session.lines:
        for trade in line.message.trades if line.message else ():
            key = line.message.symbol if line.message else None, trade.id
            if key not in seen and line.message and line.message.kind == "history":
                late.append((key[0], str(trade.id)))
            seen.add(key)
    assert late
    got: list[Any] = [event for event in result.of(Trade) if event.late]
    assert [(event.symbol, event.trade_id) for event in got] == late


def test_the_history_of_a_first_subscription_is_dropped() -> None:
    trade = '{"product_id":"BTC-USD","trade_id":"%d","price":"1","size":"1","time":"2026-01-01T11:59:59Z"}'
    head = '{"channel":"market_trades","timestamp":"2026-01-01T12:00:00Z","sequence_num":%d,'
    frames = [
        head % number + f'"events":[{{"type":"{kind}","trades":[{",".join(trade % i for i in ids)}]}}]}}'
        for number, kind, ids in (
            (0, "snapshot", (2, 1)),
            (1, "update", (3,)),
            (0, "snapshot", (5, 4, 3)),
            (1, "update", (6,)),
        )
    ]
    result = deliver(COINBASE, *frames[:2], "lost", *frames[2:])
    got = [(event.trade_id, event.late) for event in result.of(Trade)]
    assert got == [("3", False), ("5", True), ("4", True), ("6", False)]


def test_tickers_of_bybit_have_the_values_of_the_tickers_before() -> None:
    """Those of linear contracts send only what changed."""
    result = run("bybit-linear")
    before: dict[str, dict[str, str]] = {}
    expected: list[tuple[int, list[str | None]]] = []
    for line in result.session.lines:
        if line.message and '"topic":"tickers.' in line.message.frame:
            data: dict[str, str] = json.loads(line.message.frame)["data"]
            values = before[data["symbol"]] = before.get(data["symbol"], {}) | data
            keys = ("lastPrice", "bid1Price", "bid1Size", "ask1Price", "ask1Size", "volume24h")
            expected.append((line.ns, [values[key] for key in keys]))
    names = ("last", "bid", "bid_quantity", "ask", "ask_quantity", "volume_24h")
    best = {line.ns for line in result.session.lines if line.message and ".1." in line.message.frame[:22]}
    tickers = [event for event in result.of(Ticker) if event.received_time not in best]
    got = [(event.received_time, [getattr(event, f"{name}_decimal") for name in names]) for event in tickers]
    assert got == [(ns, [Decimal(value or "0") for value in values]) for ns, values in expected]


@EVERY_VENUE
def test_each_lost_frame_is_noticed(name: str) -> None:
    result = run(name, faulty=True)
    scales = {i.symbol: i for i in result.session.instruments}
    states = [(line.ns, line.message, book) for line, book, _ in result.states() if line.message]
    for before, lost in result.session.lost:
        since = result.session.lines[before - 1].ns
        later = [
            (message, book) for ns, message, book in states if ns > since and message.symbol == lost.symbol
        ]
        due = [message.kind for message, _ in later].index("snapshot")
        covered = COVERED.get(name)
        if covered is None:
            assert None in [book for _, book in later[:due]]
        for message, book in later[:due]:
            if book is not None and covered and message.book:
                expected = fed.expected_top(scales[lost.symbol or ""], message.book.top(covered))
                assert tuple(side[:covered] for side in book) == expected


@EVERY_VENUE
def test_nothing_of_a_session_is_refused(name: str) -> None:
    result = run(name)
    assert not result.bad_frames
    assert result.stats["gaps"] == 0
    symbols = {i.symbol for i in result.session.instruments}
    assert {event.symbol for event in result.of(BookSnapshot)} == symbols
    assert {event.symbol for event in result.of(Ticker)} == symbols


@EVERY_VENUE
def test_each_checksum_of_a_session_is_verified(name: str) -> None:
    result = run(name)
    lines = [line.message for line in result.session.lines if line.message and line.expected is not None]
    sent = len(lines) if name in ("okx", "kraken", "kraken-deep") else 0
    stats = result.stats
    assert (stats["checksums_verified"], stats["checksums_unverified"], stats["checksums_failed"]) == (
        sent,
        0,
        0,
    )


@pytest.mark.parametrize("stream", [kraken.Kraken, kraken.KrakenDeep, kraken.KrakenWithoutZeros])
def test_checksums_of_instruments_that_are_not_listed_are_verified(stream: type[Stream]) -> None:
    """The digits are those that make the checksum right; until then, none is verified, and none fails."""
    session = generate(stream, kraken.INSTRUMENTS)
    whole = fed.feed(KRAKEN, session).stats
    assert (whole["checksums_failed"], whole["checksums_unverified"], whole["gaps"]) == (0, 0, 0)
    session.lines = [
        line for line in session.lines if line.message and '"instrument"' not in line.message.frame
    ]
    stats = fed.feed(KRAKEN, session).stats
    assert (stats["checksums_failed"], stats["gaps"]) == (0, 0)
    assert stats["checksums_verified"] > 20 * stats["checksums_unverified"]


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
    rng = random.Random(6)
    whole = [line.message.frame.encode() for line in made(name, seed=5, steps=120).lines if line.message]
    core = Core()
    try:
        producer = core.producer("venue", Codec(CODECS[name]))
        for number, frame in enumerate(whole):
            producer.feed(damaged(frame, rng), number * 2 + 1)
            producer.feed(frame, number * 2 + 2)
        stats = producer.stats()
        assert stats["frames"] == 2 * len(whole)
        assert sum(stats["errors"].values()) > len(whole) // 10
    finally:
        core.close()
