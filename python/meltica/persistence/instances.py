"""Instances as they are stored: what was asked for, what it was pinned to, and how it went."""

from datetime import datetime
from typing import Any, Literal, LiteralString

import msgspec
from psycopg.types.json import Jsonb

from meltica.persistence.database import Database
from meltica.persistence.providers import Desired, Origin
from meltica.persistence.store import Store

Host = Literal["thread", "shared", "process"]
OnStop = Literal["cancel", "keep"]
InstanceState = Literal["pending", "starting", "running", "stopping", "stopped", "failed", "stuck"]


class InstanceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What an instance is.

    `selector` is what was asked for (`name`, `name:tag`, `name@hash`), `tag` and `revision` what it was
    pinned to. `scope` is provider -> symbols, or `"*"` for all of them.
    """

    id: str
    strategy: str
    selector: str
    tag: str | None = None
    revision: str | None = None
    config: dict[str, Any] = {}
    scope: dict[str, list[str] | Literal["*"]]
    host: Host = "thread"
    on_stop: OnStop = "cancel"
    origin: Origin = "dynamic"


class Instance(InstanceSpec, frozen=True, kw_only=True):
    """An instance's row. `updated_at` tells of the spec and the desired state, not of the actual one."""

    desired: Desired
    actual: InstanceState
    last_error: str | None
    created_at: datetime
    updated_at: datetime


_COLUMNS: LiteralString = (
    "id, strategy, selector, tag, revision, config, scope, host, on_stop, origin, "
    "desired, actual, last_error, created_at, updated_at"
)
_SELECT: LiteralString = f"select {_COLUMNS} from instances"
_ADD: LiteralString = f"""
    insert into instances (id, strategy, selector, tag, revision, config, scope, host,
                           on_stop, origin, desired)
    values (%(id)s, %(strategy)s, %(selector)s, %(tag)s, %(revision)s, %(config)s, %(scope)s, %(host)s,
            %(on_stop)s, %(origin)s, %(desired)s)
    on conflict (id) do nothing
    returning {_COLUMNS}
"""
_UPDATE: LiteralString = f"""
    update instances
    set strategy = %(strategy)s, selector = %(selector)s, tag = %(tag)s, revision = %(revision)s,
        config = %(config)s, scope = %(scope)s, host = %(host)s, on_stop = %(on_stop)s, origin = %(origin)s,
        updated_at = now()
    where id = %(id)s
    returning {_COLUMNS}
"""
_SET_DESIRED: LiteralString = f"""
    update instances set desired = %(desired)s, updated_at = now()
    where id = %(id)s
    returning {_COLUMNS}
"""
_SET_ACTUAL: LiteralString = f"""
    update instances
    set actual = %(actual)s, last_error = nullif(coalesce(%(error)s::text, last_error), '')
    where id = %(id)s
    returning {_COLUMNS}
"""
_SET_REVISION: LiteralString = f"""
    update instances set revision = %(revision)s where id = %(id)s returning {_COLUMNS}
"""
_DELETE: LiteralString = f"delete from instances where id = %(id)s returning {_COLUMNS}"


class InstanceStore(Store[Instance]):
    """The table `instances`, by id."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, Instance, "instance", "id", _SELECT)

    async def add(self, spec: InstanceSpec, desired: Desired = "stopped") -> Instance:
        """Stores a new instance, pending. Raises AlreadyExists."""
        return await self._insert(spec.id, _ADD, {**_values(spec), "desired": desired})

    async def update(self, spec: InstanceSpec) -> Instance:
        """Replaces what an instance is, its pin with it; its states stay. Raises NotFound."""
        return await self._change(spec.id, _UPDATE, _values(spec))

    async def set_desired(self, id: str, desired: Desired) -> Instance:
        """Stores what the operator wants. Raises NotFound."""
        return await self._change(id, _SET_DESIRED, {"id": id, "desired": desired})

    async def set_actual(self, id: str, actual: InstanceState, error: str | None = None) -> Instance:
        """Stores how it goes. Without `error` the last one stays; an empty one clears it. Raises NotFound."""
        return await self._change(id, _SET_ACTUAL, {"id": id, "actual": actual, "error": error})

    async def set_revision(self, id: str, revision: str | None) -> Instance:
        """Stores which revision of its strategy it runs. Raises NotFound."""
        return await self._change(id, _SET_REVISION, {"id": id, "revision": revision})

    async def delete(self, id: str) -> None:
        """Removes an instance; orders that name it stay. Raises NotFound."""
        await self._remove(id, _DELETE)


def _values(spec: InstanceSpec) -> dict[str, object]:
    values: dict[str, object] = {name: getattr(spec, name) for name in InstanceSpec.__struct_fields__}
    return {**values, "config": Jsonb(spec.config), "scope": Jsonb(spec.scope)}
