"""Description of a strategy for the control plane."""

import re
from typing import TYPE_CHECKING, NamedTuple, cast

import msgspec

from meltica.api.envelope import without_nulls
from meltica.api.strategies import Strategy
from meltica.errors import plain
from meltica.lambdas.base import Lambda
from meltica.lambdas.definition import CALLBACKS, overridden

if TYPE_CHECKING:
    from meltica.lambdas.config import LambdaConfig


class Description(NamedTuple):
    """What a class said of itself when it was loaded."""

    strategy: Strategy
    kinds: list[str]
    """The kinds that it subscribes to."""


_descriptions: dict[int, tuple[type[Lambda], Description]] = {}
"""By identity: comparing or hashing a class may run code of its metaclass."""


def description(cls: type[Lambda]) -> Description:
    """Returns what a class said of itself when it was loaded.

    The first call runs code of the strategy, on the thread that loads it: properties of a metaclass, methods
    of a subclass of `str`. Later calls run none.
    """
    found = _descriptions.get(id(cls))
    if found is None:
        found = _descriptions[id(cls)] = cls, _described(cls)
    return found[1]


def _described(cls: type[Lambda]) -> Description:
    kinds = [*map(plain, subscribed(cls))]
    try:
        # Through JSON, so that only its own types and valid texts are left.
        encoded = msgspec.json.encode(describe(cls), enc_hook=str)
        return Description(msgspec.convert(without_nulls(msgspec.json.decode(encoded)), Strategy), kinds)
    except Exception:
        name = plain(type.__dict__["__name__"].__get__(cls))
        return Description(
            Strategy(name=name, display_name=name, description="", config=[], events=kinds), kinds
        )


def subscribed(cls: type[Lambda]) -> list[str]:
    """Returns the kinds a class subscribes to: overridden callbacks and `needs`, in a fixed order."""
    kinds = {CALLBACKS[name] for name in overridden(cls, Lambda, CALLBACKS)} | set(cls.needs)
    return [kind for kind in CALLBACKS.values() if kind in kinds]


def name_of(cls: type[Lambda]) -> str:
    """Returns the name of a strategy: its attribute `name` if that is a string, else the class name."""
    return _text(cls, "name") or cls.__name__


def version_of(cls: type[Lambda]) -> str | None:
    """Returns the version of a strategy: its attribute `version` if that is a string, else None."""
    return _text(cls, "version") or None


def describe(cls: type[Lambda]) -> dict[str, object]:
    """Returns `{name, displayName, description, version?, config, events}` of a strategy.

    The class attributes `name`, `display_name`, `description` and `version` take precedence if they are
    strings; otherwise the class name and docstring are used.
    """
    strategy: dict[str, object] = {
        "name": name_of(cls),
        "displayName": _text(cls, "display_name") or _words(cls.__name__),
        "description": _text(cls, "description") or _first_paragraph(cls),
    }
    version = version_of(cls)
    if version is not None:
        strategy["version"] = version
    strategy["config"] = _config(cls.Config)
    strategy["events"] = subscribed(cls)
    return strategy


def _config(config: "type[LambdaConfig] | None") -> list[dict[str, object]]:
    if config is None:
        return []
    from meltica.lambdas.config import config_schema

    return config_schema(config)


def _text(cls: type[Lambda], attribute: str) -> str:
    value = cast(object, getattr(cls, attribute, None))
    return plain(value) if isinstance(value, str) else ""


def _words(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|_+", " ", name).strip()


def _first_paragraph(cls: type[Lambda]) -> str:
    text = _text(cls, "__doc__") if "__doc__" in cls.__dict__ else ""
    return " ".join(text.strip().split("\n\n", 1)[0].split())
