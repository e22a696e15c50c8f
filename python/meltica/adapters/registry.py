"""Finds adapters and codecs by name, through entry points.

A package adds its own with `[project.entry-points."meltica.adapters"]` or
`[project.entry-points."meltica.codecs"]`.
"""

from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from meltica.errors import ConfigError, suggestion

if TYPE_CHECKING:
    from meltica.adapters.base import Adapter
    from meltica.adapters.codec import Codec

ADAPTERS = "meltica.adapters"
CODECS = "meltica.codecs"


def adapter(name: str) -> "type[Adapter]":
    """Returns the adapter class `name`. Raises ConfigError when it is unknown or cannot be loaded."""
    from meltica.adapters.base import Adapter

    loaded = _load(ADAPTERS, "adapter", name)
    if not (isinstance(loaded, type) and issubclass(loaded, Adapter)):
        raise ConfigError("adapter", [f"`{name}` is not a subclass of meltica.adapters.Adapter: {loaded!r}"])
    return loaded


def codec(name: str) -> "Codec":
    """Returns the codec declaration `name`. Raises ConfigError when it is unknown or cannot be loaded."""
    from meltica.adapters.codec import Codec

    loaded = _load(CODECS, "codec", name)
    if not isinstance(loaded, Codec):
        raise ConfigError("codec", [f"`{name}` is not a meltica.adapters.Codec: {loaded!r}"])
    return loaded


def names(group: str) -> list[str]:
    """Returns the names of a group, sorted."""
    return sorted({point.name for point in entry_points(group=group)})


def _load(group: str, what: str, name: str) -> object:
    found: EntryPoint | None = next(iter(entry_points(group=group, name=name)), None)
    if found is None:
        available = names(group)
        listed = f" (known: {', '.join(available)})" if available else ""
        raise ConfigError(what, [f"`{name}` is unknown{suggestion(name, available)}{listed}"])
    try:
        return found.load()
    except Exception as error:
        raise ConfigError(what, [f"`{name}` ({found.value}) cannot be loaded: {error}"]) from error
