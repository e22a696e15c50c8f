"""Hosts of lambdas: isolation from each other, timers, extensions, memory and life cycle."""

import contextlib
import io
import sys
import threading
import time
from collections.abc import Callable, Generator
from typing import Any, Literal

import pytest

from meltica import _core
from meltica.adapters.binance.codec import BINANCE
from meltica.persistence.postgres.server import wait_until
from tests.conftest import replay


def trade(n: int) -> bytes:
    """Returns one line of a recording with one trade."""
    frame = f'{{"e":"trade","E":{n},"s":"BTCUSDT","t":{n},"p":"100.10","q":"0.5","T":{n},"m":true,"M":true}}'
    return f"{1_700_000_000_000_000_000 + n * 1_000_000} {frame}".encode()


TRADES = [trade(n) for n in range(1, 2001)]


@pytest.mark.parametrize("mode", ["thread", "shared"])
def test_a_raising_and_a_sleeping_lambda_do_not_affect_another(mode: str) -> None:
    ids: list[int] = []

    def raises(_event: Any) -> None:
        raise RuntimeError("on purpose")

    def sleeps(event: Any) -> None:
        if int(event.trade_id) % 500 == 0:
            time.sleep(0.01)

    run = replay(
        TRADES,
        {"Trade": raises},
        {"Trade": sleeps},
        {"Trade": lambda t: ids.append(int(t.trade_id))},
        mode=mode,
    )
    assert ids == list(range(1, 2001))
    assert run.instances[0]["errors"] == 2000
    assert run.instances[2]["dropped"] == {}


def test_consecutive_errors_stop_an_instance() -> None:
    def raises(_event: Any) -> None:
        raise ValueError("no")

    run = replay(TRADES[:100], {"Trade": raises}, max_errors=3)
    assert run.instances[0]["state"] == "failed"
    assert run.instances[0]["errors"] == 3
    assert run.instances[0]["last_error"] == "ValueError: no"


def test_a_busy_loop_keeps_no_event_from_others_and_is_stopped() -> None:
    core = _core.Core()
    producer = core.producer("binance", _core.Codec(BINANCE))
    entered = threading.Event()
    ids: list[int] = []

    def spins(_event: Any) -> None:
        entered.set()
        while True:
            pass

    hosts = [core.host("thread"), core.host("thread")]
    routes = [("binance", "Trade", None)]
    spinner = hosts[0].add("spinner", callbacks={"Trade": spins}, routes=routes)
    sibling = hosts[1].add(
        "sibling", callbacks={"Trade": lambda t: ids.append(int(t.trade_id))}, routes=routes
    )
    spinner.start()
    sibling.start()
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    try:
        producer.replay([io.BytesIO(b"\n".join(TRADES[:1000]))], speed=1.0)
        assert wait_until(lambda: len(ids) == 1000, 20)
        assert entered.is_set()
        assert producer.drain(0.1) is False, "the spinner never gets done"
        assert ids == list(range(1, 1001))
        # The time to end after the interrupt is that of the stop, at most a second.
        assert spinner.stop(1.0) is True, "LambdaStopped ends a loop of Python code"
        assert sibling.stop(5) is True
    finally:
        sys.setswitchinterval(before)
    assert sibling.stats()["dropped"] == {}


def test_timers_follow_the_events_clock() -> None:
    core = _core.Core()
    producer = core.producer("binance", _core.Codec(BINANCE))
    host = core.host("thread", clock="event")
    fired: list[int] = []
    routes = [("binance", "Trade", None)]
    instance = host.add("timed", callbacks={}, routes=routes, policies={"Trade": "block"})
    instance.every(0.1, lambda: fired.append(instance.now()))
    instance.start()
    producer.replay([io.BytesIO(b"\n".join(TRADES))])
    assert producer.drain(10)
    assert host.stop()
    first = 1_700_000_000_001_000_000
    assert fired == [first + n * 100_000_000 for n in range(1, 20)]


