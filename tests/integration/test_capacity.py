"""Capacity: each instance has slots of its own, and what has no room is named."""

import io
import logging
import threading
from typing import Any

import pytest

from meltica import _core
from meltica.adapters.binance.codec import BINANCE
from meltica.errors import LambdaError
from meltica.lambdas.instances import LambdaInstance
from meltica.persistence.postgres.server import wait_until

TICKER = {"lastPrice": "1"}
BOOK = {"bids": [{"price": "1", "quantity": "1"}], "asks": [{"price": "2", "quantity": "1"}]}
CROSSED = {"bids": [{"price": "2", "quantity": "1"}], "asks": [{"price": "2", "quantity": "1"}]}

RECORDED = (
    b'1700000000001000000 {"e":"trade","E":1,"s":"BTCUSDT","t":1,"p":"1.0","q":"2","T":1,"m":true,"M":true}'
)


def trade(number: int) -> dict[str, str]:
    return {"tradeId": str(number), "price": "1", "quantity": "1"}


def in_use(core: _core.Core, pool: str = "event_pool") -> int:
    stats = core.stats()[pool]
    return stats["capacity"] - stats["free"]


@pytest.mark.untraced
def test_a_slow_instance_on_every_symbol_takes_no_slot_of_another() -> None:
    core = _core.Core(max_pool_bytes=2_000_000)
    go = threading.Event()
    received: list[Any] = []
    slow, fast = core.host("thread"), core.host("thread")
    greedy = slow.add("slow", callbacks={"Ticker": lambda _: go.wait()}, routes=[("p", "Ticker", None)])
    innocent = fast.add(
        "fast", callbacks={"Trade": received.append}, routes=[("q", "Trade", "BTC-USDT")], capacity=1024
    )
    greedy.start()
    innocent.start()
    p, q = core.producer("p"), core.producer("q")
    for number in range(5000):
        p.publish("Ticker", f"S{number}-USDT", TICKER)
    for number in range(1000):
        assert q.publish("Trade", "BTC-USDT", trade(number))
    go.set()
    assert q.drain(30)
    assert len(received) == 1000
    assert innocent.stats()["dropped"] == {}
    assert core.stats()["event_pool"]["exhausted"] == 0
    left_out = greedy.left_out["Ticker"]
    assert ("p", "S4999-USDT") in left_out
    assert greedy.stats()["left_out"] == {"Ticker": len(left_out)}
    assert greedy.stats()["delivered"]["Ticker"] + greedy.stats()["conflated"].get("Ticker", 0) > 0
    assert core.stats()["reserved_bytes"] <= 2_000_000
    assert slow.stop()
    assert fast.stop()


def test_symbols_without_room_are_logged_until_they_are_admitted(caplog: pytest.LogCaptureFixture) -> None:
    core = _core.Core(max_pool_bytes=1_050_000)
    host, other = core.host("thread"), core.host("thread")
    keeper = other.add("keeper", callbacks={}, routes=[("q", "Trade", "BTC-USDT")], capacity=384)
    keeper.start()
    greedy = host.add("greedy", callbacks={}, routes=[("p", "Ticker", None)])
    greedy.start()
    run = LambdaInstance(None, greedy, None)  # pyright: ignore[reportArgumentType]
    p = core.producer("p")
    caplog.set_level(logging.INFO)
    for number in range(300):
        p.publish("Ticker", f"S{number}-USDT", TICKER)
        if number == 0:
            run.watch_room()
    assert caplog.records == []
    assert wait_until(lambda: greedy.refused_room is not None, 20)
    for _ in range(3):
        run.watch_room()
    warnings = [record.getMessage() for record in caplog.records]
    assert {text.partition(" of ")[0] for text in warnings} == {
        f"instance greedy receives no {kind}" for kind in greedy.left_out
    }
    assert all("raise the maximum" in text for text in warnings)
    assert len(warnings) == len(greedy.left_out), "logged once"
    assert other.stop()
    run.watch_room()
    assert wait_until(lambda: not greedy.left_out, 20)
    run.watch_room()
    assert caplog.records[-1].getMessage() == "instance greedy receives every symbol of its scope again"
    assert host.stop()


def take_the_rest(core: _core.Core) -> list[_core.Instance]:
    """Add neighbours, which are not started, until no room is left."""
    neighbours: list[_core.Instance] = []
    capacity = 1 << 16
    while capacity:
        host = core.host("thread")
        try:
            neighbour = host.add("neighbour", callbacks={}, routes=[("q", "Trade", None)], capacity=capacity)
        except _core.CapacityError:
            assert host.stop()
            capacity //= 2
        else:
            neighbours.append(neighbour)
    return neighbours


