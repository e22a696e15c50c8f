"""Builds Prometheus metric families from rows; the unit is the suffix of the name."""

from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from meltica._core import HISTOGRAM_BOUNDS_NS

Counts = tuple[list[int], int, int]
"""A histogram of the core: number of values below each bound, their sum in ns, and their number."""
Rows = Iterable[tuple[tuple[str, ...], float]]
"""Label values and the value of each row."""

_BOUNDS = tuple(repr(bound / 1e9) for bound in HISTOGRAM_BOUNDS_NS)


def counter(name: str, text: str, labels: Iterable[str], rows: Rows) -> Metric:
    """Returns a counter; `_total` is added to its name."""
    family = CounterMetricFamily(name, text, labels=tuple(labels), unit=_unit(name))
    for values, value in rows:
        family.add_metric(values, value)
    return family


def gauge(name: str, text: str, labels: Iterable[str], rows: Rows) -> Metric:
    """Returns a gauge."""
    family = GaugeMetricFamily(name, text, labels=tuple(labels), unit=_unit(name))
    for values, value in rows:
        family.add_metric(values, value)
    return family


def histogram(
    name: str, text: str, labels: Iterable[str], rows: Iterable[tuple[tuple[str, ...], Counts]]
) -> Metric:
    """Returns a histogram in seconds from rows of label values and counts."""
    family = HistogramMetricFamily(name, text, labels=tuple(labels), unit=_unit(name))
    for values, (counts, sum_ns, total) in rows:
        buckets: list[tuple[str, float]] = [*zip(_BOUNDS, counts, strict=True), ("+Inf", total)]
        family.add_metric(values, buckets, sum_ns / 1e9)
    return family


def by_kind(many: Mapping[str, Mapping[str, Any]], field: str) -> Rows:
    """Returns the rows (name, kind) of a field that counts by kind."""
    return [((name, kind), n) for name, one in many.items() for kind, n in one[field].items()]


def _unit(name: str) -> str:
    return next((unit for unit in ("seconds", "bytes") if name.endswith(unit)), "")
