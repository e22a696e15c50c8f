"""The reader of market data for streams: its pace, its freshness, and its room in the core."""

import itertools
from collections.abc import Generator
from pathlib import Path
from threading import Event, Thread

import pytest

from meltica._core import Core, Producer
from meltica.control.streams import market, market_reader
from meltica.control.streams.market_events import MarketRoute
from meltica.control.streams.market_reader import READS, MarketReader
from meltica.errors import CapacityError
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.persistence.postgres.server import wait_until
from tests.support import gateway, venue
from tests.support.event_stream import stream

ROUTE = MarketRoute("main", "trade", "BTC-USDT")
BOOK = {"bids": [{"price": "1", "quantity": "1"}], "asks": [{"price": "2", "quantity": "1"}]}


@pytest.fixture(name="core")
def _core() -> Generator[Core]:
    core = Core(max_pool_bytes=1 << 20)
    yield core
    core.close()


@pytest.fixture(name="reader")
def _reader(core: Core, monkeypatch: pytest.MonkeyPatch) -> Generator[MarketReader]:
    monkeypatch.setattr(market_reader, "PATIENCE", 60.0)
    reader = MarketReader(core)
    yield reader
    assert reader.close()


def publish(producer: Producer, id: str, symbol: str = "BTC-USDT") -> None:
    producer.publish("Trade", symbol, {"tradeId": id, "price": "1", "quantity": "1"})


def test_the_thread_reads_at_the_pace_of_the_calls(core: Core, reader: MarketReader) -> None:
    reader.watch([ROUTE])
    [instance] = reader._readers._running.values()  # pyright: ignore[reportPrivateUsage]

    def reads() -> int:
        return instance.stats()["delivered"].get("Trade", 0)

    producer, numbers = core.producer("main"), itertools.count()
    for call in range(1, 4):
        wanted = call * READS
        # The thread sleeps in the last of its reads.
        while reads() < wanted or not instance.in_callback_ns:
            publish(producer, str(next(numbers)))
        for _ in range(1000):
            publish(producer, str(next(numbers)))
        publish(producer, f"last {call}")
        assert reads() == wanted
        assert len(reader.take()) == 1
        reader.open()
        # After the call, the latest value is read.
        while f"last {call}" not in latest(reader):
            pass


def latest(reader: MarketReader) -> list[str]:
    return [event.to_dict()["payload"]["tradeId"] for _, event in reader.take()]


def test_routes_change_while_the_market_runs_flat_out(core: Core, reader: MarketReader) -> None:
    reader.watch([ROUTE])
    producer, ended = core.producer("main"), Event()

    def run() -> None:
        while not ended.is_set():
            publish(producer, "x")

    thread = Thread(target=run)
    thread.start()
    try:
        [instance] = reader._readers._running.values()  # pyright: ignore[reportPrivateUsage]
        assert wait_until(lambda: instance.in_callback_ns > 0, 20)
        # More changes than the thread makes before it would sleep.
        others = [MarketRoute("main", "trade", f"A{number}-USDT") for number in range(10 * READS)]
        reader.watch([ROUTE, *others])
        reader.watch(others)
    finally:
        ended.set()
        thread.join()
    assert all(reader.is_watched(route) for route in others)
    assert not reader.is_watched(ROUTE)
    assert instance.state == "stopped"
    reader.take()
    publish(producer, "y", others[0].symbol)
    assert wait_until(lambda: latest(reader) == ["y"], 20)


def test_readers_take_no_room_from_others(core: Core, reader: MarketReader) -> None:
    """Their memory is claimed when they start, or they do not start."""
    reserved = core.stats()["reserved_bytes"]
    routes = [MarketRoute("main", "book", f"A{number}-USDT") for number in range(500)]
    with pytest.raises(CapacityError):
        reader.watch(routes)
    watched = [route for route in routes if reader.is_watched(route)]
    assert 0 < len(watched) < len(routes)
    reader.watch([])
    assert core.stats()["reserved_bytes"] == reserved


def test_a_stream_says_that_the_core_has_no_room(
    config: Path, cluster: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(market, "CHECK", 0.0)
    pools = {"maxBytes": 1 << 20}
    with gateway.database(cluster) as dsn, gateway.running(config, dsn, pools=pools) as running:
        running.until(lambda: running.gateway.providers.get("main").running)
        other = MarketReader(running.gateway.core)
        with pytest.raises(CapacityError):
            other.watch([MarketRoute("spare", "book", f"A{number}-USDT") for number in range(500)])
        with stream(running, "?kind=book&symbol=ETH-USDT&provider=main") as events:
            while (found := events.next("stale").data)["reason"] == "waiting":
                pass
            assert found["reason"] == "not_subscribed"
            assert "slots not reserved" in found["message"]
            assert other.close()
            assert events.next("stale").data["reason"] == "waiting"
            venue.Venue.producers["main"].publish("BookSnapshot", "ETH-USDT", BOOK)
            assert events.next("book").data["book"]["bids"] == BOOK["bids"]
