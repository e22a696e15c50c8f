"""Base class of the stores: a table whose rows are cached in memory and written through.

Reads never query the database. A write is committed to the database first and then applied to the cache; a
failed write leaves the cache unchanged. docs/development/write-through-cache.md explains why this is safe.
"""

import asyncio
import copy
from collections.abc import KeysView, Mapping
from typing import Generic, TypeVar

import msgspec
import psycopg
from psycopg.rows import kwargs_row
from psycopg.sql import Composed

from meltica.errors import AlreadyExists, DatabaseError, DatabaseUnavailable, NotFound, suggestion
from meltica.persistence.database import Database, error_text

WRITE_TIMEOUT = 10.0

Row = TypeVar("Row")


class Store(Generic[Row]):
    """The rows of one table by key, written only by this gateway; `load` must be called first."""

    def __init__(self, database: Database, row: type[Row], noun: str, key: str, select: Composed) -> None:
        self._database = database

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

    async def _insert(self, key: str, query: Composed, values: Mapping[str, object]) -> Row:
        row = await self._write(key, query, values)
        if row is None:
            raise AlreadyExists(f"{self._noun} `{key}` exists already")
        return row

    async def _change(self, key: str, query: Composed, values: Mapping[str, object]) -> Row:
        row = await self._write(key, query, values)
        if row is None:
            raise self._not_found(key)
        return row

    async def _remove(self, key: str, query: Composed) -> None:
        if await self._write(key, query, {self._key: key}, keep=False) is None:
            raise self._not_found(key)

    def _not_found(self, key: str) -> NotFound:
        return NotFound(f"{self._noun} `{key}` does not exist{suggestion(key, self._rows)}")

    async def _write(
        self, key: str, query: Composed, values: Mapping[str, object], *, keep: bool = True
    ) -> Row | None:
        """Runs a statement that returns the row that it wrote; returns a copy of this row, or None."""
        try:
            async with self._writing, asyncio.timeout(WRITE_TIMEOUT):
                if self._in_doubt:
                    await self._read()
                # An aborted write may have been committed nevertheless, so the next one reloads the cache.
                self._in_doubt = True
                async with self._database.connection() as connection:
                    cursor = connection.cursor(row_factory=self._row_factory)
                    row = await (await cursor.execute(query, values)).fetchone()
                    self._in_doubt = False
                    if row is not None and keep:
                        self._rows[key] = row
                    elif row is not None:
                        self._rows.pop(key, None)
        except TimeoutError:
            text = f"the database did not respond within {WRITE_TIMEOUT:g} s"
            raise DatabaseUnavailable(f"{self._noun} `{key}` was not written: {text}") from None
        except psycopg.Error as error:
            raise DatabaseError(
                f"{self._noun} `{key}` was not written: the database refused it: {error_text(error)}"
            ) from error
        return copy.deepcopy(row)

    async def _read(self) -> None:
        async with self._database.connection() as connection:
            cursor = connection.cursor(row_factory=self._row_factory)
            rows = await (await cursor.execute(self._select)).fetchall()
        self._rows = {str(getattr(row, self._key)): row for row in rows}
        self._in_doubt = False
