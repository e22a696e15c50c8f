"""Requests and answers that get lost, late or overtaken: no order is sent twice, and no fill is missed."""

from collections.abc import Generator
from typing import Any

import psycopg
import pytest

from meltica.model.enums import OrderState, Side
from meltica.persistence.lock import GatewayLock
from meltica.trading.state_machine import OrderMachine
from tests.support.lossy_account import Fate
from tests.support.trading_world import TradingWorld


@pytest.fixture(name="world")
def _world(database_url: str, lock: GatewayLock) -> Generator[TradingWorld]:
    with TradingWorld(database_url, lock).on_lossy_account() as world:
        yield world
        ids = world.lossy.requests["submit"]
        assert len(ids) == len(set(ids)), "an order was sent twice"


def machine(world: TradingWorld, order: Any) -> OrderMachine:
    """Returns the state machine of an order."""
    found = world.desk.find(order.id)
    assert found is not None
    return found


def run(world: TradingWorld, work: Any) -> None:
    """Runs a coroutine on trading's loop."""
    world.trading._loop.wait(work)  # pyright: ignore[reportPrivateUsage]


def test_an_order_whose_answer_was_lost_is_found(world: TradingWorld) -> None:
    world.lossy.fates["submit"].append(Fate.ANSWER_LOST)
    order = world.buy("1", "99")
    world.wait_for("unknown", "acknowledged")
    assert order.state is OrderState.ACK
    world.quote("98", "98.50")
    world.wait_for("filled")
    assert order.filled_quantity == 1


def test_an_order_that_never_arrived_is_rejected_and_its_twin_is_another_order(world: TradingWorld) -> None:
    world.lossy.fates["submit"].append(Fate.NEVER_ARRIVES)
    order = world.buy("1", "99")
    world.wait_for("unknown", "rejected")
    assert (order.state, order.reason) == (OrderState.REJECTED, "never_arrived")
    twin = world.buy("1", "99")
    world.wait_for("rejected", "acknowledged")
    assert twin.client_order_id != order.client_order_id
    assert world.risk.free("p", "USDT") == 1_000_000 - 99 * world_factor(world)


