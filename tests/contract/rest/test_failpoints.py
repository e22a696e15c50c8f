"""Changes whose commit fails or is not confirmed, and whose answer is lost: each kind of route once.

A proxy in front of PostgreSQL stops the transaction of the change. Afterwards REST, database and audit agree,
nothing is half done, and repeating the request ends in the same state.
"""

import socket
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.persistence.postgres.server import wait_until
from tests.support import gateway
from tests.support.control_steps import Step, as_text, audited, chain_fault, steps, stored
from tests.support.database_proxy import DatabaseProxy, database_proxy
from tests.support.gateway import Running

PATIENCE = 20.0
REFUSED = {"database_unavailable", "database_refused", "lock_not_held"}
"""Codes of answers after which nothing has changed."""


class World:
    """A gateway behind a proxy."""

    def __init__(self, running: Running, direct: str, proxy: DatabaseProxy) -> None:
        self.running = running
        self.client = running.client
        self.dsn = direct
        self.proxy = proxy

    def settled(self, step: Step) -> Any:
        """Waits until REST and the database agree; returns what they have."""

        def agree() -> bool:
            return bool(step.view.shown(self.client) == stored(self.dsn, step.view.stored))

        assert wait_until(agree, PATIENCE), self.differs(step)
        return step.view.shown(self.client)

    def differs(self, step: Step) -> str:
        shown, has = step.view.shown(self.client), stored(self.dsn, step.view.stored)
        return f"{step.name}: REST {as_text(shown)}, database {as_text(has)}"

    def audited(self) -> list[dict[str, Any]]:
        """Returns the rows of the audit that this client caused."""
        return audited(self.dsn, self.running.actor)

    def lost(self, step: Step) -> None:
        """Sends a request and closes the connection before the answer."""
        request = self.client.build_request(step.method, step.path, json=step.body)
        request.headers["connection"] = "close"
        lines = [f"{step.method} {request.url.raw_path.decode()} HTTP/1.1"]
        lines += [f"{name}: {text}" for name, text in request.headers.items()]
        failpoint = self.proxy.failpoint("after", self.running.actor)
        with socket.create_connection(self.running.gateway.api.address) as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode() + request.read())
            failpoint.wait()
        failpoint.release()


@pytest.fixture(name="world")
def _world(config: Path, cluster: EmbeddedPostgres) -> Generator[World]:
    with (
        gateway.database(cluster) as direct,
        database_proxy(direct) as (dsn, proxy),
        gateway.running(config, dsn) as running,
    ):
        yield World(running, direct, proxy)


def sent_with(world: World, step: Step, point: Any) -> httpx.Response:
    """Sends a request whose commit is cut at a point."""
    failpoint = world.proxy.failpoint(point, world.running.actor)
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(step.send, world.client)
        failpoint.wait()
        failpoint.cut()
        return answer.result(PATIENCE)


def completed(world: World, step: Step) -> None:
    """Asserts that repeating a request ends in the state after it."""
    answer = step.send(world.client)
    assert answer.status_code < 500, (step.name, answer.text)
    assert world.settled(step) == step.after, world.differs(step)
    assert chain_fault(world.dsn) is None


def test_a_change_whose_commit_fails_did_not_happen(world: World) -> None:
    for step in steps(world.client):
        before, rows = world.settled(step), len(world.audited())
        answer = sent_with(world, step, "before")
        if answer.status_code >= 400:
            assert answer.json()["code"] in {*REFUSED, "outcome_unknown"}, (step.name, answer.text)
            assert world.settled(step) == before, world.differs(step)
            assert len(world.audited()) == rows, step.name
        completed(world, step)


def test_a_change_whose_commit_is_not_confirmed_is_adopted(world: World) -> None:
    for step in steps(world.client):
        rows = len(world.audited())
        answer = sent_with(world, step, "after")
        if answer.status_code >= 400:
            assert answer.json()["code"] == "outcome_unknown", (step.name, answer.text)
        assert wait_until(lambda step=step: world.settled(step) == step.after, PATIENCE), world.differs(step)
        assert len(world.audited()) == rows + 1, (step.name, world.audited()[rows:])
        if step.repeatable:
            completed(world, step)


def test_a_change_whose_answer_is_lost_happened(world: World) -> None:
    for step in steps(world.client):
        rows = len(world.audited())
        world.lost(step)
        assert wait_until(lambda step=step: world.settled(step) == step.after, PATIENCE), world.differs(step)
        assert len(world.audited()) == rows + 1, (step.name, world.audited()[rows:])
        if step.repeatable:
            completed(world, step)
