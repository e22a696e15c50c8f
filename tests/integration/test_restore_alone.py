"""A restore beside other requests: one at a time, and each sees what the others have changed."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from meltica.control.restore_plan import RestorePlan, RestorePlanner
from tests.integration.test_control_resources import failure, ok
from tests.support.gateway import Running

PATH = "/context/backup"


def held(monkeypatch: pytest.MonkeyPatch) -> tuple[asyncio.Event, asyncio.Event]:
    """Holds each restore before it is planned; returns the events of its begin and of its release."""
    planning, go_on = asyncio.Event(), asyncio.Event()
    plan = RestorePlanner.plan

    async def slow(self: RestorePlanner) -> RestorePlan:
        planning.set()
        await go_on.wait()
        return await plan(self)

    monkeypatch.setattr(RestorePlanner, "plan", slow)
    return planning, go_on


@pytest.mark.parametrize("query", ["", "?plan=1"])
def test_one_restore_at_a_time_is_planned(
    control: Running, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    """The check of new modules takes processes, two for each plan."""
    planning, go_on = held(monkeypatch)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(control.client.post, f"{PATH}{query}", json={"risk": {}})
        control.until(planning.is_set)
        for other in ("", "?plan=1"):
            answer = control.client.post(f"{PATH}{other}", json={"risk": {}})
            assert "another restore is in progress" in failure(answer, 409, "conflict")
        control.loop.call_soon_threadsafe(go_on.set)
        ok(first.result(20))
    ok(control.client.post(PATH, json={"risk": {}}))


def test_what_is_deleted_before_a_restore_is_planned_is_not_missed(
    control: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    planning, go_on = held(monkeypatch)
    create(control, "gone")
    with ThreadPoolExecutor() as pool:
        first = pool.submit(control.client.post, PATH, json={"lambdas": [], "providers": []})
        control.until(planning.is_set)
        ok(control.client.delete("/strategy/instances/gone"))
        ok(control.client.delete("/providers/gone"))
        control.loop.call_soon_threadsafe(go_on.set)
        assert ok(first.result(20))["changes"] == {}


def test_reads_are_answered_between_a_restore_and_its_adoption(control: Running) -> None:
    """The rows are gone then, and the instances are not: the database may be unavailable for a while."""
    create(control, "gone")
    adopting = control.gateway.recovery._adopting  # pyright: ignore[reportPrivateUsage]
    control.submit(adopting.acquire()).result(20)
    with ThreadPoolExecutor() as pool:
        restore = pool.submit(control.client.post, PATH, json={"lambdas": [], "providers": []})
        rows = control.gateway.context.rows
        control.until(lambda: "gone" not in {row.id for row in rows()[1]})
        for path in ("/strategy/instances", "/strategy/instances/gone", "/strategy/instances/gone/why"):
            ok(control.client.get(path))
        for path in ("/providers", "/providers/gone", "/strategies/registry"):
            ok(control.client.get(path))
        assert "meltica_lambda" in control.client.get("/metrics").text
        ok(control.client.post("/strategies/refresh", json={}))
        control.loop.call_soon_threadsafe(adopting.release)
        ok(restore.result(20))
    failure(control.client.get("/strategy/instances/gone"), 404, "not_found")
    failure(control.client.get("/providers/gone"), 404, "not_found")


def create(control: Running, name: str) -> None:
    """Creates a provider and an instance."""
    provider = {"name": name, "adapter": {"identifier": "fake"}, "enabled": False}
    assert control.client.post("/providers", json=provider).status_code == 202
    body = {"id": name, "strategy": {"identifier": "LargeTrades"}, "scope": {name: {"symbols": ["BTC-USDT"]}}}
    assert control.client.post("/strategy/instances", json=body).status_code == 201
