"""Books from Python: restarts of the venue's numbers, and several connections of a provider."""

from collections.abc import Generator

import pytest

from meltica._core import BookSnapshot, Codec, Core, Event, MarketStale, Producer
from meltica.adapters.binance.codec import BINANCE

KINDS = ("BookSnapshot", "BookGap", "MarketStale")


class Plane:
    """A producer of Binance's frames, and what a strategy sees of its books."""

    def __init__(self) -> None:
        self._core = Core()
        self.producer: Producer = self._core.producer("binance", Codec(BINANCE))
        self._events: list[Event] = []
        self.host = self._core.host("thread")
        self.host.add(
            "test",
            callbacks=dict.fromkeys(KINDS, self._events.append),
            routes=[("binance", "BookSnapshot", None)],
            policies={"BookSnapshot": "block"},
        ).start()

    def seen(self) -> list[str]:
        """Returns the ids of the books since the last call, and the reasons of stale ones."""
        assert self.producer.drain(30)
        events, seen = list(self._events), list[str]()
        self._events.clear()
        for event in events:
            match event:
                case BookSnapshot():
                    seen.append(str(event.last_update_id))
                case MarketStale():
                    seen.append(event.reason)
                case _:
                    seen.append(event.kind)
        return seen

    def diff(self, id: int, connection: int = 0) -> list[str]:
        frame = f'{{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":{id},"u":{id},"b":[["1","{id}"]],"a":[]}}'
        self.producer.feed(frame.encode(), connection=connection)
        return self.seen()

    def snapshot(self, id: int, connection: int = 0, symbol: str | None = "BTC-USDT") -> list[str]:
        frame = f'{{"lastUpdateId":{id},"bids":[["1","{id}"]],"asks":[["2","1"]]}}'
        self.producer.feed(frame.encode(), symbol=symbol, connection=connection)
        return self.seen()


@pytest.fixture
def plane() -> Generator[Plane]:
    plane = Plane()
    yield plane
    assert plane.host.stop()


def test_a_restart_of_the_numbers_makes_the_book_stale_until_a_snapshot(plane: Plane) -> None:
    assert plane.snapshot(3000) == ["3000"]
    assert plane.diff(3001) == ["3001"]
    assert plane.diff(1) == ["restarted"]
    assert plane.producer.unsynced() == ["BTC-USDT"]
    assert plane.diff(2) == []
    assert plane.snapshot(1) == ["2"]
    assert plane.diff(3) == ["3"]
    assert plane.producer.stats()["stale"] == {"restarted": 1}


def test_a_snapshot_without_a_symbol_is_a_counted_failure(plane: Plane) -> None:
    plane.diff(1)
    assert plane.snapshot(1, symbol=None) == []
    assert plane.producer.unsynced() == ["BTC-USDT"]
    assert plane.producer.stats()["errors"] == {"no_symbol": 1}


def test_each_connection_has_books_of_its_own(plane: Plane) -> None:
    assert plane.snapshot(10, connection=1) == ["10"]
    assert plane.diff(11, connection=2) == []
    assert (plane.producer.unsynced(), plane.producer.unsynced(2)) == ([], ["BTC-USDT"])
    assert plane.diff(11, connection=1) == ["11"]
    assert plane.snapshot(10, connection=2) == ["11"], "the newer connection is good"
    assert plane.diff(12, connection=1) == []
    assert plane.producer.restart(connection=1) == 0
    assert plane.diff(12, connection=2) == ["12"]
    assert plane.producer.restart(connection=2) == 1
    assert plane.seen() == ["disconnected"]
    assert plane.producer.stats()["takeovers"] == 1
