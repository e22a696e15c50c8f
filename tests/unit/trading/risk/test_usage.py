"""How much of each limit is used: what an order is refused by is what the figures show."""

from decimal import Decimal

import pytest

from meltica.errors import OrderRefused
from meltica.trading.risk.limits import InstanceRiskLimits, RiskLimits
from meltica.trading.risk.scopes import GLOBAL, Scope
from meltica.trading.risk.usage import usage
from tests.support.risk import BTC, SECOND, SELL, UNLIMITED, RiskWorld

LIMITS = InstanceRiskLimits.model_validate(
    {
        "maxPositionSize": 5,
        "maxNotionalValue": 450,
        "maxConcurrentOrders": 2,
        "maxOpenOrders": 3,
        "orderThrottle": 1,
        "orderBurst": 4,
        "maxDailyLoss": 50,
        "maxDrawdownPercent": 10,
        "capital": 300,
        "staleMarketSeconds": 5,
        "maxRiskBreaches": 3,
        "killSwitchEnabled": True,
        "circuitBreaker": {"threshold": 5, "cooldown": "1m"},
    }
)


@pytest.fixture(name="world")
def _world() -> RiskWorld:
    w = RiskWorld(instance=LIMITS)
    w.risk.mark(Scope.instance(w.a), Decimal(0), None, w.now)
    return w


def used(w: RiskWorld, scope: Scope | None = None) -> dict[str, str | None]:
    """Returns what is used of the limits, by rule and symbol."""
    found = usage(w.risk.registry, scope or Scope.instance(w.a), w.market, w.now)
    return {
        f"{each.rule} {each.symbol or ''}".strip(): None
        if each.used is None
        else f"{each.used.normalize():f}"
        for each in found
    }


def test_orders_and_positions_use_the_limits_of_their_scope(world: RiskWorld) -> None:
    order = world.order(world.approve(world.request(quantity=2, price=99)))
    assert used(world) == {
        f"max_position_size {BTC}": "2",
        f"max_notional_value {BTC}": "198",
        f"max_concurrent_orders {BTC}": "1",
        "max_open_orders": "1",
        "max_daily_loss": "0",
        "max_drawdown_percent": "0",
        "throttle": "1",
        "max_risk_breaches": "0",
        "circuit_breaker": "0",
    }
    world.fill(order, 2, 99)
    world.risk.release(order.id)
    # A position counts at the price of the market, which is 100.
    assert used(world)[f"max_notional_value {BTC}"] == "200"
    assert used(world)[f"max_position_size {BTC}"] == "2"
    assert used(world)["max_open_orders"] == "0"
    world.now += SECOND
    assert used(world)["throttle"] == "0"


@pytest.mark.parametrize(
    ("quantity", "price", "rule"), [("4.01", 100, "max_position_size"), ("3.6", 99, "max_notional_value")]
)
def test_an_order_is_refused_as_soon_as_it_is_beyond_the_distance(
    world: RiskWorld, quantity: str, price: int, rule: str
) -> None:
    world.approve(world.request(quantity=1))
    found = usage(world.risk.registry, Scope.instance(world.a), world.market, world.now)
    [shown] = [each for each in found if each.rule == rule]
    assert shown.used is not None
    with pytest.raises(OrderRefused) as refused:
        world.approve(world.request(quantity=quantity, price=price))
    assert (refused.value.rule, refused.value.limit) == (rule, shown.limit)
    more = Decimal(quantity) * (price if rule == "max_notional_value" else 1)
    assert refused.value.seen == shown.used + more > shown.limit


def test_losses_are_measured_as_the_halts_measure_them(world: RiskWorld) -> None:
    scope = Scope.instance(world.a)
    world.risk.mark(scope, Decimal("20.50"), None, world.now)
    assert (used(world)["max_daily_loss"], used(world)["max_drawdown_percent"]) == ("-20.5", "0")
    world.risk.mark(scope, Decimal("-9.49"), None, world.now)
    # Rounded up, so that 10 is shown no later than the halt comes.
    assert (used(world)["max_daily_loss"], used(world)["max_drawdown_percent"]) == ("9.49", "9.9967")
    assert world.risk.status(scope, world.now).halt is None
    world.risk.mark(scope, Decimal("-9.5000"), None, world.now)
    assert used(world)["max_drawdown_percent"] == "10"
    halt = world.risk.status(scope, world.now).halt
    assert halt is not None
    assert halt.reason == "the profit fell from 20.5 to -9.5, by at least 10 % of 300"


def test_what_cannot_be_valued_has_no_figure() -> None:
    world = RiskWorld(instance=LIMITS)
    assert (used(world)["max_daily_loss"], used(world)["max_drawdown_percent"]) == (None, None)
    world.risk.mark(Scope.instance(world.a), Decimal(0), None, world.now)
    order = world.order(world.approve(world.request(quantity=2)))
    world.fill(order, 2)
    world.now += 6 * SECOND
    assert used(world)[f"max_notional_value {BTC}"] is None
    assert used(world)[f"max_position_size {BTC}"] == "2"


def test_breaches_use_the_tightest_number_of_all_scopes(world: RiskWorld) -> None:
    with pytest.raises(OrderRefused):
        world.approve(world.request(SELL, 1))
    assert used(world)["max_risk_breaches"] == used(world)["circuit_breaker"] == "1"
    world.risk.registry.set_limits(GLOBAL, UNLIMITED.model_copy(update={"max_risk_breaches": 2}))
    [shown] = [
        each
        for each in usage(world.risk.registry, Scope.instance(world.a), world.market, world.now)
        if each.rule == "max_risk_breaches"
    ]
    assert (shown.limit, shown.used) == (2, 1)


def test_a_scope_without_limits_has_no_figures_and_a_provider_one_throttle_for_each_symbol() -> None:
    world = RiskWorld(provider=RiskLimits.model_validate({"orderThrottle": 2, "orderBurst": 2}))
    world.approve(world.request())
    assert used(world, GLOBAL) == used(world) == {}
    assert used(world, Scope.provider("p")) == {f"throttle {BTC}": "1", "throttle ETH-USDT": "0"}
