"""Soak test of the event path: memory stays flat over millions of events.

    python -m tests.soak.events [EVENTS]       or       nox -s soak -- events [EVENTS]

It replays the generated session in a loop, without loss, through codec, books and dispatch into two lambdas,
each on its own thread. One lambda counts events. The other also keeps every thousandth event in a deque of
the last thousand. Kept events live on the heap; once the deque is full, memory that still grows is a leak.

The RSS is read at rest after every million events. The run fails when

- a reading is 5 MiB or more above the first,
- an event is lost or delivered twice,
- a kept event has changed, or
- a slot of the pools was not returned.
"""

import io
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from meltica import Event, Lambda
from meltica._core import Codec, Core
from meltica.adapters.binance.codec import BINANCE
from meltica.adapters.replay import sample
from meltica.lambdas.instances import LambdaInstance, add_instance

EVENTS = 50_000_000
EVERY = 1000
KEPT = 1000
STEP = EVERY * KEPT
"""Events between two readings of the RSS; the first million fills the deque."""
LIMIT = 5 << 20

KINDS = ("Trade", "Ticker", "BookSnapshot")


def fingerprint(event: Event) -> int:
    """Returns a hash of the contents of an event."""
    return hash(str(event.to_dict()))


class Counts(Lambda):
    """Counts events."""

    received = 0

    def receive(self, event: Event) -> None:
        """Handles an event of any kind."""
        self.received += 1

    def on_trade(self, trade: Event) -> None:
        self.receive(trade)

    def on_ticker(self, ticker: Event) -> None:
        self.receive(ticker)

    def on_book_snapshot(self, book: Event) -> None:
        self.receive(book)


class Keeps(Counts):
    """Keeps every thousandth event with its fingerprint at delivery."""

    def __init__(self) -> None:
        self.kept: deque[tuple[Event, int]] = deque(maxlen=KEPT)
        self.kept_total = 0

    def receive(self, event: Event) -> None:
        self.received += 1
        if self.received % EVERY == 0:
            self.kept.append((event, fingerprint(event)))
            self.kept_total += 1


@dataclass
class Soaked:
    """The result of a run."""

    events: int
    seconds: float = 0.0
    kept: int = 0
    readings: list[int] = field(default_factory=list[int])
    """RSS at rest, in bytes, after every million events."""
    faults: list[str] = field(default_factory=list[str])

    @property
    def growth(self) -> int:
        """Largest difference between a reading of the RSS and the first one."""
        return max(self.readings, default=0) - self.readings[0] if self.readings else 0


def rss() -> int:
    """Returns the resident memory of this process in bytes."""
    import resource

    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def soak(events: int, report: Callable[[str], object] = lambda _: None) -> Soaked:
    """Replays at least `events` events; `Soaked.faults` lists the failures."""
    block = b"\n".join(sample.lines())
    core = Core()
    producer = core.producer("binance", Codec(BINANCE))
    hosts = [core.host("thread", clock="event") for _ in range(2)]
    instances: list[LambdaInstance] = []
    for host, cls in zip(hosts, (Counts, Keeps), strict=True):
        policies: dict[str, str] = dict.fromkeys(KINDS, "block")
        instances.append(add_instance(host, cls, id=cls.__name__, scope={"binance": "*"}, policies=policies))
        instances[-1].start()
    soaked, started = Soaked(events), time.monotonic()
    while core.stats()["dispatched"] < events:
        due = (len(soaked.readings) + 1) * STEP
        while core.stats()["dispatched"] < min(due, events):
            producer.restart(forget_ids=True)
            producer.replay([io.BytesIO(block)])
        producer.drain()
        if core.stats()["dispatched"] >= due:
            soaked.readings.append(rss())
            report(f"{due:>12,} events, RSS {soaked.readings[-1] / 2**20:.1f} MiB, {soaked.growth:+,} bytes")
    soaked.seconds = time.monotonic() - started
    if not all(host.stop() for host in hosts):
        soaked.faults.append("a host did not stop")
    soaked.faults.extend(faults(core, instances, soaked))
    return soaked


def faults(core: Core, instances: list[LambdaInstance], soaked: Soaked) -> Iterator[str]:
    """Yields the failures of a run."""
    core_stats = core.stats()
    feed = core_stats["providers"]["binance"]
    total = sum(feed["events"][kind] for kind in KINDS)
    losses = {
        name: feed[name] for name in ("errors", "gaps", "duplicates", "stale_ids", "no_slot") if feed[name]
    }
    if losses:
        yield f"the generated session was not replayed completely: {losses}"
    for instance in instances:
        stats, subject = instance.stats(), cast(Counts, instance.subject)
        if subject.received != total or sum(stats["delivered"][kind] for kind in KINDS) != total:
            yield f"{instance.id}: expected {total:,} events, saw {subject.received:,}: {stats}"
        if stats["dropped"] or stats["errors"]:
            yield f"{instance.id}: expected no loss and no error, saw {stats}"
        if isinstance(subject, Keeps):
            soaked.kept = subject.kept_total
            if subject.kept_total != total // EVERY or len(subject.kept) != min(KEPT, total // EVERY):
                yield f"{instance.id}: expected every {EVERY}th event to be kept, saw {subject.kept_total:,}"
            changed = sum(fingerprint(event) != original for event, original in subject.kept)
            if changed:
                yield f"{instance.id}: {changed} of the kept events have changed"
    for pool in ("event_pool", "book_pool"):
        if core_stats[pool]["free"] != core_stats[pool]["capacity"]:
            yield f"{pool}: slots were not returned: {core_stats[pool]}"
    if soaked.growth >= LIMIT:
        yield f"expected RSS to grow by less than {LIMIT:,} bytes, but it grew by {soaked.growth:,}"


def main() -> int:
    """Runs the soak test, prints the result and returns the exit code."""
    events = int(sys.argv[1].replace("_", "")) if len(sys.argv) > 1 else EVENTS
    soaked = soak(events, report=print)
    rate = soaked.events / soaked.seconds
    print(f"{soaked.events:,} events in {soaked.seconds:.0f} s ({rate:,.0f}/s), {soaked.kept:,} kept")
    print(f"RSS grew by {soaked.growth:,} bytes after the first {STEP:,} events; the limit is {LIMIT:,}")
    for fault in soaked.faults:
        print(f"fault: {fault}")
    return 1 if soaked.faults else 0


if __name__ == "__main__":
    sys.exit(main())
