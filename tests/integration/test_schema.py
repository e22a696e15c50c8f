"""The schema: its constraints, its exact amounts, and the claims of outbox consumers."""

import re
from collections.abc import Generator
from decimal import Decimal
from enum import StrEnum
from typing import Any, LiteralString
from uuid import uuid4

import psycopg
import pytest
from psycopg import Connection, errors
from psycopg.types.json import Jsonb

from meltica.model.enums import FillRule, Liquidity, Mode, OrderState, OrderType, Side, TimeInForce
from meltica.persistence.stores.trading.rows import EntryKind, HaltScope, OperatorAction, Verdict
from meltica.persistence.stores.trading.tables import TABLES

ORDER: dict[str, Any] = {
    "id": "00000000-0000-0000-0000-000000000001",
    "provider": "p",
    "instance": "i",
    "uid": "00000000-0000-0000-0000-00000000000a",
    "mode": "live",
    "client_order_id": "c1",
    "symbol": "BTC-USDT",
    "side": "Buy",
    "order_type": "Limit",
    "time_in_force": "GTC",
    "quantity": Decimal("0.10"),
    "price": Decimal("64000.0"),
    "limit_price": Decimal("64000.0"),
    "state": "PENDING",
    "intent_at": 1767323045678901234,
}
INSERT_ORDER: LiteralString = """
    insert into orders (id, provider, instance, uid, mode, client_order_id, symbol, side, order_type,
                        time_in_force, quantity, price, limit_price, state, intent_at)
    values (%(id)s, %(provider)s, %(instance)s, %(uid)s, %(mode)s, %(client_order_id)s, %(symbol)s, %(side)s,
            %(order_type)s, %(time_in_force)s, %(quantity)s, %(price)s, %(limit_price)s, %(state)s,
            %(intent_at)s)
"""
CHECKED: list[tuple[str, str, type[StrEnum]]] = [
    ("orders", "state", OrderState),
    ("orders", "side", Side),
    ("orders", "order_type", OrderType),
    ("orders", "time_in_force", TimeInForce),
    ("fills", "liquidity", Liquidity),
    ("fills", "rule", FillRule),
    ("ledger_entries", "kind", EntryKind),
    ("halts", "scope", HaltScope),
    ("risk_states", "scope", HaltScope),
    ("refusals", "verdict", Verdict),
    ("operator_actions", "action", OperatorAction),
]


@pytest.fixture(name="connection")
def _connection(database_url: str) -> Generator[Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def order(connection: Connection, **changes: object) -> None:
    connection.execute(INSERT_ORDER, {**ORDER, **changes})


def fill(connection: Connection, **changes: object) -> None:
    values = {"order_id": ORDER["id"], "id": "e1", "quantity": 1, "price": 1, "fee": None, **changes}
    connection.execute(
        "insert into fills (order_id, execution_id, provider, instance, quantity, price, fee, traded_at,"
        " report) values (%(order_id)s, %(id)s, 'p', 'i', %(quantity)s, %(price)s, %(fee)s, 1, 1)",
        values,
    )


def test_amounts_and_times_survive_a_round_trip(connection: Connection) -> None:
    digits = Decimal("123456789012345678.123456789012345678")
    order(connection, quantity=Decimal("0.10"), price=digits)
    row = connection.execute("select quantity, price, filled_quantity, intent_at from orders").fetchone()
    assert row is not None
    assert [str(value) for value in row[:3]] == ["0.10", str(digits), "0"]
    assert row[3] == ORDER["intent_at"]


@pytest.mark.parametrize(("table", "column", "enum"), CHECKED, ids=lambda value: str(value))
def test_a_check_allows_the_values_of_its_enum(
    connection: Connection, table: str, column: str, enum: type[StrEnum]
) -> None:
    row = connection.execute(
        "select pg_get_constraintdef(oid) from pg_constraint where conname = %s", [f"{table}_{column}_check"]
    ).fetchone()
    assert row is not None
    assert re.findall(r"'([^']*)'", row[0]) == list(enum)


def test_the_domain_of_modes_allows_the_values_of_its_enum(connection: Connection) -> None:
    row = connection.execute(
        "select pg_get_constraintdef(oid) from pg_constraint where conname = 'trading_mode_check'"
    ).fetchone()
    assert row is not None
    assert re.findall(r"'([^']*)'", row[0]) == list(Mode)


def test_the_fields_of_rows_are_columns(connection: Connection) -> None:
    columns = connection.execute(
        "select table_name, array_agg(column_name::text) from information_schema.columns"
        " where table_schema = 'meltica' group by 1"
    ).fetchall()
    by_table = {table: set(names) for table, names in columns}
    for row, table in TABLES.items():
        assert set(row.__struct_fields__) <= by_table[table.name], table.name


def test_the_index_of_open_orders_leaves_out_the_final_states(connection: Connection) -> None:
    row = connection.execute("select indexdef from pg_indexes where indexname = 'orders_open'").fetchone()
    assert row is not None
    assert set(re.findall(r"'([^']*)'", row[0])) == {state for state in OrderState if not state.is_final}


@pytest.mark.parametrize("state", OrderState)
def test_valid_states_of_an_order(connection: Connection, state: str) -> None:
    order(connection, state=state)


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "ACKED"},
        {"state": "filled"},
        {"side": "BUY"},
        {"order_type": "Stop"},
        {"time_in_force": "DAY"},
        {"quantity": 0},
        {"quantity": -1},
        {"quantity": Decimal("NaN")},
        {"quantity": Decimal("Infinity")},
        {"price": Decimal("NaN")},
        {"price": None},
        {"order_type": "Market"},
        {"client_order_id": ""},
        {"client_order_id": "x" * 19},
        {"client_order_id": "C1"},
        {"client_order_id": "c-1"},
        {"client_order_id": "c1\n"},
        {"mode": "dry"},
        {"intent_at": -1},
    ],
)
def test_invalid_orders_are_refused(connection: Connection, changes: dict[str, object]) -> None:
    with pytest.raises(errors.CheckViolation):
        order(connection, **changes)


