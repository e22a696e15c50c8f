"""Tests of the requests for book snapshots."""

import asyncio
from collections.abc import Set

from meltica._core import Codec, Core
from meltica.adapters.binance.codec import BINANCE
from meltica.adapters.live.snapshots import SnapshotScheduler
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
