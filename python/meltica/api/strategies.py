"""`/strategies`: the strategies of the gateway and their settings."""

from msgspec import UNSET, UnsetType

from meltica.api.adapters import Setting
from meltica.api.envelope import Schema


class StrategySetting(Setting, frozen=True, kw_only=True):
    """One setting of a strategy."""

    description: str
    """Text for people; empty without one."""


class Strategy(Schema, frozen=True, kw_only=True):
    """A strategy and its settings."""

    name: str
    display_name: str
    """The name for people."""
    description: str
    """The first line of its docstring; empty without one."""
    version: str | UnsetType = UNSET
    """The `version` of the class; absent without one."""
    config: list[StrategySetting]
    """Its settings."""
    events: list[str]
    """Kinds of events that the strategy subscribes to."""


class Strategies(Schema, frozen=True, kw_only=True):
    """All strategies, by name."""

    strategies: list[Strategy]
    """All of them."""
