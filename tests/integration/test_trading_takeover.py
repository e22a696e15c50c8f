"""A gateway that is suspended while another one takes over writes and sends nothing when it goes on."""

import ast
import asyncio
import os
import random
import signal
import subprocess
import sys

import psycopg
import pytest

from meltica.errors import GatewayAlreadyRunning
from meltica.model.enums import Mode
from meltica.persistence.lock import LOCK, PROOF, GatewayLock
from meltica.trading import clock
from meltica.trading.faults import FaultKind
from meltica.trading.state_machine import MAX_AGE
from tests.support.lossy_account import LossyAccount
from tests.support.paths import ROOT
from tests.support.scripted import Http, reply, until
from tests.support.trading_gateway import ORDERS
from tests.support.trading_process import lines, running
from tests.support.trading_world import TradingWorld


def end_lock_session(session: psycopg.Connection) -> None:
    """Ends the session of the lock, as a partition of the network does."""
    session.execute(
        "select pg_terminate_backend(pid, 5000) from pg_locks where locktype = 'advisory' and granted"
        " and (classid::bigint << 32 | objid::bigint) = %s",
        [LOCK],
    )


@pytest.mark.parametrize("seed", range(3))
def test_a_suspended_gateway_writes_nothing_after_another_took_over(database_url: str, seed: int) -> None:
    chance = random.Random(seed)
    with running("writer", database_url) as first, psycopg.connect(database_url, autocommit=True) as session:
        lines(first, chance.randint(1, 60))
        os.kill(first.pid, signal.SIGSTOP)
        end_lock_session(session)
        with running("writer", database_url) as second:
            assert lines(second, 1)
            row = session.execute("select count(*) from meltica.orders where instance = %s", [str(first.pid)])
            before = row.fetchone()
            os.kill(first.pid, signal.SIGCONT)
            lines(second, 20)
            lines(first)
            assert first.wait() == 1, "refused"
        after = session.execute("select count(*) from meltica.orders where instance = %s", [str(first.pid)])
        assert after.fetchone() == before


@pytest.mark.parametrize("place", ["queue", "account"])
async def test_no_order_of_a_suspended_gateway_leaves_after_another_took_over(
    database_url: str, place: str
) -> None:
    async with Http() as venue:
        venue.answer = lambda _: reply({})
        ends = await asyncio.to_thread(_take_over, database_url, venue.endpoint, place)
        assert venue.requests == []
    # What a gateway that goes on finds first, its age or the lost lock, depends on its threads.
    assert {reason for reason, _ in ends} <= {"persistence_unavailable", "too_late"}
    assert {sent_at for _, sent_at in ends} == {None}
    assert sum(ends.values()) == ORDERS


def _take_over(url: str, endpoint: str, place: str) -> dict[tuple[str | None, int | None], int]:
    """Returns how often the orders ended for a reason and with a time of sending."""
    module = "tests.support.trading_gateway"
    command = [sys.executable, "-m", module, url, endpoint, place]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) as gateway:
        try:
            assert lines(gateway, 1) == ["waiting\n"]
            waiting_at = clock.now()
            assert gateway.stdin is not None
            os.kill(gateway.pid, signal.SIGSTOP)
            gateway.stdin.write("go\n")
            gateway.stdin.flush()
            with psycopg.connect(url, autocommit=True) as session:
                end_lock_session(session)
            with running("writer", url) as second:
                assert lines(second, 1)
                while clock.now() <= waiting_at + MAX_AGE:
                    pass
                os.kill(gateway.pid, signal.SIGCONT)
                [ends] = lines(gateway, 1)
                return ast.literal_eval(ends)
        finally:
            gateway.kill()


async def test_a_gateway_that_was_replaced_for_a_while_trades_no_more(database_url: str) -> None:
    lock, rival = GatewayLock(database_url, heartbeat=0.1), GatewayLock(database_url)
    await lock.acquire()
    await lock.claim()
    world = TradingWorld(database_url, lock)
    world.lossy = LossyAccount(world.account)
    world.desk.connect("p", Mode.LIVE, world.lossy)
    await asyncio.to_thread(world.start)
    order = await asyncio.to_thread(world.buy)
    await asyncio.to_thread(world.wait_for, "acknowledged")
    await _replace(database_url, rival)
    await until(lambda: world.desk.gate.rival, "the rival to be known")
    await asyncio.to_thread(world.call, lambda: world.trader.cancel(order))
    await until(lambda: world.trading.faults(), "the fault")
    # The other gateway finds the order open, and cancels it: this one does not.
    assert world.lossy.requests["cancel"] == []
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("update meltica.orders set state = 'CANCELLED', reason = 'rival'")
    await rival.release()
    await lock.wait_held()
    await until(lambda: world.desk.gate.blocked == "superseded", "the takeover to be known")
    rejected = await asyncio.to_thread(world.buy)
    await asyncio.to_thread(world.wait_for, "rejected")
    assert rejected.reason == "persistence_unavailable"
    assert world.lossy.requests["cancel"] == []
    assert FaultKind.NO_ORDERS in {fault.kind for fault in world.trading.faults()}
    await asyncio.to_thread(world.close)
    with psycopg.connect(database_url) as connection:
        assert connection.execute("select state, reason from meltica.orders").fetchall() == [
            ("CANCELLED", "rival")
        ]
    await lock.release()


async def _replace(url: str, rival: GatewayLock) -> None:
    """Lets another gateway take the lock, as after a partition of the network."""
    while True:
        with psycopg.connect(url, autocommit=True) as session:
            end_lock_session(session)
        try:
            await rival.acquire()
        except GatewayAlreadyRunning:
            continue
        await rival.claim()
        return


async def test_a_gateway_suspended_within_a_commit_does_not_keep_the_epoch(database_url: str) -> None:
    lock = GatewayLock(database_url)
    await lock.acquire()
    with psycopg.connect(database_url) as suspended:
        suspended.execute(PROOF)
        await asyncio.wait_for(lock.claim(), 20.0)
        with pytest.raises(psycopg.OperationalError):
            suspended.execute("select")
    await lock.release()
