"""Reservations through fills and amendments, and their rebuild after a restart."""

from decimal import Decimal
from uuid import uuid4

import pytest

from meltica.errors import OrderRefused
from meltica.model.enums import Mode, OrderState
from meltica.persistence.stores.trading.rows import HaltRow, RefusalRow, Verdict
from meltica.trading.order import Amendment, OrderRecord, Owner
from meltica.trading.risk.limits import GlobalRiskLimits, InstanceRiskLimits
from meltica.trading.risk.risk import Risk
from meltica.trading.risk.rules import Rule
from meltica.trading.risk.scopes import GLOBAL, Scope
from meltica.trading.risk.stored import load_state, risk_rows, state_rows
from tests.support.risk import (
    BTC,
    BUY,
    ETH,
    SECOND,
    SELL,
    UNLIMITED,
    RiskWorld,
    active_halt,
    expected_sums,
    instrument,
    sums,
    world,
)


def amend(w: RiskWorld, order: object, rule: Rule, **change: Decimal) -> OrderRefused:
    """Expects that an amendment is refused by a rule and changes nothing."""
    before = sums(w.risk)
    with pytest.raises(OrderRefused) as caught:
        w.risk.approve_amendment(order, w.market, w.now, **change)  # pyright: ignore[reportArgumentType]
    assert caught.value.rule == rule.value, str(caught.value)
    assert sums(w.risk) == before
    return caught.value


def size(w: RiskWorld) -> tuple[Decimal, Decimal, Decimal]:
    """Returns quantity and cost of the open buys of BTC, and what is held of USDT."""
    exposure = w.risk.registry.state(GLOBAL).exposure(BTC)
    return exposure.size - exposure.held, exposure.cost, w.risk.registry.listing("p", BTC).quote.held


def test_fills_move_the_reservation_into_the_position() -> None:
    w = world(fee_rate="0.001")
    order = w.order(w.approve(w.request(BUY, 3)))
    w.fill(order, 1, 99)
    assert size(w) == (2, 200, Decimal("200.2"))
    assert w.risk.registry.state(GLOBAL).exposure(BTC).held == 1
    w.fill(order, 2, 99)
    assert size(w) == (0, 0, 0)
    # A fill that passes the quantity moves the position; the reservation stays at zero.
    w.fill(order, 1, 99)
    assert size(w) == (0, 0, 0)
    assert w.risk.registry.state(GLOBAL).exposure(BTC).size == 4
    assert w.risk.registry.state(GLOBAL).open_orders == 1
    w.risk.release(order.id)
    assert sums(w.risk) == expected_sums(w.risk)


def test_an_amendment_reserves_the_larger_until_it_is_answered() -> None:
    w = world(fee_rate="0.001")
    order = w.order(w.approve(w.request(BUY, 3)))
    approved = w.risk.approve_amendment(order, w.market, w.now, quantity=Decimal(4), price=Decimal(50))
    assert (approved.order_id, approved.quantity, approved.limit_price) == (order.id, 4, 50)
    assert size(w) == (4, 300, Decimal("300.3"))
    # The outcome is unknown: fills reduce both versions.
    w.fill(order, 2, 50)
    assert size(w) == (2, 100, Decimal("100.1"))
    amend(w, order, Rule.AMENDMENT_PENDING, quantity=Decimal(5))
    order.quantity, order.limit_price = Decimal(4), Decimal(50)
    w.risk.amended(order)
    assert size(w) == (2, 100, Decimal("100.1"))
    w.risk.approve_amendment(order, w.market, w.now, quantity=Decimal("2.5"), price=Decimal(60))
    assert size(w) == (2, 100, Decimal("100.1"))
    w.risk.amended(order)
    assert size(w) == (2, 100, Decimal("100.1"))
    w.risk.release(order.id)
    assert size(w) == (0, 0, 0)
    w.risk.amended(order)
    w.risk.set_unknown(order.id, unknown=True)
    assert size(w) == (0, 0, 0)
    amend(w, order, Rule.ORDER_ENDED, quantity=Decimal(5))


def test_an_amendment_down_that_loses_to_a_fill_leaves_nothing() -> None:
    w = world()
    order = w.order(w.approve(w.request(BUY, 10)))
    w.fill(order, 4)
    w.risk.approve_amendment(order, w.market, w.now, quantity=Decimal(5))
    w.fill(order, 6)
    assert size(w) == (0, 0, 0)
    order.quantity = Decimal(5)
    w.risk.amended(order)
    assert size(w) == (0, 0, 0)


