"""Breaches, the breaker, the kill switch, losses and overruns after fills."""

from decimal import Decimal

import pytest

from meltica.errors import OrderRefused
from meltica.persistence.stores.trading.rows import Verdict
from meltica.trading.risk.events import Breach, HaltChange
from meltica.trading.risk.limits import GlobalRiskLimits, InstanceRiskLimits
from meltica.trading.risk.refusals import Refusal
from meltica.trading.risk.rules import Rule
from meltica.trading.risk.scopes import GLOBAL, Halt, Scope
from tests.support.risk import BTC, BUY, SECOND, SELL, START, UNLIMITED, RiskWorld

DAY = 86_400 * SECOND
SWITCH: dict[str, object] = {"killSwitchEnabled": True, "maxRiskBreaches": 2}


def world(limits: dict[str, object]) -> RiskWorld:
    return RiskWorld(instance=InstanceRiskLimits.model_validate(limits))


def world_of(limits: dict[str, object]) -> RiskWorld:
    """Returns a world with global limits."""
    return RiskWorld(GlobalRiskLimits.model_validate(UNLIMITED.model_dump(by_alias=True) | limits))


def breach(w: RiskWorld) -> str:
    """Requests an order that breaks a rule and returns the rule."""
    with pytest.raises(OrderRefused) as caught:
        w.approve(w.request(SELL, 1))
    return caught.value.rule


def halted(w: RiskWorld, scope: Scope) -> Halt | None:
    return w.risk.status(scope, w.now).halt


def test_breaches_halt_the_instance_that_causes_them_and_no_other() -> None:
    w = world_of(SWITCH)
    b = w.add("b")
    assert breach(w) == "position_to_sell"
    assert halted(w, Scope.instance(w.a)) is None
    assert breach(w) == "position_to_sell"
    halt = halted(w, Scope.instance(w.a))
    assert halt is not None
    assert (halt.rule, halt.by, halt.since) == ("max_risk_breaches", "meltica", START)
    assert breach(w) == "halted"
    w.approve(w.request(owner=b))
    events = w.risk.events.take_all()
    assert [event.verdict for event in events if isinstance(event, Refusal)] == [
        Verdict.COUNTED,
        Verdict.HALT,
        None,
    ]
    assert [event.scope for event in events if isinstance(event, HaltChange)] == [Scope.instance(w.a)]
    # Time alone does not end the halt; a resume does, and the count restarts.
    w.now += 7 * DAY
    assert breach(w) == "halted"
    w.risk.resume(Scope.instance(w.a), "alice", w.now)
    assert breach(w) == "position_to_sell"
    assert halted(w, Scope.instance(w.a)) is None


def test_refusals_that_the_author_does_not_control_never_count() -> None:
    w = world({**SWITCH, "maxRiskBreaches": 1, "orderThrottle": 1, "orderBurst": 1, "staleMarketSeconds": 1})
    w.balances["p", "USDT"] = Decimal(0)
    for rule in (Rule.BALANCE, Rule.BALANCE):
        with pytest.raises(OrderRefused) as caught:
            w.approve(w.request())
        assert caught.value.rule == rule.value
    w.balances["p", "USDT"] = Decimal(1000)
    approved = w.approve(w.request())
    with pytest.raises(OrderRefused) as caught:
        w.approve(w.request())
    assert caught.value.rule == "throttle"
    w.now += 9 * SECOND
    with pytest.raises(OrderRefused) as caught:
        w.approve(w.request())
    assert caught.value.rule == "market_stale"
    w.risk.rejected(w.order(approved), w.now, post_only=True)
    assert w.risk.status(Scope.instance(w.a), w.now).breaches == 0
    assert halted(w, Scope.instance(w.a)) is None
    assert breach_of(w) == "reduce_only"
    assert halted(w, Scope.instance(w.a)) is not None


