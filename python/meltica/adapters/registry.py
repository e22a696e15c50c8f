"""Finds adapters and codecs by name, through entry points, and codecs in files.

A package adds its own with `[project.entry-points."meltica.adapters"]` or
`[project.entry-points."meltica.codecs"]`. Wherever the name of a codec is taken, `FILE.py:NAME` refers to the
declaration `NAME` of a Python file.
"""

import hashlib
import sys
from importlib.metadata import EntryPoint, entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, cast

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
    """Returns the codec declaration `name`, or that of `FILE.py:NAME`, or the only one of `FILE.py`.

    Raises ConfigError when it is unknown or cannot be loaded.
    """
    from meltica.adapters.codec import Codec

    path, _, attribute = name.partition(".py:") if ".py:" in name else (name.removesuffix(".py"), "", "")
    loaded = _of_file(Path(f"{path}.py"), attribute) if path != name else _load(CODECS, "codec", name)
    if not isinstance(loaded, Codec):
        parts = cast("tuple[object, ...]", loaded) if isinstance(loaded, tuple) else ()
        is_only = len(parts) == 1 and isinstance(parts[0], Codec)
        saw = "a tuple of one; remove the comma after it" if is_only else repr(cast("object", loaded))
        raise ConfigError("codec", [f"`{name}` is not a meltica.adapters.Codec: {saw}"])
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


def _of_file(path: Path, name: str) -> object:
    """Returns what a file defines as `name`, or its only codec."""
    from meltica.adapters.codec import Codec

    module = _module(path)
    codecs = [key for key, value in vars(module).items() if isinstance(value, Codec)]
    if not name and len(codecs) == 1:
        return getattr(module, codecs[0])
    if not hasattr(module, name):
        listed = ", ".join(codecs) or "none"
        wanted = (
            f"does not define `{name}`{suggestion(name, codecs)}" if name else "needs a name, `FILE.py:NAME`"
        )
        raise ConfigError("codec", [f"{path} {wanted}; codecs in it: {listed}"])
    return getattr(module, name)


def _module(path: Path) -> ModuleType:
    """Returns the module of a file, which is executed once for each content."""
    try:
        path = path.expanduser().absolute()
        # The name differs from that of every other file and content.
        name = f"_meltica_codec_{hashlib.sha256(bytes(path) + path.read_bytes()).hexdigest()[:16]}"
    except (OSError, RuntimeError) as error:
        raise ConfigError("codec", [f"{path}: cannot be read: {error}; give FILE.py:NAME"]) from None
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ConfigError("codec", [f"{path} cannot be loaded: {type(error).__name__}: {error}"]) from error
    return module
