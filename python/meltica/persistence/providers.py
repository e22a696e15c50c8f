"""Providers as they are stored: what was asked for, and how it went."""

from datetime import datetime
from typing import Any, Literal, LiteralString

import msgspec
from psycopg.types.json import Jsonb

from meltica.persistence.database import Database
from meltica.persistence.store import Store

Desired = Literal["running", "stopped"]
Origin = Literal["baseline", "dynamic"]
ProviderState = Literal["pending", "starting", "running", "stopped", "failed"]


class ProviderSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider is. `origin` is `baseline` when the configuration file declares it."""

    name: str
    adapter: str
    settings: dict[str, Any] = {}
    origin: Origin = "dynamic"


class Provider(ProviderSpec, frozen=True, kw_only=True):
    """A provider's row. `updated_at` tells of the spec and the desired state, not of the actual one."""

    desired: Desired
    actual: ProviderState
    last_error: str | None
    created_at: datetime
    updated_at: datetime


_COLUMNS: LiteralString = (
    "name, adapter, settings, origin, desired, actual, last_error, created_at, updated_at"
)
_SELECT: LiteralString = f"select {_COLUMNS} from providers"
_ADD: LiteralString = f"""
    insert into providers (name, adapter, settings, origin, desired)
    values (%(name)s, %(adapter)s, %(settings)s, %(origin)s, %(desired)s)
    on conflict (name) do nothing
    returning {_COLUMNS}
"""
_UPDATE: LiteralString = f"""
    update providers
    set adapter = %(adapter)s, settings = %(settings)s, origin = %(origin)s, updated_at = now()
    where name = %(name)s
    returning {_COLUMNS}
"""
_SET_DESIRED: LiteralString = f"""
    update providers set desired = %(desired)s, updated_at = now()
    where name = %(name)s
    returning {_COLUMNS}
"""
_SET_ACTUAL: LiteralString = f"""
    update providers
    set actual = %(actual)s, last_error = nullif(coalesce(%(error)s::text, last_error), '')
    where name = %(name)s
    returning {_COLUMNS}
"""
_DELETE: LiteralString = f"delete from providers where name = %(name)s returning {_COLUMNS}"


class ProviderStore(Store[Provider]):
    """The table `providers`, by name."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, Provider, "provider", "name", _SELECT)

    async def add(self, spec: ProviderSpec, desired: Desired = "stopped") -> Provider:
        """Stores a new provider, pending. Raises AlreadyExists."""
        return await self._insert(spec.name, _ADD, {**_values(spec), "desired": desired})

    async def update(self, spec: ProviderSpec) -> Provider:
        """Replaces what a provider is; its states stay. Raises NotFound."""
        return await self._change(spec.name, _UPDATE, _values(spec))

    async def set_desired(self, name: str, desired: Desired) -> Provider:
        """Stores what the operator wants. Raises NotFound."""
        return await self._change(name, _SET_DESIRED, {"name": name, "desired": desired})

    async def set_actual(self, name: str, actual: ProviderState, error: str | None = None) -> Provider:
        """Stores how it goes. Without `error` the last one stays; an empty one clears it. Raises NotFound."""
        return await self._change(name, _SET_ACTUAL, {"name": name, "actual": actual, "error": error})

    async def delete(self, name: str) -> None:
        """Removes a provider; orders and balances that name it stay. Raises NotFound."""
        await self._remove(name, _DELETE)


def _values(spec: ProviderSpec) -> dict[str, object]:
    # The one place where settings enter the database; they leave it where `Store` makes rows.
    return {
        "name": spec.name,
        "adapter": spec.adapter,
        "settings": Jsonb(spec.settings),
        "origin": spec.origin,
    }
