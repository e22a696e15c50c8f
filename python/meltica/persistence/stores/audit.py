"""The audit: who changed what and when, written in the transaction of the change.

Rows are only ever appended. Each has the number and the hash that follow from the one before, and one row of
`audit_head` has those of the last, so `verify` finds rows that were changed, removed or inserted. It cannot
find a chain that was computed again as a whole: keep the hash that an export or `meltica audit verify` prints
elsewhere.
"""

import hashlib
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, LiteralString

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from meltica.persistence.database import Database


class Act(msgspec.Struct, frozen=True):
    """Who causes a change."""

    actor: str
    at: datetime | None = None
    """When the change took effect, if it is written later."""


acting: ContextVar[Act | None] = ContextVar("acting", default=None)
"""On whose behalf this task acts. The stores audit the changes of tasks that have it."""


@contextmanager
def acting_as(act: Act | None) -> Generator[None]:
    """Acts on somebody's behalf in a block."""
    token = acting.set(act)
    try:
        yield
    finally:
        acting.reset(token)


def deferred() -> Act | None:
    """Returns who acts now, for a change that takes effect now and is written later."""
    act = acting.get()
    return None if act is None else Act(act.actor, act.at or datetime.now(UTC))


PRUNED: Final = "audit.prune"
"""The action of a row that was written when rows before it were removed; `after` has the last of these."""
START: Final = bytes(32)
"""What the first row has as the hash of the one before."""
BATCH: Final = 1000

_INSERT: LiteralString = """
    insert into audit (actor, action, subject, before, after, acted_at)
    values (%s, %s, %s, %s, %s, coalesce(%s, clock_timestamp()))
"""
AUDIT_OPERATOR_ACTIONS: LiteralString = """
    insert into audit (actor, action, subject, after, acted_at)
    select acted_by,
           case action
               when 'halt' then 'risk.halt'
               when 'resume' then 'risk.resume'
               when 'flatten' then 'risk.flatten'
               when 'book' then 'balance.book'
               when 'release' then 'position.release'
               else 'order.' || action
           end,
           subject,
           jsonb_build_object('reason', reason) || details::jsonb,
           timestamptz 'epoch' + acted_at / 1000 * interval '1 microsecond'
    from new_operator_actions
"""
"""Audits what operators did to trading: the rows that the part `new_operator_actions` returns."""
_COLUMNS: LiteralString = "id, acted_at, actor, action, subject, before, after, previous, hash"
# The text is made here and not by the function of the database, which may have been replaced as well.
_CHAIN: LiteralString = """
    select id, action, after, previous, hash,
        jsonb_build_array(id, (extract(epoch from acted_at) * 1000000)::bigint, actor, action, subject,
                          before, after)::text
    from audit where id > %s order by id limit %s
"""


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One change, without secrets."""

    actor: str
    action: str
    """What was done, such as `provider.start`."""
    subject: str
    """What was changed, such as the name of a provider."""
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    acted_at: datetime | None = None
    """When it took effect, if that was before it could be written."""


class AuditRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the table `audit`."""

    id: int
    acted_at: datetime
    actor: str
    action: str
    subject: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    previous: bytes
    hash: bytes


@dataclass(frozen=True)
class Verification:
    """The result of a verification."""

    rows: int
    last: int
    """The number of the last row; 0 without rows."""
    hash: bytes
    """The hash of the last row."""
    fault: str | None
    """The first break of the chain."""


async def append(connection: AsyncConnection, entry: AuditEntry) -> None:
    """Appends a row in the transaction of a connection. Other writers wait until the transaction ends."""
    before, after = (None if value is None else Jsonb(value) for value in (entry.before, entry.after))
    values = (entry.actor, entry.action, entry.subject, before, after, entry.acted_at)
    await connection.execute(_INSERT, values)


def difference(
    before: dict[str, Any] | None, after: dict[str, Any] | None
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Returns what differs between two states, as each has it; a state that is None is created or deleted."""
    if before is None or after is None:
        return before, after
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return (
        {name: before[name] for name in names if name in before},
        {name: after[name] for name in names if name in after},
    )


class AuditLog:
    """Reads the audit."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def latest(self, limit: int, before: int | None = None) -> list[AuditRow]:
        """Returns the latest rows, those with a number below `before`, the latest first."""
        query: LiteralString = (
            f"select {_COLUMNS} from audit where %(before)s::bigint is null or id < %(before)s"
            " order by id desc limit %(limit)s"
        )
        async with self._database.connection() as connection:
            cursor = connection.cursor(row_factory=class_row(AuditRow))
            return await (await cursor.execute(query, {"before": before, "limit": limit})).fetchall()

    async def verify(self) -> Verification:
        """Recomputes the chain; stops at the first break. Raises DatabaseError."""
        async with self._database.connection() as connection, connection.transaction():
            await connection.execute("set transaction isolation level repeatable read, read only")
            head = await (await connection.execute("select id, hash from audit_head")).fetchone()
            chain = _Chain()
            async for row in _rows(connection):
                chain.add(*row)
                if chain.fault is not None:
                    break
            if chain.fault is None:
                chain.end(head)
            return Verification(chain.rows, chain.last, chain.hash, chain.fault)


async def _rows(connection: AsyncConnection) -> AsyncGenerator[tuple[Any, ...]]:
    last = 0
    while True:
        rows = await (await connection.execute(_CHAIN, (last, BATCH))).fetchall()
        for row in rows:
            yield row
        if len(rows) < BATCH:
            return
        last = rows[-1][0]


class _Chain:
    """Recomputes the hashes of rows in order."""

    def __init__(self) -> None:
        self.rows = 0
        self.last: int = 0
        self.hash: bytes = START
        self.fault: str | None = None
        self._unexplained: tuple[int, bytes] | None = None
        """Number and hash before the first row, until a row says that those before it were pruned."""

    def add(
        self, id: int, action: str, after: dict[str, Any] | None, previous: bytes, hash: bytes, text: str
    ) -> None:
        """Adds the next row."""
        if not self.rows and id != 1:
            self._unexplained = (id - 1, previous)
            self.last, self.hash = id - 1, previous
        if id != self.last + 1:
            self.fault = f"rows {self.last + 1} to {id - 1} are missing"
        elif previous != self.hash:
            self.fault = f"row {id} does not follow row {id - 1}"
        elif hashlib.sha256(previous + text.encode()).digest() != hash:
            self.fault = f"row {id} was changed"
        elif action == PRUNED and after is not None and self._unexplained is not None:
            through, pruned = self._unexplained
            if (after.get("through"), after.get("hash")) == (through, pruned.hex()):
                self._unexplained = None
        self.rows, self.last, self.hash = self.rows + 1, id, hash

    def end(self, head: tuple[Any, ...] | None) -> None:
        """Compares the end with the head."""
        if self._unexplained is not None:
            self.fault = f"rows 1 to {self._unexplained[0]} are missing"
        elif head is None:
            self.fault = "the row of audit_head is missing"
        elif head[0] > self.last:
            self.fault = f"rows {self.last + 1} to {head[0]} are missing"
        elif (head[0], head[1]) != (self.last, self.hash):
            self.fault = f"row {self.last} is not the one in audit_head"
