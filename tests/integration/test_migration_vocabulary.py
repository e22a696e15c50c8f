"""Migration 0003: columns get their names, nothing is lost on the way up or down."""

from typing import Any, LiteralString

import psycopg
import pytest

from meltica.errors import MigrationError
from meltica.persistence import migrate
from meltica.persistence.database import connect

CATALOGUE: LiteralString = """
    select table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable || ' '
           || coalesce(column_default, '-')
    from information_schema.columns where table_schema = 'meltica'
    union all
    select conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid)
    from pg_constraint where connamespace = 'meltica'::regnamespace and conrelid <> 0
    union all
    select indexdef from pg_indexes where schemaname = 'meltica'
    order by 1
"""
ROWS: tuple[LiteralString, ...] = (
    """
    insert into orders (id, provider, instance, client_order_id, symbol, side, type, time_in_force, quantity,
                        price, filled, average_price, state, external_ref, placed_at)
    values ('00000000-0000-0000-0000-000000000001', 'p', 'i', 'a1', 'BTC-USDT', 'Buy', 'Limit', 'GTC',
            0.10, 64000.0, 0.050, 63999.5, 'PARTIAL', 'x-1', '2026-01-02 03:04:05.678901+00'),
           ('00000000-0000-0000-0000-000000000002', 'p', 'i', '0123456789abcdefgh', 'BTC-USDT', 'Sell',
            'Market', 'IOC', 1, null, 0, null, 'PENDING', null, '2026-01-02 03:04:06+00')
    """,
    """
    insert into executions (order_id, execution_id, quantity, price, fee, fee_asset, liquidity, traded_at)
    values ('00000000-0000-0000-0000-000000000001', 'e1', 0.050, 63999.5, -0.0010, 'USDT', 'maker', now())
    """,
    """
    insert into balances (provider, asset, snapshot_at, total, available)
    values ('p', 'USDT', now(), 5.00, 4.0)
    """,
)


def catalogue(dsn: str) -> list[Any]:
    with psycopg.connect(dsn) as connection:
        return [row[0] for row in connection.execute(CATALOGUE)]


def rows(dsn: str, executions: str = "executions") -> list[list[str]]:
    """Returns every row of the three tables as PostgreSQL writes it, digits and all."""
    with psycopg.connect(dsn) as connection:
        return [
            [row[0] for row in connection.execute(f"select t::text from {table} t order by 1".encode())]
            for table in ("orders", executions, "balances")
        ]


async def insert(dsn: str) -> None:
    async with await connect(dsn) as connection:
        for statement in ROWS:
            await connection.execute(statement)


async def test_up_and_down_lose_nothing(empty_database_url: str) -> None:
    dsn = empty_database_url
    await migrate.up(dsn, 2)
    await insert(dsn)
    before, catalogue_before = rows(dsn), catalogue(dsn)
    await migrate.up(dsn, 1)
    catalogue_up = catalogue(dsn)
    assert rows(dsn, "fills") == before
    await migrate.down(dsn, 1)
    assert (rows(dsn), catalogue(dsn)) == (before, catalogue_before)
    await migrate.up(dsn, 1)
    assert (rows(dsn, "fills"), catalogue(dsn)) == (before, catalogue_up)


async def test_old_names_are_gone_from_columns_constraints_and_indexes(empty_database_url: str) -> None:
    await migrate.up(empty_database_url, 3)
    names = "\n".join(catalogue(empty_database_url))
    for old in (
        "executions",
        "external_ref",
        "fee_asset",
        "asset",
        "orders_type",
        "orders_filled_not",
        "orders.filled ",
    ):
        assert old not in names, old


@pytest.mark.parametrize("id", ["A1", "a-1", "0123456789abcdefghi", "a1\n"])
async def test_an_id_that_the_new_check_refuses_stops_the_migration(empty_database_url: str, id: str) -> None:
    dsn = empty_database_url
    await migrate.up(dsn, 2)
    await insert(dsn)
    async with await connect(dsn) as connection:
        await connection.execute("update orders set client_order_id = %s where client_order_id = 'a1'", [id])
    before, catalogue_before = rows(dsn), catalogue(dsn)
    with pytest.raises(MigrationError, match=r"\[0-9a-z\]: 1 rows of orders, such as .*nothing was changed"):
        await migrate.up(dsn, 1)
    assert (rows(dsn), catalogue(dsn)) == (before, catalogue_before)
    async with await connect(dsn) as connection:
        await connection.execute("update orders set client_order_id = 'a1' where client_order_id = %s", [id])
    assert [str(each) for each in await migrate.up(dsn, 1)] == ["0003_vocabulary"]
