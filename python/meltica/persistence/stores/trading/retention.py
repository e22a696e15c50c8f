"""Deletes what is older than it is kept. Orders, fills and ledger entries are kept for ever."""

from psycopg.sql import SQL

from meltica.persistence.database import Database

REFUSALS_DAYS = 30
REPORTS_DAYS = 30
"""For reconciliations, dead letters, and the last commits of earlier gateways."""
BALANCES_DAYS = 30

_BATCH = 10_000
_BY_AGE = """
    delete from {table} where id in (
        select id from {table} where created_at < now() - make_interval(days => %s)
        order by created_at limit %s
    )
"""
_BALANCES = """
    delete from balances where ctid = any(array(
        select old.ctid from balances old
        where snapshot_at < (extract(epoch from now() - make_interval(days => %s)) * 1000000000)::bigint
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
        select writer from commits where committed_at < now() - make_interval(days => %s) limit %s
    )
"""
_STATEMENTS = {
    "refusals": (SQL(_BY_AGE).format(table=SQL("refusals")), REFUSALS_DAYS),
    "dead_letters": (SQL(_BY_AGE).format(table=SQL("dead_letters")), REPORTS_DAYS),
    "reconciliations": (SQL(_BY_AGE).format(table=SQL("reconciliations")), REPORTS_DAYS),
    # The latest balance of a currency is kept.
    "balances": (SQL(_BALANCES).format(), BALANCES_DAYS),
    "commits": (SQL(_COMMITS).format(), REPORTS_DAYS),
}


async def prune(database: Database) -> dict[str, int]:
    """Deletes rows in short transactions until none is too old; returns how many by table."""
    deleted: dict[str, int] = {}
    for table, (statement, days) in _STATEMENTS.items():
        count = _BATCH
        while count == _BATCH:
            async with database.connection() as connection:
                count = (await connection.execute(statement, [days, _BATCH])).rowcount
            deleted[table] = deleted.get(table, 0) + count
    return deleted