def test_an_amendment_is_checked_like_an_order() -> None:
    w = world(
        {
            "maxPositionSize": 5,
            "maxNotionalValue": 420,
            "maxOrderSize": "4.5",
            "priceBandPercent": 5,
            "maxConcurrentOrders": 1,
        }
    )
    w.balances["p", "USDT"] = Decimal(410)
    order = w.order(w.approve(w.request(BUY, 3)))
    amend(w, order, Rule.QUANTITY_INCREMENT, quantity=Decimal("3.00001"))
    amend(w, order, Rule.PRICE_INCREMENT, price=Decimal("99.999"))
    amend(w, order, Rule.PRICE_BAND, price=Decimal("105.01"))
    amend(w, order, Rule.ORDER_SIZE, quantity=Decimal("4.6"))
    amend(w, order, Rule.NOTIONAL, quantity=Decimal("4.3"))
    amend(w, order, Rule.BALANCE, quantity=Decimal("4.2"))
    w.hold(2)
    amend(w, order, Rule.POSITION, quantity=Decimal("3.1"))
    w.fill(order, 1)
    error = amend(w, order, Rule.INVALID_ORDER, quantity=Decimal(1))
    assert (error.seen, error.limit) == (1, 1)
    w.risk.approve_amendment(order, w.market, w.now, quantity=Decimal("2.5"))
    order.quantity = Decimal("2.5")
    w.risk.amended(order)
    w.risk.halt(GLOBAL, "stop", "alice", w.now)
    amend(w, order, Rule.HALTED, quantity=Decimal(2))


def test_amended_sells_never_pass_the_position() -> None:
    w = world()
    w.hold(3)
    first = w.order(w.approve(w.request(SELL, 1, reduce_only=True)))
    second = w.order(w.approve(w.request(SELL, 1)))
    amend(w, first, Rule.REDUCE_ONLY, quantity=Decimal("2.1"))
    amend(w, second, Rule.POSITION_TO_SELL, quantity=Decimal("2.1"))
    w.risk.approve_amendment(first, w.market, w.now, quantity=Decimal(2))
    amend(w, second, Rule.POSITION_TO_SELL, quantity=Decimal("1.1"))
    w.risk.amended(first)
    w.risk.approve_amendment(second, w.market, w.now, quantity=Decimal(2))
    # The position shrank meanwhile, so even a new price is refused.
    second.quantity = Decimal(2)
    w.risk.amended(second)
    w.hold(2)
    amend(w, first, Rule.REDUCE_ONLY, price=Decimal(101))
    w.risk.halt(GLOBAL, "stop", "alice", w.now)
    w.hold(3)
    w.risk.approve_amendment(first, w.market, w.now, price=Decimal(101))


LIMITS = GlobalRiskLimits.model_validate(
    UNLIMITED.model_dump(by_alias=True)
    | {"orderThrottle": 1, "orderBurst": 100, "maxDailyLoss": 100, "maxRiskBreaches": 9}
)
A_LIMITS = InstanceRiskLimits.model_validate(
    {
        "orderThrottle": 2,
        "orderBurst": 50,
        "circuitBreaker": {"threshold": 3, "cooldown": "5m"},
        "capital": 1000,
        "maxDrawdownPercent": 50,
    }
)


def configured(balances: dict[tuple[str, str], Decimal], a: Owner, b: Owner) -> Risk:
    """Returns a `Risk` as it is configured at each start."""
    risk = Risk(Mode.LIVE, balances, LIMITS)  # pyright: ignore[reportArgumentType]
    for symbol in (BTC, ETH):
        risk.registry.set_instrument("p", instrument(symbol), Decimal("0.001"))
    risk.registry.set_instance(a, {"p": (BTC, ETH)}, A_LIMITS)
    risk.registry.set_instance(b, {"p": (BTC,)}, InstanceRiskLimits())
    risk.registry.set_reconciled("p", reconciled=True)
    return risk


def test_a_restart_rebuilds_the_state_exactly() -> None:
    w = RiskWorld(LIMITS, instance=A_LIMITS, fee_rate="0.001")
    b = w.add("b", symbols={"p": (BTC,)})
    shadow = Owner("a", uuid4(), Mode.LIVE, "sha256:abc")
    for scope in (GLOBAL, Scope.instance(w.a)):
        w.risk.mark(scope, Decimal("-12.5"), Decimal(900), w.now)
    w.hold(5)
    w.risk.set_position(shadow, "p", BTC, Decimal("0.25"))
    first = w.order(w.approve(w.request(BUY, 3)))
    w.fill(first, 1)
    w.risk.approve_amendment(first, w.market, w.now, quantity=Decimal(4), price=Decimal(50))
    first.amendment = Amendment(quantity=Decimal(4), price=Decimal(50))
    unknown = w.order(w.approve(w.request(BUY, 1, symbol=ETH)))
    w.risk.set_unknown(unknown.id, unknown=True)
    unknown.state = OrderState.UNKNOWN
    others = [w.approve(w.request(SELL, "0.5", reduce_only=True)), w.approve(w.request(BUY, 1, owner=b))]
    orders = [first, unknown, *map(w.order, others)]
    for _ in range(3):
        with pytest.raises(OrderRefused):
            w.approve(w.request(BUY, 1, reduce_only=True))
    with pytest.raises(OrderRefused):
        w.approve(w.request(SELL, 9, owner=b))
    w.risk.halt(Scope.provider("p"), "stop", "alice", w.now)

    again = restarted(w, b, orders)
    assert state_rows(again, w.now) == state_rows(w.risk, w.now)
    assert sums(again) == sums(w.risk)
    for scope in (GLOBAL, Scope.provider("p"), Scope.instance(w.a), Scope.instance(b)):
        assert again.status(scope, w.now + SECOND) == w.risk.status(scope, w.now + SECOND)
    for risk in (w.risk, again):
        assert risk.resume(Scope.provider("p"), "alice", w.now)
    w.now += SECOND
    sell = w.request(SELL, 9, owner=b)
    for request in (w.request(), w.request(symbol=ETH), w.request(owner=b, quantity=2), sell):
        answers: list[str] = []
        for risk in (w.risk, again):
            try:
                answers.append(str(risk.approve(request, w.market, w.now)))
            except OrderRefused as refused:
                answers.append(str(refused))
        assert answers[0] == answers[1]
    assert state_rows(again, w.now) == state_rows(w.risk, w.now)


