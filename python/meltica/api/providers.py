"""`/providers`: providers, their states and their counters."""

from typing import Literal

from msgspec import UNSET, UnsetType

from meltica.api.adapters import Adapter
from meltica.api.envelope import JsonObject, Schema


class ProviderBase(Schema, frozen=True, kw_only=True):
    """What a provider's summary and detail have in common."""

    name: str
    identifier: str
    """Of its adapter."""
    instrument_count: int
    settings: JsonObject
    running: bool
    status: Literal["pending", "starting", "running", "stopped", "failed"]
    startup_error: str | UnsetType = UNSET
    """Why its last start, or its last run, ended; absent once it runs."""
    connection_error: str | UnsetType = UNSET
    """Why nothing comes of it at present, though it runs; it connects again by itself."""
    route_error: str | UnsetType = UNSET
    """Why what lambdas want could not be subscribed; it is tried again."""
    desired: Literal["running", "stopped"]
    """What was asked for last; what a restart of the gateway brings back."""
    enabled: bool
    """What the configuration file says."""
    drift: bool
    """Whether the two differ."""
    baseline: bool
    """Whether it is from the configuration file."""
    restarts: int
    dependent_instances: list[str] | UnsetType = UNSET
    dependent_instance_count: int | UnsetType = UNSET


class ProviderSummary(ProviderBase, frozen=True, kw_only=True):
    """A provider in the list."""

    adapter: str
    """Identifier of its adapter."""


class Providers(Schema, frozen=True, kw_only=True):
    """All providers, by name."""

    providers: list[ProviderSummary]


class ProviderCounters(Schema, frozen=True, kw_only=True):
    """What came from a provider since the gateway started."""

    frames: int
    bytes: int
    events: dict[str, int]
    """Dispatched, by kind."""
    unwanted: int
    duplicates: int
    unknown_enums: int
    """Values of enumerations that the codec does not know."""
    gaps: int
    unsynced_books: int
    stale: dict[str, int]
    """Books that went stale, by reason."""
    errors: dict[str, int]
    """Bad frames, by what was wrong."""


class ProviderDetail(ProviderBase, frozen=True, kw_only=True):
    """One provider."""

    adapter: Adapter
    instruments: list[JsonObject]
    counters: ProviderCounters | UnsetType = UNSET
    """Absent before the first start."""
