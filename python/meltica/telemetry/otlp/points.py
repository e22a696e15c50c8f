"""The metrics of a scrape in the form of OTLP.

The bounds of the core's histograms are powers of two, like those of an exponential histogram of scale 0, so
the counts are exported as they are, and durations in ns. Values below the first bound are counted in the
bucket that ends there, values above the last bound in the next one.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, cast

from prometheus_client.core import Metric

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
    kind: Literal["counter", "gauge", "histogram"]
    numbers: list[tuple[Mapping[str, str], float]]
    histograms: list[tuple[Mapping[str, str], Exponential]]


def families(metrics: Iterable[Metric]) -> Iterator[Family]:
    """Yields the metrics of a scrape."""
    for metric in metrics:
        kind = metric.type if metric.type in ("counter", "histogram") else "gauge"
        if kind == "histogram":
            is_time = metric.name.endswith("_seconds")
            name, unit = metric.name.removesuffix("_seconds"), "ns" if is_time else "1"
            yield Family(name, metric.documentation, unit, kind, [], list(_histograms(metric, is_time)))
            continue
        samples = [each for each in cast(Any, metric).samples if not each.name.endswith("_created")]
        numbers = [(cast(Mapping[str, str], each.labels), float(each.value)) for each in samples]
        unit = next((short for word, short in _UNITS.items() if metric.name.endswith(word)), "1")
        yield Family(metric.name, metric.documentation, unit, cast(Any, kind), numbers, [])


def exponential(bounds: list[int], counts: list[int], total: int, sum: float) -> Exponential:
    """Returns a histogram from its bounds, the number of values below each, all values, and their sum."""
    each = [count - before for count, before in zip([*counts, total], [0, *counts], strict=True)]
    return Exponential(bounds[0].bit_length() - 2, each, sum)


def _histograms(metric: Metric, is_time: bool) -> Iterator[tuple[Mapping[str, str], Exponential]]:
    factor = 1e9 if is_time else 1
    rows: dict[tuple[tuple[str, str], ...], dict[str, float]] = {}
    for sample in cast(Any, metric).samples:
        labels = cast(dict[str, str], sample.labels)
        key = tuple((name, value) for name, value in labels.items() if name != "le")
        rows.setdefault(key, {})[labels.get("le") or sample.name.rpartition("_")[2]] = sample.value
    for key, row in rows.items():
        bounds = [each for each in row if each not in ("+Inf", "count", "sum", "created")]
        yield (
            dict(key),
            exponential(
                [round(float(each) * factor) for each in bounds],
                [int(row[each]) for each in bounds],
                int(row["+Inf"]),
                row["sum"] * factor,
            ),
        )
