"""Exceptions that nothing expects: what fails alone, and how trading ends when it cannot be trusted."""

import logging
from collections.abc import Callable, Generator
from decimal import Decimal
from typing import Any, NoReturn

import pytest

from meltica.errors import OrderRefused
from meltica.model.enums import Liquidity, Mode, OrderState, Side
from meltica.model.fills import Fill
from meltica.model.orders import OrderSnapshot
from meltica.model.trader import Order
from meltica.persistence.lock import GatewayLock
from meltica.trading import clock
from meltica.trading.faults import FaultKind
from meltica.trading.operator import Act
from meltica.trading.risk.scopes import GLOBAL
from tests.support.risk import BTC
from tests.support.trading_world import PATIENCE, TradingWorld

LONG = Decimal("0." + "1" * 300)
"""A number of which no exact product can be kept."""


class World(TradingWorld):
    """A gateway that counts its failures."""

    failures = 0

    def fail(self) -> None:
        """Counts a failure."""
        self.failures += 1


@pytest.fixture(name="world")
def _world(database_url: str, lock: GatewayLock) -> Generator[World]:
    world = World(database_url, lock)
    world.trading.on_failure = world.fail
    with world.on_lossy_account():
        yield world


def until(condition: Callable[[], object], what: str) -> None:
    """Waits for a condition."""
    deadline = clock.now() + int(PATIENCE * 10**9)
    while not condition():
        assert clock.now() < deadline, what


def poison(*_: object, **__: object) -> NoReturn:
    """Fails in a way that nothing expects."""
    raise ZeroDivisionError("poison")


def resting(world: World) -> Order:
    """Returns an order that rests at the venue."""
    order = world.buy("1", "50")
    world.wait_for("acknowledged")
    return order


def fill(order: Order, **changes: Any) -> Fill:
    """Returns a fill of an order that the venue may report."""
    values: dict[str, Any] = {
        "execution_id": "x1",
        "time": clock.now(),
        "symbol": BTC,
        "client_order_id": order.client_order_id,
        "venue_order_id": order.venue_order_id,
        "side": Side.BUY,
        "price": Decimal(50),
        "quantity": Decimal("0.1"),
        "fee": Decimal(0),
        "fee_currency": "USDT",
        "liquidity": Liquidity.MAKER,
    }
    return Fill(**{**values, **changes})


def snapshot(order: Order) -> OrderSnapshot:
    """Returns the report of an order that is still open."""
    return OrderSnapshot(
        client_order_id=order.client_order_id,
        venue_order_id=order.venue_order_id,
        symbol=BTC,
        side=Side.BUY,
        state=OrderState.ACK,
        order_type=order.order_type,
        quantity=order.quantity,
        filled_quantity=Decimal(0),
    )


def assert_ended(world: World, order: Order, caplog: pytest.LogCaptureFixture) -> None:
    """Checks that trading has ended: loudly, with cancels at the venue, and without another order."""
    until(lambda: world.failures, "the failure to be noticed")
    until(lambda: not world.call_loop(world.account.open_orders), "the cancels to arrive")
    assert world.desk.find(order.id).record.cancel_wanted  # type: ignore[union-attr]
    [loud, *_] = [each for each in caplog.records if each.levelno == logging.CRITICAL]
    assert "trading has failed" in loud.message
    assert loud.exc_info is not None
    [fault, *_] = world.trading.faults()
    assert fault.kind is FaultKind.NO_ORDERS
    assert "trading has failed" in fault.detail
    rejected = world.buy("1", "50")
    until(lambda: world.call(lambda: world.trader.trading).why == "trading_failed", "orders not to leave")
    assert rejected.client_order_id not in world.lossy.requests["submit"]
    assert world.failures == 1, "reported once, whatever fails later"
    # An operator can still halt, and that is recorded although nothing else is.
    assert world.operate(lambda operator: operator.halt(GLOBAL, Act("alice", "it failed")))
    assert world.query("select halted_by from halts") == [("alice",)]


