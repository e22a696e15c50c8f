"""A gateway that is suspended while another one takes over writes nothing when it goes on."""

import os
import random
import signal

import psycopg
import pytest

from meltica.persistence.lock import LOCK
from tests.support.trading_process import lines, running


@pytest.mark.parametrize("seed", range(3))
def test_a_suspended_gateway_writes_nothing_after_another_took_over(database_url: str, seed: int) -> None:
    chance = random.Random(seed)
    with running("writer", database_url) as first, psycopg.connect(database_url, autocommit=True) as session:
        lines(first, chance.randint(1, 60))
        os.kill(first.pid, signal.SIGSTOP)
        # A partition of the network ends the session of the lock in the same way.
        session.execute(
            "select pg_terminate_backend(pid, 5000) from pg_locks where locktype = 'advisory' and granted"
            " and (classid::bigint << 32 | objid::bigint) = %s",
            [LOCK],
        )
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
