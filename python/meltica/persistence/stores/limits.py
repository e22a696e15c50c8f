"""The store of risk limits that were set while a gateway ran."""

from datetime import datetime
from typing import Any, Final

import msgspec
from psycopg import AsyncConnection
from psycopg.sql import SQL
from psycopg.types.json import Jsonb

from meltica.persistence.database import Database
from meltica.persistence.lock import GatewayLock
from meltica.persistence.stores.store import Store

KEY: Final = "limits"
_SET = """
    insert into risk_limits (id, limits, configured) values (%(id)s, %(limits)s, %(configured)s)
    on conflict (id) do update
        set limits = excluded.limits, configured = excluded.configured, updated_at = now()
    returning id, limits, configured, updated_at
"""

Document = dict[str, dict[str, Any]]
"""Scope (`global`, `provider:NAME` or `instance:ID`) -> limits with the keys of the config file."""


class LimitsRow(msgspec.Struct, frozen=True, kw_only=True):
    """The only row of the table `risk_limits`."""

    id: str
    limits: Document
    """All limits of each scope; a null does not limit."""
    configured: Document
    """What the config file stated for each scope when its limits were set."""
    updated_at: datetime


class LimitsStore(Store[LimitsRow]):
    """The table `risk_limits`. One row has all scopes, so that those of one request change together."""

    def __init__(self, database: Database, lock: GatewayLock | None = None) -> None:
        select = SQL("select {} from risk_limits").format(
            SQL(", ").join(map(SQL, ("id", "limits", "configured", "updated_at")))
        )
        super().__init__(database, LimitsRow, "risk limit", "id", select, lock)

    async def set(self, limits: Document, configured: Document) -> LimitsRow:
        """Replaces all limits that are stored. Raises DatabaseUnavailable and its subclasses."""
        return await self._change(KEY, SQL(_SET).format(), _values(limits, configured), "set")

    async def apply(
        self, connection: AsyncConnection, limits: Document, configured: Document, action: str | None = None
    ) -> None:
        """Replaces all limits in the transaction of a connection, for the holder of `writing`.

        With an `action` it is audited.
        """
        await self._write_in(connection, KEY, SQL(_SET).format(), _values(limits, configured), action)

    def _audited(self, row: LimitsRow) -> dict[str, object]:
        """Returns the limits by scope."""
        return dict(row.limits)


def _values(limits: Document, configured: Document) -> dict[str, object]:
    return {"id": KEY, "limits": Jsonb(limits), "configured": Jsonb(configured)}
