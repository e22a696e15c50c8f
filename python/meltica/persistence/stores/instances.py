"""The store of instances: their declaration, the pinned revision, and their state."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec
from psycopg.errors import ForeignKeyViolation
from psycopg.sql import Composed

from meltica.errors import DatabaseError, NotFound
from meltica.persistence.database import Database
from meltica.persistence.lock import GatewayLock
from meltica.persistence.stores.supervised import Origin, StateStore
from meltica.runtime.lifecycle import Desired, InstanceState

Host = Literal["thread", "shared", "process"]
OnStop = Literal["cancel", "keep"]


class InstanceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The declaration of an instance.

    `selector` is the requested strategy: a shipped name, a path, or `name:tag` or `name@hash` of a stored
    module. `revision` is what it resolved to; for a stored module, the database refuses one that does not
    exist. `scope` maps providers to symbols, or to `"*"` for all of them.
    """

    id: str
    strategy: str
    selector: str
    tag: str | None = None
    revision: str | None = None
    config: dict[str, Any] = {}
    scope: dict[str, list[str] | Literal["*"]]
    host: Host = "thread"
    dry_run: bool = True
    on_stop: OnStop = "cancel"
    origin: Origin = "dynamic"
    enabled: bool | None = None


class InstanceRow(InstanceRecord, frozen=True, kw_only=True):
    """A row of the table `instances`."""

    uid: UUID
    """Each creation of an instance has its own, also under an id that was used before."""
    desired: Desired
    actual: InstanceState
    last_error: str | None
    created_at: datetime
    updated_at: datetime


def declaration(row: InstanceRecord, **changes: Any) -> InstanceRecord:
    """Returns the declaration of a row, with changes."""
    values = {name: getattr(row, name) for name in InstanceRecord.__struct_fields__}
    return InstanceRecord(**{**values, **changes})


class InstanceStore(StateStore[InstanceRow, InstanceRecord, InstanceState]):
    """The table `instances`, by id."""

    def __init__(self, database: Database, lock: GatewayLock | None = None) -> None:
        super().__init__(database, InstanceRow, InstanceRecord, "instance", "instances", "id", lock)
        self._set_revision = self._statement(
            "update {table} set revision = %(revision)s where {key} returning {columns}"
        )

    async def _write(
        self,
        key: str,
        query: Composed,
        values: Mapping[str, object],
        action: str | None = None,
        *,
        keep: bool = True,
    ) -> InstanceRow | None:
        """Writes a row. Raises NotFound if its revision has been deleted meanwhile."""
        try:
            return await super()._write(key, query, values, action, keep=keep)
        except DatabaseError as error:
            if not isinstance(error.__cause__, ForeignKeyViolation):
                raise
            text = f"revision {values.get('revision')} does not exist"
            raise NotFound(f"instance `{key}` was not written: {text}") from error

    async def set_revision(self, id: str, revision: str | None) -> InstanceRow:
        """Stores the running revision of the strategy. Raises NotFound."""
        return await self._change(id, self._set_revision, {"id": id, "revision": revision})
