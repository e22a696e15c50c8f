"""`/providers`: providers, their states and their counters."""

from typing import Any, Literal

from msgspec import UNSET, UnsetType

from meltica.api.adapters import Adapter
from meltica.api.envelope import JsonObject, Schema
from meltica.runtime.lifecycle import Desired, ProviderState
from meltica.validation.section import Name, Section


class ProviderBase(Schema, frozen=True, kw_only=True):
    """The keys of both the summary and the detail of a provider."""

    name: str
    identifier: str
    """The identifier of its adapter."""
    instrument_count: int
    """How many instruments the venue has; 0 before the first start."""
    settings: JsonObject
    """As configured, with defaults; secrets read as `********`."""
    running: bool
    """True if `status` is `running`."""
    status: ProviderState
    """The actual state."""
    startup_error: str | UnsetType = UNSET
    """Why the last start or run failed; absent while the provider runs."""
    connection_error: str | UnsetType = UNSET
    """Why a running provider is disconnected from its venue; it reconnects automatically."""
    route_error: str | UnsetType = UNSET
    """Why a subscription failed; it is retried."""
    desired: Desired
    """The last request, which a restart of the gateway restores."""
    enabled: bool
    """The value in the configuration file; without an entry there, whether `desired` is running."""
    drift: bool
    """Whether `desired` differs from `enabled`."""
    recorded: bool | UnsetType = UNSET
    """False while a stop is not in the database yet; absent otherwise."""
    baseline: bool
    """Whether the provider is in the configuration file."""
    restarts: int
    """Restarts after a failure."""
    dependent_instances: list[str] | UnsetType = UNSET
    """Ids of the instances with this provider in their scope; absent without any."""
    dependent_instance_count: int | UnsetType = UNSET
    """How many they are; absent without any."""


class ProviderSummary(ProviderBase, frozen=True, kw_only=True):
    """A provider in the list."""

    adapter: str
    """The identifier of its adapter."""


class Providers(Schema, frozen=True, kw_only=True):
    """All providers, by name."""

    providers: list[ProviderSummary]
    """The providers of this page."""
    cursor: str | UnsetType = UNSET
    """Where the next page begins; absent on the last one."""


class ProviderCounters(Schema, frozen=True, kw_only=True):
    """The counters of a provider since the gateway started."""

    frames: int
    """Messages of the venue."""
    bytes: int
    """Size of these messages."""
    events: dict[str, int]
    """Events dispatched, by kind."""
    unwanted: int
    """Events that nothing subscribes to."""
    duplicates: int
    """Events that were left out because they had arrived before."""
    unknown_enums: int
    """Enumeration values that the codec does not define."""
    gaps: int
    """Gaps in the sequence of a book."""
    unsynced_books: int
    """Books that wait for a snapshot."""
    stale: dict[str, int]
    """Books that became stale, by reason."""
    errors: dict[str, int]
    """Frames that could not be decoded, by kind of error."""


class ProviderDetail(ProviderBase, frozen=True, kw_only=True):
    """One provider."""

    adapter: Adapter
    """The whole adapter."""
    instruments: list[JsonObject]
    """What the venue trades; empty before the first start."""
    counters: ProviderCounters | UnsetType = UNSET
    """Absent before the first start."""


class RemovedProvider(Schema, frozen=True, kw_only=True):
    """The answer to a deletion; `removing` while the provider still stops."""

    name: str
    status: Literal["removed", "removing"] = "removed"
    """`removing` while it still stops; the provider is a 404 afterwards."""


class AdapterRequest(Section):
    """The adapter of a provider, and its settings."""

    identifier: str = ""
    config: dict[str, Any] | None = None
    """Settings of the adapter. `********` or absence keeps a secret, null deletes it."""


class ProviderRequest(Section):
    """The body that creates or changes a provider. `adapter.config` decides, else `settings`."""

    name: Name | None = None
    """Its name; required for a creation, immutable afterwards."""
    adapter: AdapterRequest | None = None
    """The adapter, which is immutable, and its settings."""
    settings: dict[str, Any] | None = None
    """Instead of `adapter.config`."""
    enabled: bool | None = None
    """Whether it is started; true for a creation, kept in a change."""