@pytest.fixture(name="compared")
def _compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the account be compared all the time instead of once a minute."""
    monkeypatch.setattr("meltica.trading.comparison.EVERY", 0.01)
    monkeypatch.setattr("meltica.trading.comparison.SETTLED", 0)


@pytest.mark.usefixtures("compared")
@pytest.mark.parametrize("price", ["99", "100.01"])
def test_an_order_that_counts_as_never_arrived_and_arrives(world: TradingWorld, price: str) -> None:
    world.lossy.fates["submit"].append(Fate.LATE)
    order = world.buy("1", price)
    world.wait_for("unknown", "rejected")
    with world.desk.lock.reading:
        assert (order.reason, world.risk.registry.held("p", "USDT")) == ("never_arrived", 0)
    run(world, world.lossy.carry_out_late)
    if price == "99":
        # It rests at the venue after its end: it is cancelled there.
        while world.account.resting_orders():
            pass
        assert (order.state, order.filled_quantity) == (OrderState.REJECTED, 0)
    else:
        world.quote()
        world.wait_for("rejected", "filled")
        assert (order.state, order.filled_quantity) == (OrderState.FILLED, 1)
    assert world.call(lambda: world.trader.position("BTC-USDT")).quantity == order.filled_quantity
    assert {world.books.lines("p", currency).difference for currency in ("BTC", "USDT")} == {0}
    assert world.risk.registry.held("p", "USDT") == 0


def world_factor(world: TradingWorld) -> Any:
    """Returns 1 + the fee rate."""
    return world.risk.registry.listings["p", "BTC-USDT"].spend_factor


def test_new_orders_of_a_symbol_are_refused_while_one_is_unknown(world: TradingWorld) -> None:
    from meltica.errors import OrderRefused

    world.buy_unknown()
    with pytest.raises(OrderRefused, match="unknown"):
        world.buy("1", "99")
    run(world, world.lossy.carry_out_late)
    world.wait_for("unknown", "acknowledged")
    world.buy("1", "99")


def test_a_cancel_wanted_on_an_unknown_order_is_sent_when_the_order_turns_up(world: TradingWorld) -> None:
    order = world.buy_unknown()
    world.call(lambda: world.trader.cancel(order))
    run(world, world.lossy.carry_out_late)
    world.wait_for("cancelled")
    assert order.state is OrderState.CANCELLED
    assert world.account.resting_orders() == []


def test_a_cancel_whose_answers_get_lost_is_repeated(world: TradingWorld) -> None:
    order = world.buy("1", "99")
    world.wait_for("acknowledged")
    world.lossy.fates["cancel"].extend([Fate.NEVER_ARRIVES] * 3)
    world.call(lambda: world.trader.cancel(order))
    world.wait_for("cancelled")
    assert len(world.lossy.requests["cancel"]) == 4


def test_a_cancel_whose_answer_and_report_get_lost_ends_the_order(world: TradingWorld) -> None:
    order = world.buy("1", "99")
    world.wait_for("acknowledged")
    world.venue.report = _nothing
    world.lossy.fates["cancel"].extend([Fate.ANSWER_LOST] * 3)
    world.call(lambda: world.trader.cancel(order))
    # The second one is refused, because the order has ended; a query finds out how.
    world.wait_for("cancelled")
    assert (order.state, world.account.resting_orders()) == (OrderState.CANCELLED, [])
    assert world.names.count("cancel_rejected") == 0


def test_a_cancel_waits_for_the_answer_to_the_order(world: TradingWorld) -> None:
    world.lossy.fates["submit"].append(Fate.HELD)
    order = world.buy("1", "99")
    while not world.lossy.requests["submit"]:
        pass
    world.call(lambda: world.trader.cancel(order))
    assert world.lossy.requests["cancel"] == []
    run(world, _set(world))
    world.wait_for("cancelled")


def _set(world: TradingWorld) -> Any:
    async def release() -> None:
        world.lossy.release.set()

    return release


def test_a_halt_during_an_unanswered_order_cancels_it(world: TradingWorld) -> None:
    world.lossy.fates["submit"].append(Fate.HELD)
    order = world.buy("1", "99")
    while not world.lossy.requests["submit"]:
        pass
    with psycopg.connect(world.url, options="-c search_path=meltica", autocommit=True) as connection:
        connection.execute(
            "insert into halts (scope, subject, rule, reason, halted_by)"
            " values ('global', '', 'operator', 'stop', 'me')"
        )
    while not machine(world, order).record.cancel_wanted:
        pass
    run(world, _set(world))
    world.wait_for("cancelled")
    assert order.state is OrderState.CANCELLED


def test_a_report_before_the_answer_counts_once(world: TradingWorld) -> None:
    world.lossy.fates["submit"].append(Fate.HELD)
    order = world.buy("1", "100.01")
    while not world.lossy.requests["submit"]:
        pass
    world.quote("99.99", "100.01")
    world.wait_for("filled")
    run(world, _set(world))
    world.call(lambda: None)
    assert (order.state, order.filled_quantity) == (OrderState.FILLED, 1)
    assert world.call(lambda: world.trader.position("BTC-USDT")).quantity == 1


def test_a_cancel_that_crosses_a_fill_ends_as_filled(world: TradingWorld) -> None:
    order = world.buy("1", "99")
    world.wait_for("acknowledged")
    world.venue.report = _nothing
    world.quote("98", "98.50")
    # The fill was not reported, and the venue no longer has the order open.
    world.call(lambda: world.trader.cancel(order))
    world.wait_for("filled")
    assert order.filled_quantity == 1


def _nothing(_report: Any) -> None:
    return None


def test_an_amendment_whose_answer_was_lost_is_found(world: TradingWorld) -> None:
    order = world.buy("1", "99")
    world.wait_for("acknowledged")
    world.lossy.fates["amend"].append(Fate.ANSWER_LOST)
    world.call(lambda: world.trader.amend(order, quantity="3"))
    world.wait_for("amended")
    assert (order.quantity, order.pending_amend) == (3, False)


def test_an_amendment_that_never_arrived_keeps_the_larger_reserved_until_that_is_certain(
    world: TradingWorld,
) -> None:
    order = world.buy("1", "99")
    world.wait_for("acknowledged")
    world.lossy.fates["amend"].append(Fate.NEVER_ARRIVES)
    world.call(lambda: world.trader.amend(order, quantity="3"))
    world.wait_for("amend_rejected")
    assert (order.quantity, order.pending_amend) == (1, False)
    assert world.risk.free("p", "USDT") == 1_000_000 - 99 * world_factor(world)


def test_fills_during_a_disconnect_are_found_by_reconciling(world: TradingWorld) -> None:
    order = world.buy("2", "99")
    world.wait_for("acknowledged")
    report, world.venue.report = world.venue.report, _nothing
    world.account.trade("BTC-USDT", _decimal("98"), _decimal("1.5"), Side.SELL, world.desk.clock())
    world.venue.report = report
    # With the lock: without it, the account may have reconciled before the check.
    with world.desk.lock:
        world.lossy.disconnect()
        assert world.desk.obstacle_of(world.owner, {"p": ("BTC-USDT",)}) == "not_reconciled: p"
    world.wait_for("partial_fill")
    assert (order.filled_quantity, order.recovered) == (_decimal("1.5"), True)
    assert world.books.lines("p", "BTC").difference == 0


def _decimal(text: str) -> Any:
    from decimal import Decimal

    return Decimal(text)
