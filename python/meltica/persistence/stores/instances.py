"""Instances as they are stored: what was asked for, what it was pinned to, and how it went."""

from datetime import datetime
from typing import Any, Literal

import msgspec

from meltica.persistence.database import Database
from meltica.persistence.stores.supervised import Origin, StateStore
from meltica.runtime.lifecycle import Desired, InstanceState

Host = Literal["thread", "shared", "process"]
OnStop = Literal["cancel", "keep"]


class InstanceRecord(msgspec.Struct, frozen=True, kw_only=True):
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
    enabled: bool | None = None


class Instance(InstanceRecord, frozen=True, kw_only=True):
    """An instance's row."""

    desired: Desired
    actual: InstanceState
    last_error: str | None
    created_at: datetime
    updated_at: datetime


class InstanceStore(StateStore[Instance, InstanceRecord, InstanceState]):
    """The table `instances`, by id."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, Instance, InstanceRecord, "instance", "instances", "id")
        self._set_revision = self._made(
            "update {table} set revision = %(revision)s where {key} returning {columns}"
        )

    async def set_revision(self, id: str, revision: str | None) -> Instance:
        """Stores which revision of its strategy it runs. Raises NotFound."""
        return await self._change(id, self._set_revision, {"id": id, "revision": revision})