def test_the_breaker_pauses_and_restarts_the_count() -> None:
    w = world({"circuitBreaker": {"threshold": 2, "cooldown": "30s"}})
    w.hold(1)
    assert [breach_of(w) for _ in range(2)] == ["reduce_only"] * 2
    with pytest.raises(OrderRefused) as caught:
        w.approve(w.request())
    assert (caught.value.rule, caught.value.seen) == ("breaker_open", 30_000)
    w.approve(w.request(SELL, reduce_only=True))
    assert w.risk.status(Scope.instance(w.a), w.now).breaker_open_until == START + 30 * SECOND
    assert w.risk.resume(Scope.instance(w.a), "alice", w.now)
    assert not w.risk.resume(Scope.instance(w.a), "alice", w.now)
    w.approve(w.request())
    assert [breach_of(w) for _ in range(2)] == ["reduce_only"] * 2
    w.now += 30 * SECOND
    w.approve(w.request())
    assert w.risk.status(Scope.instance(w.a), w.now).breaches == 0
    assert breach_of(w) == "reduce_only"
    w.approve(w.request())


def breach_of(w: RiskWorld) -> str:
    with pytest.raises(OrderRefused) as caught:
        w.approve(w.request(BUY, 1, reduce_only=True))
    return caught.value.rule


def test_rejections_of_the_venue_count_while_the_kill_switch_is_enabled() -> None:
    w = world({**SWITCH, "maxRiskBreaches": 1})
    order = w.order(w.approve(w.request()))
    order.reason = "no such symbol"
    w.risk.rejected(order, w.now)
    halt = halted(w, Scope.instance(w.a))
    assert halt is not None
    assert "no such symbol" in halt.reason
    [row] = [event for event in w.risk.events.take_all() if isinstance(event, Breach)]
    assert (row.owner, row.rule, row.verdict) == (w.a, "rejected", Verdict.HALT)

    w = world({"killSwitchEnabled": False, "maxRiskBreaches": 1})
    w.risk.registry.set_limits(GLOBAL, UNLIMITED.model_copy(update={"kill_switch_enabled": False}))
    w.risk.rejected(w.order(w.approve(w.request())), w.now)
    assert halted(w, Scope.instance(w.a)) is None


@pytest.mark.parametrize("limit", [{"maxPositionSize": 2}, {"maxNotionalValue": 200}])
def test_a_fill_beyond_a_limit_halts_the_scope_at_once(limit: dict[str, object]) -> None:
    w = world_of(limit)
    order = w.order(w.approve(w.request(BUY, 2)))
    w.fill(order, 2)
    assert halted(w, GLOBAL) is None
    # The venue filled more than the order had, after its end.
    w.risk.release(order.id)
    w.fill(order, "0.0001")
    halt = halted(w, GLOBAL)
    assert halt is not None
    assert halt.rule in ("max_position_size", "max_notional_value")
    assert halted(w, Scope.instance(w.a)) is None
    assert w.risk.status(Scope.instance(w.a), w.now).breaches == 1
    # A sell that reduces the position never counts as an overrun.
    w.risk.resume(GLOBAL, "alice", w.now)
    sell = w.order(w.approve(w.request(SELL, 1)))
    w.fill(sell, "0.00005")
    assert halted(w, GLOBAL) is None