def test_extensions_reach_all_instances_except_the_sender() -> None:
    def run() -> list[tuple[str, int, Any]]:
        core = _core.Core()
        producer = core.producer("binance", _core.Codec(BINANCE))
        received: list[tuple[str, int, Any]] = []
        routes = [("binance", "Trade", None), ("meltica", "Extension", None)]
        policies = dict.fromkeys(_core.KINDS, "block")
        hosts = [core.host("thread", clock="event") for _ in range(2)]
        instances: list[_core.Instance] = []

        def send(event: Any) -> None:
            instances[0].emit("echo", f'{{"n":{event.trade_id}}}')

        def receive(event: Any) -> None:
            received.append((event.kind, event.seq, getattr(event, "payload", None)))

        def own(_event: Any) -> None:
            raise AssertionError("a lambda received its own extension")

        callbacks: list[dict[str, Any]] = [
            {"Trade": send, "Extension": own},
            {"Trade": receive, "Extension": receive},
        ]
        for number, host in enumerate(hosts):
            added = host.add(f"i{number}", callbacks=callbacks[number], routes=routes, policies=policies)
            instances.append(added)
            added.start()
        producer.replay([io.BytesIO(b"\n".join(TRADES[:50]))])
        assert producer.drain(10)
        assert all(host.stop() for host in hosts)
        assert instances[0].stats()["errors"] == 0
        return received

    received = run()
    assert [seq for _, seq, _ in received] == list(range(1, 101))
    assert [payload for kind, _, payload in received if kind == "Extension"] == [
        {"n": n} for n in range(1, 51)
    ]
    assert received == run(), "a replay with extensions is deterministic"


def test_filters_and_losses_are_counted() -> None:
    events: list[Any] = []
    replay(TRADES[:10], {"Trade": events.append}, filters={"Trade": [("trade_id", "in", ["3", "7"])]})
    assert [event.trade_id for event in events] == ["3", "7"]


def test_memory_is_reserved_or_refused() -> None:
    core = _core.Core(max_pool_bytes=100_000)
    with pytest.raises(_core.CapacityError, match=r"need \d+ bytes.* lower the queue capacity"):
        core.host("thread").add("big", callbacks={}, routes=[("p", "Trade", None)], capacity=100_000)


@pytest.mark.parametrize("mode", ["thread", "shared"])
def test_a_host_that_spins_delivers_every_event_and_ends(mode: Literal["thread", "shared"]) -> None:
    core = _core.Core()
    producer, host = core.producer("binance", _core.Codec(BINANCE)), core.host(mode, spin_ns=1_000_000)
    ids: list[int] = []
    host.add(
        "spins",
        callbacks={"Trade": lambda t: ids.append(int(t.trade_id))},
        routes=[("binance", "Trade", "BTC-USDT")],
    ).start()
    for line in TRADES[:200]:
        producer.feed(line.partition(b" ")[2])
        # Some events find the host spinning or asleep, others while it delivers.
        if len(ids) % 2:
            producer.drain()
    assert producer.drain()
    assert ids == list(range(1, 201))
    assert host.stop()


def test_a_host_spins_for_at_most_a_millisecond() -> None:
    for spin in (1_000_001, 2**64 - 1):
        with pytest.raises(ValueError, match=f"expected a spin of 0 to 1000000 ns, saw {spin}"):
            _core.Core().host("thread", spin_ns=spin)


def test_an_instance_starts_once() -> None:
    core = _core.Core()
    host = core.host("thread")
    instance = host.add("one", callbacks={}, routes=[("p", "Trade", "BTC-USDT")])
    instance.start()
    with pytest.raises(_core.LambdaError, match="an instance starts only once"):
        instance.start()
    with pytest.raises(_core.LambdaError, match="one instance"):
        host.add("two", callbacks={}, routes=[])
    assert host.stop()


@pytest.mark.untraced
@pytest.mark.parametrize("mode", ["thread", "shared"])
def test_a_stop_interrupts_an_endless_on_start(mode: Literal["thread", "shared"]) -> None:
    entered, ended = threading.Event(), threading.Event()

    def spins() -> None:
        entered.set()
        while True:
            pass

    host = _core.Core().host(mode)
    instance = host.add("spinner", callbacks={}, routes=[], on_start=spins, on_stop=ended.set)
    raised: list[BaseException] = []

    def start() -> None:
        try:
            instance.start()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    assert entered.wait(10)
    assert instance.stop(1.0) is True
    thread.join(10)
    assert [type(error) for error in raised] == [_core.LambdaStopped]
    assert (instance.state, ended.is_set()) == ("stopped", False), "on_stop belongs to what has started"
    assert instance.stop() is True
    assert host.stop(), "the thread ends"


@pytest.mark.untraced
def test_an_on_start_that_returns_after_the_stop_is_undone() -> None:
    core = _core.Core()
    host = core.host("thread")
    gate, entered, ended = threading.Event(), threading.Event(), threading.Event()

    def waits() -> None:
        entered.set()
        while not gate.is_set():
            with contextlib.suppress(_core.LambdaStopped):
                gate.wait(20)

    routes = [("p", "Trade", "BTC-USDT")]
    instance = host.add("late", callbacks={}, routes=routes, on_start=waits, on_stop=ended.set)
    raised: list[BaseException] = []

    def start() -> None:
        try:
            instance.start()
        except _core.LambdaError as error:
            raised.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    assert entered.wait(10)
    assert instance.stop(0.05) is False
    assert instance.state == "stuck"
    thread.join(10)
    assert not gate.is_set(), "the start does not wait for `on_start`"
    text = "instance late not started: it was stopped while a callback on its host did not return"
    assert str(raised[0]) == text
    gate.set()
    assert ended.wait(10)
    assert core.routes() == []
    assert instance.state == "stuck"
    assert host.stop(1) is False


