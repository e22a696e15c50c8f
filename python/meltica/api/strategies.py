"""`/strategies`: the strategies of the gateway and their settings."""

from msgspec import UNSET, UnsetType

from meltica.api.adapters import Setting
from meltica.api.envelope import Schema


class StrategySetting(Setting, frozen=True, kw_only=True):
    """One setting of a strategy."""

    description: str


class Strategy(Schema, frozen=True, kw_only=True):
    """A strategy and its settings."""

    name: str
    display_name: str
    description: str
    version: str | UnsetType = UNSET
    config: list[StrategySetting]
    events: list[str]
    """Kinds of events that the strategy subscribes to."""


class Strategies(Schema, frozen=True, kw_only=True):
    """All strategies, by name."""

    strategies: list[Strategy]
