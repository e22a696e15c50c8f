"""Panels of dashboards, and the queries that they have in common.

In an expression, `@` stands for the matchers of the gateways that the user selected, and `[~]` for the
interval of a rate. `>= 0` after a quantile leaves out series without observations, whose quantile is NaN.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Panel:
    """A panel: its queries by their legends."""

    title: str
    unit: str
    queries: dict[str, str]
    text: str = ""
    kind: str = "timeseries"


@dataclass(frozen=True)
class Board:
    """A dashboard: its panels by the titles of their rows."""

    title: str
    rows: dict[str, list[Panel]] = field(default_factory=dict[str, list[Panel]])

    @property
    def uid(self) -> str:
        """The name of its file, and its id in Grafana."""
        return "meltica-" + self.title.lower().replace(" ", "-")


def lines(title: str, unit: str, text: str = "", /, **queries: str) -> Panel:
    """Returns a panel with a line for each series; underscores in the names of queries are spaces."""
    return Panel(title, unit, {legend.replace("_", " "): query for legend, query in queries.items()}, text)


def each(title: str, unit: str, legend: str, query: str, text: str = "") -> Panel:
    """Returns a panel of one query; the legend contains labels in braces, as in `{provider}`."""
    return Panel(title, unit, {legend.replace("{", "{{").replace("}", "}}"): query}, text)


def stat(title: str, query: str, unit: str = "none", text: str = "") -> Panel:
    """Returns a panel with a single number."""
    return Panel(title, unit, {title: query}, text, kind="stat")


def rate(metric: str, by: str) -> str:
    """Returns the rate of a counter by some labels."""
    return f"sum by ({by}) (rate({metric}{{@}}[~]))"


def total(metric: str, by: str) -> str:
    """Returns the sum of a gauge by some labels."""
    return f"sum by ({by}) ({metric}{{@}})"


def quantile(share: float, metric: str, by: str) -> str:
    """Returns a quantile of a histogram by some labels."""
    return f"histogram_quantile({share}, sum by (le, {by}) (rate({metric}_bucket{{@}}[~]))) >= 0"


def quantiles(title: str, metric: str, by: str, text: str = "") -> Panel:
    """Returns a panel of the median and the 99th percentile of a duration."""
    legend = " ".join(f"{{{{{label.strip()}}}}}" for label in by.split(","))
    return Panel(
        title, "s", {f"p{share * 100:g} {legend}": quantile(share, metric, by) for share in (0.5, 0.99)}, text
    )
