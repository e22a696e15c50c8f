"""The depth of Kraken's books: that of the subscription, whatever a snapshot of a thin market has."""

import json
import zlib

import pytest

from meltica._core import BookSnapshot, Codec, Core, Event
from meltica.adapters.kraken.codec import KRAKEN

Levels = dict[int, int]


def book(kind: str, bids: Levels, changed: Levels) -> bytes:
    """Returns a message about changed bids, with the checksum of all, beside one ask."""
    best = sorted(bids, reverse=True)[:10]
    digits = "101010" + "".join(f"{price * 10}{bids[price] * 10}" for price in best)
    sides = {
        "bids": [{"price": float(p), "qty": float(q)} for p, q in changed.items()],
        "asks": [{"price": 101.0, "qty": 1.0}] if kind == "snapshot" else [],
    }
    data = {"symbol": "BTC/USD", **sides, "checksum": zlib.crc32(digits.encode())}
    time = {"timestamp": "2026-01-01T12:00:00.0Z"}
    return json.dumps({"channel": "book", "type": kind, "data": [data | time]}).encode()


def answer(depth: int) -> bytes:
    result = {"channel": "book", "depth": depth, "snapshot": True, "symbol": "BTC/USD"}
    return json.dumps({"method": "subscribe", "result": result, "success": True, "req_id": 1}).encode()


@pytest.mark.parametrize("depth", [10, 25])
def test_a_book_has_the_levels_that_were_subscribed_to(depth: int) -> None:
    core = Core()
    producer = core.producer("kraken", Codec(KRAKEN))
    events: list[Event] = []
    host = core.host("thread")
    host.add(
        "reader",
        callbacks={"BookSnapshot": events.append, "MarketStale": events.append},
        routes=[("kraken", "BookSnapshot", None)],
        policies={"BookSnapshot": "block"},
    ).start()
    outcome = producer.feed(answer(depth))
    assert (outcome.control, outcome.events) == (1, 0)
    bids = dict.fromkeys(range(40, 49), 1)
    producer.feed(book("snapshot", bids, bids))
    # Better levels, of which no message shows how many the venue keeps.
    for price in range(49, 60):
        bids[price] = 2
        producer.feed(book("update", bids, {price: 2}))
        assert producer.drain(30)
        last = events[-1]
        assert isinstance(last, BookSnapshot)
        assert len(last.bids) == min(depth, len(bids))
    stats = producer.stats()
    assert (stats["checksums_verified"], stats["checksums_failed"]) == (12, 0)
    assert host.stop()
