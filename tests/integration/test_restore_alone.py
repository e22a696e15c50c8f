"""One restore at a time: a request that is repeated because it takes long adds no work."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from meltica.control.restore_plan import RestorePlan, RestorePlanner
from tests.integration.test_control_resources import failure, ok
from tests.support.gateway import Running

PATH = "/context/backup"


@pytest.mark.parametrize("query", ["", "?plan=1"])
def test_one_restore_at_a_time_is_planned(
    control: Running, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    """The check of new modules takes processes, two for each plan."""
    planning, go_on = asyncio.Event(), asyncio.Event()
    plan = RestorePlanner.plan

    async def slow(self: RestorePlanner) -> RestorePlan:
        planning.set()
        await go_on.wait()
        return await plan(self)

    monkeypatch.setattr(RestorePlanner, "plan", slow)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(control.client.post, f"{PATH}{query}", json={"risk": {}})
        control.until(planning.is_set)
        for other in ("", "?plan=1"):
            answer = control.client.post(f"{PATH}{other}", json={"risk": {}})
            assert "another restore is in progress" in failure(answer, 409, "conflict")
        control.loop.call_soon_threadsafe(go_on.set)
        ok(first.result(20))
    ok(control.client.post(PATH, json={"risk": {}}))