@pytest.mark.parametrize("kind", ["BookSnapshot", "Ticker", "Trade"])
def test_every_received_symbol_is_reported_stale_without_room(kind: str) -> None:
    payload = {"BookSnapshot": BOOK, "Ticker": TICKER, "Trade": trade(1)}[kind]
    core = _core.Core(max_pool_bytes=24 << 20)
    host, p = core.host("thread"), core.producer("p")
    symbols = {f"S{number}-USDT" for number in range(300)}
    p.list_symbols(sorted(symbols))
    received: set[str] = set()
    reported: set[str] = set()
    keeper = host.add(
        "keeper",
        callbacks={
            kind: lambda event: received.add(event.symbol),
            "MarketStale": lambda stale: reported.add(stale.symbol),
        },
        routes=[("p", kind, None)],
        keep_market=True,
        keep_book=kind == "BookSnapshot",
        book_depth=8,
    )
    keeper.start()
    for symbol in symbols:
        p.publish(kind, symbol, payload)
        assert p.drain(10)
    assert received == symbols
    neighbours = take_the_rest(core)
    assert p.restart() == len(symbols)
    assert p.drain(10)
    assert reported == symbols
    assert all((market := keeper.market(symbol)) and market.stale for symbol in symbols)
    assert all(keeper.book(symbol) is None for symbol in symbols)
    assert (keeper.left_out, keeper.refused_room) == ({}, None)
    assert all(neighbour.stop() for neighbour in neighbours)
    assert host.stop()


def test_a_ticker_of_a_lost_connection_is_stale_until_the_next_ticker() -> None:
    core = _core.Core()
    host, p = core.host("thread"), core.producer("p")
    routes = [("p", kind, "BTC-USDT") for kind in ("BookSnapshot", "Ticker", "Trade")]
    keeper = host.add("keeper", callbacks={}, routes=routes, keep_market=True)
    keeper.start()

    def stale(kind: str, payload: Any) -> bool:
        p.publish(kind, "BTC-USDT", payload)
        assert p.drain(10)
        market = keeper.market("BTC-USDT")
        return market is not None and market.stale

    assert not stale("Ticker", TICKER)
    p.restart()
    assert stale("BookSnapshot", CROSSED)
    assert stale("Trade", trade(1))
    assert stale("BookSnapshot", BOOK)
    assert not stale("Ticker", TICKER)
    assert host.stop()


@pytest.mark.untraced
def test_an_ended_instance_returns_its_slots_while_a_producer_idles() -> None:
    core = _core.Core()
    idle, p = core.producer("idle"), core.producer("p")
    free = core.stats()["reserved_bytes"]
    routes = [("p", "Trade", "BTC-USDT"), ("idle", "Trade", "X-USDT")]
    for _ in range(3):
        go = threading.Event()
        host = core.host("thread")
        instance = host.add(
            "again", callbacks={"Trade": lambda _, go=go: go.wait()}, routes=routes, capacity=4096
        )
        instance.start()
        # The last event of this provider: its producer keeps the table with the instance's queue.
        assert idle.publish("Trade", "X-USDT", trade(0))
        for number in range(4000):
            assert p.publish("Trade", "BTC-USDT", trade(number))
        assert instance.stats()["dropped"] == {}
        threading.Timer(0.05, go.set).start()
        assert host.stop()
        assert in_use(core) == 0
        assert core.stats()["reserved_bytes"] == free


@pytest.mark.untraced
def test_waiting_extensions_are_bounded_by_their_bytes() -> None:
    """The queue of a stuck listener holds what it has reserved, whatever others emit."""
    core = _core.Core(max_pool_bytes=8 << 20)
    go, stuck = threading.Event(), threading.Event()
    received: list[Any] = []

    def listen(event: Any) -> None:
        received.append(event)
        stuck.set()
        go.wait()

    host, other = core.host("thread"), core.host("thread")
    routes = [("meltica", "Extension", None), ("p", "Trade", None)]
    listener = host.add(
        "listener", callbacks={"Extension": listen, "Trade": received.append}, routes=routes, capacity=1024
    )
    sender = other.add("sender", callbacks={}, routes=[("p", "Ticker", None)])
    listener.start()
    sender.start()
    sender.emit("first", "1")
    assert stuck.wait(10)
    producer = core.producer("p")
    assert producer.publish("Trade", "BTC-USDT", trade(1))
    reserved = core.stats()["reserved_bytes"]
    assert 2 * 1024 * 512 < reserved <= 8 << 20
    large = '"' + "a" * 100_000 + '"'
    for _ in range(50):
        sender.emit("large", large)
        assert 100_000 <= core.stats()["extension_bytes"] <= 1024 * 512
    with pytest.raises(ValueError, match="its name has 257 bytes, and at most 256 are allowed; send less"):
        sender.emit("n" * 257, "{}")
    with pytest.raises(ValueError, match="its JSON has 102401 bytes, and at most 102400 are allowed"):
        sender.emit("large", "1" * 102_401)
    assert listener.stats()["extension_bytes"] == core.stats()["extension_bytes"]
    assert core.stats()["reserved_bytes"] == reserved
    go.set()
    assert producer.drain(30)
    assert [event.kind for event in received] == ["Extension", "Trade", *["Extension"] * 5]
    assert listener.stats()["dropped"] == {"Extension": 45}
    assert listener.stats()["extension_bytes"] == 0
    assert host.stop()
    assert other.stop()


