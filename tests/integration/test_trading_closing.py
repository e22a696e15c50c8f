"""`close` of a position whose symbol has open orders."""

from collections.abc import Callable, Generator
from decimal import Decimal
from typing import Any

import pytest

from meltica.errors import OrderRefused
from meltica.model.enums import OrderState, Side
from meltica.model.trader import Order
from meltica.persistence.lock import GatewayLock
from meltica.trading import clock
from meltica.trading.risk.limits import GlobalRiskLimits
from meltica.trading.risk.scopes import GLOBAL, Scope
from tests.support.lossy_account import Fate
from tests.support.risk import BTC
from tests.support.trading_world import PATIENCE, TradingWorld

LATE = [Fate.LATE] * 10_000
"""Fates of cancels, which are repeated until the test goes on."""


@pytest.fixture(name="world")
def _world(database_url: str, lock: GatewayLock) -> Generator[TradingWorld]:
    world = TradingWorld(database_url, lock)
    world.risk.registry.set_limits(GLOBAL, limits())
    with world.on_lossy_account():
        world.buy("2", "100.01")
        world.wait_for("filled")
        yield world


def limits(**changes: object) -> GlobalRiskLimits:
    """Returns limits under which a market order leaves."""
    return GlobalRiskLimits.model_validate({"priceBandPercent": 1, "maxRiskBreaches": 1, **changes})


def until(condition: Callable[[], object]) -> None:
    """Waits for a condition."""
    deadline = clock.now() + int(PATIENCE * 10**9)
    while not condition():
        assert clock.now() < deadline


def sell(world: TradingWorld, quantity: str = "all", price: str = "100.50", **options: Any) -> Order:
    """Places a sell that rests."""
    order = world.call(lambda: world.trader.place(Side.SELL, BTC, quantity, price, **options))
    until(lambda: order.state is OrderState.ACK)
    assert isinstance(order, Order)
    return order


def close(world: TradingWorld) -> Order | None:
    """Closes the position on the instance's host."""
    order: Order | None = world.call(lambda: world.trader.close(BTC))
    return order


def open_orders(world: TradingWorld) -> list[str]:
    """Returns the client order ids of the orders that have not ended."""
    with world.desk.lock.reading:
        return [each.record.client_order_id for each in world.desk.open_machines()]


def quantity(world: TradingWorld) -> Decimal:
    """Returns the position."""
    found: Decimal = world.call(lambda: world.trader.position(BTC).quantity)
    return found


def sales(world: TradingWorld) -> list[Order]:
    """Returns the orders that `close` has placed."""
    orders = [order for _, order, _, _ in world.callbacks if order.tag == "close"]
    return list({order.id: order for order in orders}.values())


def sold(world: TradingWorld) -> Order:
    """Waits until `close` has sold the position and the strategy received that; returns the sale."""
    until(lambda: quantity(world) == 0)
    until(lambda: sales(world) and not sales(world)[0].is_open)
    [sale] = sales(world)
    return sale


def breaches(world: TradingWorld) -> int:
    """Returns how many breaches count for the instance."""
    return world.risk.status(Scope.instance(world.owner), clock.now()).breaches


def test_a_position_with_a_resting_sell_is_closed(world: TradingWorld) -> None:
    resting = sell(world)
    assert close(world) is None
    sale = sold(world)
    assert resting.state is OrderState.CANCELLED
    assert (sale.state, sale.quantity, sale.reduce_only) == (OrderState.FILLED, 2, True)
    assert breaches(world) == 0
    assert close(world) is None
    assert len(sales(world)) == 1


def test_a_fill_that_crosses_the_cancel_is_not_sold_twice(world: TradingWorld) -> None:
    resting = sell(world)
    world.lossy.fates["cancel"].extend(LATE)
    assert close(world) is None
    until(lambda: world.lossy.requests["cancel"])
    assert (close(world), sales(world)) == (None, []), "nothing is sold before the order has ended"
    world.account.trade(BTC, Decimal("100.60"), Decimal("0.5"), Side.BUY, clock.now())
    until(lambda: quantity(world) == Decimal("1.5"))
    world.call_loop(world.lossy.carry_out_late)
    sale = sold(world)
    assert (resting.filled_quantity, sale.filled_quantity) == (Decimal("0.5"), Decimal("1.5"))
    assert breaches(world) == 0


def test_a_buy_that_crosses_its_cancel_is_sold_too(world: TradingWorld) -> None:
    world.call(lambda: world.trader.place(Side.BUY, BTC, "1", "99"))
    world.wait_for("filled", "acknowledged")
    world.lossy.fates["cancel"].extend(LATE)
    assert close(world) is None
    until(lambda: world.lossy.requests["cancel"])
    world.account.trade(BTC, Decimal("98.5"), Decimal("1"), Side.SELL, clock.now())
    assert sold(world).filled_quantity == 3


def test_other_orders_are_refused_until_the_sale(world: TradingWorld) -> None:
    resting = sell(world, "1")
    world.lossy.fates["cancel"].extend(LATE)
    assert close(world) is None
    with pytest.raises(OrderRefused, match="is being closed") as refused:
        world.buy("1", "99")
    assert refused.value.rule == "closing"
    world.call(lambda: world.trader.cancel_all(BTC))
    world.lossy.fates["cancel"].clear()
    until(lambda: resting.state is OrderState.CANCELLED)
    assert world.buy("1", "99").is_open
    assert (sales(world), quantity(world), breaches(world)) == ([], 2, 0)


@pytest.mark.parametrize("changes", [{"priceBandPercent": 0}, {"maxNotionalValue": 1}])
def test_a_sale_that_is_refused_is_repeated(world: TradingWorld, changes: dict[str, object]) -> None:
    sell(world)
    world.risk.registry.set_limits(GLOBAL, limits(**changes))
    assert close(world) is None
    rows = "select count(*) from refusals where rule <> 'closing'"
    until(lambda: world.query(rows) >= [(2,)] or quantity(world) == 0)
    assert breaches(world) == 0
    world.risk.registry.set_limits(GLOBAL, limits())
    until(lambda: quantity(world) == 0)


def test_a_stop_ends_it_and_only_cancels(world: TradingWorld) -> None:
    resting = sell(world)
    world.call(world.trader.stop_orders)
    with pytest.raises(OrderRefused, match="the instance stops"):
        close(world)
    until(lambda: resting.state is OrderState.CANCELLED)
    world.call(world.trader.resume_orders)
    sell(world)
    world.lossy.fates["cancel"].extend(LATE)
    assert close(world) is None
    world.trader.detach()
    world.lossy.fates["cancel"].clear()
    until(lambda: not open_orders(world))
    assert (world.positions.quantity(resting_key(world)), bool(world.desk.closings)) == (2, False)


def resting_key(world: TradingWorld) -> Any:
    """Returns the key of the position."""
    return next(iter(world.positions)).key
