"""Strategies that come with Meltica. Each is a module of its own, called `large-trades` or `LargeTrades`."""

from pkgutil import iter_modules


def names() -> list[str]:
    """Returns the names of the shipped strategies."""
    return sorted(module.name.replace("_", "-") for module in iter_modules(__path__))


def find(name: str) -> str | None:
    """Returns the shipped strategy that a name means, as `names` has it; None when there is none such."""
    flat = _flat(name)
    return next((known for known in names() if _flat(known) == flat), None)


def _flat(name: str) -> str:
    return name.replace("-", "").replace("_", "").lower()
