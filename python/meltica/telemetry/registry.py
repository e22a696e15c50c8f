"""The metric registry: every measured package registers a collector, and a scrape runs them all.

A scrape has two steps. `MetricRegistry.scrape` runs the collectors on the event loop's thread, where each
copies the state of that thread; `Scrape.render` turns the copies into text on any thread. The core reads its
own counters and writes the text without the interpreter.
`docs/TELEMETRY_POINTS.md` explains each metric; a test compares the page with what is rendered.

Labels have few values: names from the configuration, event kinds, states and error categories.
"""

from collections.abc import Callable, Iterable
from typing import Final

from meltica._core import Metrics, metrics_families, metrics_text
from meltica.telemetry.process import process_metrics

Reading = Callable[[], Iterable[Metrics]]
"""Yields the metrics of one scrape; runs on any thread."""
Source = Callable[[], Reading]
"""Copies the state of the event loop's thread, and returns the reading of the copy."""

Distribution = tuple[list[float], list[int], int, float]
"""Bounds, number of values up to each bound, number of all values, their sum."""
Family = tuple[str, str, str, list[str], list[tuple[list[str], float | Distribution]]]
"""Type, name, help, names of the labels, rows of their values and the value."""

PLAIN: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"


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


class Scrape:
    """The readings of one scrape."""

    def __init__(self, readings: Iterable[Reading]) -> None:
        self._readings = [process_metrics, *readings]

    def render(self, accept: str) -> tuple[str, str]:
        """Returns the text in the best format that an `Accept` header names, and its media type."""
        is_open = any(_is_openmetrics(part) for part in accept.split(","))
        text = metrics_text(self._collect(), openmetrics=is_open)
        return text, OPENMETRICS if is_open else PLAIN

    def families(self) -> list[Family]:
        """Returns what `render` writes, as values; see `meltica._core.metrics_families`."""
        return metrics_families(self._collect())

    def _collect(self) -> list[Metrics]:
        return [each for reading in self._readings for each in reading()]


def _is_openmetrics(accepted: str) -> bool:
    media_type, *parameters = (part.strip().replace(" ", "") for part in accepted.lower().split(";"))
    return media_type == "application/openmetrics-text" and "q=0" not in parameters
