"""Instances: starts, stops, every kind of failure and stuck callbacks; none affects another instance."""

import asyncio
import hashlib
import logging
import sys
import threading
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from meltica._core import Core, Host
from meltica.errors import Conflict, NotFound, StartError
from meltica.lambdas.launcher import Launcher
from meltica.lambdas.loader import revision
from meltica.lambdas.managed import ManagedInstance
from meltica.runtime.lifecycle import InstanceState
from meltica.settings import LambdaSpec
from tests.support.instance_world import (
    GOOD,
    HANGS,
    HANGS_AT_START,
    LOOPS_AT_START,
    PATIENCE,
    RAISES,
    StartTimeout,
    World,
    entered,
    flag,
    open_world,
    when,
)


@pytest.fixture(name="world")
async def _world(database_url: str, tmp_path: Path) -> AsyncGenerator[World]:
    async with open_world(database_url, tmp_path) as world:
        yield world


@pytest.fixture(name="start_timeout")
def _start_timeout(world: World, monkeypatch: pytest.MonkeyPatch) -> StartTimeout:
    return StartTimeout(monkeypatch)


async def overdue(world: World, id: str, start_timeout: StartTimeout) -> ManagedInstance:
    """Starts an instance, lets the time-out pass once a callback runs, and returns the instance."""
    instance = world.manager.get(id)
    starting = asyncio.ensure_future(world.manager.start(id))
    await when(lambda: instance.strategy)
    entered(instance)
    start_timeout.passed.set()
    with pytest.raises(StartError, match="loading and on_start exceeded 30 s"):
        await starting
    start_timeout.passed.clear()
    return instance


async def test_the_life_cycle_of_an_instance(world: World) -> None:
    instance = await world.add("good", GOOD)
    assert (instance.actual, instance.stats()) == (InstanceState.PENDING, None)
    await world.manager.start("good")
    assert (instance.actual, world.store.get("good").desired) == (InstanceState.RUNNING, "running")
    with pytest.raises(Conflict, match="`good` is already running"):
        await world.manager.start("good")
    world.trade()
    entered(instance)
    await world.manager.stop("good")
    assert (instance.actual, world.store.get("good").desired) == (InstanceState.STOPPED, "stopped")
    with pytest.raises(Conflict, match="`good` is not running: its status is stopped"):
        await world.manager.stop("good")
    stats = instance.stats()
    assert stats is not None
    assert stats["delivered"] == {"Trade": 1}
    await world.manager.start("good")
    assert await world.manager.close()
    assert instance.actual is InstanceState.STOPPED
    assert world.store.get("good").desired == "running", "a shutdown does not change desired states"
    assert world.manager.dependents("p") == [instance.id]
    assert world.manager.dependents("q") == []
    with pytest.raises(NotFound, match="did you mean `good`"):
        world.manager.get("god")


async def test_a_restart_is_another_run(world: World) -> None:
    instance = await world.add("good", GOOD)
    await world.manager.restart("good")
    first = instance.run
    assert first is not None
    await world.manager.restart("good")
    assert (first.state, instance.actual, instance.run is first) == ("stopped", InstanceState.RUNNING, False)
    assert world.store.get("good").desired == "running"
    async with instance.lock:
        with pytest.raises(Conflict, match="another change is in progress"):
            await world.manager.restart("good")


@pytest.mark.untraced
async def test_a_restart_does_not_abandon_a_callback(world: World) -> None:
    instance = await world.add("x", HANGS, stop_timeout=timedelta(seconds=0.05))
    await world.manager.start("x")
    world.trade()
    entered(instance)
    with pytest.raises(StartError, match=r"was still running 0\.05 s after the stop; a start abandons"):
        await world.manager.restart("x")
    assert instance.actual is InstanceState.STUCK


async def test_a_start_loads_the_current_file(world: World) -> None:
    instance = await world.add("good", GOOD)
    path = world.folder / "good.py"
    await world.manager.start("good")
    first = instance.strategy
    before = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    await when(lambda: world.store.get("good").revision == before)
    await world.manager.stop("good")
    path.write_text(GOOD + "    edited = True\n")
    await world.manager.start("good")
    assert (instance.strategy is first, getattr(instance.strategy, "edited", False)) == (False, True)
    await when(lambda: world.store.get("good").revision == revision(path) != before)