def restarted(w: RiskWorld, b: Owner, orders: list[OrderRecord]) -> Risk:
    """Returns what a restart makes of rows, positions and the records of open orders."""
    risk = configured(w.balances, w.a, b)
    scopes = w.risk.registry.scopes.values()
    for lane in w.risk.registry.lanes.values():
        risk.set_position(lane.owner, lane.listing.provider, lane.listing.symbol, lane.position)
    for _ in range(2):
        # Loading the same rows twice changes nothing.
        load_state(
            risk,
            state_rows(w.risk, w.now),
            [active_halt(each.scope, each.halt) for each in scopes if each.halt],
        )
        for order in orders:
            risk.restore_order(order)
    return risk


def test_refusals_and_halts_become_rows() -> None:
    w = world({"maxOrderSize": 1})
    request = w.request(BUY, 2)
    with pytest.raises(OrderRefused):
        w.approve(request)
    w.risk.halt(GLOBAL, "stop", "alice", w.now)
    w.risk.resume(GLOBAL, "alice", w.now)
    row, halt = risk_rows(w.risk.events.take_all())
    assert isinstance(row, RefusalRow)
    assert isinstance(halt, HaltRow)
    assert (halt.scope, halt.subject, halt.rule, halt.halted_by) == ("global", "", "operator", "alice")
    assert (row.refused_at, row.instance, row.uid, row.mode) == (w.now, "a", w.a.uid, Mode.LIVE)
    assert (row.provider, row.symbol, row.order_id) == ("p", BTC, request.order_id)
    assert (row.rule, row.seen, row.limit, row.verdict) == ("max_order_size", "2", "1", Verdict.COUNTED)


def test_a_loss_is_loaded_in_its_mode_and_starts_again_in_another_currency() -> None:
    w = RiskWorld(LIMITS)
    w.risk.mark(GLOBAL, Decimal(-70), None, w.now)
    rows = state_rows(w.risk, w.now)
    paper = Risk(Mode.PAPER, w.balances, LIMITS)
    load_state(paper, rows, [])
    euro = Risk(Mode.LIVE, w.balances, LIMITS.model_copy(update={"notional_currency": "EUR"}))
    load_state(euro, rows, [])
    assert paper.status(GLOBAL, w.now).loss.profit is None
    euro.mark(GLOBAL, Decimal(-80), None, w.now)
    assert euro.status(GLOBAL, w.now).loss.daily_loss == 0


def test_a_restart_near_the_daily_limit_leaves_the_rest_of_it() -> None:
    w = RiskWorld(LIMITS)
    b = w.add("b", symbols={"p": (BTC,)})
    w.risk.mark(GLOBAL, Decimal(20), None, w.now)
    w.risk.mark(GLOBAL, Decimal(-70), None, w.now)
    risk = restarted(w, b, [])
    w.now += 11 * SECOND
    # The profit of before the restart is not a valuation of now.
    with pytest.raises(OrderRefused, match="cannot be valued"):
        risk.approve(w.request(), w.market, w.now)
    risk.mark(GLOBAL, Decimal("-79.99"), None, w.now)
    assert risk.status(GLOBAL, w.now).halt is None
    risk.mark(GLOBAL, Decimal(-80), None, w.now)
    halt = risk.status(GLOBAL, w.now).halt
    assert halt is not None
    assert halt.rule == "max_daily_loss"


def test_the_record_of_an_open_order_is_enough_to_reserve_it() -> None:
    w = world(fee_rate="0.001")
    order = w.order(w.approve(w.request(BUY, 3)))
    w.fill(order, 1)
    w.risk.approve_amendment(order, w.market, w.now, quantity=Decimal(4), price=Decimal(50))
    order.amendment = Amendment(quantity=Decimal(4), price=Decimal(50), outcome_unknown=True)
    order.state = OrderState.UNKNOWN
    w.risk.set_unknown(order.id, unknown=True)
    before = sums(w.risk)
    w.risk.release(order.id)
    w.risk.restore_order(order)
    assert sums(w.risk) == before
    assert order.id in w.risk.registry.listing("p", BTC).unknown
    w.risk.restore_order(order)
    assert sums(w.risk) == before
