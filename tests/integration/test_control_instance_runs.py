"""Restarts of instances over REST, and starts and stops of several ones at once."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from meltica.control.changes import ChangeRunner
from tests.integration.test_control_resources import failure, ok
from tests.support import venue
from tests.support.gateway import Running

PATH = "/strategy/instances"


def outcomes(body: Any) -> dict[str, tuple[str, str]]:
    assert body["count"] == len(body["instances"])
    return {each["id"]: (each["outcome"], each["status"]) for each in body["instances"]}


def test_a_restart_is_another_run(control: Running) -> None:
    first = control.gateway.instances.get("watcher").run
    assert ok(control.client.post(f"{PATH}/watcher/restart"))["status"] == "running"
    assert control.gateway.instances.get("watcher").run is not first
    assert ok(control.client.post(f"{PATH}/unloaded/restart"))["desired"] == "running"
    failure(control.client.post(f"{PATH}/failing/restart"), 400, "start_failed")
    failure(control.client.post(f"{PATH}/wotcher/restart"), 404, "not_found")
    ok(control.client.post("/strategy/stop", json={"instances": ["unloaded", "failing"]}))


def test_each_instance_has_its_outcome(control: Running) -> None:
    body = {"instances": ["unloaded", "failing", "watcher", "unloaded"]}
    started = ok(control.client.post("/strategy/start", json=body))
    assert outcomes(started) == {
        "unloaded": ("changed", "running"),
        "failing": ("failed", "failed"),
        "watcher": ("unchanged", "running"),
    }
    failed = started["instances"][1]
    assert (failed["code"], "no luck" in failed["error"], failed["running"]) == ("start_failed", True, False)
    stopped = ok(control.client.post("/strategy/stop", json={"instances": ["unloaded", "failing", "slow"]}))
    assert outcomes(stopped) == {
        "unloaded": ("changed", "stopped"),
        "failing": ("changed", "stopped"),
        "slow": ("unchanged", "pending"),
    }


def test_all_instances_stop_at_once(control: Running) -> None:
    instances = control.gateway.instances.all()
    ran = [each.id for each in instances if each.running]
    stopped = outcomes(ok(control.client.post("/strategy/stop", json={"instances": ["*"]})))
    assert list(stopped) == [each.id for each in instances]
    assert {id for id, outcome in stopped.items() if outcome == ("changed", "stopped")} == set(ran)
    assert not [each.id for each in instances if each.running]
    started = outcomes(ok(control.client.post("/strategy/start", json={"instances": ran})))
    assert set(started.values()) == {("changed", "running")}


async def recorded_only(
    _: ChangeRunner, change: Coroutine[Any, Any, object], name: str, recorded: Callable[[], bool]
) -> bool:
    """Waits for a change until it is recorded, in place of some seconds."""
    task: asyncio.Task[object] = asyncio.get_running_loop().create_task(change, name=name)
    for _step in range(3):  # what is refused at once
        await asyncio.sleep(0)
    while not (task.done() or recorded()):
        await asyncio.sleep(0.005)
    if task.done():
        task.result()
    return task.done()


def test_what_takes_long_is_pending(control: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ChangeRunner, "run", recorded_only)
    venue.GATE.clear()
    try:
        started = control.client.post("/strategy/start", json={"instances": ["slow", "watcher"]})
        assert started.status_code == 202
        assert outcomes(started.json()) == {
            "slow": ("pending", "starting"),
            "watcher": ("unchanged", "running"),
        }
        # A second change during the first one fails alone.
        again = ok(control.client.post("/strategy/start", json={"instances": ["slow"]}))
        assert again["instances"][0]["code"] == "conflict"
    finally:
        venue.GATE.set()
    control.until(lambda: control.gateway.instances.get("slow").actual.value == "running")
    monkeypatch.undo()
    ok(control.client.post("/strategy/stop", json={"instances": ["slow"]}))


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"instances": ["watcher", "wotcher"]}, 404, "not_found"),
        ({"instances": []}, 400, "validation_failed"),
        ({}, 400, "validation_failed"),
        ({"instances": "*"}, 400, "validation_failed"),
        ({"instances": ["watcher"], "al": True}, 400, "validation_failed"),
    ],
)
def test_a_request_that_is_not_valid_changes_nothing(
    control: Running, body: dict[str, Any], status: int, code: str
) -> None:
    failure(control.client.post("/strategy/stop", json=body), status, code)
    assert control.gateway.instances.get("watcher").running
