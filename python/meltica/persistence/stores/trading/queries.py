"""The history of trading for the API: newest first, at most 500 rows."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Generic, LiteralString, NamedTuple, TypeVar, cast
from uuid import UUID

import msgspec
from msgspec import Meta
from psycopg.sql import SQL, Composed, Identifier

from meltica.errors import NotFound
from meltica.model.enums import Mode, OrderState, Side
from meltica.persistence.database import Database
from meltica.persistence.stores.trading.loaders import ORDERS, StoredOrder, columns, fetch
from meltica.persistence.stores.trading.rows import (
    BalanceRow,
    EntryKind,
    FillRow,
    LedgerEntryRow,
    PositionRow,
    ReconciliationRow,
    RefusalRow,
)

MAX_LIMIT = 500
COUNTED_REFUSALS = 10_000
"""Rows of an instance among which refusals are counted."""

Read = TypeVar("Read")
Filters = list[tuple[LiteralString, Any]]
"""Conditions and their values; a tuple has the values of several parameters."""
Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""A number that a `bigint` can have."""
IdKey = tuple[Number]
"""What a list is sorted by, of the last row of a page."""
OrderKey = tuple[Number, UUID]
FillKey = tuple[Number, Number, UUID, str]
BalanceKey = tuple[Number, str, Mode]


class Page(NamedTuple, Generic[Read]):
    """Some rows of a history."""

    rows: list[Read]
    has_more: bool
    """Whether the history has rows after these."""


class StoredFill(FillRow, frozen=True, kw_only=True):
    """A fill with the time when it was stored, and what its order has."""

    mode: Mode
    symbol: str
    side: Side
    created_at: datetime


class StoredBalance(BalanceRow, frozen=True, kw_only=True):
    """A balance with the time when it was stored."""

    created_at: datetime


class StoredEntry(LedgerEntryRow, frozen=True, kw_only=True):
    """A ledger entry with its number."""

    id: int


class StoredRefusal(RefusalRow, frozen=True, kw_only=True):
    """A refusal with its number."""

    id: int


class RefusalTotal(msgspec.Struct, frozen=True, kw_only=True):
    """How many orders of an instance a rule has refused."""

    instance: str
    mode: Mode
    rule: str
    count: int
    last_refused_at: int


class RefusalFilter(NamedTuple):
    """Which refusals are wanted; None does not apply."""

    instance: str | None = None
    provider: str | None = None
    symbol: str | None = None
    rule: str | None = None
    mode: Mode | None = None
    since: int | None = None
    """Nanoseconds, inclusive."""
    until: int | None = None


ALL = RefusalFilter()


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """What could not be stored as it was."""

    id: int
    source: str
    error: str
    raw: bytes
    created_at: datetime


class RefusalCount(msgspec.Struct, frozen=True, kw_only=True):
    """The refusals of an instance by one rule."""

    rule: str
    count: int
    last: int
    """When the latest order was refused."""
    message: str
    """Why the latest order was refused."""


