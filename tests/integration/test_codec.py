"""Decoding of Binance messages: raw and combined streams, valid and damaged frames."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meltica import _core
from meltica.adapters.binance.codec import BINANCE
from meltica.adapters.codec import Message, absent, present
from tests.conftest import replay

TICKER_24H = {
    "e": "24hrTicker",
    "E": 1700000000001,
    "s": "BNBBTC",
    "p": "-0.0015",
    "P": "250.00",
    "w": "0.0018",
    "x": "0.0009",
    "c": "0.0025",
    "Q": "10",
    "b": "0.0024",
    "B": "10",
    "a": "0.0026",
    "A": "100",
    "o": "0.0010",
    "h": "0.0025",
    "l": "0.0010",
    "v": "10000",
    "q": "18",
    "O": 0,
    "C": 8,
    "F": 0,
    "L": 9,
    "n": 9,
}
CANDLE = {
    "t": 1700000000000,
    "T": 1700000059999,
    "s": "BNBBTC",
    "i": "1m",
    "f": 100,
    "L": 200,
    "o": "0.0010",
    "c": "0.0020",
    "h": "0.0025",
    "l": "0.0015",
    "v": "1000",
    "n": 100,
    "x": False,
    "q": "1",
    "V": "5",
    "Q": "5",
}
TRADE = {
    "e": "trade",
    "E": 2,
    "s": "BNBBTC",
    "t": 12345,
    "p": "0.001",
    "q": "100",
    "T": 3,
    "m": True,
    "M": True,
}
AGG_TRADE = {
    "e": "aggTrade",
    "E": 2,
    "s": "BNBBTC",
    "a": 5933014,
    "p": "0.001",
    "q": "100",
    "f": 100,
    "l": 105,
    "T": 3,
    "m": False,
    "M": True,
}
BOOK_TICKER = {"u": 400900217, "s": "BNBUSDT", "b": "25.3519", "B": "31.21", "a": "25.3652", "A": "40.66"}
MESSAGES: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
    (
        TRADE,
        "Trade",
        {"symbol": "BNB-BTC", "trade_id": "12345", "side": "Sell", "price": 0.001, "venue_time": 3000000},
    ),
    (AGG_TRADE, "Trade", {"trade_id": "5933014", "side": "Buy", "quantity": 100.0}),
    (TICKER_24H, "Ticker", {"last": 0.0025, "bid": 0.0024, "ask_quantity": 100.0, "volume_24h": 10000.0}),
    (BOOK_TICKER, "Ticker", {"symbol": "BNB-USDT", "last": None, "bid": 25.3519, "venue_time": None}),
    (
        {"e": "kline", "E": 2, "s": "BNBBTC", "k": CANDLE},
        "KlineSummary",
        {"open": 0.001, "high": 0.0025, "interval": "1m", "closed": False, "open_time": 1700000000000000000},
    ),
]
KINDS = ("BookSnapshot", "Trade", "Ticker", "KlineSummary")


def decode(*frames: bytes) -> tuple[list[Any], dict[str, Any]]:
    events: list[Any] = []
    lines = [b"1 " + frame for frame in frames]
    run = replay(lines, dict.fromkeys(KINDS, events.append), kinds=KINDS)
    return events, run.producer


@pytest.mark.parametrize(("message", "kind", "fields"), MESSAGES)
@pytest.mark.parametrize("combined", [False, True])
def test_messages(message: dict[str, Any], kind: str, fields: dict[str, Any], combined: bool) -> None:
    whole = {"stream": f"{message['s'].lower()}@x", "data": message} if combined else message
    events, stats = decode(json.dumps(whole).encode(), b'{"result":null,"id":1}')
    assert [event.kind for event in events] == [kind]
    assert {name: getattr(events[0], name) for name in fields} == fields
    assert (stats["ignored"], stats["errors"]) == (1, {})


def test_control_messages_are_declared_with_conditions_only() -> None:
    ack = Message(name="ack", role="Control", matches=(present("id"), absent("e")))
    core = _core.Core()
    producer = core.producer("p", _core.Codec(replace(BINANCE, messages=(*BINANCE.messages, ack))))
    for frame in (b'{"result":null,"id":1}', b'{"result":null,"id":2}', b'{"result":null}'):
        producer.feed(frame, 1)
    stats = producer.stats()
    assert (stats["control"], stats["unmatched"], stats["ignored"], stats["errors"]) == (2, 1, 3, {})
    with pytest.raises(_core.CodecError, match=r"ack\.symbol: expected none in a control message"):
        _core.Codec(replace(BINANCE, messages=(replace(ack, symbol="s"),)))


def test_a_frame_cut_anywhere_is_an_error() -> None:
    core = _core.Core()
    producer = core.producer("p", _core.Codec(BINANCE))
    frames = [json.dumps(message).encode() for message, _, _ in MESSAGES]
    cuts = [frame[:end] for frame in frames for end in range(1, len(frame))]
    for cut in cuts:
        assert producer.feed(cut, 1).bad == 1
    assert sum(producer.stats()["errors"].values()) == len(cuts)
    assert len(producer.bad_frames()) == 32


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 400), st.integers(0, 4))
def test_any_bytes_may_fail_and_none_may_panic(noise: bytes, at: int, which: int) -> None:
    core = _core.Core()
    producer = core.producer("p", _core.Codec(BINANCE))
    frame = json.dumps(MESSAGES[which][0]).encode()
    for damaged in (noise, frame[:at] + noise + frame[at + len(noise) :]):
        producer.feed(damaged, 1)
    stats = producer.stats()
    assert stats["frames"] == 2


def test_limits() -> None:
    core = _core.Core()
    producer = core.producer("p", _core.Codec(BINANCE))
    producer.feed(b" " * ((4 << 20) + 1), 1)
    producer.feed(b"[" * 100_000, 1)
    assert producer.stats()["errors"]["too_large"] == 1
    assert sum(producer.stats()["errors"].values()) == 2


def test_a_repeated_trade_is_delivered_once() -> None:
    frame = json.dumps(TRADE).encode()
    events, stats = decode(frame, frame)
    assert len(events) == 1
    assert stats["duplicates"] == 1
