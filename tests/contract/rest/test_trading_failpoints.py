"""What operators do to trading while its commit fails or is not confirmed.

It acts in any case, and is recorded and audited once: the group commit finds out what was committed.
"""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from meltica.model.enums import OrderState
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.persistence.postgres.server import wait_until
from tests.support.control_steps import audited, chain_fault, stored
from tests.support.control_world import controlled
from tests.support.database_proxy import DatabaseProxy, Point, database_proxy
from tests.support.failpoints import UNKNOWN
from tests.support.gateway import Running
from tests.support.trading_world import TradingWorld

PATIENCE = 30.0
WHY = {"reason": "test"}
SCOPE = {"scope": "instance:a", **WHY}


class World:
    """A gateway that trades, behind a proxy."""

    def __init__(self, running: Running, trading: TradingWorld, dsn: str, proxy: DatabaseProxy) -> None:
        self.running = running
        self.trading = trading
        self.dsn = dsn
        self.proxy = proxy

    def open_order(self, price: str) -> str:
        """Returns an order that is open, and stored so."""
        order = self.trading.buy("1", price)
        self.trading.wait_until(lambda: order.state is OrderState.ACK)
        self.trading.operate(lambda operator: operator.recorded())
        return str(order.id)

    def sent(self, point: Point, path: str, body: Any) -> httpx.Response:
        """Sends a request whose commit is cut at a point; returns the answer."""
        failpoint = self.proxy.failpoint(point, self.running.actor)
        with ThreadPoolExecutor() as pool:
            answer = pool.submit(self.running.client.post, path, json=body)
            failpoint.wait()
            failpoint.cut()
            return answer.result(PATIENCE)

    def recorded_once(self, action: str, subject: str, before: int) -> None:
        """Asserts that an action is audited once since there were `before` entries."""

        def found() -> list[tuple[str, str]]:
            rows = audited(self.dsn, self.running.actor)[before:]
            return [(row["action"], row["subject"]) for row in rows]

        assert wait_until(lambda: found() == [(action, subject)], PATIENCE), found()
        assert chain_fault(self.dsn) is None

    def halts(self) -> list[str]:
        return [halt["scope"] for halt in self.running.client.get("/risk/status").json()["halts"]]

    def audited(self) -> int:
        return len(audited(self.dsn, self.running.actor))


@pytest.fixture(name="world", scope="module")
def _world(config: Path, cluster: EmbeddedPostgres) -> Generator[World]:
    found: list[tuple[str, DatabaseProxy]] = []

    @contextmanager
    def through(direct: str) -> Generator[str]:
        with database_proxy(direct) as (dsn, proxy):
            found.append((direct, proxy))
            yield dsn

    with controlled(config, cluster, through) as (running, trading):
        yield World(running, trading, *found[0])


HALTS = "select coalesce(jsonb_agg(scope || ':' || subject), '[]') from halts where cleared_at is null"


@pytest.mark.parametrize("point", ["before", "after"])
def test_a_halt_is_recorded_once_and_a_resume_says_whether_it_happened(world: World, point: Point) -> None:
    before = world.audited()
    assert world.sent(point, "/risk/halt", SCOPE).status_code in (200, 202)
    world.recorded_once("risk.halt", "instance:a", before)
    assert (world.halts(), stored(world.dsn, HALTS)) == (["instance:a"], ["instance:a"])
    before = world.audited()
    answer = world.sent(point, "/risk/resume", SCOPE)
    assert (answer.status_code, answer.json()["code"]) == (503, UNKNOWN)
    if point == "before":
        assert (world.audited(), world.halts()) == (before, ["instance:a"])
        assert world.running.client.post("/risk/resume", json=SCOPE).status_code == 200
    world.recorded_once("risk.resume", "instance:a", before)
    assert stored(world.dsn, HALTS) == []
    assert wait_until(lambda: world.halts() == [], PATIENCE)
    again = world.running.client.post("/risk/resume", json=SCOPE)
    assert (again.status_code, again.json()["changed"]) == (200, False)


@pytest.mark.parametrize("point", ["before", "after"])
def test_a_cancel_is_recorded_once(world: World, point: Point) -> None:
    id = world.open_order("99" if point == "before" else "98")
    before = world.audited()
    assert world.sent(point, f"/orders/{id}/cancel", WHY).status_code in (200, 202)
    world.recorded_once("order.cancel", id, before)
    state = f"select to_jsonb(state) from orders where id = '{id}'"
    assert wait_until(lambda: stored(world.dsn, state) == "CANCELLED", PATIENCE)
    assert world.running.client.get(f"/orders/{id}").json()["order"]["state"] == "CANCELLED"


@pytest.mark.parametrize("point", ["before", "after"])
def test_an_order_is_resolved_once(world: World, point: Point) -> None:
    order = world.trading.buy_unknown()
    world.trading.operate(lambda operator: operator.recorded())
    before = world.audited()
    body = {"state": "CANCELLED", **WHY}
    assert world.sent(point, f"/orders/{order.id}/resolve", body).status_code in (200, 202, 503)
    world.recorded_once("order.resolve", str(order.id), before)
    state = f"select to_jsonb(state) from orders where id = '{order.id}'"
    assert wait_until(lambda: stored(world.dsn, state) == "CANCELLED", PATIENCE)
    assert order.state is OrderState.CANCELLED
