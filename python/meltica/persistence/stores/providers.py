"""Providers as they are stored: what was asked for, and how it went."""

from datetime import datetime
from typing import Any

import msgspec

from meltica.persistence.database import Database
from meltica.persistence.stores.supervised import Origin, StateStore
from meltica.runtime.lifecycle import Desired, ProviderState


class ProviderRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider is."""

    name: str
    adapter: str
    settings: dict[str, Any] = {}
    origin: Origin = "dynamic"
    enabled: bool | None = None


class Provider(ProviderRecord, frozen=True, kw_only=True):
    """A provider's row."""

    desired: Desired
    actual: ProviderState
    last_error: str | None
    created_at: datetime
    updated_at: datetime


class ProviderStore(StateStore[Provider, ProviderRecord, ProviderState]):
    """The table `providers`, by name."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, Provider, ProviderRecord, "provider", "providers", "name")
