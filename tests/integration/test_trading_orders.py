"""Orders from a strategy through risk, the database and an account, and their reports back."""

from collections.abc import Generator
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from meltica.errors import OrderRefused
from meltica.model.enums import Mode, OrderState, Side
from meltica.model.trader import Order
from meltica.persistence.lock import GatewayLock
from tests.support.trading_world import TradingWorld


@pytest.fixture(name="world")
def _world(database_url: str, lock: GatewayLock) -> Generator[TradingWorld]:
    world = TradingWorld(database_url, lock)
    world.start()
    yield world
    world.close()


def rows(world: TradingWorld, query: str) -> list[tuple[Any, ...]]:
    """Runs a query."""
    with psycopg.connect(world.url, options="-c search_path=meltica") as connection:
        return connection.execute(query.encode()).fetchall()


def test_an_order_is_committed_before_it_leaves_and_followed_to_its_end(world: TradingWorld) -> None:
    def place() -> tuple[Order, OrderState]:
        placed = world.trader.place(Side.BUY, "BTC-USDT", "0.5", "99")
        return placed, placed.state

    order, state = world.call(place)
    assert (state, order.filled_quantity, order.price) == (OrderState.PENDING, 0, 99)
    world.wait_for("acknowledged")
    assert order.state is OrderState.ACK
    assert order.venue_order_id is not None
    world.quote("98.50", "98.90")
    world.wait_for("acknowledged", "filled")
    assert world.names == ["acknowledged", "filled"]
    assert (order.state, order.filled_quantity, order.average_price) == (
        OrderState.FILLED,
        Decimal("0.5"),
        99,
    )
    assert order.fees == {"USDT": Decimal("0.0495")}
    assert world.call(lambda: world.trader.position("BTC-USDT")).quantity == Decimal("0.5")
    assert world.risk.free("p", "USDT") == world.books.spendable("p", "USDT")
    assert world.trading.stop()
    [(state, filled, sent, acknowledged, committed)] = rows(
        world, "select state, filled_quantity, sent_at, acknowledged_at, committed_at from orders"
    )
    assert (state, filled) == ("FILLED", Decimal("0.5"))
    assert committed <= sent <= acknowledged
    assert rows(world, "select quantity, price, rule from fills") == [(Decimal("0.5"), 99, "traded_through")]
    assert rows(world, "select quantity, cost from positions") == [(Decimal("0.5"), Decimal("49.5"))]


def test_a_market_order_leaves_as_an_ioc_limit_order(world: TradingWorld) -> None:
    world.risk.registry.set_limits(*_band(world))
    order = world.buy("0.5", None)
    world.wait_for("acknowledged")
    world.quote()
    world.wait_for("filled")
    assert (order.price, order.average_price) == (None, Decimal("100.01"))
    assert rows(world, "select time_in_force from orders") == [("IOC",)]


def _band(world: TradingWorld) -> Any:
    from meltica.trading.risk.limits import GlobalRiskLimits
    from meltica.trading.risk.scopes import GLOBAL

    values = world.risk.registry.scopes[GLOBAL].limits.model_dump(by_alias=True) | {"priceBandPercent": 1}
    return GLOBAL, GlobalRiskLimits.model_validate(values)


def test_a_cancel_is_kept_until_the_venue_reports_the_end(world: TradingWorld) -> None:
    order = world.buy("0.5", "50")
    world.wait_for("acknowledged")
    world.call(lambda: world.trader.cancel(order))
    world.wait_for("cancelled")
    assert (order.state, order.pending_cancel) == (OrderState.CANCELLED, False)
    assert world.risk.free("p", "USDT") == world.books.spendable("p", "USDT")


def test_a_cancel_leaves_while_a_commit_waits_and_what_came_meanwhile_is_committed_next(
    world: TradingWorld,
) -> None:
    resting = world.buy()
    world.wait_for("acknowledged")
    with psycopg.connect(world.url, options="-c search_path=meltica") as other:
        other.execute("lock table commits in exclusive mode")
        committing = world.buy()
        while not rows(world, "select from pg_locks where relation = 'commits'::regclass and not granted"):
            pass
        waiting = world.buy()
        world.call(lambda: world.trader.cancel(resting))
        world.wait_for("cancelled")
        world.call(lambda: world.trader.cancel(waiting))
        world.wait_for("cancelled", "cancelled")
        assert committing.sent_at is None
    world.buy()
    world.wait_for("cancelled", "cancelled", "acknowledged")
    while rows(world, "select count(*) from orders where state = 'CANCELLED'") != [(2,)]:
        pass


def test_a_cancel_before_the_commit_ends_the_order_which_never_leaves(world: TradingWorld) -> None:
    def place_and_cancel() -> Any:
        order = world.trader.place(Side.BUY, "BTC-USDT", "0.5", "50")
        world.trader.cancel(order)
        return order

    order = world.call(place_and_cancel)
    world.wait_for("cancelled")
    assert order.state is OrderState.CANCELLED
    assert order.sent_at is None or world.names[0] == "acknowledged"


def test_an_amendment_is_refused_while_the_provider_does_not_run(world: TradingWorld) -> None:
    order = world.buy("1", "50")
    world.wait_for("acknowledged")
    world.desk.connect("p", Mode.LIVE, None)
    with pytest.raises(OrderRefused, match="not_running") as refused:
        world.call(lambda: world.trader.amend(order, price="60"))
    assert refused.value.recorded
    assert not order.pending_amend


def test_an_amendment_changes_the_order_once_the_venue_answers(world: TradingWorld) -> None:
    order = world.buy("0.5", "50")
    world.wait_for("acknowledged")
    world.call(lambda: world.trader.amend(order, price="60", quantity="0.7"))
    world.wait_for("amended")
    assert (order.price, order.quantity, order.pending_amend) == (60, Decimal("0.7"), False)
    world.call(lambda: world.trader.cancel_all())
    world.wait_for("cancelled")
    assert world.risk.free("p", "USDT") == world.books.spendable("p", "USDT")


def test_an_order_that_risk_refuses_does_not_exist(world: TradingWorld) -> None:
    with pytest.raises(OrderRefused) as refused:
        world.buy("0.00005", "50")
    assert refused.value.rule == "quantity_increment"
    assert world.call(lambda: world.trader.orders()) == []
    assert world.risk.free("p", "USDT") == world.books.spendable("p", "USDT")


def test_an_order_that_the_venue_refuses_is_rejected_and_released(world: TradingWorld) -> None:
    order = world.buy("0.5", "100", post_only=True)
    world.wait_for("acknowledged")
    crossing = world.buy("0.5", "100.50", post_only=True)
    world.wait_for("acknowledged", "rejected")
    assert (crossing.state, crossing.reason) == (OrderState.REJECTED, "would_cross")
    assert order.state is OrderState.ACK


@pytest.mark.parametrize("reason", ["lock_not_held", "not_reconciled"])
def test_the_last_check_lets_no_order_leave(world: TradingWorld, reason: str) -> None:
    if reason == "lock_not_held":
        world.desk.gate.blocked = reason
    else:
        world.desk.set_reconciled("p", _mode(), reconciled=False)
        with pytest.raises(OrderRefused):
            world.buy()
        return
    order = world.buy()
    world.wait_for("rejected")
    assert (order.state, order.reason, order.sent_at) == (OrderState.REJECTED, reason, None)
    assert world.risk.free("p", "USDT") == world.books.spendable("p", "USDT")


def _mode() -> Any:
    from meltica.model.enums import Mode

    return Mode.LIVE
