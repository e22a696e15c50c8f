"""Memory, database and REST agree after a frozen database or a lost lock, whatever changed in between.

Each case has a gateway of its own:

- PostgreSQL is stopped by SIGSTOP during a change and goes on afterwards.
- The write of a start is not confirmed, of a component that should be running already and is not.
- Another gateway may take the lock; then this one alters nothing until it has it back.

The cases run at the same time, because each of them mostly waits.
"""

import contextlib
import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from meltica.persistence.lock import LOCK
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.persistence.postgres.server import wait_until
from tests.support.serving import PATIENCE, Gateway, Project, frozen, project

RUNS = ("running", "running")


def post(gateway: Gateway, path: str) -> tuple[int, Any]:
    headers = gateway.project.authorization()
    request = urllib.request.Request(gateway.address + path, method="POST", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def shown(gateway: Gateway, path: str) -> tuple[str, str]:
    _, body = gateway.get(path)
    return body["desired"], body["status"]


def agree(project: Project, gateway: Gateway, database: str | None = None) -> bool:
    """Whether REST and the database say the same of every component, and all stops are recorded."""
    with contextlib.suppress(psycopg.OperationalError):
        rows = project.states(database)
        _, instances = gateway.get("/strategy/instances")
        _, providers = gateway.get("/providers")
        rest = {one["id"]: one for one in instances["instances"]}
        rest |= {one["name"]: one for one in providers["providers"]}
        same = {name: (one["desired"], one["status"]) for name, one in rest.items()} == rows
        return same and not any("recorded" in one for one in rest.values())
    return False


def a_start_in_doubt_is_adopted(project: Project) -> None:
    with project.serving() as gateway:
        gateway.wait_ready()
        with frozen(gateway.postgres()):
            status, body = post(gateway, "/strategy/instances/idle/start")
            assert (status, body["code"]) == (503, "outcome_unknown")
            assert shown(gateway, "/strategy/instances/idle")[1] != "running"
            assert gateway.get("/health/ready")[0] == 503
        gateway.wait_ready()
        assert wait_until(lambda: agree(project, gateway), PATIENCE), project.states()


def a_stop_withdraws_a_start_in_doubt(project: Project, path: str) -> None:
    name = path.rpartition("/")[2]
    with project.serving() as gateway:
        gateway.wait_ready()
        with frozen(gateway.postgres()), ThreadPoolExecutor() as pool:
            starting = pool.submit(post, gateway, f"{path}/start")
            assert wait_until(lambda: post(gateway, f"{path}/stop")[0] == 202, 5)
            assert starting.result()[1]["code"] == "outcome_unknown"
            faults = gateway.get("/health/ready")[1]["faults"]
            assert faults["stops"] == f"are not in the database yet: {name}"
        gateway.wait_ready()
        assert wait_until(lambda: agree(project, gateway), PATIENCE)
        assert project.states()[name][0] == "stopped"


def a_stop_acts_at_once_and_is_recorded_later(project: Project, path: str) -> None:
    name = path.rpartition("/")[2]
    with project.serving() as gateway:
        gateway.wait_ready()
        normal = post(gateway, "/strategy/instances/mate/stop")
        with frozen(gateway.postgres()):
            status, body = post(gateway, f"{path}/stop")
            assert (status, body["recorded"], body["running"]) == (202, False, False)
            assert shown(gateway, path) == ("stopped", "stopped")
            faults = gateway.get("/health/ready")[1]["faults"]
            assert faults["stops"] == f"are not in the database yet: {name}"
        gateway.wait_ready()
        assert normal[0] == 200
        assert "recorded" not in normal[1]
        assert project.states()[name][0] == "stopped"
        assert wait_until(lambda: agree(project, gateway), PATIENCE)


def a_recorded_stop_survives_a_restart(project: Project) -> None:
    with project.serving() as gateway:
        gateway.wait_ready()
        with frozen(gateway.postgres()):
            assert post(gateway, "/strategy/instances/watch/stop")[0] == 202
        gateway.wait_ready()
        gateway.signal(signal.SIGKILL)
        gateway.ended()
    with project.serving() as gateway:
        gateway.wait_ready()
        assert shown(gateway, "/strategy/instances/watch")[0] == "stopped"


def an_instance_that_failed_is_started(project: Project) -> None:
    strategy = project.folder / "watch.py"
    with project.serving() as gateway:
        gateway.wait_ready()
        text = strategy.read_text()
        strategy.write_text("raise ValueError")
        assert post(gateway, "/strategy/instances/idle/start")[1]["code"] == "start_failed"
        assert shown(gateway, "/strategy/instances/idle") == ("running", "failed")
        strategy.write_text(text)
        start_in_doubt(project, gateway, "/strategy/instances/idle", "meltica.instances")
        assert wait_until(lambda: shown(gateway, "/strategy/instances/idle") == RUNS, PATIENCE)
        gateway.wait_ready()


def a_provider_whose_source_has_ended_is_started(project: Project) -> None:
    with project.serving() as gateway:
        gateway.wait_ready()

        def frames() -> int:
            return gateway.get("/providers/off")[1]["counters"]["frames"]

        assert post(gateway, "/providers/off/start")[0] == 202
        assert wait_until(lambda: shown(gateway, "/providers/off") == ("running", "stopped"), PATIENCE)
        once = frames()
        start_in_doubt(project, gateway, "/providers/off", "meltica.providers")
        assert wait_until(lambda: frames() == 2 * once, PATIENCE), (once, frames())


def start_in_doubt(project: Project, gateway: Gateway, path: str, table: str) -> None:
    """Sends a start, whose write waits for a lock of the table until the gateway gives up."""
    with psycopg.connect(EmbeddedPostgres(project.home).dsn) as connection:
        connection.execute(SQL("lock table {} in exclusive mode").format(Identifier(*table.split("."))))
        assert post(gateway, f"{path}/start")[1]["code"] == "outcome_unknown"
        given_up = "outcome unknown: the database did not respond"
        assert wait_until(lambda: given_up in gateway.log.read_text(), PATIENCE), gateway.tail()
        connection.rollback()


def terminate(database: str, name: str) -> None:
    """Ends the lock's session of a gateway, as an administrator does."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name like %s",
            [f"meltica gateway on % process {name}"],
        )


def without_the_lock_nothing_starts_and_stops_act(project: Project) -> None:
    with project.database() as url, project.serving(database=url) as first:
        first.wait_ready()
        with holding_the_lock(url, first):
            status, body = post(first, "/strategy/instances/idle/start")
            assert (status, body["code"]) == (503, "lock_not_held")
            status, body = post(first, "/strategy/instances/watch/stop")
            assert (status, body["recorded"]) == (202, False)
            assert project.states(url)["watch"] == RUNS
        first.wait_ready()
        assert wait_until(lambda: agree(project, first, url), PATIENCE)
        assert project.states(url)["watch"] == ("stopped", "stopped")
        assert "superseded" not in first.log.read_text()


def a_stop_is_superseded_by_another_gateway(project: Project) -> None:
    with project.database() as url, project.serving(database=url) as first:
        first.wait_ready()
        pid = first.process.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            terminate(url, str(pid))
            with project.serving(database=url) as second:
                second.wait_ready()
                assert post(second, "/strategy/instances/idle/start")[0] == 200
                os.kill(pid, signal.SIGCONT)
                assert wait_until(lambda: "lock" in first.get("/health/ready")[1]["faults"], PATIENCE)
                assert post(first, "/strategy/instances/watch/stop")[0] == 202
                assert post(first, "/providers/demo/start")[1]["code"] in ("lock_not_held", "conflict")
                assert project.states(url)["watch"] == RUNS
                second.signal(signal.SIGTERM)
                assert second.ended() == 0
        finally:
            os.kill(pid, signal.SIGCONT)
        first.wait_ready()
        assert wait_until(lambda: agree(project, first, url), PATIENCE), first.tail()
        states = project.states(url)
        assert (states["watch"], states["idle"]) == (RUNS, RUNS), "what the other gateway left"
        assert "stop of watch not recorded: superseded by another gateway" in first.log.read_text()


@contextlib.contextmanager
def holding_the_lock(database: str, gateway: Gateway) -> Generator[None]:
    """Takes the lock from a gateway without raising the epoch: no other gateway ran in between."""
    with psycopg.connect(database, autocommit=True) as connection:
        while True:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name like %s",
                [f"meltica gateway on % process {gateway.process.pid}"],
            )
            row = connection.execute("select pg_try_advisory_lock(%s)", [LOCK]).fetchone()
            if row is not None and row[0]:
                break
        assert wait_until(lambda: "lock" in gateway.get("/health/ready")[1].get("faults", {}), PATIENCE)
        yield


CASES: dict[str, Callable[[Project], None]] = {
    "a start in doubt is adopted": a_start_in_doubt_is_adopted,
    "a stop withdraws a start of a lambda in doubt": partial(
        a_stop_withdraws_a_start_in_doubt, path="/strategy/instances/idle"
    ),
    "a stop withdraws a start of a provider in doubt": partial(
        a_stop_withdraws_a_start_in_doubt, path="/providers/off"
    ),
    "a stop of a lambda acts at once and is recorded later": partial(
        a_stop_acts_at_once_and_is_recorded_later, path="/strategy/instances/watch"
    ),
    "a stop of a provider acts at once and is recorded later": partial(
        a_stop_acts_at_once_and_is_recorded_later, path="/providers/demo"
    ),
    "a recorded stop survives a restart": a_recorded_stop_survives_a_restart,
    "an instance that failed is started": an_instance_that_failed_is_started,
    "a provider whose source has ended is started": a_provider_whose_source_has_ended_is_started,
    "without the lock nothing starts and stops act": without_the_lock_nothing_starts_and_stops_act,
    "a stop is superseded by another gateway": a_stop_is_superseded_by_another_gateway,
}


def run(case: Callable[[Project], None]) -> None:
    """Runs a case with a project of its own."""
    with project() as created:
        case(created)


@pytest.fixture(name="results", scope="module")
def _results() -> Generator[dict[str, Future[None]]]:
    with ThreadPoolExecutor(4) as pool:
        yield {name: pool.submit(run, case) for name, case in CASES.items()}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", CASES)
def test_memory_database_and_rest_agree(name: str, results: dict[str, Future[None]]) -> None:
    results[name].result()
