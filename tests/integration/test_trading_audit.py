"""What operators do to trading is in the audit, in the transaction in which it is recorded."""

import msgspec
import psycopg

from meltica.persistence.database import Database
from meltica.persistence.lock import GatewayLock
from meltica.persistence.stores.audit import AuditLog
from meltica.persistence.stores.trading.halts import HaltStore
from meltica.persistence.stores.trading.rows import HaltScope, OperatorAction, OperatorActionRow
from meltica.persistence.stores.trading.writer import GroupCommitWriter
from tests.support.trading_rows import START

AUDITED = {
    OperatorAction.HALT: "risk.halt",
    OperatorAction.RESUME: "risk.resume",
    OperatorAction.FLATTEN: "risk.flatten",
    OperatorAction.RESOLVE: "order.resolve",
    OperatorAction.BOOK: "balance.book",
    OperatorAction.QUERY: "order.query",
    OperatorAction.ADOPT: "order.adopt",
    OperatorAction.DISOWN: "order.disown",
    OperatorAction.RELEASE: "position.release",
    OperatorAction.CANCEL: "order.cancel",
}
ACTION = OperatorActionRow(
    action=OperatorAction.HALT, subject="s", acted_by="alice", reason="why", acted_at=START
)


async def test_each_action_of_a_batch_is_audited_with_its_own_time(
    database_url: str, lock: GatewayLock
) -> None:
    actions = [
        msgspec.structs.replace(
            ACTION, action=action, acted_at=START + number * 1000, details={"text": "é", "amount": "1.50"}
        )
        for number, action in enumerate(OperatorAction)
    ]
    async with await Database.open(database_url) as database:
        assert not (await GroupCommitWriter(database, lock).commit(actions)).failures
        rows = (await AuditLog(database).latest(100))[::-1]
        assert [(row.actor, row.action) for row in rows] == [
            ("alice", AUDITED[each]) for each in OperatorAction
        ]
        assert rows[0].after == {"reason": "why", "text": "é", "amount": "1.50"}
        assert (await AuditLog(database).verify()).fault is None
    with psycopg.connect(database_url) as connection:
        times = connection.execute("select acted_at / 1000 from operator_actions order by id").fetchall()
        audited = "select (extract(epoch from acted_at) * 1000000)::bigint from audit order by id"
        assert connection.execute(audited).fetchall() == times


async def test_an_action_that_is_not_stored_is_not_audited(database_url: str, lock: GatewayLock) -> None:
    refused = msgspec.structs.replace(ACTION, acted_by="")
    async with await Database.open(database_url) as database:
        assert len((await GroupCommitWriter(database, lock).commit([refused, ACTION])).failures) == 1
        assert [row.actor for row in await AuditLog(database).latest(100)] == ["alice"]
        assert (await AuditLog(database).verify()).fault is None


async def test_halts_beside_the_gateway_are_audited(database_url: str) -> None:
    async with await Database.open(database_url) as database:
        halts = HaltStore(database)
        assert await halts.halt(HaltScope.PROVIDER, "p", "looks wrong", "alice")
        assert not await halts.halt(HaltScope.PROVIDER, "p", "again", "alice")
        assert await halts.clear(HaltScope.PROVIDER, "p", "mended", "bob")
        assert not await halts.clear(HaltScope.PROVIDER, "p", "again", "bob")
        rows = (await AuditLog(database).latest(100))[::-1]
        assert [(row.actor, row.action, row.subject, row.after) for row in rows] == [
            ("alice", "risk.halt", "provider:p", {"reason": "looks wrong"}),
            ("bob", "risk.resume", "provider:p", {"reason": "mended"}),
        ]
        assert (await AuditLog(database).verify()).fault is None
