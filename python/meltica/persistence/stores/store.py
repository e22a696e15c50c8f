"""Base class of the stores: a table whose rows are cached in memory and written through.

Reads never query the database. A write is committed to the database first and then applied to the cache; a
failed write leaves the cache unchanged. docs/development/write-through-cache.md explains why this is safe.
"""

import asyncio
import copy
from collections.abc import Callable, KeysView, Mapping
from typing import Generic, TypeVar, cast

import msgspec
import psycopg
from psycopg import AsyncConnection
from psycopg.rows import kwargs_row
from psycopg.sql import Composed

from meltica.errors import (
    AlreadyExists,
    ChangeInDoubt,
    DatabaseError,
    DatabaseUnavailable,
    LockNotHeld,
    NotFound,
    suggestion,
)
from meltica.persistence.database import Database, error_text
from meltica.persistence.lock import Epoch, GatewayLock
from meltica.persistence.stores.audit import AuditEntry, acting, append, difference

WRITE_TIMEOUT = 10.0

Row = TypeVar("Row")


class Store(Generic[Row]):
    """The rows of one table by key, written only by this gateway; `load` must be called first.

    With a `lock`, each write proves the epoch of the gateway in its transaction: a gateway that lost the lock
    writes nothing, not even with a statement that the database executes late.
    """

    def __init__(
        self,
        database: Database,
        row: type[Row],
        noun: str,
        key: str,
        select: Composed,
        lock: GatewayLock | None = None,
    ) -> None:
        self._database = database
        self._lock = lock

        def convert(**values: object) -> Row:
            # Columns with a fixed set of values become enums.
            return msgspec.convert(values, row)

        self._row_factory = kwargs_row(convert)
        self._noun = noun
        self._key = key
        self._select = select
        self._rows: dict[str, Row] = {}
        self._writing = asyncio.Lock()
        self._in_doubt = False
        self.on_doubt: Callable[[], None] = lambda: None
        """Called when a write was sent and its outcome is unknown; `load` settles it."""

    @property
    def in_doubt(self) -> bool:
        """Whether a write may have been committed that the cache does not have."""
        return self._in_doubt

    @property
    def writing(self) -> asyncio.Lock:
        """The lock that each write holds; who holds it writes several tables at once."""
        return self._writing

    async def read_again(self) -> None:
        """Reads the table for the holder of `writing`. Raises DatabaseError."""
        await self._read()

    def doubt(self) -> None:
        """Notes that a write was sent and its outcome is unknown."""
        self._in_doubt = True
        self.on_doubt()

    async def load(self) -> None:
        """Reads the table. Raises DatabaseError."""
        try:
            async with self._writing:
                await self._read()
        except psycopg.errors.UndefinedTable as error:
            text = f"{error.diag.message_primary}; run `meltica db up`"
            raise DatabaseError(f"{self._noun}s cannot be read: {text}") from error

    def find(self, key: str) -> Row | None:
        """Returns a copy of a row, or None when it does not exist."""
        row = self._rows.get(key)
        return copy.deepcopy(row) if row is not None else None

    def get(self, key: str) -> Row:
        """Returns a copy of a row. Raises NotFound with the nearest name."""
        row = self.find(key)
        if row is None:
            raise self._not_found(key)
        return row

    def list(self) -> list[Row]:
        """Returns copies of all rows, sorted by key."""
        return [copy.deepcopy(self._rows[key]) for key in sorted(self._rows)]

    def keys(self) -> KeysView[str]:
        """Returns the keys of all rows."""
        return self._rows.copy().keys()

    def __contains__(self, key: str) -> bool:
        return key in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    async def _insert(
        self, key: str, query: Composed, values: Mapping[str, object], action: str | None = None
    ) -> Row:
        row = await self._write(key, query, values, action)
        if row is None:
            raise AlreadyExists(f"{self._noun} `{key}` exists already")
        return row

    async def _change(
        self, key: str, query: Composed, values: Mapping[str, object], action: str | None = None
    ) -> Row:
        row = await self._write(key, query, values, action)
        if row is None:
            raise self._not_found(key)
        return row

    async def _remove(self, key: str, query: Composed, action: str | None = None) -> None:
        if await self._write(key, query, {self._key: key}, action, keep=False) is None:
            raise self._not_found(key)

    async def _write_in(
        self,
        connection: AsyncConnection,
        key: str,
        query: Composed,
        values: Mapping[str, object],
        action: str | None,
    ) -> None:
        """Runs a statement in the transaction of a connection, for the holder of `writing`.

        It is audited as a write of its own is.
        """
        cursor = connection.cursor(row_factory=self._row_factory)
        row = await (await cursor.execute(query, values)).fetchone()
        audited = self._auditor(key, action, keep=True)
        if row is not None and audited is not None:
            await append(connection, audited(row))

    def _not_found(self, key: str) -> NotFound:
        return NotFound(f"{self._noun} `{key}` does not exist{suggestion(key, self._rows)}")

    def _audited(self, row: Row) -> dict[str, object]:
        """Returns what the audit shows of a row, without secrets."""
        return cast(dict[str, object], msgspec.to_builtins(row))

    async def _write(
        self,
        key: str,
        query: Composed,
        values: Mapping[str, object],
        action: str | None = None,
        *,
        keep: bool = True,
    ) -> Row | None:
        """Runs a statement that returns the row that it wrote; returns a copy of this row, or None.

        With an `action`, and on somebody's behalf, the change is audited in the same transaction.
        Raises LockNotHeld, ChangeInDoubt or DatabaseUnavailable, and DatabaseError for a refused statement.
        """
        try:
            # Before the wait: a change that waits while another gateway holds the lock is not written later.
            epoch = None if self._lock is None else self._lock.epoch
            async with self._writing, asyncio.timeout(WRITE_TIMEOUT):
                if self._in_doubt:
                    await self._read()
                row = await self._execute(query, values, epoch, self._auditor(key, action, keep=keep))
                if row is not None and keep:
                    self._rows[key] = row
                elif row is not None:
                    self._rows.pop(key, None)
        except (TimeoutError, DatabaseUnavailable) as error:
            text = str(error) or f"the database did not respond within {WRITE_TIMEOUT:g} s"
            if not self._in_doubt:
                kind = LockNotHeld if isinstance(error, LockNotHeld) else DatabaseUnavailable
                raise kind(f"{self._noun} `{key}` was not written: {text}") from None
            raise ChangeInDoubt(
                f"{self._noun} `{key}`: outcome unknown: {text}; it is read when the database responds"
            ) from None
        except psycopg.Error as error:
            raise DatabaseError(
                f"{self._noun} `{key}` was not written: the database refused it: {error_text(error)}"
            ) from error
        return copy.deepcopy(row)

    def _auditor(self, key: str, action: str | None, *, keep: bool) -> Callable[[Row], AuditEntry] | None:
        """Returns what makes the entry of a row that is written; None if the change is not audited."""
        act = acting.get()
        if act is None or action is None:
            return None

        def entry(row: Row) -> AuditEntry:
            old = self._rows.get(key)
            before, after = difference(
                None if old is None else self._audited(old), self._audited(row) if keep else None
            )
            return AuditEntry(
                actor=act.actor,
                action=f"{self._noun}.{action}",
                subject=key,
                before=before,
                after=after,
                acted_at=act.at,
            )

        return entry

    async def _execute(
        self,
        query: Composed,
        values: Mapping[str, object],
        epoch: Epoch | None,
        audited: Callable[[Row], AuditEntry] | None,
    ) -> Row | None:
        """Runs a statement. If it is sent and not answered, the store is in doubt until it is read again."""
        sent = False
        try:
            async with self._database.connection() as connection:
                cursor = connection.cursor(row_factory=self._row_factory)
                if epoch is None and audited is None:
                    sent = True
                    return await (await cursor.execute(query, values)).fetchone()
                async with connection.transaction():
                    if epoch is not None:
                        assert self._lock is not None
                        await self._lock.prove(connection, epoch)
                    sent = True
                    row = await (await cursor.execute(query, values)).fetchone()
                    if row is not None and audited is not None:
                        await append(connection, audited(row))
                    return row
        except BaseException as error:
            # An error of the server's own means that it rolled the statement back.
            if sent and not isinstance(error, psycopg.Error):
                self.doubt()
            raise

    async def _read(self) -> None:
        async with self._database.connection() as connection:
            cursor = connection.cursor(row_factory=self._row_factory)
            rows = await (await cursor.execute(self._select)).fetchall()
        self._rows = {str(getattr(row, self._key)): row for row in rows}
        self._in_doubt = False
