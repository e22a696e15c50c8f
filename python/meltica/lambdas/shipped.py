"""Strategies in installed packages, discovered by the entry point `meltica.strategies`.

An entry point names a module that defines one strategy: `large-trades = "meltica.strategies.large_trades"`.
`LargeTrades`, `large_trades` and `large-trades` select the same one.
"""

from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

GROUP = "meltica.strategies"


def names() -> list[str]:
    """Returns the names of the shipped strategies, sorted."""
    return sorted(_points())


def find(name: str) -> str | None:
    """Returns the shipped strategy that a name selects, spelled as in `names`; None when none matches."""
    return next((candidate for candidate in names() if _normalize(candidate) == _normalize(name)), None)


def module(name: str) -> str:
    """Returns the dotted name of a shipped strategy's module. Raises KeyError for a name not in `names`."""
    return _points()[name].value


def source(name: str) -> Path:
    """Returns the source file of a shipped strategy, without importing its module."""
    spec = find_spec(module(name))
    if spec is None or spec.origin is None:
        raise ImportError(f"{module(name)}: the module of strategy `{name}` has no source file")
    return Path(spec.origin)


def _points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def _normalize(name: str) -> str:
    return name.replace("-", "").replace("_", "").lower()
