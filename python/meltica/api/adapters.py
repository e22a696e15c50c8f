"""`/adapters`: the installed adapters and their settings."""

from typing import Any, Literal

from msgspec import UNSET, UnsetType

from meltica.api.envelope import Schema


class Setting(Schema, frozen=True, kw_only=True):
    """One setting of an adapter."""

    name: str
    type: Literal["string", "int", "float", "bool", "decimal", "duration", "list", "object"]
    """The type of the value."""
    default: Any | UnsetType = UNSET
    """The value if none is given, as it may be given; absent without one, and for secrets."""
    required: bool
    """Whether a value must be given."""


class Adapter(Schema, frozen=True, kw_only=True):
    """An adapter: the code that speaks the protocol of one venue."""

    identifier: str
    display_name: str
    """The name for people."""
    venue: str
    """The venue that it connects to."""
    description: str | UnsetType = UNSET
    """Text for people."""
    capabilities: list[str]
    """Kinds of data and of orders that it serves."""
    settings_schema: list[Setting]
    """The settings that a provider of it takes."""


class Adapters(Schema, frozen=True, kw_only=True):
    """All adapters, by identifier."""

    adapters: list[Adapter]
    """All of them."""
