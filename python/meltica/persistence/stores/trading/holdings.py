"""Which instances and providers have open orders or positions, in any mode: their rows are not deleted."""

from typing import NamedTuple
from uuid import UUID

from meltica.model.enums import Mode
from meltica.persistence.database import Database

_HELD = """
    select uid, provider, mode from orders where state in ('PENDING', 'ACK', 'PARTIAL', 'UNKNOWN')
    union select uid, provider, mode from positions where quantity <> 0
"""


class Holdings(NamedTuple):
    """What has open orders or positions."""

    instances: frozenset[UUID]
    """The uids of the instances."""
    providers: frozenset[str]
    live: frozenset[str]
    """The providers with open orders or positions on their accounts."""


async def holdings(database: Database) -> Holdings:
    """Returns what has open orders or positions. Raises DatabaseError."""
    async with database.connection() as connection:
        rows = await (await connection.execute(_HELD)).fetchall()
    return Holdings(
        frozenset(uid for uid, _, _ in rows),
        frozenset(provider for _, provider, _ in rows),
        frozenset(provider for _, provider, mode in rows if mode == Mode.LIVE),
    )