@pytest.mark.parametrize(
    ("source", "options", "text"),
    [
        ("def f(:\n", {}, "x.py, line 1: syntax error: invalid syntax"),
        ("import sys\nsys.exit(3)\n", {}, "x.py, line 2: SystemExit: 3"),
        ("", {}, "expected exactly one Lambda, saw none"),
        (GOOD, {"config": {"size": 3}}, "config of Good: `size` was given, but the class has no Config"),
        (GOOD + "    def __init__(self): raise OSError('no disk')\n", {}, "OSError: no disk"),
        (GOOD + "    def on_start(self): raise OSError('no disk')\n", {}, "OSError: no disk"),
        (GOOD + "    def on_start(self): raise SystemExit(3)\n", {}, "SystemExit: 3"),
        (GOOD, {"buffer_size": 1 << 20, "policies": {"Trade": "drop_oldest"}}, "instance x not added: "),
    ],
)
async def test_a_failed_start_reports_its_cause(
    world: World, source: str, options: dict[str, Any], text: str
) -> None:
    if "buffer_size" in options:
        world.core = Core(max_pool_bytes=1 << 20)
        world.manager = world.new_manager()
    instance = await world.add("x", source, "running", **options)
    good = await world.add("good", GOOD, "running")
    await world.manager.begin()
    assert good.actual is InstanceState.RUNNING
    assert instance.actual is InstanceState.FAILED
    assert text in (instance.last_error or "")
    assert "\n" not in (instance.last_error or "")
    with pytest.raises(StartError, match="instance `x` could not start: "):
        await world.manager.start("x")
    assert world.store.get("x").desired == "running", "the next start of the gateway retries it"
    await world.manager.stop("x")
    assert (instance.actual, world.store.get("x").desired) == (InstanceState.STOPPED, "stopped")
    assert await world.manager.close()


async def test_begin_starts_the_instances_that_are_desired(world: World) -> None:
    desired = await world.add("desired", GOOD, "running")
    other = await world.add("other", GOOD, "stopped")
    await world.manager.begin()
    assert (desired.actual, other.actual) == (InstanceState.RUNNING, InstanceState.PENDING)
    assert await world.state_writer.close(PATIENCE)
    assert (world.store.get("desired").actual, world.store.get("other").actual) == ("running", "pending")


async def test_a_manager_does_not_poll(world: World) -> None:
    instance = await world.add("x", GOOD, "running")
    before = asyncio.all_tasks()
    await world.manager.begin()
    assert instance.actual is InstanceState.RUNNING
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize(
    ("before", "after"),
    [("pending", "pending"), ("running", "stopped"), ("stuck", "stopped"), ("failed", "failed")],
)
async def test_states_after_a_crash(world: World, before: Any, after: str) -> None:
    await world.add("x", GOOD)
    await world.store.set_actual("x", before, "boom")
    world.manager = world.new_manager()
    spec = LambdaSpec(id="x", strategy=str(world.folder / "x.py"), scope={"p": ("BTC-USDT",)})
    instance = world.manager.add(spec)
    assert (instance.actual, instance.last_error) == (after, "boom")
    await world.state_writer.close(PATIENCE)
    assert world.store.get("x").actual == after


async def test_an_instance_that_hangs_at_its_start_does_not_affect_others(
    world: World, start_timeout: StartTimeout
) -> None:
    hung = await world.add("hung", HANGS_AT_START, "running")
    good = await world.add("good", GOOD, "running")
    await world.manager.begin(patience=0.0)
    await when(lambda: good.actual is InstanceState.RUNNING and hung.strategy)
    entered(hung)
    start_timeout.passed.set()
    await when(lambda: hung.actual is InstanceState.FAILED)
    assert hung.last_error == "loading and on_start exceeded 30 s"
    world.trade()
    entered(good)
    assert not await world.manager.close(), "its thread is abandoned"


