"""Hostile instances, by name: each takes what it can of what it shares with others."""

import io
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from meltica import Lambda
from meltica._core import BookSnapshot, Codec, Core, Event, Host, Instance, Producer, Ticker, Trade
from meltica.adapters.binance.codec import BINANCE
from meltica.lambdas.instances import LambdaInstance, add_instance
from tests.isolation.lines import tickers, trades

PATIENCE = 60.0
SYMBOLS = [f"S{n}" for n in range(10_000)]
BOOK = {
    "bids": [{"price": str(price), "quantity": "1"} for price in range(100, 75, -1)],
    "asks": [{"price": str(price), "quantity": "1"} for price in range(101, 126)],
}
PRIVATE = 70_000
"""Account events beyond the length at which an instance is halted."""


class Load:
    """The load of one hostile instance, on threads that end with it."""

    def __init__(self, core: Core, seconds: float) -> None:
        self.core, self.seconds = core, seconds
        self.ended, self.gate = threading.Event(), threading.Event()
        self._under_way = threading.Event()
        self._threads: list[threading.Thread] = []
        self._producers: list[Producer] = []
        self._instances: list[Instance] = []

    def add(self, cls: type[Lambda], *, host: Host | None = None, **options: Any) -> LambdaInstance:
        """Starts an instance, on a thread host of its own unless a host is given."""
        options.setdefault("id", "hostile")
        instance = add_instance(host or self.core.host("thread"), cls, **options)
        instance.subject.__dict__["load"] = self
        instance.start()
        self._instances.append(instance.core)
        return instance

    def under_way(self) -> None:
        """Reports that the load is at its worst; the innocent instance's trades begin."""
        self._under_way.set()

    def wait_until_under_way(self) -> None:
        """Waits for `under_way`."""
        if not self._under_way.wait(PATIENCE):
            raise RuntimeError("the hostile load did not start")

    def run(self, work: Callable[[], object]) -> None:
        """Runs `work` on a thread; it must end soon after `ended`."""
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self._threads.append(thread)

    def replay(self, provider: str, lines: bytes) -> None:
        """Feeds lines at their pace, again and again until the end."""
        producer = self.core.producer(provider, Codec(BINANCE))
        self._producers.append(producer)

        def feed() -> None:
            while not self.ended.is_set():
                producer.restart(forget_ids=True)
                producer.replay([io.BytesIO(lines)], speed=1.0)

        self.run(feed)

    def end(self) -> None:
        """Ends the load."""
        self.ended.set()
        for producer in self._producers:
            producer.stop()
        for thread in self._threads:
            thread.join(PATIENCE)

    def summary(self) -> str:
        """Returns the losses of the hostile instances."""
        each = (f"{instance.id}: {instance.stats()['dropped']} dropped" for instance in self._instances)
        return ", ".join(each)


class Loaded(Lambda):
    """A strategy that knows the load that it is part of."""

    load: Load


def alone(load: Load) -> None:
    """No hostile instance, for comparison."""
    load.under_way()


def wildcard(load: Load) -> None:
    """Tickers of 10,000 symbols in a queue that is not read."""

    class Stuck(Loaded):
        def on_ticker(self, ticker: Ticker) -> None:
            self.load.ended.wait(PATIENCE)

    load.add(Stuck, scope={"loud": "*"})
    producer = load.core.producer("loud")

    def publish() -> None:
        while not load.ended.is_set():
            for symbol in SYMBOLS:
                producer.publish("Ticker", f"{symbol}-USDT", {"lastPrice": "1"})
            load.under_way()
            load.ended.wait(0.05)

    load.run(publish)


def kept_books(load: Load) -> None:
    """Books of 500 symbols, all of them kept: by `self.book` and in a list."""

    class Keeps(Loaded):
        def __init__(self) -> None:
            self.kept: deque[BookSnapshot] = deque(maxlen=20_000)

        def on_book_snapshot(self, book: BookSnapshot) -> None:
            self.kept.append(book)
            self.book(book.symbol)

    load.add(Keeps, scope={"loud": "*"})
    producer = load.core.producer("loud")

    def publish() -> None:
        while not load.ended.is_set():
            for symbol in SYMBOLS[:500]:
                producer.publish("BookSnapshot", f"{symbol}-USDT", BOOK)
            load.under_way()
            load.ended.wait(0.05)

    load.run(publish)


