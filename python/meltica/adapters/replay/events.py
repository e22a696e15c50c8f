"""Recorded events: one JSON line for each, in the form of `Event.to_dict()`."""

import heapq
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from threading import Event as Flag
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import orjson

from meltica._core import Event, stamp_fault
from meltica.adapters.replay.files import Recording
from meltica.adapters.replay.stamps import Stamps
from meltica.errors import ReplayError

if TYPE_CHECKING:
    from meltica._core import Producer

REPORT_NS = 100_000_000
EVENTS_PER_CHECK = 256


class Recorded(NamedTuple):
    """An event of a recording, its payload as JSON, and the number of its line."""

    event: Event
    payload: Mapping[str, Any]
    line: int


def parse(line: bytes, path: Path, number: int) -> Recorded:
    """Parses the event of a line. Raises ReplayError with file and line."""
    try:
        data = cast(object, orjson.loads(line))
        if not isinstance(data, dict):
            raise ValueError(f"expected an object, saw {type(data).__name__}")
        fields = cast(dict[str, Any], data)
        if not isinstance(fields.get("payload"), dict):
            raise ValueError('expected the key "payload" with an object')
        if "ingestTs" not in fields:
            raise ValueError('expected the key "ingestTs", the received time')
        return Recorded(Event.from_dict(fields), fields["payload"], number)
    except (ValueError, TypeError, KeyError) as error:
        raise ReplayError(f"{path}, line {number}: not a recorded event: {error}") from error


def read(recording: Recording, file: int) -> Iterator[tuple[int, Recorded]]:
    """Yields the events of one recording, each with the index `file`."""
    for number, line in recording.lines():
        yield file, parse(line, recording.path, number)


def merge(recordings: Sequence[Recording]) -> Iterator[tuple[int, Recorded]]:
    """Yields the events of several recordings by (received, file, line), each with the index of its file."""
    files = [read(recording, file) for file, recording in enumerate(recordings)]
    return heapq.merge(*files, key=lambda entry: entry[1].event.received_time)


def providers(paths: Sequence[Path]) -> list[str]:
    """Returns the provider names in recordings, sorted. Reads each file to its end or its damage.

    Raises ReplayError where a damage comes before the first event.
    """
    names: set[str] = set()
    for path in paths:
        found: set[str] = set()
        with closing(Recording(path)) as recording:
            try:
                for number, line in recording.lines():
                    found.add(parse(line, path, number).event.provider)
            except ReplayError:
                # The events before the damage are replayed; `publish` raises again.
                if not found:
                    raise
        names |= found
    return sorted(names)


class Pacer:
    """Paces recorded times at `speed` times the recorded speed; None never waits."""

    def __init__(self, speed: float | None, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._speed = speed
        self._clock = clock
        self._origin: tuple[int, int] | None = None

    def wait_for(self, recorded: int) -> float:
        """Returns the seconds to wait before an event with this recorded time, in nanoseconds."""
        if self._speed is None:
            return 0.0
        now = self._clock()
        if self._origin is None:
            self._origin = (recorded, now)
        first, started = self._origin
        return max(0.0, ((recorded - first) / self._speed - (now - started)) / 1e9)


def publish(
    recordings: Sequence[Recording],
    producers: "Mapping[str, Producer]",
    speed: float | None,
    stop: Flag,
    stamps: Stamps,
    progress: Callable[[], object] | None = None,
    *,
    restamp: bool = False,
) -> None:
    """Publishes recorded events under their own provider names, until they end or `stop` is set.

    `restamp` sets their received time to the present. Faults of received times go to `stamps`.
    """
    pacer = Pacer(speed)
    reported = time.monotonic_ns()
    last: int | None = None
    for number, (file, (event, payload, line)) in enumerate(merge(recordings)):
        if (fault := stamp_fault(event.received_time, last)) is not None:
            stamps(file, line, *fault)
        last = event.received_time
        wait = pacer.wait_for(event.received_time)
        if stop.wait(wait) if wait else stop.is_set():
            return
        producers[event.provider].publish(
            event.kind,
            event.symbol,
            payload,
            venue_time=event.venue_time,
            received_time=None if restamp else event.received_time,
        )
        if (
            progress is not None
            and number % EVENTS_PER_CHECK == 0
            and time.monotonic_ns() - reported > REPORT_NS
        ):
            reported = time.monotonic_ns()
            progress()