class TradingQueries:
    """Lists with filters; a filter that is None does not apply."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def orders(
        self,
        instance: str | None = None,
        *,
        mode: Mode | None = None,
        provider: str | None = None,
        symbol: str | None = None,
        states: Sequence[OrderState] = (),
        since: int | None = None,
        until: int | None = None,
        after: OrderKey | None = None,
        limit: int = 50,
    ) -> Page[StoredOrder]:
        """Returns orders, the latest request first; `since` (inclusive) and `until` are in nanoseconds."""
        filters: Filters = [
            ("o.instance = %s", instance),
            ("o.mode = %s", mode),
            ("o.provider = %s", provider),
            ("o.symbol = %s", symbol),
            ("o.intent_at >= %s", since),
            ("o.intent_at < %s", until),
            ("o.state = any(%s)", [state.value for state in states] or None),
            (
                "o.intent_at <= %s and (o.intent_at < %s or o.id > %s)",
                None if after is None else (after[0], *after),
            ),
        ]
        return await self._page(StoredOrder, ORDERS, filters, "o.intent_at desc, o.id", limit)

    async def has_rows(self, column: str, value: str) -> bool:
        """Returns whether anything is stored of an `instance`, a `provider` or a `symbol`."""
        tables = ("orders", "positions", "refusals")
        if column == "provider":
            tables = (*tables, "balances", "ledger_entries")
        parts = [
            SQL("exists (select from {} where {} = %s)").format(Identifier(table), Identifier(column))
            for table in tables
        ]
        query = SQL("select ") + SQL(" or ").join(parts)
        async with self._database.reading() as connection:
            row = await (await connection.execute(query, [value] * len(parts))).fetchone()
        return row is not None and bool(row[0])

    async def order(self, id: UUID) -> StoredOrder:
        """Returns an order. Raises NotFound."""
        found = await self._list(StoredOrder, ORDERS, [("o.id = %s", id)], "o.id", 1)
        if not found:
            raise NotFound(f"order {id} does not exist")
        return found[0]

    async def trace(self, id: UUID) -> tuple[StoredOrder | None, list[StoredFill], list[StoredRefusal]]:
        """Returns an order with its fills and the refusals under its id, the latest first.

        A refused order has refusals only. Raises NotFound.
        """
        found = await self._list(StoredOrder, ORDERS, [("o.id = %s", id)], "o.id", 1)
        select = SQL("select {} from refusals ").format(columns(StoredRefusal))
        refusals = await self._list(StoredRefusal, select, [("order_id = %s", id)], "id desc", MAX_LIMIT)
        if found:
            page = await self.fills(found[0].instance, order_id=id, limit=MAX_LIMIT)
            return found[0], page.rows, refusals
        if not refusals:
            raise NotFound(f"order {id} does not exist, and none was refused under this id")
        return None, [], refusals

    async def fills(
        self,
        instance: str | None,
        *,
        mode: Mode | None = None,
        provider: str | None = None,
        order_id: UUID | None = None,
        after: FillKey | None = None,
        limit: int = 100,
    ) -> Page[StoredFill]:
        """Returns the fills of an instance, the latest first."""
        filters: Filters = [
            ("f.instance = %s", instance),
            ("o.mode = %s", mode),
            ("f.provider = %s", provider),
            ("f.order_id = %s", order_id),
            ("(f.traded_at, f.report, f.order_id, f.execution_id) < (%s, %s, %s, %s)", after),
        ]
        select = SQL(
            "select {}, f.created_at, o.mode, o.symbol, o.side"
            " from fills f join orders o on o.id = f.order_id "
        ).format(columns(FillRow, "f"))
        order = "f.traded_at desc, f.report desc, f.order_id desc, f.execution_id desc"
        return await self._page(StoredFill, select, filters, order, limit)

    async def positions(self, instance: str, *, mode: Mode | None = None) -> list[PositionRow]:
        """Returns the positions of an instance, flat ones included."""
        filters: Filters = [("instance = %s", instance), ("mode = %s", mode)]
        select = SQL("select {} from positions ").format(columns(PositionRow))
        return await self._read(PositionRow, select, filters, "mode, provider, symbol", None)

    async def balances(
        self,
        provider: str,
        *,
        mode: Mode | None = None,
        currency: str | None = None,
        after: BalanceKey | None = None,
        limit: int = 100,
    ) -> Page[StoredBalance]:
        """Returns the history of the balances of an account, the latest first."""
        filters: Filters = [
            ("provider = %s", provider),
            ("mode = %s", mode),
            ("currency = %s", currency),
            (
                "snapshot_at <= %s and (snapshot_at < %s or (currency, mode) > (%s, %s))",
                None if after is None else (after[0], *after),
            ),
        ]
        select = SQL("select {} from balances ").format(columns(StoredBalance))
        return await self._page(StoredBalance, select, filters, "snapshot_at desc, currency, mode", limit)

    async def latest_balances(
        self, provider: str, *, mode: Mode | None = None, currency: str | None = None
    ) -> list[StoredBalance]:
        """Returns the latest balance of each mode and currency of an account."""
        where, values = _where(
            [("provider = %s", provider), ("mode = %s", mode), ("currency = %s", currency)]
        )
        select = SQL("select distinct on (mode, currency) {} from balances ").format(columns(StoredBalance))
        order = SQL(" order by mode, currency, snapshot_at desc")
        return await fetch(self._database, StoredBalance, select + where + order, values)

    async def ledger_entries(
        self,
        provider: str,
        *,
        mode: Mode | None = None,
        currency: str | None = None,
        kind: EntryKind | None = None,
        before: IdKey | None = None,
        limit: int = 100,
    ) -> Page[StoredEntry]:
        """Returns what was booked as not ours on an account, the latest first."""
        filters: Filters = [
            ("provider = %s", provider),
            ("mode = %s", mode),
            ("currency = %s", currency),
            ("kind = %s", kind),
            ("id < %s", before),
        ]
        select = SQL("select {} from ledger_entries ").format(columns(StoredEntry))
        return await self._page(StoredEntry, select, filters, "id desc", limit)

    async def refusals(
        self, only: RefusalFilter = ALL, *, before: IdKey | None = None, limit: int = 100
    ) -> Page[StoredRefusal]:
        """Returns refusals, the latest first."""
        filters: Filters = [*_refused(only), ("id < %s", before)]
        select = SQL("select {} from refusals ").format(columns(StoredRefusal))
        return await self._page(StoredRefusal, select, filters, "id desc", limit)

    async def refusal_totals(self, only: RefusalFilter = ALL) -> list[RefusalTotal]:
        """Returns how many orders were refused, by instance, mode and rule, the latest first."""
        where, values = _where(_refused(only))
        select = SQL(
            "select instance, mode, rule, sum(count)::bigint as count,"
            " max(last_refused_at) as last_refused_at from refusals "
        )
        order = SQL(" group by instance, mode, rule order by 5 desc, instance, mode, rule")
        return await fetch(self._database, RefusalTotal, select + where + order, values)

    async def refusal_counts(self, uid: UUID, mode: Mode, instance: str, since: int) -> list[RefusalCount]:
        """Returns the refusals of an instance by rule since a time, the most frequent rule first.

        Of an instance with very many refusals, the latest rows are counted.
        """
        query = SQL(
            "select rule, sum(count)::bigint as count, max(last_refused_at)::bigint as last,"
            " (array_agg(message order by last_refused_at desc, id desc))[1] as message"
            " from (select * from refusals where instance = %s order by id desc limit %s) latest"
            " where uid = %s and mode = %s and last_refused_at >= %s"
            " group by rule order by count desc, rule"
        ).format()
        values = [instance, COUNTED_REFUSALS, uid, mode, since]
        return await fetch(self._database, RefusalCount, query, values)

    async def reconciliations(self, provider: str, *, limit: int = 100) -> list[ReconciliationRow]:
        """Returns what the reconciliations of an account found, the latest first."""
        select = SQL("select {} from reconciliations ").format(columns(ReconciliationRow))
        return await self._list(ReconciliationRow, select, [("provider = %s", provider)], "id desc", limit)

    async def dead_letters(self, *, limit: int = 100) -> list[DeadLetter]:
        """Returns what could not be stored as it was, the latest first."""
        select = SQL("select {} from dead_letters ").format(columns(DeadLetter))
        return await self._list(DeadLetter, select, [], "id desc", limit)

    async def _page(
        self, row: type[Read], select: Composed, filters: Filters, order: LiteralString, limit: int
    ) -> Page[Read]:
        size = min(limit, MAX_LIMIT)
        rows = await self._read(row, select, filters, order, size + 1)
        return Page(rows[:size], len(rows) > size)

    async def _list(
        self, row: type[Read], select: Composed, filters: Filters, order: LiteralString, limit: int
    ) -> list[Read]:
        return (await self._page(row, select, filters, order, limit)).rows

    async def _read(
        self, row: type[Read], select: Composed, filters: Filters, order: LiteralString, limit: int | None
    ) -> list[Read]:
        where, values = _where(filters)
        statement = select + where + SQL(" order by " + order + " limit %s")
        return await fetch(self._database, row, statement, [*values, limit])


def _refused(only: RefusalFilter) -> Filters:
    return [
        ("instance = %s", only.instance),
        ("provider = %s", only.provider),
        ("symbol = %s", only.symbol),
        ("rule = %s", only.rule),
        ("mode = %s", only.mode),
        ("last_refused_at >= %s", only.since),
        ("refused_at < %s", only.until),
    ]


def _where(filters: Filters) -> tuple[Composed, list[Any]]:
    conditions = [SQL(text) for text, value in filters if value is not None]
    values: list[Any] = []
    for _, value in filters:
        if value is not None:
            values += cast(tuple[Any, ...], value) if isinstance(value, tuple) else [value]
    return SQL("where " if conditions else "") + SQL(" and ").join(conditions), values
