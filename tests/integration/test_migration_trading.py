"""Migration 0005: orders, fills and balances are converted exactly, and come back on the way down."""

from decimal import Decimal
from typing import Any, LiteralString

import psycopg
import pytest

from meltica.errors import MigrationError
from meltica.persistence import migrate
from tests.integration.test_migration_vocabulary import ROWS, catalogue, insert, rows

OLD_VERSION = 4


async def old_rows(dsn: str) -> None:
    """Creates the rows of an earlier version."""
    await migrate.up(dsn, 2)
    await insert(dsn)
    await migrate.up(dsn, OLD_VERSION - 2)


def query(dsn: str, statement: LiteralString) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(statement).fetchall()


async def test_rows_are_converted_and_come_back(empty_database_url: str) -> None:
    dsn = empty_database_url
    await old_rows(dsn)
    before, catalogue_before = rows(dsn, "fills"), catalogue(dsn)
    assert all(before)
    await migrate.up(dsn)
    catalogue_up = catalogue(dsn)
    first, second = query(
        dsn,
        "select intent_at, filled_quantity, filled_cost, price, limit_price, mode, uid::text, post_only,"
        " cancel_wanted from orders order by id",
    )
    nil = "00000000-0000-0000-0000-000000000000"
    price = Decimal("64000.0")
    assert first == (
        1767323045678901000,
        Decimal("0.050"),
        Decimal("63999.5") * Decimal("0.050"),
        price,
        price,
        "live",
        nil,
        False,
        False,
    )
    assert second[1:5] == (0, 0, None, 0)
    fills = query(
        dsn, "select abs(traded_at / 1e9 - extract(epoch from now())), provider, instance from fills"
    )
    assert [(age < 600, *names) for age, *names in fills] == [(True, "p", "i")]
    await migrate.down(dsn, len(migrate.load()) - OLD_VERSION)
    assert (rows(dsn, "fills"), catalogue(dsn)) == (before, catalogue_before)
    await migrate.up(dsn)
    assert catalogue(dsn) == catalogue_up


async def test_a_client_order_id_of_two_providers_stops_the_migration(empty_database_url: str) -> None:
    dsn = empty_database_url
    await migrate.up(dsn, 2)
    with psycopg.connect(dsn) as connection:
        connection.execute(ROWS[0])
        connection.execute(
            "update orders set provider = 'q', client_order_id = 'a1' where client_order_id <> 'a1'"
        )
    await migrate.up(dsn, OLD_VERSION - 2)
    before = rows(dsn, "fills")
    with pytest.raises(MigrationError, match=r"0005_trading .*client_order_id"):
        await migrate.up(dsn)
    assert rows(dsn, "fills") == before


async def test_the_way_down_keeps_live_balances_only(empty_database_url: str) -> None:
    dsn = empty_database_url
    await migrate.up(dsn)
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "insert into balances (provider, mode, currency, snapshot_at, total, available)"
            " values ('p', 'live', 'USDT', 1000, 1, 1), ('p', 'live', 'USDT', 1001, 2, 2),"
            " ('p', 'paper', 'USDT', 1000, 9, 9)"
        )
    await migrate.down(dsn, len(migrate.load()) - OLD_VERSION)
    assert query(dsn, "select total from balances") == [(2,)]
