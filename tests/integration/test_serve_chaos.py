"""Kills of the gateway and its database at run time: the next start recovers without manual intervention."""

import contextlib
import os
import signal
from collections.abc import Generator
from functools import partial

import psycopg
import pytest

from meltica.persistence.postgres.server import wait_until
from tests.support.serving import PATIENCE, Gateway, Project, frozen, project

pytestmark = pytest.mark.untraced

TIMES = 10
RUNS = ("running", "running")
EXPECTED = {
    "demo": RUNS,
    "off": ("stopped", "pending"),
    "watch": RUNS,
    "mate": ("stopped", "stopped"),
    "idle": RUNS,
}
"""`mate` was stopped and `idle` started at run time; see `project`."""


@pytest.fixture(name="project", scope="module")
def _project() -> Generator[Project]:
    with project() as created:
        with created.serving() as gateway:
            gateway.wait_ready()
            gateway.wait_flowing("watch", "mate")
            gateway.signal(signal.SIGTERM)
            assert gateway.ended() == 0
        with created.database() as dsn, psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("update meltica.instances set desired = 'stopped' where id = 'mate'")
            connection.execute("update meltica.instances set desired = 'running' where id = 'idle'")
        yield created
        created.nothing_left()


def wait_expected(project: Project, gateway: Gateway) -> None:
    """Waits until the gateway is ready and all states are the expected ones."""
    gateway.wait_ready()
    gateway.wait_flowing("watch", "idle")
    assert wait_until(lambda: states(project) == EXPECTED, PATIENCE), states(project)
    assert not (project.folder / "mate.seen").exists()


def states(project: Project) -> object:
    with contextlib.suppress(psycopg.OperationalError):
        return project.states()
    return "no database"


def recovered(gateway: Gateway, before: int) -> bool:
    return gateway.postgres() not in (0, before) and gateway.ready()


def test_a_killed_gateway_can_be_restarted(project: Project) -> None:
    for _ in range(TIMES):
        with project.serving() as gateway:
            wait_expected(project, gateway)
            gateway.signal(signal.SIGKILL)
            gateway.ended()


def test_a_killed_postgresql_is_restarted(project: Project) -> None:
    killed = 0
    while killed < TIMES:
        with project.serving() as gateway:
            wait_expected(project, gateway)
            # The pauses between restarts grow, so each gateway has at most three kills.
            for _ in range(min(3, TIMES - killed)):
                before = gateway.postgres()
                os.kill(before, signal.SIGKILL)
                assert wait_until(partial(recovered, gateway, before), PATIENCE), gateway.tail()
                assert states(project) == EXPECTED
                killed += 1
            assert gateway.process.poll() is None
            gateway.signal(signal.SIGTERM)
            assert gateway.ended() == 0


def test_a_restart_after_gateway_and_postgresql_were_killed(project: Project) -> None:
    for number in range(TIMES):
        with project.serving() as gateway:
            wait_expected(project, gateway)
            victims = [gateway.postgres(), gateway.process.pid]
            for pid in victims[:: 1 if number % 2 else -1]:
                os.kill(pid, signal.SIGKILL)
            gateway.ended()


def test_the_gateway_recovers_from_a_hanging_database(project: Project) -> None:
    with project.serving() as gateway:
        wait_expected(project, gateway)
        with frozen(gateway.postgres()):
            assert wait_until(lambda: gateway.get("/health/ready")[0] == 503, PATIENCE)
            _, body = gateway.get("/health/ready")
            assert "does not answer" in str(body)
            # The heartbeat of the lock fails too, and events keep flowing without a database.
            assert wait_until(lambda: "gateway lock lost" in gateway.log.read_text(), PATIENCE)
            assert gateway.get("/health/live")[0] == 200
        gateway.wait_ready()
        assert states(project) == EXPECTED
        gateway.signal(signal.SIGTERM)
        assert gateway.ended() == 0


def test_a_stop_while_the_database_hangs(project: Project) -> None:
    with project.serving() as gateway:
        wait_expected(project, gateway)
        with frozen(gateway.postgres()):
            gateway.signal(signal.SIGTERM)
            assert gateway.ended(20) == 5
        line = gateway.read_line()
        assert (line["event"], line["exit_code"]) == ("stopped", 5)
    assert wait_until(lambda: not project.running(), PATIENCE)
    with project.serving() as gateway:
        wait_expected(project, gateway)
        gateway.signal(signal.SIGTERM)
        assert gateway.ended() == 0
