"""Tests of the trades that a venue sends at a subscription, through the shipped codecs."""

import json
from collections.abc import Callable

import pytest

from meltica._core import Codec, Core, Trade
from meltica.adapters.codec import Codec as Declaration
from meltica.adapters.coinbase.codec import COINBASE
from meltica.adapters.kraken.codec import KRAKEN
from meltica.testing.rig import PATIENCE

TIME = "2026-11-30T12:00:{:02}.123456Z"


def kraken(kind: str, ids: list[int], _: int) -> bytes:
    data = [
        {
            "symbol": "BTC/USD",
            "side": "buy",
            "price": 1.5,
            "qty": 2,
            "trade_id": n,
            "timestamp": TIME.format(n),
        }
        for n in ids
    ]
    return json.dumps({"channel": "trade", "type": kind, "data": data}).encode()


def coinbase(kind: str, ids: list[int], number: int) -> bytes:
    trades = [
        {"trade_id": str(n), "product_id": "BTC-USD", "price": "1.5", "size": "2", "time": TIME.format(n)}
        for n in reversed(ids)
    ]
    events = [{"type": kind, "trades": trades}]
    frame = {
        "channel": "market_trades",
        "timestamp": TIME.format(0),
        "sequence_num": number,
        "events": events,
    }
    return json.dumps(frame).encode()


@pytest.mark.parametrize(("codec", "frame"), [(KRAKEN, kraken), (COINBASE, coinbase)])
def test_trades_that_were_missed_while_disconnected_are_late(
    codec: Declaration, frame: Callable[[str, list[int], int], bytes]
) -> None:
    core = Core()
    host = core.host("thread")
    received: list[tuple[str | None, bool]] = []

    def on_trade(trade: Trade) -> None:
        received.append((trade.trade_id, trade.late))

    host.add("reader", callbacks={"Trade": on_trade}, routes=[("late", "Trade", None)]).start()
    producer = core.producer("late", Codec(codec))
    producer.feed(frame("snapshot", [1, 2, 3], 0))
    producer.feed(frame("update", [4], 1))
    producer.restart()
    producer.feed(frame("snapshot", [3, 4, 5, 6], 0))
    producer.feed(frame("update", [7], 1))
    assert producer.drain(PATIENCE)
    assert sorted(received) == [("4", False), ("5", True), ("6", True), ("7", False)]
    stats = producer.stats()
    assert (stats["history_trades"], stats["late_trades"], stats["duplicates"]) == (4, 2, 1)
    assert stats["errors"] == {}
    assert host.stop()