def test_a_stop_before_the_start_prevents_it() -> None:
    host = _core.Core().host("thread")
    instance = host.add("one", callbacks={}, routes=[])
    assert instance.stop() is True
    with pytest.raises(_core.LambdaError, match="it is stopped; an instance starts only once"):
        instance.start()
    assert host.stop()


def test_exceptions_of_on_start_are_raised_by_start() -> None:
    def raises() -> None:
        raise OSError("no disk")

    host = _core.Core().host("thread")
    instance = host.add("bad", callbacks={}, routes=[], on_start=raises)
    with pytest.raises(OSError, match="no disk"):
        instance.start()
    assert instance.state == "failed"
    assert host.stop()


def test_a_backlog_in_a_shared_host_takes_nothing_from_others() -> None:
    core = _core.Core()
    deep, tickers, other = core.producer("p"), core.producer("q"), core.producer("r")
    symbols = [f"S{number}-USDT" for number in range(50)]
    rounds, backlog = 200, 1 << 14
    permits, handled = threading.Semaphore(0), threading.Semaphore(0)
    prices: list[int] = []
    received: list[int] = []

    def slow(_trade: Any) -> None:
        permits.acquire()
        handled.release()

    shared = core.host("shared", batch=32)
    routes = [("p", "Trade", "BTC-USDT")]
    shared.add("deep", callbacks={"Trade": slow}, routes=routes, capacity=backlog).start()
    ticking = shared.add(
        "ticking",
        callbacks={"Ticker": lambda ticker: prices.append(int(ticker.last))},
        routes=[("q", "Ticker", symbol) for symbol in symbols],
    )
    ticking.start()
    host = core.host("thread")
    host.add(
        "other",
        callbacks={"Trade": lambda event: received.append(int(event.trade_id))},
        routes=[("r", "Trade", "ETH-USDT")],
        capacity=16,
        policies={"Trade": "block"},
    ).start()
    for number in range(backlog):
        deep.publish("Trade", "BTC-USDT", {"tradeId": str(number), "price": "1", "quantity": "1"})
    for number in range(1, rounds + 1):
        for symbol in symbols:
            tickers.publish("Ticker", symbol, {"lastPrice": str(number)})
        other.publish("Trade", "ETH-USDT", {"tradeId": str(number), "price": "1", "quantity": "1"})
        permits.release(20)
        for _ in range(20):
            assert handled.acquire(timeout=20)
    assert core.stats()["event_pool"]["exhausted"] == 0, "the shared host holds no more than it has claimed"
    assert ticking.stats()["conflated"] != {}, "tickers that wait are replaced by later ones"
    assert max(prices) > rounds - 20, "the backlog does not delay the tickers"
    permits.release(backlog)
    assert deep.drain(60)
    assert received == list(range(1, rounds + 1))
    assert all(each.stop(20) for each in (host, shared))


@contextlib.contextmanager
def turns() -> Generator[Callable[[], int]]:
    """Yields a function that returns how often another thread has had the interpreter.

    The other thread gets it only when this one gives it up: it is never taken away. On a busy machine the
    thread may be late, so that a call has to be repeated until it has had its turn.
    """
    count = 0
    ending = threading.Event()

    def work() -> None:
        nonlocal count
        while not ending.is_set():
            count += 1
            time.sleep(0.001)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield lambda: count
    finally:
        sys.setswitchinterval(before)
        ending.set()
        thread.join()


def test_the_interpreter_is_free_while_the_pools_grow() -> None:
    core = _core.Core(max_pool_bytes=1 << 33)
    hosts: list[_core.Host] = []
    with turns() as count:
        before = count()
        while count() - before <= 5:
            hosts.append(core.host("thread"))
            hosts[-1].add("large", callbacks={}, routes=[("demo", "Trade", None)], capacity=1 << 20)
    assert all(host.stop() for host in hosts)


def test_the_interpreter_is_free_while_free_slots_are_counted() -> None:
    core = _core.Core(max_pool_bytes=1 << 32)
    host = core.host("thread")
    host.add("large", callbacks={}, routes=[("demo", "Trade", "BTC-USDT")], capacity=1 << 20)
    with turns() as count:
        before = count()
        pool = core.stats()["event_pool"]
        while count() == before:
            pool = core.stats()["event_pool"]
    assert pool["free"] == pool["capacity"] > 1 << 20
    assert host.stop()