@pytest.mark.untraced
def test_what_a_step_of_a_replay_emits_is_bounded() -> None:
    core = _core.Core()
    producer = core.producer("binance", _core.Codec(BINANCE))
    host = core.host("thread", clock="event")
    instances: list[_core.Instance] = []
    refused: list[str] = []

    def send(_event: Any) -> None:
        for _ in range(700):
            try:
                instances[0].emit("large", "1" * 102_400)
            except LambdaError as error:
                refused.append(str(error))

    instances.append(host.add("sender", callbacks={"Trade": send}, routes=[("binance", "Trade", None)]))
    instances[0].start()
    producer.replay([io.BytesIO(RECORDED)])
    assert producer.drain(30)
    assert host.stop()
    assert len(refused) == 700 - (64 << 20) // (102_400 + 128 + len("large"))
    assert (
        "the lambdas emitted more than 67108864 bytes within one step of the replay; emit less" in refused[0]
    )


def test_kept_books_hold_no_slots() -> None:
    core = _core.Core()
    host = core.host("thread")
    keeper = host.add(
        "keeper", callbacks={}, routes=[("p", "BookSnapshot", None)], book_depth=5, keep_book=True
    )
    keeper.start()
    p = core.producer("p")
    levels = [{"price": str(100 - i), "quantity": "1"} for i in range(50)]
    for number in range(40):
        assert p.publish("BookSnapshot", f"S{number}-USDT", {"bids": levels, "asks": []})
    assert p.drain(30)
    for number in range(40):
        book = keeper.book(f"S{number}-USDT")
        assert book is not None
        assert (len(book.bids), book.bid_count) == (5, 50)
    assert in_use(core, "book_pool") == 0
    assert host.stop()


LEVEL = {"price": "10", "quantity": "1"}
BAD: list[tuple[str, dict[str, Any], str]] = [
    ("BookSnapshot", {"bids": [LEVEL, {"price": "11", "quantity": "1"}], "asks": []}, "bids is not lower"),
    ("BookSnapshot", {"bids": [], "asks": [LEVEL, LEVEL]}, "asks is not higher"),
    ("BookSnapshot", {"bids": [{"price": "10", "quantity": "0"}], "asks": []}, "not above 0"),
    ("BookSnapshot", {"bids": [], "asks": [{"price": "-1", "quantity": "1"}]}, "not above 0"),
    ("Trade", {"tradeId": "1", "price": "-1", "quantity": "1"}, "price is -1"),
    ("Trade", {"tradeId": "1", "price": "1", "quantity": "-1"}, "quantity is -1"),
    ("Ticker", {"lastPrice": "-1"}, "lastPrice is -1"),
    ("Ticker", {"bidPrice": "-0.5"}, "bidPrice is -0.5"),
]


@pytest.mark.parametrize(("kind", "payload", "text"), BAD)
def test_a_producer_refuses_impossible_market_data(kind: str, payload: dict[str, Any], text: str) -> None:
    p = _core.Core().producer("p")
    with pytest.raises(ValueError, match=text):
        p.publish(kind, "BTC-USDT", payload)


def test_of_a_crossed_book_only_its_staleness_is_delivered() -> None:
    core = _core.Core()
    host = core.host("thread")
    seen: list[Any] = []
    callbacks = {"BookSnapshot": seen.append, "MarketStale": seen.append}
    instance = host.add(
        "reader", callbacks=callbacks, routes=[("p", "BookSnapshot", "BTC-USDT")], keep_book=True
    )
    instance.start()
    p = core.producer("p")
    assert p.publish(
        "BookSnapshot", "BTC-USDT", {"bids": [LEVEL], "asks": [{"price": "11", "quantity": "1"}]}
    )
    assert p.drain(30)
    assert instance.book("BTC-USDT") is not None
    assert not p.publish("BookSnapshot", "BTC-USDT", {"bids": [LEVEL], "asks": [LEVEL]})
    assert p.drain(30)
    assert [type(event).__name__ for event in seen] == ["BookSnapshot", "MarketStale"]
    assert seen[1].reason == "crossed"
    assert instance.book("BTC-USDT") is None
    assert host.stop()


def test_trades_learn_that_their_feed_is_disconnected() -> None:
    core = _core.Core()
    host = core.host("thread")
    seen: list[Any] = []
    callbacks = {"Trade": seen.append, "MarketStale": seen.append}
    instance = host.add("reader", callbacks=callbacks, routes=[("p", "Trade", "BTC-USDT")], keep_market=True)
    instance.start()
    p = core.producer("p")

    def stale() -> bool:
        assert p.drain(30)
        market = instance.market("BTC-USDT")
        assert market is not None
        return market.stale

    assert p.publish("Trade", "BTC-USDT", trade(1))
    assert not stale()
    p.publish("MarketStale", "BTC-USDT", {"reason": "gap"})
    assert not stale()
    p.publish("MarketStale", "BTC-USDT", {"reason": "disconnected"})
    assert stale()
    assert p.publish("Trade", "BTC-USDT", trade(2))
    assert not stale()
    assert [type(event).__name__ for event in seen] == ["Trade", "MarketStale", "Trade"]
    assert host.stop()
