"""The statements that write the rows of a batch: one for each table, with all its rows as one JSON parameter.

PostgreSQL converts the JSON by the types of the table's columns, so the checks of domains apply. An array for
each column would cost the client three times as much.
"""

from functools import cache
from operator import attrgetter
from typing import LiteralString, NamedTuple

from psycopg.sql import SQL, Composed, Identifier

from meltica.persistence.stores.audit import AUDIT_OPERATOR_ACTIONS
from meltica.persistence.stores.outbox import INSERT_DELIVERIES, INSERT_EVENTS, EventRow
from meltica.persistence.stores.trading.halts import HALTS_ACTIVE
from meltica.persistence.stores.trading.rows import (
    BalanceRow,
    CheckpointRow,
    DeadLetterRow,
    FillRow,
    HaltRow,
    LedgerEntryRow,
    OperatorActionRow,
    OrderRow,
    PositionRow,
    ReconciliationRow,
    RefusalRow,
    RiskStateRow,
    Row,
    WatermarkRow,
)


class Table(NamedTuple):
    """How the rows of one struct are written."""

    name: str
    statement: bytes
    key: tuple[str, ...] = ()
    """Columns of which a batch has each value once: the last row is written. Without a key, all rows are."""
    new: tuple[str, ...] = ()
    """Columns that the statement returns for each row that was not stored before."""

    also: bytes = b""
    """A statement that follows from the rows that `new_{name}` returns."""

    def parts(self) -> list[bytes]:
        """Returns the parts of a WITH clause that write the table."""
        name = self.name.encode()
        parts = [b"new_" + name + b" as (" + self.statement + b")"]
        return [*parts, b"also_" + name + b" as (" + self.also + b")"] if self.also else parts

    def key_of(self, row: Row) -> object:
        """Returns the values of the key."""
        return attrgetter(*self.key)(row)

    def text_key(self, row: Row) -> tuple[str, ...]:
        """Returns the values of the key as the statement returns them."""
        return tuple(str(getattr(row, name)) for name in self.new)


def _insert(
    name: LiteralString,
    row: type[Row],
    suffix: LiteralString = "",
    key: tuple[str, ...] = (),
    new: tuple[str, ...] = (),
) -> Table:
    returning = SQL(" returning {}").format(_names(new)) if new else SQL("")
    statement = SQL(
        "insert into {table} ({columns}) select {columns} from json_populate_recordset(null::{table}, %s) "
    ).format(table=Identifier(name), columns=_names(row.__struct_fields__))
    return Table(name, (statement + SQL(suffix) + returning).as_bytes(), key, new)


def _upsert(
    name: LiteralString,
    row: type[Row],
    key: tuple[str, ...],
    target: LiteralString,
    fixed: tuple[str, ...] = (),
    suffix: LiteralString = "",
) -> Table:
    """Describes a table whose rows change, except for their key and their fixed columns."""
    changes = [name for name in row.__struct_fields__ if name not in (*key, *fixed)]
    updates = SQL(", ").join(SQL("{0} = excluded.{0}").format(Identifier(name)) for name in changes)
    conflict = SQL("on conflict " + target + " do update set {}" + suffix).format(updates)
    table = _insert(name, row)
    return Table(name, table.statement + conflict.as_bytes(), key)


def _names(names: tuple[str, ...]) -> Composed:
    return SQL(", ").join(map(Identifier, names))


_FIXED_OF_ORDERS = (
    *("client_order_id", "instance", "uid", "mode", "revision", "provider", "symbol", "side", "order_type"),
    *("time_in_force", "post_only", "reduce_only", "tag", "intent_at", "trigger"),
)
_SCOPE_OF_BALANCES = ("provider", "mode", "currency", "snapshot_at")
_KEY_OF_ENTRIES = ("provider", "mode", "kind", "venue_id", "currency")

TABLES: dict[type[Row], Table] = {
    OrderRow: _upsert("orders", OrderRow, ("id",), "(id)", _FIXED_OF_ORDERS, ", updated_at = now()"),
    FillRow: _insert(
        "fills",
        FillRow,
        "on conflict (order_id, execution_id) do nothing",
        ("order_id", "execution_id"),
        ("order_id", "execution_id"),
    ),
    PositionRow: _upsert(
        "positions",
        PositionRow,
        ("uid", "mode", "revision", "provider", "symbol"),
        "(uid, mode, coalesce(revision, ''), provider, symbol)",
        ("instance",),
    ),
    BalanceRow: _insert("balances", BalanceRow, "on conflict do nothing", _SCOPE_OF_BALANCES),
    LedgerEntryRow: _insert(
        "ledger_entries", LedgerEntryRow, "on conflict do nothing", _KEY_OF_ENTRIES, _KEY_OF_ENTRIES
    ),
    HaltRow: _insert("halts", HaltRow, "on conflict " + HALTS_ACTIVE + " do nothing"),
    RiskStateRow: _upsert(
        "risk_states",
        RiskStateRow,
        ("scope", "subject", "mode"),
        "(scope, subject, mode)",
        suffix=" where risk_states.day is null or excluded.day >= risk_states.day",
    ),
    RefusalRow: _insert("refusals", RefusalRow),
    CheckpointRow: _upsert("checkpoints", CheckpointRow, ("uid", "mode"), "(uid, mode)"),
    WatermarkRow: _upsert(
        "watermarks",
        WatermarkRow,
        ("provider", "mode", "symbol"),
        "(provider, mode, symbol)",
        suffix=", updated_at = now() where excluded.venue_time >= watermarks.venue_time",
    ),
    OperatorActionRow: _insert("operator_actions", OperatorActionRow, "returning *")._replace(
        also=AUDIT_OPERATOR_ACTIONS.encode()
    ),
    ReconciliationRow: _insert("reconciliations", ReconciliationRow),
    EventRow: Table("outbox", INSERT_EVENTS, also=INSERT_DELIVERIES),
    DeadLetterRow: _insert("dead_letters", DeadLetterRow),
}
"""The tables in the order in which they are written: what others depend on comes first."""


@cache
def statement_of(kinds: tuple[type[Row], ...], start: bytes, columns: bytes) -> bytes:
    """Returns one statement that writes several tables: a part of `start`, then of each table in their order.

    It returns `columns`, and for each table with new rows their keys as JSON.
    """
    tables = [TABLES[kind] for kind in kinds]
    parts = [part for table in tables for part in table.parts()]
    keys = [_keys(table) for table in tables if table.new]
    return b"with " + b", ".join([start, *parts]) + b" select " + b", ".join([columns, *keys])


def _keys(table: Table) -> bytes:
    query = SQL("(select json_agg(json_build_array({}))::text from {})")
    return query.format(_names(table.new), Identifier(f"new_{table.name}")).as_bytes()