@pytest.mark.untraced
@pytest.mark.parametrize("host", ["thread", "shared"])
async def test_an_endless_loop_at_the_start_is_interrupted(
    world: World, start_timeout: StartTimeout, host: str
) -> None:
    await world.add("loops", LOOPS_AT_START, host=host)
    instance = await overdue(world, "loops", start_timeout)
    run = instance.run
    assert run is not None
    await when(lambda: run.state == "stopped")
    assert instance.actual is InstanceState.FAILED
    assert await world.manager.close(), "no thread is abandoned"


async def test_a_start_that_completes_after_its_timeout_is_undone(
    world: World, start_timeout: StartTimeout
) -> None:
    on_stop = "    def on_stop(self): ENDED.set()\nENDED = threading.Event()\n"
    await world.add("hung", HANGS_AT_START + on_stop)
    hung = await overdue(world, "hung", start_timeout)
    late = hung.run
    assert late is not None
    gate, ended = flag(hung, "GATE"), flag(hung, "ENDED")
    gate.set()
    await when(ended.is_set)
    await when(lambda: late.state == "stopped")
    assert world.core.routes() == []
    starting = asyncio.ensure_future(world.manager.start("hung"))
    await when(lambda: hung.run is not late)
    flag(hung, "GATE").set()
    await starting
    assert hung.actual is InstanceState.RUNNING