def test_the_daily_loss_halts_until_somebody_resumes_on_a_later_day() -> None:
    w = world({"maxDailyLoss": 100})
    scope = Scope.instance(w.a)
    w.hold(1)
    with pytest.raises(OrderRefused, match="cannot be valued"):
        w.approve(w.request())
    w.approve(w.request(SELL, reduce_only=True))
    midnight = (START // DAY + 1) * DAY
    w.now = midnight - 60 * SECOND
    w.risk.mark(scope, Decimal(50), None, w.now)
    w.approve(w.request())
    w.risk.mark(scope, Decimal("-49.99"), None, w.now)
    assert halted(w, scope) is None
    w.risk.mark(scope, Decimal(-50), None, w.now)
    halt = halted(w, scope)
    assert halt is not None
    assert halt.rule == "max_daily_loss"
    # A resume on the same day lasts until the next valuation.
    w.risk.resume(scope, "alice", w.now)
    w.risk.mark(scope, Decimal(-50), None, w.now)
    assert halted(w, scope) is not None
    w.now = midnight + 300 * SECOND
    w.risk.mark(scope, Decimal(-50), None, w.now)
    assert halted(w, scope) is not None
    w.risk.resume(scope, "alice", w.now)
    w.risk.mark(scope, Decimal(-50), None, w.now)
    w.approve(w.request())
    # The clock goes back to the day before: the day and its opening stay.
    w.now -= 7200 * SECOND
    w.risk.mark(scope, Decimal(-149), None, w.now)
    assert halted(w, scope) is None
    w.risk.mark(scope, Decimal(-150), None, w.now)
    assert halted(w, scope) is not None


def test_a_position_that_cannot_be_valued_refuses_orders_that_add_risk() -> None:
    w = world({"maxDailyLoss": 100})
    scope = Scope.instance(w.a)
    w.risk.mark(scope, Decimal(0), None, w.now)
    w.approve(w.request())
    w.risk.mark(scope, None, None, w.now)
    with pytest.raises(OrderRefused, match="cannot be valued"):
        w.approve(w.request())
    w.risk.mark(scope, Decimal(0), None, w.now)
    w.now += 11 * SECOND
    with pytest.raises(OrderRefused, match="cannot be valued"):
        w.approve(w.request())


def test_the_drawdown_is_measured_against_capital_or_equity() -> None:
    w = world({"maxDrawdownPercent": 10, "capital": 1000})
    scope = Scope.instance(w.a)
    w.risk.mark(scope, Decimal(500), Decimal(1), w.now)
    w.risk.mark(scope, Decimal("400.01"), Decimal(1), w.now)
    assert halted(w, scope) is None
    w.risk.mark(scope, Decimal(400), Decimal(1), w.now)
    halt = halted(w, scope)
    assert halt is not None
    assert halt.rule == "max_drawdown_percent"
    w.risk.resume(scope, "alice", w.now)
    w.risk.mark(scope, Decimal(400), None, w.now)
    assert halted(w, scope) is None

    w = world_of({"maxDrawdownPercent": 10})
    w.risk.mark(GLOBAL, Decimal(0), None, w.now)
    with pytest.raises(OrderRefused, match="neither capital nor equity"):
        w.approve(w.request())
    w.risk.mark(GLOBAL, Decimal(0), Decimal(1000), w.now)
    w.approve(w.request())
    w.risk.mark(GLOBAL, Decimal(-100), Decimal(1000), w.now)
    assert halted(w, GLOBAL) is not None


def test_a_halt_between_approval_and_sending_stops_the_order() -> None:
    w = world({})
    w.hold(1)
    buy = w.approve(w.request())
    close = w.approve(w.request(SELL, reduce_only=True))
    w.risk.halt(GLOBAL, "stop", "alice", w.now)
    with pytest.raises(OrderRefused) as caught:
        w.risk.check_send(buy.order_id)
    assert caught.value.rule == "halted"
    w.risk.check_send(close.order_id)
    w.risk.set_unknown(buy.order_id, unknown=True)
    with pytest.raises(OrderRefused) as caught:
        w.risk.check_send(close.order_id)
    assert caught.value.rule == "unknown_order"
    w.risk.release(buy.order_id)
    w.risk.check_send(close.order_id)
    w.risk.registry.set_reconciled("p", reconciled=False)
    with pytest.raises(OrderRefused) as caught:
        w.risk.check_send(close.order_id)
    assert caught.value.rule == "not_reconciled"
    w.risk.release(close.order_id)
    with pytest.raises(OrderRefused) as caught:
        w.risk.check_send(close.order_id)
    assert caught.value.rule == "order_ended"


def test_new_limits_leave_halts_and_exposures_as_they_are() -> None:
    w = world({"maxPositionSize": 5})
    w.approve(w.request(BUY, 3))
    w.risk.halt(GLOBAL, "stop", "alice", w.now)
    w.risk.registry.set_limits(Scope.instance(w.a), InstanceRiskLimits.model_validate({"maxPositionSize": 4}))
    assert halted(w, GLOBAL) is not None
    w.risk.resume(GLOBAL, "alice", w.now)
    with pytest.raises(OrderRefused) as caught:
        w.approve(w.request(BUY, 2))
    assert (caught.value.seen, caught.value.limit) == (5, 4)
    assert w.risk.registry.state(GLOBAL).exposure(BTC).size == 3


def test_a_deleted_instance_leaves_its_halt_and_no_lanes() -> None:
    w = world({})
    approved = w.approve(w.request())
    with pytest.raises(ValueError, match="open orders"):
        w.risk.registry.remove_instance(w.a)
    w.risk.release(approved.order_id)
    w.hold(1)
    with pytest.raises(ValueError, match="position"):
        w.risk.registry.remove_instance(w.a)
    w.hold(0)
    w.risk.halt(Scope.instance(w.a), "why", "alice", w.now)
    w.risk.registry.remove_instance(w.a)
    assert w.risk.registry.lanes == {}
    with pytest.raises(OrderRefused) as caught:
        w.approve(w.request())
    assert caught.value.rule == "out_of_scope"
    again = w.add("a")
    with pytest.raises(OrderRefused) as caught:
        w.approve(w.request(owner=again))
    assert caught.value.rule == "halted"


def test_the_pairs_that_convert_what_instances_trade_are_named() -> None:
    w = world({"notionalCurrency": "EUR"})
    assert w.risk.registry.currency(Scope.instance(w.a)) == "EUR"
    assert w.risk.registry.currency(Scope.provider("p")) == "USDT"
    pairs = {("p", "USDT-EUR"), ("p", "EUR-USDT")}
    assert w.risk.registry.conversion_routes() == pairs
    w.add("b", symbols={"p": ("*",), "q": ("ETH-BTC",)})
    assert w.risk.registry.conversion_routes() == pairs | {("q", "BTC-USDT"), ("q", "USDT-BTC")}


@pytest.mark.parametrize(
    ("limits", "profits", "expected"),
    [
        ({"maxDailyLoss": "100"}, (0, -60), "max_daily_loss"),
        ({"maxDailyLoss": "100"}, (0, 60), None),
        ({}, (0, -60), None),
        ({"maxDrawdownPercent": 50, "capital": "1000"}, (0, 60, 20), "max_drawdown_percent"),
    ],
)
def test_another_currency_does_not_drop_a_loss_silently(
    limits: dict[str, object], profits: tuple[int, ...], expected: str | None
) -> None:
    w = world(limits)
    scope = Scope.instance(w.a)
    for profit in profits:
        w.risk.mark(scope, Decimal(profit), None, w.now)
    changed = InstanceRiskLimits.model_validate({**limits, "notionalCurrency": "EUR"})
    w.risk.registry.set_limits(scope, changed)
    w.now += SECOND
    w.risk.mark(scope, None, None, w.now)
    halt = w.risk.status(scope, w.now).halt
    assert (halt and halt.rule) == expected
    if halt is None:
        return
    assert "from USDT to EUR" in halt.reason
    w.risk.resume(scope, "alice", w.now)
    w.risk.mark(scope, Decimal(-50), None, w.now)
    assert w.risk.status(scope, w.now).halt is None


def test_a_loss_of_an_earlier_day_does_not_hinder_another_currency() -> None:
    w = world({"maxDailyLoss": "100"})
    scope = Scope.instance(w.a)
    for profit in (0, -60):
        w.risk.mark(scope, Decimal(profit), None, w.now)
    changed = InstanceRiskLimits.model_validate({"maxDailyLoss": "100", "notionalCurrency": "EUR"})
    w.risk.registry.set_limits(scope, changed)
    # A fall from the peak counts for a drawdown only.
    w.now += 86_400 * SECOND
    w.risk.mark(scope, Decimal(-50), None, w.now)
    assert w.risk.status(scope, w.now).halt is None