def _busy(name: str, hold: Callable[[Load], object]) -> Callable[[Load], None]:
    def hostile(load: Load) -> None:
        class Busy(Loaded):
            def on_trade(self, trade: Trade) -> None:
                self.load.under_way()
                hold(self.load)

        load.add(Busy, scope={"loud": ["ETH-USDT"]})
        load.replay("loud", trades("ETHUSDT", int(2000 * load.seconds), 2000))

    hostile.__name__ = name
    return hostile


def _spin(load: Load) -> None:
    while not load.ended.is_set():
        pass


def _spin_2_ms(_: Load) -> None:
    until = time.perf_counter_ns() + 2_000_000
    while time.perf_counter_ns() < until:
        pass


def emits(load: Load) -> None:
    """Extension events as fast as it can, each under its own name, and an instance that receives them."""

    class Emits(Loaded):
        def on_trade(self, trade: Trade) -> None:
            n = 0
            while not self.load.ended.is_set():
                n += 1
                self.emit(f"order-{n}", {"n": n})
                if n == 1000:
                    self.load.under_way()

    class Receives(Loaded):
        def on_extension(self, event: Event) -> None:
            pass

    load.add(Receives, id="receives", scope={"loud": ["ETH-USDT"]})
    load.add(Emits, scope={"loud": ["ETH-USDT"]})
    load.replay("loud", trades("ETHUSDT", 1000, 1000))


def restarts(load: Load) -> None:
    """An instance on the innocent one's symbol and on every other, stopped and started every 100 ms."""

    class Restarts(Loaded):
        def on_trade(self, trade: Trade) -> None:
            pass

        def on_ticker(self, ticker: Ticker) -> None:
            pass

    def run() -> None:
        while not load.ended.is_set():
            host = load.core.host("thread")
            instance = add_instance(host, Restarts, id="restarts", scope={"quiet": "*", "loud": "*"})
            instance.start()
            load.ended.wait(0.1)
            host.stop()
            load.under_way()

    load.replay("loud", tickers([f"{symbol}USDT" for symbol in SYMBOLS[:500]], 5000, 5000))
    load.run(run)


def backlog(load: Load) -> None:
    """A shared host with a full queue of slow trades, and tickers that must not be read ahead of them."""
    host = load.core.host("shared", batch=32)
    symbols = SYMBOLS[:100]

    class Deep(Loaded):
        def on_trade(self, trade: Trade) -> None:
            self.load.gate.wait(PATIENCE)
            time.sleep(0.0002)

    class Wide(Loaded):
        def on_ticker(self, ticker: Ticker) -> None:
            pass

    scope = {"loud": ["ETH-USDT"], "deep": ["ETH-USDT"]}
    load.add(Deep, host=host, id="deep", scope=scope, capacity=1 << 15)
    load.add(Wide, host=host, id="wide", scope={"wide": [f"{symbol}-USDT" for symbol in symbols]})
    producer = load.core.producer("loud")
    for n in range(1 << 15):
        producer.publish("Trade", "ETH-USDT", {"tradeId": str(n), "price": "1", "quantity": "1"})
    load.replay("deep", trades("ETHUSDT", int(20_000 * load.seconds), 20_000))
    load.replay("wide", tickers([f"{symbol}USDT" for symbol in symbols], 25_000, 25_000))
    load.gate.set()
    load.under_way()


def halted(load: Load) -> None:
    """An instance that does not handle its account's events until it is halted."""

    class Halted(Loaded):
        def on_balance_update(self, balance: Event) -> None:
            self.load.ended.wait(PATIENCE)

    load.add(Halted, scope={"loud": "*"})
    producer = load.core.producer("loud")

    def publish() -> None:
        for _ in range(PRIVATE):
            producer.publish("BalanceUpdate", "USDT", {"total": "1", "available": "1"})
        load.under_way()
        while not load.ended.wait(0.001):
            producer.publish("BalanceUpdate", "USDT", {"total": "1", "available": "1"})

    load.run(publish)


HOSTILE: dict[str, Callable[[Load], None]] = {
    "alone": alone,
    "wildcard": wildcard,
    "kept_books": kept_books,
    "spinning": _busy("spinning", _spin),
    "sleeping": _busy("sleeping", lambda load: load.ended.wait(0.5)),
    "emits": emits,
    "restarts": restarts,
    "backlog": backlog,
    "slow_callbacks": _busy("slow_callbacks", _spin_2_ms),
    "halted": halted,
}
