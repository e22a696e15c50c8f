"""Builds metric families from rows; the unit is the suffix of the name."""

from collections.abc import Iterable, Sequence

from meltica._core import Histogram, Metrics

Rows = Iterable[tuple[tuple[str, ...], float]]
"""Label values and the value of each row."""
Histograms = Iterable[tuple[tuple[str, ...], Histogram]]
"""Label values and the histogram of each row."""


def counter(name: str, text: str, labels: Iterable[str], rows: Rows) -> Metrics:
    """Returns a counter; `_total` is added to its name."""
    return Metrics("counter", name, text, list(labels), rows)


def gauge(name: str, text: str, labels: Iterable[str], rows: Rows) -> Metrics:
    """Returns a gauge."""
    return Metrics("gauge", name, text, list(labels), rows)


def histogram(name: str, text: str, labels: Iterable[str], rows: Histograms) -> Metrics:
    """Returns a histogram in seconds."""
    return Metrics("histogram", name, text, list(labels), rows)


def states(
    name: str,
    text: str,
    labels: Iterable[str],
    states: Sequence[str],
    rows: Iterable[tuple[tuple[str, ...], str]],
) -> Metrics:
    """Returns a gauge with the further label `state`: 1 for the state of a row, 0 for the others."""
    return Metrics("gauge", name, text, [*labels, "state"], rows, states)
