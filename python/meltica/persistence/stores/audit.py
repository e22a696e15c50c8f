"""The audit: who changed what and when, written in the transaction of the change.

Rows are only ever appended. Each has the number and the hash that follow from the one before, and one row of
`audit_head` has those of the last, so `verify` finds rows that were changed, removed or inserted. It cannot
find a chain that was computed again as a whole, or whose end was removed together with that of `audit_head`:
keep the hash that an export or `meltica audit verify` prints elsewhere.
"""

import hashlib
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, LiteralString, NamedTuple

import msgspec
from psycopg import AsyncConnection
from psycopg.rows import class_row
from psycopg.sql import SQL
from psycopg.types.json import Jsonb

from meltica.errors import MelticaError
from meltica.persistence.database import Database, rehearsing


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
        jsonb_build_array(
            id, case when isfinite(acted_at) then (extract(epoch from acted_at) * 1000000)::bigint end,
            actor, action, subject, before, after
        )::text
    from audit where %s::bigint is null or id > %s order by id limit %s
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

    rows: int = 0
    last: int = 0
    """The number of the last row; 0 without rows."""
    hash: bytes = START
    """The hash of the last row."""
    pruned: int = 0
    """The number of the last row that was exported and removed; 0 if all rows are present."""
    pruned_hash: bytes = START
    """The hash of that row, which the first row that is present follows."""
    fault: str | None = None
    """The first break of the chain."""


class ChainedRow(NamedTuple):
    """A row with the text that its hash covers."""

    id: int
    action: str
    after: dict[str, Any] | None
    previous: bytes
    hash: bytes
    text: str


class Rehearsed(MelticaError):
    """Ends a rehearsal: what the change would have done, of which nothing is kept."""

    def __init__(self, effect: str, before: dict[str, Any] | None, after: dict[str, Any] | None) -> None:
        super().__init__(effect)
        self.effect = effect
        self.before = before
        self.after = after


def rehearse(effect: str, before: dict[str, Any] | None, after: dict[str, Any] | None) -> None:
    """Raises Rehearsed if this task only rehearses; call it after the checks of a change, and before it."""
    if rehearsing.get():
        raise Rehearsed(effect, before, after)


async def append(connection: AsyncConnection, entry: AuditEntry) -> None:
    """Appends a row in the transaction of a connection. Other writers wait until the transaction ends.

    Raises Rehearsed if this task only rehearses: the audit has what the transaction changed.
    """
    effect = "create" if entry.before is None else "delete" if entry.after is None else "update"
    rehearse(effect, entry.before, entry.after)
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


@dataclass(frozen=True)
class AuditFilter:
    """Which rows to read; what is None does not apply."""

    actor: str | None = None
    action: str | None = None
    """An action, or all of a kind, such as `provider.`."""
    subject: str | None = None
    since: datetime | None = None
    until: datetime | None = None


EVERYTHING: Final = AuditFilter()


class AuditLog:
    """Reads the audit."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def latest(
        self, limit: int, before: int | None = None, only: AuditFilter = EVERYTHING
    ) -> list[AuditRow]:
        """Returns the latest rows, those with a number below `before`, the latest first."""
        is_kind = only.action is not None and only.action.endswith(".")
        action: LiteralString = "starts_with(action, %s)" if is_kind else "action = %s"
        filters: list[tuple[LiteralString, object]] = [
            ("id < %s", before),
            ("actor = %s", only.actor),
            (action, only.action),
            ("subject = %s", only.subject),
            ("acted_at >= %s", only.since),
            ("acted_at < %s", only.until),
        ]
        conditions = [SQL(text) for text, value in filters if value is not None]
        where = SQL(" and ").join([SQL("true"), *conditions])
        values = [value for _, value in filters if value is not None]
        query = SQL("select {} from audit where {} order by id desc limit %s").format(SQL(_COLUMNS), where)
        async with self._database.reading() as connection:
            cursor = connection.cursor(row_factory=class_row(AuditRow))
            return await (await cursor.execute(query, [*values, limit])).fetchall()

    async def verify(self) -> Verification:
        """Recomputes the chain; stops at the first break. Raises DatabaseError."""
        async with self._database.reading() as connection, connection.transaction():
            await connection.execute("set transaction isolation level repeatable read, read only")
            return await verify_audit(connection)


async def verify_audit(connection: AsyncConnection) -> Verification:
    """Recomputes the chain in the snapshot of a transaction."""
    head = await (await connection.execute("select id, hash from audit_head")).fetchone()
    chain = AuditChain()
    async for row in audit_rows(connection):
        chain.add(*row)
        if chain.fault is not None:
            return chain.verification()
    return chain.verification(chain.fault_at_end(head))


async def audit_rows(connection: AsyncConnection) -> AsyncGenerator[ChainedRow]:
    """Yields all rows in their order."""
    last: int | None = None
    while True:
        rows = await (await connection.execute(_CHAIN, (last, last, BATCH))).fetchall()
        for row in rows:
            yield ChainedRow(*row)
        if len(rows) < BATCH:
            return
        last = rows[-1][0]


class AuditChain:
    """Recomputes the hashes of rows in order."""

    def __init__(self, after: int = 0, hash: bytes = START) -> None:
        """`after` and `hash`: the row that the first one follows."""
        self.rows = 0
        self.last: int = after
        self.hash: bytes = hash
        self.fault: str | None = None
        self._start = after, hash
        self._explained = True
        """Whether a row says that those before the first one were pruned."""

    def add(
        self, id: int, action: str, after: dict[str, Any] | None, previous: bytes, hash: bytes, text: str
    ) -> None:
        """Adds the next row."""
        if not self.rows and id > self.last + 1:
            self._start, self._explained = (id - 1, previous), False
            self.last, self.hash = self._start
        if id <= self.last:
            self.fault = f"row {id} was inserted"
        elif id != self.last + 1:
            self.fault = f"rows {self.last + 1} to {id - 1} are missing"
        elif previous != self.hash:
            self.fault = f"row {id} does not follow row {id - 1}"
        elif hashlib.sha256(previous + text.encode()).digest() != hash:
            self.fault = f"row {id} was changed"
        elif action == PRUNED and after is not None:
            through, pruned = self._start
            self._explained |= (after.get("through"), after.get("hash")) == (through, pruned.hex())
        self.rows, self.last, self.hash = self.rows + 1, id, hash

    def fault_at_end(self, head: tuple[Any, ...] | None) -> str | None:
        """Compares the end with the head; returns the fault."""
        if not self._explained:
            return f"rows 1 to {self._start[0]} are missing"
        if head is None:
            return "the row of audit_head is missing"
        if head[0] > self.last:
            return f"rows {self.last + 1} to {head[0]} are missing"
        if (head[0], head[1]) != (self.last, self.hash):
            return f"row {self.last} is not the one in audit_head"
        return None

    def verification(self, fault: str | None = None) -> Verification:
        """Returns the result."""
        return Verification(self.rows, self.last, self.hash, *self._start, fault or self.fault)
