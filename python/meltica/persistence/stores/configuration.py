"""The store of settings that were changed while a gateway ran."""

from datetime import datetime
from typing import Any, Final

import msgspec
from psycopg import AsyncConnection
from psycopg.sql import SQL
from psycopg.types.json import Jsonb

from meltica.persistence.database import Database
from meltica.persistence.lock import GatewayLock
from meltica.persistence.stores.limits import Document, LimitsStore
from meltica.persistence.stores.store import Store
from meltica.persistence.stores.transaction import transaction

KEY: Final = "runtime"
_SET = """
    insert into runtime_configuration (id, settings, configured)
    values (%(id)s, %(settings)s, %(configured)s)
    on conflict (id) do update
        set settings = excluded.settings, configured = excluded.configured, updated_at = now()
    returning id, settings, configured, updated_at
"""


class ConfigurationRow(msgspec.Struct, frozen=True, kw_only=True):
    """The only row of the table `runtime_configuration`."""

    id: str
    settings: dict[str, Any]
    """Key, such as `log.level` -> its value."""
    configured: dict[str, Any]
    """Key -> what the config file stated when it was set; absent if nothing."""
    updated_at: datetime


class ConfigurationStore(Store[ConfigurationRow]):
    """The table `runtime_configuration`. One row has all settings: those of one request change together."""

    def __init__(self, database: Database, lock: GatewayLock) -> None:
        select = SQL("select {} from runtime_configuration").format(
            SQL(", ").join(map(SQL, ("id", "settings", "configured", "updated_at")))
        )
        super().__init__(database, ConfigurationRow, "configuration", "id", select, lock)
        self._gateway_lock = lock

    async def set(self, settings: dict[str, Any], configured: dict[str, Any]) -> ConfigurationRow:
        """Replaces all settings that are stored. Raises DatabaseUnavailable and its subclasses."""
        return await self._change(KEY, SQL(_SET).format(), _values(settings, configured), "set")

    async def set_with_limits(
        self,
        settings: tuple[dict[str, Any], dict[str, Any]] | None,
        limits: tuple[Document, Document] | None,
        store: LimitsStore,
        action: str,
    ) -> None:
        """Replaces settings, risk limits, or both, in one transaction; None keeps them.

        Raises LockNotHeld, DatabaseUnavailable, ChangeInDoubt and DatabaseError.
        """
        failed = "configuration not written"
        stores = (self, store)
        async with transaction(self._database, self._gateway_lock, stores, "configuration", failed) as within:
            if settings is not None:
                await self.apply(within, *settings, action)
            if limits is not None:
                await store.apply(within, *limits, action)

    async def apply(
        self,
        connection: AsyncConnection,
        settings: dict[str, Any],
        configured: dict[str, Any],
        action: str | None = None,
    ) -> None:
        """Replaces all settings in the transaction of a connection, for the holder of `writing`.

        With an `action` it is audited.
        """
        await self._write_in(connection, KEY, SQL(_SET).format(), _values(settings, configured), action)

    def _audited(self, row: ConfigurationRow) -> dict[str, object]:
        """Returns the settings by key."""
        return dict(row.settings)


def _values(settings: dict[str, Any], configured: dict[str, Any]) -> dict[str, object]:
    return {"id": KEY, "settings": Jsonb(settings), "configured": Jsonb(configured)}
