"""Everything that is configured while a gateway runs, replaced in one transaction."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any, LiteralString, NamedTuple

import msgspec
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from meltica.persistence.database import Database
from meltica.persistence.lock import GatewayLock
from meltica.persistence.stores.audit import AuditEntry, append
from meltica.persistence.stores.configuration import ConfigurationStore
from meltica.persistence.stores.instances import InstanceRecord, InstanceRow, InstanceStore
from meltica.persistence.stores.limits import Document, LimitsStore
from meltica.persistence.stores.modules import ModuleStore, RevisionRow, TagRow
from meltica.persistence.stores.providers import ProviderRecord, ProviderRow, ProviderStore
from meltica.persistence.stores.supervised import RowChanges
from meltica.persistence.stores.transaction import transaction

_REVISIONS: LiteralString = """
    select hash, name, version, source, metadata, created_at from module_revisions
    order by name, created_at, hash
"""
_TAGS: LiteralString = "select name, tag, hash from module_tags order by name, tag"
_ADD_REVISION: LiteralString = """
    insert into module_revisions (hash, name, version, source, metadata, created_at)
    values (%s, %s, %s, %s, %s, %s) on conflict do nothing
"""
_SET_TAG: LiteralString = """
    insert into module_tags (name, tag, hash) values (%s, %s, %s)
    on conflict (name, lower(tag)) do update
        set hash = excluded.hash, tag = excluded.tag, updated_at = clock_timestamp()
"""


class StoredRevision(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the table `module_revisions`."""

    hash: str
    name: str
    version: str | None
    source: bytes
    metadata: dict[str, Any]
    created_at: datetime


class ContextChange(NamedTuple):
    """What is written; the desired state of what is created or updated becomes stopped."""

    providers: RowChanges[ProviderRecord]
    instances: RowChanges[InstanceRecord]
    limits: tuple[Document, Document] | None
    """All limits, and what the config file stated for their scopes; None keeps them."""
    settings: tuple[dict[str, Any], dict[str, Any]] | None
    """All settings that are stored, and what the config file stated for them; None keeps them."""
    revisions: Sequence[StoredRevision]
    tags: Sequence[TagRow]
    audit: AuditEntry


class ContextStore:
    """Writes providers, instances, limits, settings and modules together."""

    def __init__(
        self,
        database: Database,
        lock: GatewayLock,
        providers: ProviderStore,
        instances: InstanceStore,
        limits: LimitsStore,
        configuration: ConfigurationStore,
    ) -> None:
        self.modules = ModuleStore(database, lock)
        self.restoring = asyncio.Lock()
        """Held by the restore in progress."""
        self._database = database
        self._lock = lock
        self._providers = providers
        self._instances = instances
        self._limits = limits
        self._configuration = configuration

    def rows(self) -> tuple[list[ProviderRow], list[InstanceRow]]:
        """Returns all providers and instances, also those that are not available."""
        return self._providers.list(), self._instances.list()

    async def contents(self) -> tuple[list[StoredRevision], list[TagRow]]:
        """Returns all revisions with their sources, the oldest first, and all tags. Raises DatabaseError."""
        async with self._database.reading() as connection, connection.transaction():
            # Both reads see one state.
            await connection.execute("set transaction isolation level repeatable read, read only")
            revisions = connection.cursor(row_factory=class_row(StoredRevision))
            tags = connection.cursor(row_factory=class_row(TagRow))
            return (
                await (await revisions.execute(_REVISIONS)).fetchall(),
                await (await tags.execute(_TAGS)).fetchall(),
            )

    async def apply(self, change: ContextChange) -> None:
        """Writes everything or nothing, and reads the rows again.

        Raises LockNotHeld, DatabaseUnavailable, ChangeInDoubt when the outcome is unknown, and DatabaseError
        and its subclasses when the database refuses the change.
        """
        stores = (self._providers, self._instances, self._limits, self._configuration)
        failed = "backup not restored"
        async with transaction(self._database, self._lock, stores, "backup", failed) as connection:
            for each in change.revisions:
                values = (each.hash, each.name, each.version, each.source, Jsonb(each.metadata))
                await connection.execute(_ADD_REVISION, (*values, each.created_at))
            for tag in change.tags:
                await connection.execute(_SET_TAG, (tag.name, tag.tag, tag.hash))
            await self._instances.apply(connection, change.instances)
            await self._providers.apply(connection, change.providers)
            if change.limits is not None:
                await self._limits.apply(connection, *change.limits)
            if change.settings is not None:
                await self._configuration.apply(connection, *change.settings)
            await append(connection, change.audit)


class PlannedModules(ModuleStore):
    """The stored modules together with others that are to be stored. Only for reading."""

    def __init__(
        self, store: ModuleStore, revisions: Sequence[StoredRevision], tags: Sequence[TagRow]
    ) -> None:
        super().__init__(store._database)
        self._more = {each.hash: each for each in revisions}
        self._tags = tags

    async def all(self) -> tuple[list[RevisionRow], list[TagRow]]:
        """Returns the revisions by name, the oldest first, and the tags by name and tag."""
        revisions, tags = await super().all()
        stored = {row.hash for row in revisions}
        revisions += [_row(each) for each in self._more.values() if each.hash not in stored]
        selected = {(tag.name, tag.tag.lower()): tag for tag in (*tags, *self._tags)}
        revisions.sort(key=lambda row: (row.name, row.created_at, row.hash))
        return revisions, sorted(selected.values(), key=lambda tag: (tag.name, tag.tag))

    async def source(self, hash: str) -> bytes:
        """Returns the source of a revision. Raises NotFound."""
        return self._more[hash].source if hash in self._more else await super().source(hash)


def _row(new: StoredRevision) -> RevisionRow:
    return RevisionRow(
        hash=new.hash,
        name=new.name,
        version=new.version,
        size=len(new.source),
        metadata=new.metadata,
        created_at=new.created_at,
    )
