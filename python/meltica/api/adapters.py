"""`/adapters`: the installed adapters and their settings."""

from typing import Any, Literal

from msgspec import UNSET, UnsetType

from meltica.api.envelope import Schema


class Setting(Schema, frozen=True, kw_only=True):
    """One setting of an adapter."""

    name: str
    type: Literal["string", "int", "float", "bool", "decimal", "duration", "list", "object"]
    default: Any | UnsetType = UNSET
    required: bool


class Adapter(Schema, frozen=True, kw_only=True):
    """An adapter: the code that speaks the protocol of one venue."""

    identifier: str
    display_name: str
    venue: str
    description: str | UnsetType = UNSET
    capabilities: list[str]
    settings_schema: list[Setting]


class Adapters(Schema, frozen=True, kw_only=True):
    """All adapters, by identifier."""

    adapters: list[Adapter]