async def test_an_instance_does_not_start_when_its_file_loads_after_the_timeout(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    signals = ModuleType("signals")
    gate, constructed, started = threading.Event(), threading.Event(), threading.Event()
    vars(signals).update(gate=gate, constructed=constructed, started=started)
    monkeypatch.setitem(sys.modules, "signals", signals)
    slow = "import signals\nassert signals.gate.wait(20)\n" + GOOD
    slow += "    def __init__(self): signals.constructed.set()\n"
    slow += "    def on_start(self): signals.started.set()\n"
    world.manager = world.new_manager(start_timeout=timedelta(seconds=0.05))
    instance = await world.add("slow", slow)
    with pytest.raises(StartError, match="loading and on_start exceeded"):
        await world.manager.start("slow")
    gate.set()
    await when(constructed.is_set)
    assert await world.manager.close()
    assert (started.is_set(), instance.run, instance.actual) == (False, None, InstanceState.FAILED)


async def test_a_shutdown_aborts_the_starts_of_begin(world: World) -> None:
    hung = await world.add("hung", HANGS_AT_START, "running")
    await world.manager.begin(patience=0.0)
    await when(lambda: hung.strategy)
    entered(hung)
    assert not await world.manager.close()
    assert hung.actual is InstanceState.STOPPED


async def test_a_shutdown_aborts_a_requested_start(world: World) -> None:
    hung = await world.add("hung", HANGS_AT_START)
    starting = asyncio.ensure_future(world.manager.start("hung"))
    await when(lambda: hung.strategy)
    entered(hung)
    for change in (world.manager.start, world.manager.stop):
        with pytest.raises(Conflict, match="instance `hung` is starting, and another change is in progress"):
            await change("hung")
    assert not await world.manager.close()
    assert hung.actual is InstanceState.STOPPED
    await asyncio.wait({starting})
    assert starting.cancelled()
    with pytest.raises(Conflict, match="the gateway is stopping"):
        await world.manager.start("hung")


async def test_an_instance_with_too_many_errors_fails(world: World) -> None:
    await world.manager.begin()
    instance = await world.add("x", RAISES, max_errors=2)
    await world.manager.start("x")
    world.trade()
    world.trade()
    await when(lambda: instance.actual is InstanceState.FAILED)
    assert "KeyError" in (instance.last_error or "")
    await world.manager.start("x")
    assert (instance.actual, instance.last_error) == (InstanceState.RUNNING, None)


async def test_an_instance_is_stuck_until_its_long_callback_returns(world: World) -> None:
    world.manager = world.new_manager(stuck_after=timedelta(0))
    await world.manager.begin()
    instance = await world.add("x", HANGS)
    await world.manager.start("x")
    assert instance.actual is InstanceState.RUNNING
    world.trade()
    await when(lambda: instance.actual is InstanceState.STUCK)
    assert instance.last_error == "a callback has been running for more than 0 s"
    with pytest.raises(Conflict, match="`x` is already stuck"):
        await world.manager.start("x")
    flag(instance, "GATE").set()
    await when(lambda: instance.actual is InstanceState.RUNNING)
    assert instance.last_error is None


@pytest.mark.untraced
async def test_an_instance_whose_callback_outlasts_the_stop_is_stuck_and_can_be_restarted(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    instance = await world.add("x", HANGS, stop_timeout=timedelta(seconds=0.05))
    await world.manager.start("x")
    world.trade()
    entered(instance)
    first = instance.run
    await world.manager.stop("x")
    assert (instance.actual, instance.running, world.core.routes()) == (InstanceState.STUCK, False, [])
    assert instance.last_error == "a callback was still running 0.05 s after the stop"
    with pytest.raises(Conflict, match="its status is stuck"):
        await world.manager.stop("x")
    world.manager.check()
    assert instance.actual is InstanceState.STUCK
    await world.manager.restart("x")
    assert (instance.actual, instance.run is first) == (InstanceState.RUNNING, False)
    instance.spec = replace(instance.spec, stop_timeout=timedelta(seconds=PATIENCE))
    await world.manager.stop("x")
    assert instance.actual is InstanceState.STOPPED


@pytest.mark.untraced
async def test_an_instance_stops_when_the_callback_that_outlasted_the_stop_returns(world: World) -> None:
    await world.manager.begin()
    instance = await world.add("x", HANGS, stop_timeout=timedelta(seconds=0.05))
    await world.manager.start("x")
    world.trade()
    entered(instance)
    await world.manager.stop("x")
    assert instance.actual is InstanceState.STUCK
    flag(instance, "GATE").set()
    await when(lambda: instance.actual is InstanceState.STOPPED)
    assert not await world.manager.close()


async def test_a_blocked_shared_thread_makes_its_instances_stuck_and_new_ones_get_another(
    world: World,
) -> None:
    world.manager = world.new_manager(stuck_after=timedelta(0))
    await world.manager.begin()
    holder = await world.add("holder", HANGS, host="shared")
    mate = await world.add("mate", GOOD, host="shared", stop_timeout=timedelta(seconds=0.05))
    await world.manager.start("holder")
    await world.manager.start("mate")
    assert holder.host is mate.host
    world.trade()
    await when(lambda: holder.actual is mate.actual is InstanceState.STUCK)
    assert mate.last_error == (
        "a callback of holder, on the same shared thread, has been running for more than 0 s"
    )
    later = await world.add("later", GOOD, host="shared")
    await world.manager.start("later")
    assert (later.actual, later.host is holder.host) == (InstanceState.RUNNING, False)
    # A restart moves an instance from the blocked thread to the new one.
    await world.manager.stop("mate")
    assert (mate.actual, mate.last_error) == (
        InstanceState.STOPPED,
        "on_stop was not run: a callback of another instance blocks the shared thread",
    )
    await world.manager.start("mate")
    assert (mate.actual, mate.host is later.host) == (InstanceState.RUNNING, True)
    world.trade()
    entered(later)
    flag(holder, "GATE").set()
    await when(lambda: holder.actual is InstanceState.RUNNING)
    assert await world.manager.close()


async def test_a_start_on_a_shared_thread_that_has_just_been_blocked_fails(
    world: World, start_timeout: StartTimeout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_blocked(_launcher: Launcher, _host: Host) -> bool:
        # A thread counts as blocked after a second, and the test may need longer.
        return False

    monkeypatch.setattr(Launcher, "_is_blocked", is_blocked)
    holder = await world.add("holder", HANGS, host="shared")
    other = await world.add("other", GOOD, host="shared")
    await world.manager.start("holder")
    world.trade()
    entered(holder)
    starting = asyncio.ensure_future(world.manager.start("other"))
    await when(lambda: other.run)
    start_timeout.passed.set()
    with pytest.raises(StartError, match="a callback of another instance blocks the shared thread"):
        await starting
    assert (other.actual, world.store.get("other").desired) == (InstanceState.FAILED, "running")
    flag(holder, "GATE").set()
    start_timeout.passed.clear()
    await world.manager.start("other")
    assert other.actual is InstanceState.RUNNING
    assert len(world.core.routes()) == 1
