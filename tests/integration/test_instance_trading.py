"""Instances that trade: the order of calls from their start to their end, whatever ends them."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from meltica.errors import Conflict, StartError
from meltica.lambdas.managed import ManagedInstance
from meltica.runtime.lifecycle import Desired, InstanceState
from tests.support.instance_world import GOOD, HEAD, World, entered, flag, open_world, when
from tests.support.recorded_trading import CALLS, RecordedTrading

TRADES = (
    HEAD
    + """
from tests.support.recorded_trading import CALLS

class Trades(meltica.Lambda):
    def on_load(self, state): CALLS.append(f"on_load {state}")
    def on_start(self): CALLS.append("on_start")
    def on_trade(self, trade): CALLS.append("on_trade"); ENTERED.set()
    def on_order_cancelled(self, order): CALLS.append("on_order_cancelled")
    def on_trading_changed(self, provider, on, why): CALLS.append(f"{provider} {on} {why}"); ENTERED.set()
    def on_stop(self): CALLS.append("on_stop")
    def on_save(self): CALLS.append("on_save"); return {"count": 1}
"""
)
HANGS = TRADES.replace('CALLS.append("on_trade"); ENTERED.set()', "ENTERED.set(); GATE.wait(20)")
START = ["open", "ready", "checkpoint", "on_start", "on_save", "save", "replay_missed"]
END = ["stop_orders", "on_stop", "on_save", "save", "close"]


@pytest.fixture(name="world")
async def _world(database_url: str, tmp_path: Path) -> AsyncGenerator[World]:
    async with open_world(database_url, tmp_path) as world:
        yield world


@pytest.fixture(name="trading")
def _trading() -> RecordedTrading:
    return RecordedTrading()


async def add(
    world: World, trading: RecordedTrading, source: str = TRADES, desired: Any = "stopped", **options: Any
) -> ManagedInstance:
    """Adds the instance `x` to a new manager with `trading`."""
    limits = {name: options.pop(name) for name in ("stuck_after", "start_timeout") if name in options}
    world.manager = world.new_manager(trading=trading, **limits)
    return await world.add("x", source, desired, **options)


async def test_a_run_from_its_start_to_its_end(world: World, trading: RecordedTrading) -> None:
    trading.stored, trading.missed = b'{"count":41}', ["on_order_cancelled"] * 2
    instance = await add(world, trading)
    await world.manager.start("x")
    world.trade()
    entered(instance)
    await world.manager.stop("x")
    assert [
        *["open", "ready", "checkpoint", "on_load {'count': 41}", "on_start", "replay_missed"],
        *["on_order_cancelled", "on_order_cancelled", "on_trade"],
        *END,
    ] == CALLS
    assert (trading.saved, instance.actual) == ([b'{"count":1}'], InstanceState.STOPPED)
    [trader] = trading.traders
    assert (trader.spec.instance, trader.spec.dry_run, trader.spec.on_stop) == ("x", True, "cancel")
    assert trader.spec.scope == {"p": ("BTC-USDT",)}


async def test_a_strategy_is_notified_between_its_events(world: World, trading: RecordedTrading) -> None:
    instance = await add(world, trading)
    await world.manager.start("x")
    trading.traders[0].change(False, "halted")
    entered(instance)
    assert [*START, "p False halted"] == CALLS


async def test_an_instance_that_does_not_trade_needs_no_trading(
    world: World, trading: RecordedTrading
) -> None:
    trading.reconciled.clear()
    await add(world, trading, GOOD)
    await world.manager.start("x")
    await world.manager.stop("x")
    assert CALLS == []


async def test_an_instance_that_trades_needs_trading(world: World) -> None:
    await world.add("x", TRADES)
    with pytest.raises(StartError, match="lambda `x`: it places orders, and nothing trades here"):
        await world.manager.start("x")


async def test_a_refusal_to_trade_is_the_cause_of_a_failed_start(
    world: World, trading: RecordedTrading
) -> None:
    trading.fault = "p has no account"
    instance = await add(world, trading)
    with pytest.raises(StartError, match="could not start: orders of x: p has no account"):
        await world.manager.start("x")
    assert (CALLS, instance.actual) == (["open"], InstanceState.FAILED)


@pytest.mark.parametrize("host", ["thread", "shared"])
@pytest.mark.parametrize("callback", ["on_start", "on_load"])
async def test_trading_ends_after_a_start_that_fails(
    world: World, trading: RecordedTrading, host: str, callback: str
) -> None:
    trading.stored = b"1"
    source = TRADES.replace(
        f"def {callback}(self", f"def {callback}(self, *_): raise OSError('no disk')\n    def other(self"
    )
    instance = await add(world, trading, source, host=host)
    with pytest.raises(StartError, match="OSError: no disk"):
        await world.manager.start("x")
    await when(lambda: CALLS[-1] == "close")
    loaded = [] if callback == "on_load" else ["on_load 1"]
    assert (CALLS, instance.actual) == ([*START[:3], *loaded, "stop_orders", "close"], "failed")
    assert trading.failed == [True]
    # Nothing of the failed start is in the way of the next one.
    trading.stored = None
    Path(world.folder / "x.py").write_text(TRADES)
    await world.manager.start("x")
    assert CALLS[-len(START) :] == START


async def test_trading_ends_after_a_run_that_fails(world: World, trading: RecordedTrading) -> None:
    source = TRADES.replace('CALLS.append("on_trade")', 'raise OSError("no disk")')
    instance = await add(world, trading, source, max_errors=1)
    await world.manager.begin()
    await world.manager.start("x")
    world.trade()
    await when(lambda: instance.actual is InstanceState.FAILED and CALLS[-1] == "close")
    assert ([*START, *END], [True]) == (CALLS, trading.failed)


async def test_trading_ends_while_a_callback_outlasts_the_stop(
    world: World, trading: RecordedTrading
) -> None:
    instance = await add(world, trading, HANGS, stop_timeout=timedelta(seconds=0.05))
    await world.manager.start("x")
    world.trade()
    entered(instance)
    await world.manager.stop("x")
    assert (instance.actual, CALLS[len(START) :]) == (InstanceState.STUCK, ["stop_orders", "close"])
    assert trading.failed == [False], "an operator stopped it"
    flag(instance, "GATE").set()
    await when(lambda: instance.run is not None and instance.in_callback_ns == 0 and CALLS[-1] == "on_stop")
    # Nothing is saved after the end: the next run may have begun.
    assert len(trading.saved) == 1


async def test_orders_are_suspended_while_a_callback_does_not_return(
    world: World, trading: RecordedTrading
) -> None:
    instance = await add(world, trading, HANGS, stuck_after=timedelta(seconds=0.05))
    await world.manager.begin()
    await world.manager.start("x")
    world.trade()
    await when(lambda: instance.actual is InstanceState.STUCK)
    assert CALLS[len(START) :] == ["suspend"]
    flag(instance, "GATE").set()
    await when(lambda: instance.actual is InstanceState.RUNNING)
    assert CALLS[len(START) :] == ["suspend", "resume"]


async def test_the_start_of_the_gateway_waits_for_accounts_and_says_so(
    world: World, trading: RecordedTrading
) -> None:
    trading.reconciled.clear()
    instance = await add(world, trading, desired="running", start_timeout=timedelta(seconds=0.5))
    await world.manager.begin(patience=0.0)
    await when(lambda: instance.last_error is not None)
    assert (instance.actual, instance.last_error) == (
        InstanceState.STARTING,
        "waits to trade: the account of p is not reconciled",
    )
    # The wait does not use up the time-out of the start.
    now = asyncio.get_running_loop().time
    late = now() + 0.5
    await when(lambda: now() > late)
    trading.reconciled.set()
    await when(lambda: instance.actual is InstanceState.RUNNING)
    assert instance.last_error is None


@pytest.mark.parametrize("end", ["stop", "close"])
async def test_a_stop_ends_the_wait_for_accounts(world: World, trading: RecordedTrading, end: str) -> None:
    trading.reconciled.clear()
    instance = await add(world, trading, desired="running")
    await world.manager.begin(patience=0.0)
    await when(lambda: instance.waiting is not None)
    if end == "stop":
        await world.manager.stop("x")
        assert world.store.get("x").desired == "stopped"
    else:
        assert await world.manager.close()
        assert world.store.get("x").desired == "running"
        world.manager = world.new_manager()
    await when(lambda: CALLS[-1] == "close")
    assert (instance.actual, CALLS) == (InstanceState.STOPPED, ["open", "stop_orders", "close"])
    assert trading.failed == [False], "it may come back"


async def test_a_requested_start_fails_when_the_accounts_are_not_reconciled_in_time(
    world: World, trading: RecordedTrading
) -> None:
    trading.reconciled.clear()
    instance = await add(world, trading, start_timeout=timedelta(seconds=0.5))
    text = "orders cannot go out after 0.5 s: the account of p is not reconciled"
    with pytest.raises(StartError, match=text):
        await world.manager.start("x")
    await when(lambda: CALLS[-1] == "close")
    assert (instance.actual, instance.last_error) == (InstanceState.FAILED, text)
    assert trading.failed == [True]


async def test_a_requested_start_that_is_stopped_is_a_conflict(
    world: World, trading: RecordedTrading
) -> None:
    trading.reconciled.clear()
    instance = await add(world, trading)
    start = asyncio.create_task(world.manager.start("x"))
    await when(lambda: instance.waiting is not None)
    with pytest.raises(Conflict, match="`x` is starting, and another change is in progress"):
        await world.manager.start("x")
    await world.manager.stop("x")
    with pytest.raises(Conflict, match="`x` was stopped while it waited to trade"):
        await start


async def test_a_stop_in_the_database_ends_the_wait_for_accounts(
    world: World, trading: RecordedTrading
) -> None:
    trading.reconciled.clear()
    instance = await add(world, trading, desired="running")
    await world.manager.begin(patience=0.0)
    await when(lambda: instance.waiting is not None)
    await world.manager.adopt()
    assert instance.waiting is not None
    await world.store.set_desired("x", Desired.STOPPED)
    await world.manager.adopt()
    await when(lambda: instance.actual is InstanceState.STOPPED)


async def test_errors_in_callbacks_of_orders_count_like_others(
    world: World, trading: RecordedTrading, caplog: pytest.LogCaptureFixture
) -> None:
    source = TRADES.replace('CALLS.append("on_order_cancelled")', 'raise OSError("no disk")')
    instance = await add(world, trading, source, max_errors=2)
    await world.manager.begin()
    await world.manager.start("x")
    for _ in range(2):
        trading.traders[0].report("on_order_cancelled")
    await when(lambda: instance.actual is InstanceState.FAILED)
    stats = instance.stats()
    assert stats is not None
    assert (stats["errors"], instance.last_error) == (2, "OSError: no disk")
    assert caplog.messages.count("on_order_cancelled raised OSError") == 1


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (
            '"x" * (1024 * 1024 - 1)',
            "on_save: the state: expected at most 1,048,576 bytes of JSON, saw 1,048,577",
        ),
        ("{1}", "on_save: the state cannot be encoded as JSON: set has no JSON representation"),
    ],
)
async def test_a_state_that_cannot_be_saved_is_an_error_of_on_save(
    world: World, trading: RecordedTrading, caplog: pytest.LogCaptureFixture, result: str, text: str
) -> None:
    later = f'{{"count": 1}} if CALLS.count("on_save") == 1 else {result}'
    instance = await add(world, trading, TRADES.replace('{"count": 1}', later))
    await world.manager.start("x")
    await world.manager.stop("x")
    stats = instance.stats()
    assert stats is not None
    assert text in stats["last_error"]
    assert "on_save raised LambdaError" in caplog.messages
    assert CALLS[-2:] == ["on_save", "close"]


async def test_a_state_that_cannot_be_saved_at_the_start_prevents_it(
    world: World, trading: RecordedTrading
) -> None:
    await add(world, trading, TRADES.replace('{"count": 1}', "{1}"))
    with pytest.raises(StartError, match="on_save: the state cannot be encoded as JSON"):
        await world.manager.start("x")


async def test_the_largest_state_is_saved(world: World, trading: RecordedTrading) -> None:
    await add(world, trading, TRADES.replace('{"count": 1}', '"x" * (1024 * 1024 - 2)'))
    await world.manager.start("x")
    await world.manager.stop("x")
    assert [len(each) for each in trading.saved] == [1024 * 1024] * 2


async def test_the_state_is_saved_although_on_stop_raises(
    world: World, trading: RecordedTrading, caplog: pytest.LogCaptureFixture
) -> None:
    await add(world, trading, TRADES.replace('CALLS.append("on_stop")', 'raise OSError("no disk")'))
    await world.manager.start("x")
    await world.manager.stop("x")
    assert (trading.saved, CALLS[-1]) == ([b'{"count":1}'] * 2, "close")
    assert "on_stop raised OSError" in caplog.messages


async def test_a_run_that_is_killed_early_has_a_state(world: World, trading: RecordedTrading) -> None:
    await add(world, trading)
    await world.manager.start("x")
    assert trading.saved == [b'{"count":1}']


async def test_the_state_is_saved_while_it_runs(
    world: World, trading: RecordedTrading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meltica.lambdas.trading_side.SAVE_SECONDS", 0.01)
    await add(world, trading)
    await world.manager.start("x")
    await when(lambda: len(trading.saved) >= 3)
    assert set(trading.saved) == {b'{"count":1}'}


async def test_an_instance_that_cannot_take_a_report_fails_without_a_hole(
    world: World, trading: RecordedTrading
) -> None:
    instance = await add(world, trading, HANGS)
    await world.manager.begin()
    await world.manager.start("x")
    world.trade()
    entered(instance)
    accepted = [trading.traders[0].report("on_order_cancelled") for _ in range(65_540)].count(True)
    flag(instance, "GATE").set()
    await when(lambda: instance.actual is InstanceState.FAILED and CALLS[-1] == "close")
    assert instance.last_error == "halted: more than 65536 posted functions were waiting"
    assert [*START, *["on_order_cancelled"] * accepted, *END] == CALLS
    assert accepted == 65_536