def in_tick(world: World, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(world.desk.accounts, "check_differences", poison)


def in_losses(world: World, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(world.trading._losses, "_profits", poison)  # pyright: ignore[reportPrivateUsage]


def in_reconnect(world: World, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(world.trading, "_reconnect", poison)


def in_writer(world: World, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(world.trading._commits._writer, "commit", poison)  # type: ignore[union-attr]  # pyright: ignore


def in_batch(world: World, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(world.desk.pending, "take", poison)


def after_commit(world: World, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(world.trading._commits._halts, "take", poison)  # type: ignore[union-attr]  # pyright: ignore


def in_requests(world: World, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(world.desk, "account_keys", poison)


TASKS = [in_tick, in_losses, in_reconnect, in_writer, in_batch, after_commit, in_requests]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.__name__)
def test_a_task_that_fails_ends_trading_with_cancels(
    world: World, caplog: pytest.LogCaptureFixture, task: Callable[[World, pytest.MonkeyPatch], None]
) -> None:
    order = resting(world)
    with pytest.MonkeyPatch.context() as patch:
        task(world, patch)
        world.desk.wake()
        until(lambda: world.failures, "the failure to be noticed")
    assert_ended(world, order, caplog)


def test_a_report_that_leaves_half_a_change_ends_trading(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    first, order = resting(world), world.buy("1", "51")
    world.wait_for("acknowledged", "acknowledged")
    world.desk.report("p", Mode.LIVE, snapshot(first), fill(first, fee=Decimal(10**9), fee_currency="X"))
    world.wait_for("partial_fill")
    until(lambda: world.query("select count(*) from positions") == [(1,)], "the first fill to be written")
    # The order can take it; the position, which is moved by then, cannot add up its fees.
    tiny = fill(order, fee=Decimal("1e-398"), fee_currency="X", execution_id="x2")
    with pytest.raises(ArithmeticError):
        world.desk.report("p", Mode.LIVE, snapshot(order), tiny)
    assert_ended(world, order, caplog)
    # What may be half a change is not written.
    assert world.query("select execution_id from fills") == [("x1",)]
    assert world.query("select quantity from positions") == [(Decimal("0.1"),)]


def test_an_order_that_is_half_changed_ends_trading(world: World, caplog: pytest.LogCaptureFixture) -> None:
    order = resting(world)
    with pytest.MonkeyPatch.context() as patch:
        # After the fill was counted, before it was booked.
        patch.setattr("meltica.trading.state_machine.OrderMachine._settle", poison)
        with pytest.raises(ZeroDivisionError):
            world.desk.report("p", Mode.LIVE, snapshot(order), fill(order))
    assert_ended(world, order, caplog)
    assert world.query("select filled_quantity from orders") == [(0,)]


def test_a_cancel_that_the_exception_lost_goes_out(world: World) -> None:
    order = resting(world)
    machine = world.desk.find(order.id)
    assert machine is not None
    with pytest.raises(ZeroDivisionError), world.desk.lock:
        # As if the exception came before the request of the cancel was passed on.
        machine.cancel(clock.now())
        poison()
    until(lambda: not world.call_loop(world.account.open_orders), "the cancel to arrive")
    assert world.lossy.requests["cancel"] == [order.client_order_id]


def test_an_exception_on_the_thread_of_a_strategy_ends_trading(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    order = resting(world)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.desk.orders, "add", poison)
        with pytest.raises(ZeroDivisionError):
            world.buy("1", "51")
    assert_ended(world, order, caplog)


def test_a_call_that_only_reads_harms_nothing(world: World) -> None:
    order = resting(world)
    with pytest.raises(TypeError):
        world.call(lambda: world.trader.balance([]))  # type: ignore[arg-type]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("meltica.trading.trader.value", poison)
        with pytest.raises(ZeroDivisionError):
            world.call(world.trader.pnl)
    assert world.call(lambda: world.trader.trading)
    assert order.is_open


def test_a_report_that_an_order_cannot_take_fails_alone(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    other = resting(world)
    order = world.buy("1", "51")
    world.wait_for("acknowledged", "acknowledged")
    world.desk.report("p", Mode.LIVE, snapshot(order), fill(order, quantity=LONG, price=LONG))
    world.wait_for("unknown", "cancelled")
    assert "order.cancel" not in caplog.text
    assert f"order {order.client_order_id} failed and is cancelled" in caplog.text
    until(lambda: order.state is OrderState.CANCELLED, "the venue's word")
    assert other.is_open
    assert world.failures == 0
    until(lambda: world.call(lambda: world.trader.trading), "orders to leave")
    assert world.buy("1", "50").is_open


def test_an_order_that_has_not_left_fails_as_rejected(world: World) -> None:
    order = resting(world)
    machine = world.desk.find(order.id)
    assert machine is not None
    with world.desk.lock:
        machine.record.state, machine._left_at = OrderState.PENDING, None  # pyright: ignore[reportPrivateUsage]
        machine._begin()  # pyright: ignore[reportPrivateUsage]
        world.desk.happened(machine, poison)
    assert (machine.record.state, machine.record.reason) == (OrderState.REJECTED, "event_failed")


@pytest.mark.parametrize("question", ["open_orders", "balances", "fills_since"])
def test_an_answer_that_cannot_be_read_concerns_its_account(
    world: World, caplog: pytest.LogCaptureFixture, question: str
) -> None:
    order = resting(world)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.lossy, question, poison)
        world.lossy.disconnect()
        until(lambda: "poison; retry in" in caplog.text, "the failure")
        until(lambda: any("poison" in fault.detail for fault in world.trading.faults()), "the fault")
        [fault] = world.trading.faults()
        assert (fault.kind, fault.provider) == (FaultKind.NOT_RECONCILED, "p")
    until(lambda: world.call(lambda: world.trader.trading), "the account to be reconciled")
    assert (order.is_open, world.failures, world.trading.faults()) == (True, 0, [])


def test_a_comparison_that_fails_reconciles_the_account(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = resting(world)
    monkeypatch.setattr("meltica.trading.comparison.EVERY", 0.1)
    monkeypatch.setattr("meltica.trading.comparison.compare", poison)
    world.lossy.disconnect()
    until(lambda: "not compared; it is reconciled again" in caplog.text, "the failure")
    monkeypatch.undo()
    until(lambda: world.call(lambda: world.trader.trading), "the account to be reconciled")
    assert (order.is_open, world.failures) == (True, 0)


@pytest.mark.parametrize("request_of", ["submit", "cancel", "amend", "order"])
def test_an_answer_to_an_order_that_cannot_be_read_concerns_the_order(
    world: World, caplog: pytest.LogCaptureFixture, request_of: str
) -> None:
    other = resting(world)
    real = getattr(world.lossy, request_of)

    async def answers(*arguments: Any, **options: Any) -> NoReturn:
        await real(*arguments, **options)
        poison()

    order = world.buy("1", "51") if request_of != "submit" else None
    if order is not None:
        world.wait_for("acknowledged", "acknowledged")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.lossy, request_of, answers)
        if order is None:
            order = world.buy("1", "51")
        elif request_of == "amend":
            world.call(lambda: world.trader.amend(order, price="52"))
        else:
            world.call(lambda: world.trader.cancel(order))
        if request_of == "order":
            machine = world.desk.find(order.id)
            assert machine is not None
            world.desk.apply(machine, lambda m, now: m.query(now))
        until(lambda: "failed in an unexpected way" in caplog.text, "the failure")
    world.call(lambda: world.trader.cancel(order))
    until(lambda: not order.is_open, "the end of the order")
    assert order.state is OrderState.CANCELLED
    assert (other.is_open, world.failures) == (True, 0)
    until(lambda: not world.trading.faults(), "no fault to be left")


def test_cancels_go_out_after_a_failure_without_the_database(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    order = resting(world)
    world._lock._epoch = None  # pyright: ignore[reportPrivateUsage]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.desk.accounts, "check_differences", poison)
        until(lambda: world.failures, "the failure to be noticed")
    until(lambda: not world.call_loop(world.account.open_orders), "the cancels to arrive")
    assert world.lossy.requests["cancel"] == [order.client_order_id]


def test_an_order_that_cannot_be_cancelled_leaves_the_others_alone(world: World) -> None:
    first, second = resting(world), world.buy("1", "51")
    world.wait_for("acknowledged", "acknowledged")
    machine = world.desk.find(first.id)
    assert machine is not None
    machine.timings = None  # type: ignore[assignment]
    machine._cancel_pace = None  # type: ignore[assignment]  # pyright: ignore[reportPrivateUsage]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.desk.accounts, "check_differences", poison)
        until(lambda: world.failures, "the failure to be noticed")
    until(lambda: second.client_order_id in world.lossy.requests["cancel"], "the cancel")


def test_an_order_after_a_failed_one_is_not_refused(world: World) -> None:
    with pytest.raises(OrderRefused):
        world.buy("1", "0")
    assert world.desk.lock.failure is None
