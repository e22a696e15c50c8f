"""The store of providers: their declaration and their state."""

from datetime import datetime
from typing import Any

import msgspec

from meltica.persistence.database import Database
from meltica.persistence.lock import GatewayLock
from meltica.persistence.stores.supervised import Origin, StateStore
from meltica.runtime.lifecycle import Desired, ProviderState


class ProviderRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The declaration of a provider."""

    name: str
    adapter: str
    settings: dict[str, Any] = {}
    origin: Origin = "dynamic"
    enabled: bool | None = None


class ProviderRow(ProviderRecord, frozen=True, kw_only=True):
    """A row of the table `providers`."""

    desired: Desired
    actual: ProviderState
    last_error: str | None
    created_at: datetime
    updated_at: datetime


class ProviderStore(StateStore[ProviderRow, ProviderRecord, ProviderState]):
    """The table `providers`, by name."""

    def __init__(self, database: Database, lock: GatewayLock | None = None) -> None:
        super().__init__(database, ProviderRow, ProviderRecord, "provider", "providers", "name", lock)
