"""The store of providers: their declaration and their state."""

from datetime import datetime
from typing import Any

import msgspec

from meltica.persistence.database import Database
from meltica.persistence.lock import GatewayLock
from meltica.persistence.stores.supervised import Origin, StateStore
from meltica.runtime.lifecycle import Desired, ProviderState
from meltica.validation.models import MASK


class ProviderRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The declaration of a provider."""

    name: str
    adapter: str
    settings: dict[str, Any] = {}
    """As given; the values of secrets are masked."""
    secrets: dict[str, str] = {}
    """Key of a setting -> its encrypted value."""
    key_id: str | None = None
    """The master key that encrypted them."""
    origin: Origin = "dynamic"
    enabled: bool | None = None
    account: str | None = None
    """Of a provider of the config file, a salted hash of the settings that select its account."""


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

    def _audited(self, row: ProviderRow) -> dict[str, object]:
        """Returns the declaration; of secrets it shows when they change, and nothing of their values."""
        shown = super()._audited(row)
        del shown["key_id"]
        secrets = {key: f"{MASK} version {text[:8]}" for key, text in row.secrets.items()}
        account = None if row.account is None else f"{MASK} version {row.account[-8:]}"
        return shown | {"secrets": secrets, "account": account}
