"""The sizes of the tables in the database."""

from typing import LiteralString, NamedTuple

from psycopg.rows import class_row

from meltica.persistence.database import SCHEMA, Database

_SIZES: LiteralString = """
    select c.relname as "table", pg_total_relation_size(c.oid) as bytes, coalesce(s.n_live_tup, 0) as rows
    from pg_class c left join pg_stat_user_tables s on s.relid = c.oid
    where c.relnamespace = %s::regnamespace and c.relkind = 'r' order by c.relname
"""


class TableSize(NamedTuple):
    """A table."""

    table: str
    bytes: int
    """With its indexes."""
    rows: int
    """As PostgreSQL estimates."""


async def table_sizes(database: Database) -> list[TableSize]:
    """Returns all tables of Meltica, by name."""
    async with database.connection() as connection:
        cursor = connection.cursor(row_factory=class_row(TableSize))
        return await (await cursor.execute(_SIZES, [SCHEMA])).fetchall()
