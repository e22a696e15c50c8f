"""Which instances and providers have open orders or positions, in any mode: their rows are not deleted."""

from typing import NamedTuple
from uuid import UUID

from meltica.persistence.database import Database

_HELD = """
    select uid, provider from orders where state in ('PENDING', 'ACK', 'PARTIAL', 'UNKNOWN')
    union select uid, provider from positions where quantity <> 0
"""


class Holdings(NamedTuple):
    """What has open orders or positions."""

    instances: frozenset[UUID]
    """The uids of the instances."""
    providers: frozenset[str]


async def holdings(database: Database) -> Holdings:
    """Returns what has open orders or positions. Raises DatabaseError."""
    async with database.connection() as connection:
        rows = await (await connection.execute(_HELD)).fetchall()
    return Holdings(frozenset(uid for uid, _ in rows), frozenset(provider for _, provider in rows))
