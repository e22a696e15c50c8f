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
        self.book: BookSnapshot | None = None
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
                    self.book = event
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


def test_partial_depth_is_a_book_until_changes_are_received(plane: Plane) -> None:
    """Binance's partial depth has other numbers than the book, so none of its levels may enter that book."""

    def partial(id: int) -> list[str]:
        depth = f'{{"lastUpdateId":{id},"bids":[["1","{id}"]],"asks":[["2","1"]]}}'
        plane.producer.feed(f'{{"stream":"btcusdt@depth20","data":{depth}}}'.encode())
        return plane.seen()

    assert (partial(5), partial(9), partial(3)) == (["5"], ["9"], ["3"])
    assert plane.diff(11) == ["no_snapshot"]
    assert (partial(12), plane.producer.unsynced()) == ([], ["BTC-USDT"])
    assert plane.snapshot(10) == ["11"]
    assert (partial(14), plane.diff(12)) == ([], ["12"])
    assert plane.producer.stats()["partial_books"] == 2


def test_a_book_says_where_its_snapshot_ended(plane: Plane) -> None:
    frame = '{"lastUpdateId":1,"bids":[["1.5","1"],["1.25","1"]],"asks":[["2","1"]]}'
    plane.producer.feed(frame.encode(), symbol="BTC-USDT")
    assert plane.seen() == ["1"]
    assert plane.diff(2) == ["2"]
    assert plane.book is not None
    assert [level.price for level in plane.book.bids] == [1.5, 1.25, 1.0]
    assert (plane.book.bid_horizon, plane.book.ask_horizon) == (1.25, 2.0)
