"""Millions of events through codec, books, dispatch and two lambdas, and memory stays flat.

    python -m tests.soak.events [EVENTS]       or       nox -s soak -- events [EVENTS]

plays the generated session again and again, every queue lossless. Each lambda has a thread of its own. One
counts; the other also keeps every thousandth event, in a deque of the last thousand it kept. An event that
is kept lives on the heap for as long as it is held. Keeping all of them would grow by what they weigh,
which would have to be guessed and taken off again. Keeping and dropping them runs the same code without
that unknown: once the deque is full, memory that still grows is a leak, of a kept event or of anything
else.

RSS is read while all is at rest, after a million events and after each further million. The run fails when
a later reading is 5 MiB or more above the first, when an event is lost or seen twice, when a kept event has
changed, or when a slot of the pools did not come back.
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
"""Events between two readings of the RSS; the first of them fills the deque."""
LIMIT = 5 << 20

KINDS = ("Trade", "Ticker", "BookSnapshot")


def look(event: Event) -> int:
    """Returns a number that stands for all that an event says."""
    return hash(str(event.to_dict()))


class Counts(Lambda):
    """Counts events."""

    seen = 0

    def see(self, event: Event) -> None:
        """Takes one event of any kind."""
        self.seen += 1

    def on_trade(self, trade: Event) -> None:
        self.see(trade)

    def on_ticker(self, ticker: Event) -> None:
        self.see(ticker)

    def on_book_snapshot(self, book: Event) -> None:
        self.see(book)


class Keeps(Counts):
    """Keeps every thousandth event and what it looked like when it came."""

    def __init__(self) -> None:
        self.kept: deque[tuple[Event, int]] = deque(maxlen=KEPT)
        self.kept_ever = 0

    def see(self, event: Event) -> None:
        self.seen += 1
        if self.seen % EVERY == 0:
            self.kept.append((event, look(event)))
            self.kept_ever += 1


@dataclass
class Soaked:
    """What came of a run."""

    events: int
    seconds: float = 0.0
    kept: int = 0
    readings: list[int] = field(default_factory=list[int])
    """RSS at rest, bytes: after the first million events and each further one."""
    faults: list[str] = field(default_factory=list[str])

    @property
    def growth(self) -> int:
        """By how much RSS was above its first reading, at most."""
        return max(self.readings, default=0) - self.readings[0] if self.readings else 0


def rss() -> int:
    """Returns the resident memory of this process, bytes."""
    import resource

    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def soak(events: int, report: Callable[[str], object] = lambda _: None) -> Soaked:
    """Plays at least so many events; `Soaked.faults` lists the failures."""
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
            producer.restart()
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
    """Yields what went wrong."""
    known = core.stats()
    sent = known["providers"]["binance"]
    total = sum(sent["events"][kind] for kind in KINDS)
    wrong = {
        name: sent[name] for name in ("errors", "gaps", "duplicates", "stale_ids", "no_slot") if sent[name]
    }
    if wrong:
        yield f"the generated session was not played whole: {wrong}"
    for instance in instances:
        stats, subject = instance.stats(), cast(Counts, instance.subject)
        if subject.seen != total or sum(stats["delivered"][kind] for kind in KINDS) != total:
            yield f"{instance.id}: expected {total:,} events, saw {subject.seen:,}: {stats}"
        if stats["dropped"] or stats["errors"]:
            yield f"{instance.id}: expected no loss and no error, saw {stats}"
        if isinstance(subject, Keeps):
            soaked.kept = subject.kept_ever
            if subject.kept_ever != total // EVERY or len(subject.kept) != min(KEPT, total // EVERY):
                yield f"{instance.id}: expected every {EVERY}th event to be kept, saw {subject.kept_ever:,}"
            changed = sum(look(event) != looked for event, looked in subject.kept)
            if changed:
                yield f"{instance.id}: {changed} of the kept events are not what they were"
    for pool in ("event_pool", "book_pool"):
        if known[pool]["free"] != known[pool]["capacity"]:
            yield f"{pool}: slots did not come back: {known[pool]}"
    if soaked.growth >= LIMIT:
        yield f"expected RSS to grow by less than {LIMIT:,} bytes, it grew by {soaked.growth:,}"


def main() -> int:
    """Soaks, says how it went, returns the exit code."""
    events = int(sys.argv[1].replace("_", "")) if len(sys.argv) > 1 else EVENTS
    soaked = soak(events, report=print)
    rate = soaked.events / soaked.seconds
    print(f"{soaked.events:,} events in {soaked.seconds:.0f} s ({rate:,.0f} a second), {soaked.kept:,} kept")
    print(f"RSS grew by {soaked.growth:,} bytes after the first {STEP:,} events; the limit is {LIMIT:,}")
    for fault in soaked.faults:
        print(f"fault: {fault}")
    return 1 if soaked.faults else 0


if __name__ == "__main__":
    sys.exit(main())
