"""The metrics of a scrape in the form of OTLP.

The bounds of the core's histograms are powers of two, like those of an exponential histogram of scale 0, so
the counts are exported as they are, and durations in ns. Values below the first bound are counted in the
bucket that ends there, values above the last bound in the next one.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from meltica.telemetry.registry import Distribution
from meltica.telemetry.registry import Family as Read

_UNITS = {"seconds": "s", "bytes": "By"}


class Exponential(NamedTuple):
    """An exponential histogram of scale 0: bucket `i` counts the values from 2^(offset + i) on."""

    offset: int
    counts: list[int]
    sum: float


class Family(NamedTuple):
    """One metric with all its rows."""

    name: str
    text: str
    unit: str
    kind: str
    """`counter`, `gauge` or `histogram`."""
    numbers: list[tuple[Mapping[str, str], float]]
    histograms: list[tuple[Mapping[str, str], Exponential]]


def families(found: Iterable[Read]) -> Iterator[Family]:
    """Yields the metrics of a scrape."""
    for kind, name, text, labels, rows in found:
        is_time = name.endswith("_seconds")
        unit = next((short for word, short in _UNITS.items() if name.endswith(word)), "1")
        numbers: list[tuple[Mapping[str, str], float]] = []
        histograms: list[tuple[Mapping[str, str], Exponential]] = []
        for values, value in rows:
            of = dict(zip(labels, values, strict=True))
            if isinstance(value, tuple):
                histograms.append((of, _exponential(value, 1e9 if is_time else 1)))
            else:
                numbers.append((of, value))
        if kind == "histogram":
            name, unit = name.removesuffix("_seconds"), "ns" if is_time else "1"
        yield Family(name, text, unit, kind, numbers, histograms)


def exponential(bounds: list[int], counts: list[int], total: int, sum: float) -> Exponential:
    """Returns a histogram from its bounds, the number of values below each, all values, and their sum."""
    each = [count - before for count, before in zip([*counts, total], [0, *counts], strict=True)]
    return Exponential(bounds[0].bit_length() - 2, each, sum)


def _exponential(of: Distribution, factor: float) -> Exponential:
    bounds, counts, total, sum = of
    return exponential([round(bound * factor) for bound in bounds], counts, total, sum * factor)