def test_a_client_order_id_is_unique_over_all_providers(connection: Connection) -> None:
    order(connection)
    with pytest.raises(errors.UniqueViolation):
        order(connection, id=uuid4(), provider="q")


def test_a_fill_is_unique_per_order(connection: Connection) -> None:
    order(connection)
    other = uuid4()
    order(connection, id=other, client_order_id="c2")
    fill(connection)
    # In a self-trade, both sides have the same id.
    fill(connection, order_id=other)
    with pytest.raises(errors.UniqueViolation):
        fill(connection)
    # A rebate.
    fill(connection, id="e2", fee=Decimal("-0.001"))
    with pytest.raises(errors.CheckViolation):
        fill(connection, id="e3", fee=Decimal("NaN"))
    with pytest.raises(errors.ForeignKeyViolation):
        fill(connection, order_id=uuid4())
    with pytest.raises(errors.ForeignKeyViolation):
        connection.execute("delete from orders")


def test_an_overfilled_order_is_stored(connection: Connection) -> None:
    order(connection)
    connection.execute("update orders set filled_quantity = 7, filled_cost = 10.5, state = 'FILLED'")


def test_each_subject_has_at_most_one_active_halt(connection: Connection) -> None:
    def halt(scope: str, subject: str) -> None:
        connection.execute(
            "insert into halts (scope, subject, rule, reason) values (%s, %s, 'breaker', 'lost too much')",
            [scope, subject],
        )

    halt("global", "")
    halt("instance", "a")
    halt("instance", "b")
    with pytest.raises(errors.UniqueViolation):
        halt("instance", "a")
    for mode in ("live", "paper"):
        # Halts of one mode exist beside the one of both.
        statement = "insert into halts (scope, subject, mode, rule, reason) values (%s, %s, %s, 'x', 'y')"
        connection.execute(statement, ["instance", "a", mode])
        with pytest.raises(errors.UniqueViolation):
            connection.execute(statement, ["instance", "a", mode])
    connection.execute("update halts set cleared_at = now(), cleared_by = 'me' where subject = 'a'")
    halt("instance", "a")
    for scope, subject in (("global", "a"), ("instance", ""), ("symbol", "a")):
        with pytest.raises(errors.CheckViolation):
            halt(scope, subject)


CLAIM: LiteralString = """
    select event from outbox_deliveries
    where consumer = %s and not dead and available_at <= now()
    order by event limit %s for update skip locked
"""


def test_each_consumer_claims_an_outbox_event_once(connection: Connection, database_url: str) -> None:
    connection.execute("insert into outbox_consumers (name) values ('webhook'), ('stream')")
    for n in range(4):
        connection.execute(
            """
            with event as (
                insert into outbox (aggregate_type, aggregate_id, event_type, payload)
                values ('order', 'o1', 'order.filled', %s) returning id
            )
            insert into outbox_deliveries (consumer, event) select name, id from outbox_consumers, event
            """,
            [Jsonb({"n": n})],
        )
    with psycopg.connect(database_url) as one, psycopg.connect(database_url) as two:
        first = one.execute(CLAIM, ["webhook", 2]).fetchall()
        second = two.execute(CLAIM, ["webhook", 9]).fetchall()
        assert (len(first), len(second)) == (2, 2)
        assert not set(first) & set(second)
        assert len(two.execute(CLAIM, ["stream", 9]).fetchall()) == 4
    connection.execute("update outbox_deliveries set dead = true, attempts = 9 where consumer = 'webhook'")
    assert connection.execute(CLAIM, ["webhook", 9]).fetchall() == []
    # Deleting a consumer or an event deletes its deliveries.
    connection.execute("delete from outbox_consumers where name = 'webhook'")
    connection.execute("delete from outbox where payload ->> 'n' = '0'")
    count = connection.execute("select count(*) from outbox_deliveries").fetchone()
    assert count == (3,)
