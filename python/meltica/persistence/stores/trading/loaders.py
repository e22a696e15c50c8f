"""What a gateway restores at its start: orders, positions, ledger entries, risk, checkpoints, watermarks."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, LiteralString, NamedTuple, TypeVar
from uuid import UUID

import msgspec
from psycopg.rows import kwargs_row
from psycopg.sql import SQL, Composed, Identifier

from meltica.model.enums import Mode
from meltica.persistence.database import Database
from meltica.persistence.stores.trading.rows import (
    CheckpointRow,
    FillRow,
    LedgerEntryRow,
    OrderRow,
    PositionRow,
    RiskStateRow,
    WatermarkRow,
)

Read = TypeVar("Read")


class StoredOrder(OrderRow, frozen=True, kw_only=True):
    """An order with the fees of its fills."""

    fees: dict[str, Decimal]
    """Sum of the fees by currency."""
    created_at: datetime
    updated_at: datetime


class LedgerSum(NamedTuple):
    """What an account owns and no instance does, of one currency."""

    provider: str
    mode: Mode
    currency: str
    amount: Decimal


def columns(row: type[msgspec.Struct], alias: LiteralString = "") -> Composed:
    """Returns the columns of a row for a select."""
    prefix = SQL(alias + ".") if alias else SQL("")
    return SQL(", ").join(prefix + Identifier(name) for name in row.__struct_fields__)


ORDERS = SQL(
    """
    select {}, o.created_at, o.updated_at, coalesce(f.fees, '{{}}') as fees
    from orders o left join lateral (
        select jsonb_object_agg(fee_currency, fee::text) as fees from (
            select fee_currency, sum(fee) as fee from fills
            where order_id = o.id and fee_currency is not null and fee is not null group by fee_currency
        ) by_currency
    ) f on true
    """
).format(columns(OrderRow, "o"))
FILLS = SQL("select {} from fills ").format(columns(FillRow))
_NEW_MARK = SQL("insert into home (mark) values (%s) on conflict do nothing").format()
_MARK = SQL("select mark from home").format()


async def fetch(
    database: Database,
    row: type[Read],
    statement: Composed,
    values: Sequence[object] | Mapping[str, object] = (),
) -> list[Read]:
    """Runs a query; its columns are the fields of `row`."""

    def convert(**fields: Any) -> Read:
        return msgspec.convert(fields, row)

    async with database.reading() as connection:
        cursor = connection.cursor(row_factory=kwargs_row(convert))
        return await (await cursor.execute(statement, values)).fetchall()


class TradingLoader:
    """Reads what trading persisted."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def mark(self, new: str) -> str:
        """Returns the mark in the client order ids of this home; stores `new` if it has none yet."""
        await self._rows(_NEW_MARK, [new])
        ((mark,),) = await self._rows(_MARK)
        return mark

    async def open_orders(self) -> list[StoredOrder]:
        """Returns the orders that have not ended, oldest first. One in state PENDING was perhaps sent."""
        states = SQL("where o.state in ('PENDING', 'ACK', 'PARTIAL', 'UNKNOWN') order by o.intent_at, o.id")
        return await fetch(self._database, StoredOrder, ORDERS + states)

    async def ended_orders(self, since: int) -> list[StoredOrder]:
        """Returns the orders that ended at a time or later, in the order of their ends."""
        ended = SQL("where o.ended_at >= %s order by o.ended_at, o.id")
        return await fetch(self._database, StoredOrder, ORDERS + ended, [since])

    async def orders_by_client_id(self, ids: Collection[str]) -> list[StoredOrder]:
        """Returns the orders that have these client order ids."""
        named = SQL("where o.client_order_id = any(%s) order by o.intent_at, o.id")
        return await fetch(self._database, StoredOrder, ORDERS + named, [list(ids)])

    async def orders(self, ids: Collection[UUID]) -> list[StoredOrder]:
        """Returns the orders with these ids."""
        named = SQL("where o.id = any(%s) order by o.intent_at, o.id")
        return await fetch(self._database, StoredOrder, ORDERS + named, [list(ids)])

    async def last_paper_id(self) -> int:
        """Returns the highest id that a paper account gave to an order or a fill; 0 without one."""
        query = SQL(
            "select greatest((select max(venue_order_id::bigint) from orders where mode = 'paper'),"
            " (select max(execution_id::bigint) from fills where rule is not null), 0)"
        ).format()
        ((last,),) = await self._rows(query)
        return int(last)

    async def ends_after(self, uid: UUID, mode: Mode, report: int) -> list[StoredOrder]:
        """Returns an instance's orders that ended after a report, in the order of the reports."""
        ended = SQL("where o.end_report > %s and o.uid = %s and o.mode = %s order by o.end_report")
        return await fetch(self._database, StoredOrder, ORDERS + ended, [report, uid, mode])

    async def fills_after(self, uid: UUID, mode: Mode, report: int) -> list[FillRow]:
        """Returns an instance's fills after a report, in the order of the reports."""
        after = SQL(
            "where report > %s and exists (select from orders where id = order_id and uid = %s and mode = %s)"
            " order by report"
        )
        return await fetch(self._database, FillRow, FILLS + after, [report, uid, mode])

    async def fills(self, orders: Sequence[UUID]) -> list[FillRow]:
        """Returns all fills of orders, in the order of the reports."""
        of_orders = SQL("where order_id = any(%s) order by report")
        return await fetch(self._database, FillRow, FILLS + of_orders, [list(orders)])

    async def last_report(self) -> int:
        """Returns the highest number of a report; 0 without one."""
        query = (
            "select greatest((select max(report) from fills), (select max(end_report) from orders),"
            " (select max(last_report) from checkpoints), 0)"
        )
        async with self._database.connection() as connection:
            row = await (await connection.execute(query)).fetchone()
        assert row is not None
        return int(row[0])

    async def last_time(self) -> int:
        """Returns the latest time of trading's clock that was written, in ns; 0 without one."""
        query = (
            "select greatest((select max(updated_at) from risk_states), (select max(updated_at) from"
            " positions), (select max(saved_at) from checkpoints), (select max(ended_at) from"
            " reconciliations), 0)"
        )
        async with self._database.connection() as connection:
            row = await (await connection.execute(query)).fetchone()
        assert row is not None
        return int(row[0])

    async def positions(self) -> list[PositionRow]:
        """Returns all positions, also flat ones."""
        query = SQL("select {} from positions").format(columns(PositionRow))
        return await fetch(self._database, PositionRow, query)

    async def ledger(self) -> list[LedgerSum]:
        """Returns the sums of the ledger entries."""
        query = SQL(
            "select provider, mode, currency, sum(amount) as amount from ledger_entries group by 1, 2, 3"
        ).format()
        rows = await self._rows(query)
        return [
            LedgerSum(provider, Mode(mode), currency, amount) for provider, mode, currency, amount in rows
        ]

    async def entries(self, provider: str, mode: Mode, since: int) -> list[LedgerEntryRow]:
        """Returns the ledger entries of an account from a time on, which must not be booked again."""
        query = SQL(
            "select {} from ledger_entries where provider = %s and mode = %s and booked_at >= %s order by id"
        ).format(columns(LedgerEntryRow))
        return await fetch(self._database, LedgerEntryRow, query, [provider, mode, since])

    async def inventories(self) -> list[LedgerEntryRow]:
        """Returns the ledger entries of all inventories, each of which is moved once."""
        query = SQL("select {} from ledger_entries where kind = 'inventory'").format(columns(LedgerEntryRow))
        return await fetch(self._database, LedgerEntryRow, query)

    async def opened_accounts(self, mode: Mode) -> set[str]:
        """Returns the providers whose opening is booked."""
        query = SQL(
            "select distinct provider from ledger_entries where mode = %s and kind = 'opening'"
        ).format()
        return {provider for (provider,) in await self._rows(query, [mode])}

    async def risk_states(self) -> list[RiskStateRow]:
        """Returns the risk states of all scopes."""
        query = SQL("select {} from risk_states").format(columns(RiskStateRow))
        return await fetch(self._database, RiskStateRow, query)

    async def checkpoint(self, uid: UUID, mode: Mode) -> CheckpointRow | None:
        """Returns what a strategy saved last."""
        query = SQL("select {} from checkpoints where uid = %s and mode = %s").format(columns(CheckpointRow))
        rows = await fetch(self._database, CheckpointRow, query, [uid, mode])
        return rows[0] if rows else None

    async def watermarks(self) -> list[WatermarkRow]:
        """Returns how far the fills of each account are committed."""
        query = SQL("select {} from watermarks").format(columns(WatermarkRow))
        return await fetch(self._database, WatermarkRow, query)

    async def disowned(self) -> set[str]:
        """Returns the client order ids of this home that operators made foreign."""
        query = SQL("select subject from operator_actions where action = 'disown'").format()
        return {id for (id,) in await self._rows(query)}

    async def _rows(self, query: Composed, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        async with self._database.connection() as connection:
            cursor = await connection.execute(query, values)
            return await cursor.fetchall() if cursor.description else []
