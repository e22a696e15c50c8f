"""The metric registry: every measured package registers a collector, and a scrape runs them all.

A scrape has two steps. `MetricRegistry.scrape` runs the collectors on the event loop's thread, where each
copies the state of that thread; `Scrape.render` turns the copies into text on any thread, because reading
the core's counters and formatting thousands of series would block the loop.
`docs/telemetry.md` explains each metric; a test compares the page with what is rendered.

Labels have few values: names from the configuration, event kinds, states and error categories.
"""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from meltica.telemetry.process import threads

Reading = Callable[[], Iterable[Metric]]
"""Yields the metrics of one scrape; runs on any thread."""
Source = Callable[[], Reading]
"""Copies the state of the event loop's thread, and returns the reading of the copy."""


class MetricRegistry:
    """The collectors of one process, in the order of their registration."""

    def __init__(self) -> None:
        self._sources: list[Source] = []

    def register(self, source: Source) -> None:
        """Adds a collector; every later scrape runs it."""
        self._sources.append(source)

    def scrape(self) -> "Scrape":
        """Runs the first step of every collector. Call it on the event loop's thread."""
        return Scrape([source() for source in self._sources])


class Scrape(Collector):
    """The readings of one scrape."""

    def __init__(self, readings: Iterable[Reading]) -> None:
        self._readings = list(readings)

    def collect(self) -> Iterator[Metric]:
        """Yields every metric, those of the process last."""
        for reading in self._readings:
            yield from reading()
        yield from ProcessCollector(registry=None).collect()
        yield from threads()

    def render(self, accept: str) -> tuple[str, str]:
        """Returns the text in the best format that an `Accept` header names, and its media type."""
        encode, media_type = choose_encoder(accept)
        return encode(self).decode(), media_type
