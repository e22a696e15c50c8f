"""The group-commit writer: everything that waited since the last commit is written in one transaction.

1. The transaction proves the epoch of the gateway, so a gateway that lost its lock writes nothing.
2. It reads the active halts, which the caller checks before an order leaves.
3. A row that the database refuses fails alone, together with what depends on it: the fills and events of an
   order. It is kept in `dead_letters`, as is text that had to be shortened.
4. A fill or a position that fails freezes the ledger of its instance: from that batch on, none of its orders,
   fills, positions and checkpoints is stored until the gateway restarts and reconciles. So positions remain
   the sum of the stored fills. The watermark of its provider does not advance.
5. The statements of a transaction leave together. When the connection breaks before they are answered, the
   writer is in doubt until `settle` reads whether the transaction was committed.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, LiteralString
from uuid import uuid4
from weakref import WeakKeyDictionary

import msgspec
import psycopg
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus

from meltica.errors import ChangeInDoubt, DatabaseError, DatabaseUnavailable, LockNotHeld
from meltica.persistence.database import Database, error_text
from meltica.persistence.lock import PROVE, REPLACED, Epoch, GatewayLock, check_proof
from meltica.persistence.round_trip import round_trip
from meltica.persistence.stores.outbox import EventRow
from meltica.persistence.stores.trading.halts import ACTIVE_HALTS, ActiveHalt
from meltica.persistence.stores.trading.rows import (
    CheckpointRow,
    DeadLetterRow,
    FillRow,
    LedgerEntryRow,
    OrderRow,
    PositionRow,
    Row,
    WatermarkRow,
    clean,
)
from meltica.persistence.stores.trading.tables import TABLES, Table, statement_of

COMMIT_TIMEOUT = 10.0
UNSETTLED = "the outcome of the last commit is still unknown"
_ROW_ERRORS = ("22", "23", "54")
"""SQLSTATE classes of errors that a row causes: data, integrity, limits."""
_UNENCODABLE = (ValueError, TypeError, OverflowError)
_HALTS: LiteralString = "(select json_agg(halt)::text from (" + ACTIVE_HALTS + ") halt)"
_NUMBERED = b"""numbered as (
    insert into commits (writer, number) values (%s, %s)
    on conflict (writer) do update set number = excluded.number, committed_at = excluded.committed_at
)"""
_SESSION = b"select pid, backend_start::text from pg_stat_activity where pid = pg_backend_pid()"
_TERMINATE = """
    select pg_terminate_backend(pid) from pg_stat_activity where pid = %s and backend_start = %s::timestamptz
