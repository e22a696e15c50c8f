"""Halts: what stops trading in a scope until an operator clears it.

An operator's halt is written with the row of the action, and without the gateway's epoch, so it works beside
a gateway that hangs. The gateway reads the active halts in each group commit.
"""

from datetime import datetime
from typing import LiteralString

import msgspec
from psycopg.rows import kwargs_row

from meltica.persistence.database import Database
from meltica.persistence.stores.audit import AUDIT_OPERATOR_ACTIONS, rehearse
from meltica.persistence.stores.trading.rows import HaltRow, HaltScope, OperatorAction

ACTIVE_HALTS: LiteralString = """
    select scope, subject, rule, reason, halted_at, halted_by, mode from halts where cleared_at is null
    order by halted_at, id
"""
HALTS_ACTIVE: LiteralString = "(scope, subject, coalesce(mode::text, '')) where cleared_at is null"
"""What identifies an active halt."""
_ACTION: LiteralString = (
    """
    , new_operator_actions as (
        insert into operator_actions (action, subject, acted_by, reason, acted_at)
        select %(action)s, scope || case subject when '' then '' else ':' || subject end, %(by)s, %(reason)s,
               (extract(epoch from clock_timestamp()) * 1000000000)::bigint
        from changed limit 1 returning *
    )
"""
    + AUDIT_OPERATOR_ACTIONS
    + " returning id"
)
_HALT: LiteralString = (
    """
    with changed as (
        insert into halts (scope, subject, rule, reason, halted_by)
        values (%(scope)s, %(subject)s, 'operator', %(reason)s, %(by)s)
        on conflict """
    + HALTS_ACTIVE
    + """ do nothing
        returning scope, subject
    )
"""
    + _ACTION
)
_CLEAR: LiteralString = (
    """
    with changed as (
        update halts set cleared_at = clock_timestamp(), cleared_by = %(by)s
        where scope = %(scope)s and subject = %(subject)s and cleared_at is null
        returning scope, subject
    )
"""
    + _ACTION
)


class ActiveHalt(HaltRow, frozen=True, kw_only=True):
    """A halt that is not cleared."""

    halted_at: datetime


def _active_halt(**values: object) -> ActiveHalt:
    return msgspec.convert(values, ActiveHalt)


active_halt_row = kwargs_row(_active_halt)


class HaltStore:
    """The active halts, for operators."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def active(self) -> list[ActiveHalt]:
        """Returns the active halts, oldest first."""
        async with self._database.reading() as connection:
            cursor = connection.cursor(row_factory=active_halt_row)
            return await (await cursor.execute(ACTIVE_HALTS)).fetchall()

    async def halt(self, scope: HaltScope, subject: str, reason: str, by: str) -> bool:
        """Halts a scope in both modes; returns False, without a change, if it is halted so already."""
        return await self._execute(_HALT, OperatorAction.HALT, scope, subject, reason, by)

    async def clear(self, scope: HaltScope, subject: str, reason: str, by: str) -> bool:
        """Clears the halts of a scope, in all modes; returns whether it was halted."""
        return await self._execute(_CLEAR, OperatorAction.RESUME, scope, subject, reason, by)

    async def _execute(
        self,
        statement: LiteralString,
        action: OperatorAction,
        scope: HaltScope,
        subject: str,
        reason: str,
        by: str,
    ) -> bool:
        values = {"action": action, "scope": scope, "subject": subject, "reason": reason, "by": by}
        async with self._database.transaction() as connection:
            changed = await (await connection.execute(statement, values)).fetchone() is not None
            if changed:
                halted = action is OperatorAction.HALT
                rehearse(action, {"halted": not halted}, {"halted": halted})
        return changed
