"""The store of strategy modules: revisions by the hash of their source, and tags.

A revision never changes. `latest` is a tag with three rules: an upload moves it unless the client asks not
to, an operator moves it like any other tag, and when its revision is deleted it moves to the newest that
remains.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString

import msgspec
import psycopg
from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from meltica.errors import AlreadyExists, Conflict, DatabaseError, NotFound, suggestion
from meltica.persistence.database import Database, error_text
from meltica.persistence.lock import GatewayLock
from meltica.persistence.stores.audit import AuditEntry, acting, append, difference

LATEST: Final = "latest"
"""The tag that a name without a tag selects."""

_COLUMNS: LiteralString = "hash, name, version, octet_length(source) as size, metadata, created_at"
_LIST: LiteralString = f"select {_COLUMNS} from module_revisions order by name, created_at, hash"
_USES: LiteralString = """
    select id, revision, desired = 'running' as wanted, created_at, updated_at from instances
    where module = any(%s) order by id
"""
_SET_TAG: LiteralString = """
    insert into module_tags (name, tag, hash) values (%s, %s, %s)
    on conflict (name, lower(tag)) do update set hash = excluded.hash, updated_at = clock_timestamp()
    where module_tags.hash is distinct from excluded.hash
"""
_ADD: LiteralString = """
    insert into module_revisions (hash, name, version, source, metadata) values (%s, %s, %s, %s, %s)
    on conflict do nothing
"""


class RevisionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the table `module_revisions`, without its source."""

    hash: str
    name: str
    version: str | None
    size: int
    metadata: dict[str, Any]
    created_at: datetime


class TagRow(msgspec.Struct, frozen=True):
    """A row of the table `module_tags`."""

    name: str
    tag: str
    hash: str


class UseRow(msgspec.Struct, frozen=True):
    """An instance that is pinned to a revision."""

    id: str
    revision: str
    wanted: bool
    """Whether it should run."""
    created_at: datetime
    updated_at: datetime


class NewRevision(msgspec.Struct, frozen=True, kw_only=True):
    """A revision to be stored, with its tags."""

    hash: str
    name: str
    version: str | None
    source: bytes
    metadata: dict[str, Any]
    tag: str
    aliases: Sequence[str] = ()
    promote: bool | None = None
    """Whether `latest` moves to it; None moves `latest` to a source that was not stored yet."""


ModuleState = dict[str, Any]
"""The revisions of a module, and the hash of each tag."""


@dataclass
class Condition:
    """What a change of a module depends on: `check` raises if its state is another one than expected."""

    check: Callable[[ModuleState | None], None]
    after: ModuleState | None = None
    """The state after the change."""


condition: ContextVar[Condition | None] = ContextVar("condition", default=None)
"""The condition of the changes of this task."""