"""
_WAIT = "insert into commits (writer, number) values (%s, 0) on conflict (writer) do nothing"
_CHECK: LiteralString = "select epoch, xmin::text, " + _HALTS + " from gateway"

_log = logging.getLogger("meltica.trading")


@dataclass(frozen=True)
class Failure:
    """A row that was not stored, and why."""

    row: Row
    error: str


@dataclass(frozen=True)
class Committed:
    """The outcome of a commit."""

    halts: tuple[ActiveHalt, ...] = ()
    """The active halts, read by the same transaction."""
    new_fills: tuple[FillRow, ...] = ()
    """The fills that were not stored before."""
    new_entries: tuple[LedgerEntryRow, ...] = ()
    """The ledger entries that were not booked before."""
    failures: tuple[Failure, ...] = ()


class _RowRefused(Exception):
    """A statement failed because of its rows."""


@dataclass
class _Attempt:
    """What one transaction does."""

    number: int
    groups: dict[type[Row], list[Row]]
    frozen: set[str]
    """Instances whose ledger must not change."""
    held_back: set[str]
    """Providers whose watermark must not advance."""
    new: dict[type[Row], list[Row]] = field(default_factory=dict[type[Row], list[Row]])
    failures: list[Failure] = field(default_factory=list[Failure])
    halts: list[ActiveHalt] = field(default_factory=list[ActiveHalt])
    session: tuple[int, str] | None = None
    """The process of the server, and when it started."""
    committing: bool = False

    def committed(self) -> Committed:
        return Committed(
            halts=tuple(self.halts),
            new_fills=tuple(row for row in self.new.get(FillRow, ()) if isinstance(row, FillRow)),
            new_entries=tuple(
                row for row in self.new.get(LedgerEntryRow, ()) if isinstance(row, LedgerEntryRow)
            ),
            failures=tuple(self.failures),
        )


class GroupCommitWriter:
    """Writes batches of rows, one at a time. Used by one event loop, with a database of its own."""

    def __init__(self, database: Database, lock: GatewayLock) -> None:
        self._database = database
        self._lock = lock
        self._takeovers = lock.takeovers
        self._encode = msgspec.json.Encoder().encode
        self._id = uuid4()
        self._number = 0
        self._doubt: _Attempt | None = None
        self._frozen: set[str] = set()
        self._held_back: set[str] = set()
        self._writing = asyncio.Lock()
        self._sessions: WeakKeyDictionary[AsyncConnection, tuple[int, str]] = WeakKeyDictionary()

    @property
    def in_doubt(self) -> bool:
        """Whether the last batch may have been committed; `settle` must be called before the next one."""
        return self._doubt is not None

    @property
    def superseded(self) -> bool:
        """Whether another gateway has written since this writer was made: what is in memory is obsolete."""
        return self._lock.takeovers != self._takeovers

    @property
    def has_rival(self) -> bool:
        """Whether another gateway is known to hold the lock."""
        return self._lock.has_rival

    @property
    def frozen(self) -> frozenset[str]:
        """The instances whose ledger is no longer written, because a fill or a position was not stored."""
        return frozenset(self._frozen)

    async def commit(self, rows: Iterable[Row]) -> Committed:
        """Commits rows of any tables. Of several rows with one key, the last is written.

        Without rows, it checks the epoch and reads the active halts, and writes nothing.

        Raises LockNotHeld and DatabaseUnavailable when nothing was written, ChangeInDoubt when that is
        unknown, and DatabaseError when the database refuses a statement for another reason than its rows.
        """
        epoch = self._lock.epoch
        if self.superseded:
            raise LockNotHeld("nothing was written: another gateway has written since; restart trading")
        groups = self._grouped(rows)
        async with self._writing:
            if self._doubt is not None:
                raise ChangeInDoubt(f"nothing was written: {UNSETTLED}; settle it first")
            try:
                return await self._commit(self._attempt(groups), epoch, careful=bool(self._held_back))
            except _RowRefused:
                return await self._commit(self._attempt(groups), epoch, careful=True)

    async def settle(self) -> bool:
        """Returns whether the batch in doubt was committed; False if none is in doubt.

        Raises DatabaseUnavailable as long as that cannot be determined.
        """
        async with self._writing:
            if self._doubt is None:
                return False
            try:
                async with asyncio.timeout(COMMIT_TIMEOUT):
                    committed = await self._was_committed(self._doubt)
            except TimeoutError:
                raise DatabaseUnavailable(
                    f"{UNSETTLED}: the database did not respond within {COMMIT_TIMEOUT:g} s"
                ) from None
            attempt, self._doubt = self._doubt, None
            if committed:
                self._adopt(attempt)
            return committed

    def _attempt(self, groups: dict[type[Row], list[Row]]) -> _Attempt:
        self._number += 1
        return _Attempt(self._number, groups, set(self._frozen), set(self._held_back))

    def _adopt(self, attempt: _Attempt) -> Committed:
        self._frozen, self._held_back = attempt.frozen, attempt.held_back
        for failure in attempt.failures:
            table = TABLES[type(failure.row)].name
            _log.error("a row of %s was not stored: %s; it is kept in dead_letters", table, failure.error)
        return attempt.committed()

    def _grouped(self, rows: Iterable[Row]) -> dict[type[Row], list[Row]]:
        """Returns the rows by table, in the order of the tables, without those that a later one replaces."""
        groups: dict[type[Row], dict[object, Row]] = {kind: {} for kind in TABLES}
        for row in rows:
            table, group = TABLES[type(row)], groups[type(row)]
            storable = clean(row)
            if storable is not row:
                letter = self._dead_letter(table, "text was shortened to be stored", row)
                groups[DeadLetterRow][len(groups[DeadLetterRow])] = letter
            key = table.key_of(row) if table.key else len(group)
            group[key] = storable
        return {kind: list(group.values()) for kind, group in groups.items() if group}

    async def _commit(self, attempt: _Attempt, epoch: Epoch, *, careful: bool) -> Committed:
        """Runs one transaction. In a careful one, each row fails alone."""
        try:
            async with asyncio.timeout(COMMIT_TIMEOUT), self._database.connection() as connection:
                write = self._write_careful if careful else self._write
                try:
                    if attempt.groups:
                        attempt.session = await self._session(connection)
                        await write(connection, attempt, epoch)
                    else:
                        await _read_halts(connection, attempt, epoch)
                finally:
                    await _end_transaction(connection)
            attempt.committing = False
        except psycopg.Error as error:
            # The server's own error: it rolled the transaction back.
            attempt.committing = False
            if (error.sqlstate or "")[:2] in _ROW_ERRORS and not careful:
                raise _RowRefused from error
            raise DatabaseError(
                f"nothing was written: the database refused the commit: {error_text(error)}"
            ) from error
        except (TimeoutError, DatabaseUnavailable) as error:
            text = str(error) or f"the database did not respond within {COMMIT_TIMEOUT:g} s"
            if attempt.committing:
                raise ChangeInDoubt(f"the outcome of a commit is unknown: {text}") from None
            kind = LockNotHeld if isinstance(error, LockNotHeld) else DatabaseUnavailable
            raise kind(f"nothing was written: {text}") from None
        finally:
            if attempt.committing:
                self._doubt = attempt
        return self._adopt(attempt)

    async def _session(self, connection: AsyncConnection) -> tuple[int, str]:
        session = self._sessions.get(connection)
        if session is None:
            [row] = await round_trip(connection, [(_SESSION, ())])
            assert row is not None
            session = self._sessions[connection] = int(row[0] or 0), row[1] or ""
        return session

    async def _write(self, connection: AsyncConnection, attempt: _Attempt, epoch: Epoch) -> None:
        """Writes all rows by one statement, and commits them in the same round trip."""
        try:
            parameters = [self._encode(rows) for rows in attempt.groups.values()]
        except _UNENCODABLE as error:
            raise _RowRefused from error
        start = [str(self._id).encode(), b"%d" % attempt.number]
        number, written_by = epoch
        statements = [
            (b"BEGIN", ()),
            (statement_of(tuple(attempt.groups), _NUMBERED, _HALTS.encode()), [*start, *parameters]),
            # The last one before the commit, because other gateways wait for it.
            (PROVE, [b"%d" % number, written_by.encode()]),
            (b"COMMIT", ()),
        ]
        attempt.committing = True
        try:
            _, written, _, _ = await round_trip(connection, statements)
        except psycopg.Error as error:
            # The server's own error: it rolled the transaction back, or will with the end of the session.
            attempt.committing = connection.broken
            if isinstance(error, psycopg.errors.DivisionByZero):
                raise LockNotHeld(REPLACED) from None
            raise
        self._record(attempt, attempt.groups, written)

    async def _write_careful(self, connection: AsyncConnection, attempt: _Attempt, epoch: Epoch) -> None:
        """Writes each table in savepoints, and leaves out what depends on a row that failed."""
        await connection.execute("BEGIN")
        await self._lock.prove(connection, epoch)
        statement = statement_of((), _NUMBERED, _HALTS.encode())
        start = await connection.execute(statement, [self._id, attempt.number])
        self._record(attempt, {}, await start.fetchone())
        refused: list[Failure] = []
        while True:
            attempt.failures, attempt.new = list(refused), {}
            async with connection.transaction() as savepoint:
                for kind, rows in attempt.groups.items():
                    await self._insert_independent(connection, attempt, kind, rows)
                refused = [each for each in attempt.failures if isinstance(each.row, FillRow | PositionRow)]
                newly_frozen = _instances(refused) - attempt.frozen
                attempt.frozen |= newly_frozen
                if newly_frozen:
                    # What was written before the failure belongs to the frozen ledgers, too.
                    raise psycopg.Rollback(savepoint)
            if not newly_frozen:
                break
        letters = [
            self._dead_letter(TABLES[type(each.row)], each.error, each.row) for each in attempt.failures
        ]
        await self._insert(connection, attempt, DeadLetterRow, letters)
        attempt.committing = True
        await connection.execute("COMMIT")

    async def _insert_independent(
        self, connection: AsyncConnection, attempt: _Attempt, kind: type[Row], rows: Sequence[Row]
    ) -> None:
        """Inserts the rows of a table that depend on nothing that failed."""
        failed = {id(each.row) for each in attempt.failures}
        obstacles = [(row, _obstacle(row, attempt)) for row in rows if id(row) not in failed]
        attempt.failures += [Failure(row, cause) for row, cause in obstacles if cause is not None]
        await self._insert(connection, attempt, kind, [row for row, cause in obstacles if cause is None])
        moves = [each.row for each in attempt.failures]
        attempt.held_back |= {
            row.provider for row in moves if isinstance(row, FillRow | PositionRow | LedgerEntryRow)
        }

    async def _insert(
        self, connection: AsyncConnection, attempt: _Attempt, kind: type[Row], rows: Sequence[Row]
    ) -> None:
        if not rows:
            return
        try:
            async with connection.transaction():
                statement = statement_of((kind,), _NUMBERED, _HALTS.encode())
                parameters = [self._id, attempt.number, self._parameter(rows)]
                written = await (await connection.execute(statement, parameters)).fetchone()
        except (psycopg.Error, *_UNENCODABLE) as error:
            if isinstance(error, psycopg.Error) and (error.sqlstate or "")[:2] not in _ROW_ERRORS:
                raise
            if len(rows) > 1:
                middle = len(rows) // 2
                await self._insert(connection, attempt, kind, rows[:middle])
                await self._insert(connection, attempt, kind, rows[middle:])
                return
            text = error_text(error) if isinstance(error, psycopg.Error) else str(error)
            attempt.failures.append(Failure(rows[0], text))
            return
        self._record(attempt, {kind: rows}, written)

    def _record(
        self, attempt: _Attempt, groups: Mapping[type[Row], Sequence[Row]], written: tuple[Any, ...] | None
    ) -> None:
        """Records what a statement returned: the active halts, and which rows are new."""
        assert written is not None
        halts, *keys = written
        attempt.halts = _active_halts(halts)
        for kind, text in zip((kind for kind in groups if TABLES[kind].new), keys, strict=True):
            new = {tuple(key) for key in msgspec.json.decode(text or "[]")}
            rows = (row for row in groups[kind] if TABLES[kind].text_key(row) in new)
            attempt.new.setdefault(kind, []).extend(rows)

    def _parameter(self, rows: Sequence[Row]) -> str:
        return self._encode(rows).decode()

    def _dead_letter(self, table: Table, error: str, row: Row) -> DeadLetterRow:
        try:
            raw = self._encode(row)
        except _UNENCODABLE:
            raw = repr(row).encode("utf-8", "backslashreplace")
        return DeadLetterRow.of(table.name, error, raw)

    async def _was_committed(self, attempt: _Attempt) -> bool:
        """Ends the transaction of an attempt if it is still open, and returns whether it was committed."""
        assert attempt.session is not None
        async with self._database.connection() as connection:
            # The server may not have noticed yet that the connection is gone, and execute the COMMIT later.
            await connection.execute(_TERMINATE, attempt.session)
            # Waits for the transaction, if it is ending.
            await connection.execute(_WAIT, [self._id])
            query = "select number from commits where writer = %s"
            row = await (await connection.execute(query, [self._id])).fetchone()
        assert row is not None
        return row[0] == attempt.number


def _obstacle(row: Row, attempt: _Attempt) -> str | None:
    """Returns why a row must not be stored although the database may accept it, or None."""
    if isinstance(row, OrderRow | FillRow | PositionRow | CheckpointRow) and row.instance in attempt.frozen:
        return f"the ledger of instance `{row.instance}` is frozen"
    if isinstance(row, WatermarkRow) and row.provider in attempt.held_back:
        return f"a fill, a position or an entry of provider `{row.provider}` was not stored"
    failed = [failure.row for failure in attempt.failures]
    orders = {each.id for each in failed if isinstance(each, OrderRow)}
    if isinstance(row, FillRow) and row.order_id in orders:
        return "its order was not stored"
    if isinstance(row, EventRow) and row.aggregate_type == "balance":
        providers = {each.provider for each in failed if isinstance(each, LedgerEntryRow)}
        return "an entry of its provider was not stored" if row.aggregate_id in providers else None
    if isinstance(row, EventRow) and row.aggregate_type in {"order", "fill"}:
        ids = orders | {each.order_id for each in failed if isinstance(each, FillRow)}
        if row.aggregate_id in map(str, ids):
            return "what it reports was not stored"
    return None


def _instances(failures: Iterable[Failure]) -> set[str]:
    rows = (failure.row for failure in failures)
    return {row.instance for row in rows if isinstance(row, FillRow | PositionRow)}


async def _read_halts(connection: AsyncConnection, attempt: _Attempt, epoch: Epoch) -> None:
    """Does what a commit without rows does, without a transaction that would write to the disk."""
    row = await (await connection.execute(_CHECK)).fetchone()
    check_proof(None if row is None else (row[0], row[1]), epoch)
    attempt.halts = _active_halts(None if row is None else row[2])


def _active_halts(text: str | None) -> list[ActiveHalt]:
    return msgspec.json.decode(text or "[]", type=list[ActiveHalt])


async def _end_transaction(connection: AsyncConnection) -> None:
    """Rolls back what was not committed; closes a connection whose server does not answer."""
    status = connection.info.transaction_status
    if status is TransactionStatus.ACTIVE:
        await connection.close()
    elif status in {TransactionStatus.INTRANS, TransactionStatus.INERROR}:
        await connection.rollback()
