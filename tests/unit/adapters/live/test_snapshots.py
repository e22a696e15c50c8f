"""Tests of the requests for book snapshots."""

import asyncio
import itertools
import zlib
from collections.abc import Set
from dataclasses import replace

import pytest

from meltica._core import Codec, Core
from meltica.adapters import Checksum, Levels, Message, Range, SymbolRule, equals
from meltica.adapters import Codec as Declaration
from meltica.adapters.binance.codec import BINANCE
from meltica.adapters.live.snapshots import FAULT_PAUSES, SnapshotScheduler
from meltica.testing.rig import PATIENCE

LAST = {"BTC-USDT": 100, "ETH-USDT": 9000, "SOL-USDT": 100}


def change(symbol: str) -> bytes:
    first = LAST[symbol] + 1
    name = symbol.replace("-", "").encode()
    return b'{"e":"depthUpdate","E":1,"s":"%s","U":%d,"u":%d,"b":[],"a":[]}' % (name, first, first)


async def test_snapshots_without_a_symbol_join_the_books_they_were_requested_for() -> None:
    core = Core()
    host = core.host("thread")
    host.add("reader", callbacks={}, routes=[("snapshots", "BookSnapshot", None)]).start()
    producer = core.producer("snapshots", Codec(BINANCE))
    for symbol in LAST:
        producer.feed(change(symbol))
    responses: dict[str, asyncio.Future[bytes]] = {}

    def subscribed() -> Set[str]:
        return LAST.keys()

    async def snapshot(symbol: str) -> bytes:
        responses[symbol] = asyncio.get_running_loop().create_future()
        return await responses[symbol]

    scheduler = SnapshotScheduler(producer, snapshot, lambda _: None, subscribed)
    async with asyncio.timeout(PATIENCE):
        scheduler.poll(0)
        while len(responses) < len(LAST):
            await asyncio.sleep(0)
        # The responses arrive in another order than the requests, while other books still wait.
        waiting = sorted(LAST)
        for symbol in sorted(LAST, reverse=True):
            frame = b'{"lastUpdateId":%d,"bids":[["1","1"]],"asks":[["2","1"]]}' % LAST[symbol]
            responses[symbol].set_result(frame)
            waiting.remove(symbol)
            while len(producer.unsynced()) > len(waiting):
                await asyncio.sleep(0)
            assert sorted(producer.unsynced()) == waiting
    assert producer.stats()["errors"] == {}
    assert host.stop()


WRONG = Declaration(
    name="wrong",
    symbols=SymbolRule(separator="-"),
    messages=(
        Message(
            name="book",
            role="BookSnapshot",
            matches=(equals("ch", "book"),),
            symbol="s",
            snapshot="joins",
            levels=Levels(
                bids="b", asks="a", sequence=Range(last="n"), checksum=Checksum("c", digits="shortest")
            ),
        ),
        Message(
            name="change",
            role="BookDiff",
            matches=(equals("ch", "change"),),
            symbol="s",
            levels=Levels(bids="b", asks="a", sequence=Range(first="n", last="n")),
        ),
    ),
)
"""A codec whose checksums are at fault."""


async def test_three_snapshots_that_fail_their_checksums_are_a_fault_with_long_pauses(
    caplog: pytest.LogCaptureFixture,
) -> None:
    core = Core()
    host = core.host("thread")
    host.add("reader", callbacks={}, routes=[("faults", "BookSnapshot", None)]).start()
    producer = core.producer("faults", Codec(WRONG))
    producer.feed(b'{"ch":"change","s":"BTC-USDT","n":8,"b":[],"a":[]}')
    fetched: list[float] = []
    now = 0.0

    async def snapshot(_: str) -> bytes:
        fetched.append(now)
        return b'{"ch":"book","s":"BTC-USDT","n":%d,"b":[["1","1"]],"a":[["2","1"]],"c":7}' % (
            8 + len(fetched)
        )

    scheduler = SnapshotScheduler(producer, snapshot, lambda _: None, lambda: {"BTC-USDT"})
    while now < 200:
        scheduler.poll(now)
        for _ in range(5):
            await asyncio.sleep(0)
        now += 0.1
    pauses = [later - earlier for earlier, later in itertools.pairwise(fetched)]
    assert max(pauses[:2]) < 2 < 30 < FAULT_PAUSES[0] * 0.8 <= min(pauses[2:])
    assert producer.unsynced() == ["BTC-USDT"]
    assert producer.checksum_faults() == {"BTC-USDT": "snapshots"}
    assert producer.stats()["checksum_faults"] == 1
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.getMessage().startswith("book of BTC-USDT stale: its last three snapshots did not have")
    assert host.stop()


async def test_decimals_that_checksums_prove_against_the_list_are_reported_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    core = Core()
    host = core.host("thread")
    host.add("reader", callbacks={}, routes=[("decimals", "BookSnapshot", None)]).start()
    book = WRONG.messages[0]
    assert book.levels is not None
    book = replace(book, levels=replace(book.levels, checksum=Checksum("c")))
    producer = core.producer("decimals", Codec(replace(WRONG, messages=(book,))))
    listed = {"symbol": "BTC-USDT", "type": "spot", "baseCurrency": "BTC", "quoteCurrency": "USDT"}
    digits = {"venue": "DECIMALS", "pricePrecision": 0, "quantityPrecision": 0}
    producer.publish("InstrumentUpdate", "BTC-USDT", {"instrument": listed | digits})
    crc = zlib.crc32(b"25101510")

    async def snapshot(_: str) -> bytes:
        raise AssertionError("the book is good")

    scheduler = SnapshotScheduler(producer, snapshot, lambda _: None, lambda: {"BTC-USDT"})
    for n in range(3):
        producer.feed(
            b'{"ch":"book","s":"BTC-USDT","n":%d,"b":[["1.5","1"]],"a":[["2.5","1"]],"c":%d}' % (n + 1, crc)
        )
        scheduler.poll(n)
    assert producer.checksum_faults() == {"BTC-USDT": "decimals"}
    assert [record.getMessage() for record in caplog.records] == [
        "checksums of BTC-USDT have other decimals than the instrument list: used; correct the list"
    ]
    assert host.stop()