class ModuleStore:
    """The tables `module_revisions` and `module_tags`, written only by this gateway."""

    def __init__(self, database: Database, lock: GatewayLock | None = None) -> None:
        self._database = database
        self._lock = lock
        self._writing = asyncio.Lock()

    async def all(self) -> tuple[list[RevisionRow], list[TagRow]]:
        """Returns the revisions by name, the oldest first, and the tags by name and tag."""
        async with self._database.connection() as connection, connection.transaction():
            # Both reads see one state.
            await connection.execute("set transaction isolation level repeatable read, read only")
            revisions = connection.cursor(row_factory=class_row(RevisionRow))
            tags = connection.cursor(row_factory=class_row(TagRow))
            query: LiteralString = "select name, tag, hash from module_tags order by name, tag"
            return (
                await (await revisions.execute(_LIST)).fetchall(),
                await (await tags.execute(query)).fetchall(),
            )

    async def source(self, hash: str) -> bytes:
        """Returns the source of a revision. Raises NotFound."""
        async with self._database.connection() as connection:
            query: LiteralString = "select source from module_revisions where hash = %s"
            row = await (await connection.execute(query, (hash,))).fetchone()
        if row is None:
            raise NotFound(f"revision {hash} does not exist")
        return bytes(row[0])

    async def uses(self, hashes: Iterable[str]) -> list[UseRow]:
        """Returns the instances that are pinned to one of the revisions, running or not, by id."""
        async with self._database.connection() as connection:
            cursor = connection.cursor(row_factory=class_row(UseRow))
            return await (await cursor.execute(_USES, (list(hashes),))).fetchall()

    async def add(self, new: NewRevision) -> None:
        """Stores a revision and its tags. The same source under the same tag is stored once.

        An alias that another revision has is left there. Raises AlreadyExists when `tag` selects other
        content.
        """
        async with self._change("module.upload", new.name) as connection:
            tags = await _tags(connection, new.name)
            other = tags.get(new.tag.lower(), new.hash)
            if other != new.hash and new.tag.lower() != LATEST:
                raise AlreadyExists(
                    f"module not stored: the tag `{new.tag}` of `{new.name}` already exists, for {other};"
                    " give the new content another version or tag"
                )
            values = (new.hash, new.name, new.version, new.source, Jsonb(new.metadata))
            added = (await connection.execute(_ADD, values)).rowcount == 1
            chosen = [new.tag, *(alias for alias in new.aliases if tags.get(alias, new.hash) == new.hash)]
            promote = added if new.promote is None else new.promote
            if promote or LATEST not in tags:
                chosen.append(LATEST)
            for tag in dict.fromkeys(chosen):
                await connection.execute(_SET_TAG, (new.name, tag, new.hash))

    async def set_tag(self, name: str, tag: str, hash: str) -> str | None:
        """Moves a tag to a revision; returns the one that it selected before. Raises NotFound."""
        async with self._change("module.tag", name, f"{name}:{tag}") as connection:
            query: LiteralString = "select true from module_revisions where name = %s and hash = %s"
            if await (await connection.execute(query, (name, hash))).fetchone() is None:
                raise NotFound(f"tag not set: `{name}` has no revision {hash}")
            before = (await _tags(connection, name)).get(tag.lower())
            await connection.execute(_SET_TAG, (name, tag, hash))
        return before

    async def delete_tag(self, name: str, tag: str, *, allow_orphan: bool = False) -> str:
        """Deletes a tag; returns the revision that it selected.

        Raises NotFound, and Conflict for `latest` and, unless `allow_orphan`, for the last tag of a revision.
        """
        if tag.lower() == LATEST:
            raise Conflict("tag not deleted: `latest` is moved, never deleted")
        async with self._change("module.untag", name, f"{name}:{tag}") as connection:
            tags = await _tags(connection, name)
            hash = tags.pop(tag.lower(), None)
            if hash is None:
                raise NotFound(f"tag `{tag}` of module `{name}` does not exist{suggestion(tag, tags)}")
            if hash not in tags.values() and not allow_orphan:
                text = (
                    f"tag not deleted: `{tag}` is the last tag of {hash}; pass allowOrphan=true to delete it"
                )
                raise Conflict(text)
            query: LiteralString = "delete from module_tags where name = %s and lower(tag) = lower(%s)"
            await connection.execute(query, (name, tag))
        return hash

    async def delete(self, name: str, hashes: Sequence[str]) -> None:
        """Deletes revisions of a module with their tags.

        Raises Conflict when an instance has one, and NotFound when they were deleted meanwhile.
        """
        async with self._change("module.delete", name) as connection:
            # No instance can be added meanwhile.
            await connection.execute("lock table instances in share mode")
            rows = await (await connection.execute(_USES, (list(hashes),))).fetchall()
            if rows:
                ids = ", ".join(f"`{row[0]}`" for row in rows)
                raise Conflict(f"module not deleted: `{name}` is in use by {ids}; delete the instances first")
            await connection.execute("delete from module_tags where hash = any(%s)", (list(hashes),))
            query: LiteralString = "delete from module_revisions where hash = any(%s)"
            if (await connection.execute(query, (list(hashes),))).rowcount == 0:
                raise NotFound(f"module not deleted: `{name}` has no revision {', '.join(hashes)}")
            query = """
                insert into module_tags (name, tag, hash)
                select name, %s, hash from module_revisions where name = %s
                order by created_at desc, hash limit 1 on conflict do nothing
            """
            await connection.execute(query, (LATEST, name))

    @asynccontextmanager
    async def _change(
        self, action: str, name: str, subject: str | None = None
    ) -> AsyncGenerator[AsyncConnection]:
        """A transaction that proves the epoch of the gateway and audits what it changes of a module."""
        epoch = None if self._lock is None else self._lock.epoch
        try:
            async with self._writing, self._database.transaction() as connection:
                if self._lock is not None:
                    await self._lock.prove(connection, epoch)
                before, expected = await _state(connection, name), condition.get()
                if expected is not None:
                    expected.check(before)
                yield connection
                after = await _state(connection, name)
                if expected is not None:
                    expected.after = after
                act = acting.get()
                if act is not None and before != after:
                    before, after = difference(before, after)
                    entry = AuditEntry(
                        actor=act.actor, action=action, subject=subject or name, before=before, after=after
                    )
                    await append(connection, entry)
        except psycopg.Error as error:
            raise DatabaseError(
                f"module `{name}` was not written: the database refused it: {error_text(error)}"
            ) from error


async def _state(connection: AsyncConnection, name: str) -> ModuleState | None:
    """Returns the state of a module, or None without a revision."""
    query: LiteralString = "select hash from module_revisions where name = %s order by created_at, hash"
    revisions = [row[0] for row in await (await connection.execute(query, (name,))).fetchall()]
    return module_state(revisions, await _tags(connection, name)) if revisions else None


def module_state(revisions: Sequence[str], tags: Mapping[str, str]) -> ModuleState:
    """Returns the state of a module; `tags` have the tag in lower case."""
    return {"revisions": revisions, **{f"tag:{tag}": tags[tag] for tag in sorted(tags)}}


async def _tags(connection: AsyncConnection, name: str) -> dict[str, str]:
    """Returns the revisions of a module's tags, by the tag in lower case."""
    query: LiteralString = "select lower(tag), hash from module_tags where name = %s"
    return dict(await (await connection.execute(query, (name,))).fetchall())
