"""Soak test of restarts: instances that start and stop leave memory, names and threads as they were.

    python -m tests.soak.restarts [RESTARTS]       or       nox -s soak -- restarts [RESTARTS]

Each restart runs one instance on a thread host of its own and one in a shared host, which lives on. Both read
trades, tickers and books of the same symbols, keep books, and emit an event under a new name. Readings are
compared after a warm-up of a tenth. The run fails when

- the RSS has grown by `LIMIT` or more,
- the number of threads, names, reserved bytes or slots has grown, or
- an instance did not stop or missed an event.
"""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from meltica import Event, Lambda
from meltica._core import Core
from meltica.lambdas.instances import LambdaInstance, add_instance
from tests.soak.venue import rss

RESTARTS = 10_000
LIMIT = 8 << 20
SYMBOLS = ("BTC-USDT", "ETH-USDT")
SIDES = {
    "bids": [{"price": "99", "quantity": "1"}, {"price": "98", "quantity": "1"}],
    "asks": [{"price": "101", "quantity": "1"}],
}
PAYLOADS = {
    "Trade": {"tradeId": "1", "price": "100", "quantity": "1"},
    "Ticker": {"lastPrice": "100"},
    "BookSnapshot": SIDES,
}
EVENTS = len(SYMBOLS) * len(PAYLOADS)


class Restarted(Lambda):
    """Uses each means of a strategy once."""

    received = 0
    books: list[Event]

    def on_start(self) -> None:
        self.books = []
        self.every(60, self.beat)
        self.emit(f"started-{time.monotonic_ns()}")

    def beat(self) -> None:
        """Does nothing."""

    def on_trade(self, trade: Event) -> None:
        self.received += 1

    def on_ticker(self, ticker: Event) -> None:
        self.received += 1

    def on_book_snapshot(self, book: Event) -> None:
        self.received += 1
        self.books.append(book)
        self.book(book.symbol)


@dataclass(frozen=True)
class Reading:
    """What restarts could leave behind."""

    rss: int
    threads: int
    names: int
    reserved_bytes: int
    event_slots: int
    book_slots: int
    slots_in_use: int


@dataclass
class Soaked:
    """The result of a run."""

    restarts: int
    readings: list[Reading] = field(default_factory=list[Reading])
    faults: list[str] = field(default_factory=list[str])


def _reading(core: Core) -> Reading:
    stats = core.stats()
    events, books = stats["event_pool"], stats["book_pool"]
    return Reading(
        rss=rss("self"),
        threads=len(list(Path("/proc/self/task").iterdir())),
        names=stats["names"],
        reserved_bytes=stats["reserved_bytes"],
        event_slots=events["capacity"],
        book_slots=books["capacity"],
        slots_in_use=events["capacity"] - events["free"] + books["capacity"] - books["free"],
    )


def soak(restarts: int, report: Callable[[str], object] = lambda _: None) -> Soaked:
    """Restarts instances; `Soaked.faults` lists the failures."""
    core = Core()
    producer, shared = core.producer("soak"), core.host("shared")
    soaked = Soaked(restarts)

    def run_instance(number: int) -> None:
        own = core.host("thread")
        instances: list[LambdaInstance] = []
        for name, host in (("own", own), ("shared", shared)):
            # Every third instance subscribes to all symbols.
            scope = {"soak": SYMBOLS if number % 3 else "*"}
            instances.append(add_instance(host, Restarted, id=name, scope=scope))
            instances[-1].start()
        for symbol in SYMBOLS:
            for kind, payload in PAYLOADS.items():
                producer.publish(kind, symbol, payload)
        producer.drain()
        for instance in instances:
            received = instance.subject.__dict__.get("received", 0)
            if not instance.stop() or received != EVENTS:
                soaked.faults.append(
                    f"restart {number}: {instance.id}: {instance.state}, {received} of {EVENTS} events"
                )
        if not own.stop():
            soaked.faults.append(f"restart {number}: the host did not stop")

    warm_up = max(restarts // 10, 1)
    for number in range(restarts):
        run_instance(number)
        if number + 1 == warm_up or number + 1 == restarts:
            soaked.readings.append(_reading(core))
        if (number + 1) % max(restarts // 10, 1) == 0:
            report(f"{number + 1:>8,} restarts: {_reading(core)}")
        if soaked.faults:
            break
    soaked.faults.extend(_growth(soaked.readings))
    shared.stop()
    return soaked


def _growth(readings: list[Reading]) -> Iterator[str]:
    before, after = readings[0], readings[-1]
    if after.rss - before.rss >= LIMIT:
        yield f"expected RSS to grow by less than {LIMIT:,} bytes, but it grew by {after.rss - before.rss:,}"
    for name in ("threads", "names", "reserved_bytes", "event_slots", "book_slots", "slots_in_use"):
        if getattr(after, name) > getattr(before, name):
            yield f"{name} grew from {getattr(before, name):,} to {getattr(after, name):,}"


def main() -> int:
    """Runs the soak test, prints the result and returns the exit code."""
    restarts = int(sys.argv[1].replace("_", "")) if len(sys.argv) > 1 else RESTARTS
    started = time.monotonic()
    soaked = soak(restarts, report=print)
    print(f"{soaked.restarts:,} restarts of two instances in {time.monotonic() - started:.0f} s")
    for fault in soaked.faults:
        print(f"fault: {fault}")
    return 1 if soaked.faults else 0


if __name__ == "__main__":
    sys.exit(main())
