"""Deletes what is older than it is kept. Orders, fills and ledger entries are kept for ever."""

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType

from psycopg.sql import SQL

from meltica.persistence.database import Database

KEEP = timedelta(days=30)
"""For how long rows are kept, unless it is given."""

_BATCH = 10_000
_BY_AGE = """
    delete from {table} where id in (
        select id from {table} where created_at < now() - %s::interval
        order by created_at limit %s
    )
"""
_BALANCES = """
    delete from balances where ctid = any(array(
        select old.ctid from balances old
        where snapshot_at < (extract(epoch from now() - %s::interval) * 1000000000)::bigint
          and exists (
              select from balances newer
              where (newer.provider, newer.mode, newer.currency) = (old.provider, old.mode, old.currency)
                and newer.snapshot_at > old.snapshot_at
          )
        order by snapshot_at limit %s
    ))
"""
_COMMITS = """
    delete from commits where writer in (
        select writer from commits where committed_at < now() - %s::interval limit %s
    )
"""
_STATEMENTS = {
    "refusals": SQL(_BY_AGE).format(table=SQL("refusals")),
    "dead_letters": SQL(_BY_AGE).format(table=SQL("dead_letters")),
    "reconciliations": SQL(_BY_AGE).format(table=SQL("reconciliations")),
    # The latest balance of a currency is kept.
    "balances": SQL(_BALANCES).format(),
    # The last commits of earlier gateways.
    "commits": SQL(_COMMITS).format(),
}
_NONE: Mapping[str, timedelta] = MappingProxyType({})


async def prune(database: Database, keep: Mapping[str, timedelta] = _NONE) -> dict[str, int]:
    """Deletes rows in short transactions until none is too old; returns how many by table.

    `keep`: table -> for how long its rows are kept; `KEEP` for others.
    """
    deleted: dict[str, int] = {}
    for table, statement in _STATEMENTS.items():
        count, age = _BATCH, keep.get(table, KEEP)
        while count == _BATCH:
            async with database.connection() as connection:
                count = (await connection.execute(statement, [age, _BATCH])).rowcount
            deleted[table] = deleted.get(table, 0) + count
    return deleted
