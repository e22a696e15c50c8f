"""Each rule of an approval: a value at its limit passes, the next one is refused and leaves nothing."""

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal, localcontext

import pytest

from meltica.errors import OrderRefused
from meltica.model.enums import Mode, OrderType, TimeInForce
from meltica.model.instruments import Instrument
from meltica.persistence.stores.trading.rows import HaltScope
from meltica.trading.order import Owner
from meltica.trading.risk.approved import ApprovedAmendment, ApprovedOrder, approved_amendment
from meltica.trading.risk.limits import GlobalRiskLimits, InstanceRiskLimits, RiskLimits
from meltica.trading.risk.refusals import Refusal
from meltica.trading.risk.rules import BREACHES, Rule
from meltica.trading.risk.scopes import GLOBAL, Scope
from tests.support.risk import (
    BTC,
    BUY,
    ETH,
    SELL,
    START,
    UNLIMITED,
    RiskWorld,
    instrument,
    refused,
    sums,
    world,
)

IOC, FOK = TimeInForce.IOC, TimeInForce.FOK


def test_an_approved_order_is_reserved_at_each_scope_and_released() -> None:
    w = world(fee_rate="0.001")
    approved = w.approve(w.request(BUY, 2, 100))
    assert (approved.limit_price, approved.quantity, approved.time_in_force) == (100, 2, TimeInForce.GTC)
    assert (approved.owner, approved.approved_at) == (w.a, START)
    for scope in (GLOBAL, Scope.provider("p"), Scope.instance(w.a)):
        exposure = w.risk.registry.state(scope).exposure(BTC)
        assert (exposure.size, exposure.cost, exposure.orders) == (2, 200, 1)
        assert w.risk.registry.state(scope).open_orders == 1
    assert w.risk.registry.listing("p", BTC).quote.held == Decimal("200.2")
    assert w.risk.release(approved.order_id)
    assert sums(w.risk) == {}
    assert not w.risk.release(approved.order_id)


def test_a_refusal_is_a_row() -> None:
    w = world({"maxOrderSize": 1})
    request = w.request(BUY, 2)
    with pytest.raises(OrderRefused) as caught:
        w.approve(request)
    [row] = w.risk.events.take_all()
    assert isinstance(row, Refusal)
    assert (row.rule, row.seen, row.limit, row.owner, row.time) == ("max_order_size", 2, 1, w.a, START)
    assert (row.order_id, row.provider, row.symbol) == (request.order_id, "p", BTC)
    assert (caught.value.seen, caught.value.limit) == (2, 1)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.rule, again.message, again.seen, again.limit) == ("max_order_size", row.message, 2, 1)


def test_only_risk_makes_approvals() -> None:
    w = world()
    approved = w.approve(w.request())
    makers: list[Callable[[], object]] = [
        lambda: ApprovedOrder(*approved),
        lambda: getattr(ApprovedOrder, "_make")(approved),  # noqa: B009
        lambda: getattr(approved, "_replace")(quantity=1),  # noqa: B009
        lambda: copy.copy(approved),
        lambda: pickle.loads(pickle.dumps(approved)),
        lambda: ApprovedAmendment(*approved_amendment(approved.order_id, Decimal(1), Decimal(1), 1)),
    ]
    for make in makers:
        with pytest.raises(TypeError, match="only risk approves orders"):
            make()
    with pytest.raises(AttributeError):
        approved.quantity = Decimal(100)  # pyright: ignore[reportAttributeAccessIssue]


def test_an_instance_trades_its_scope_only() -> None:
    w = world()
    stranger = Owner("stranger", w.a.uid, Mode.LIVE)
    paper = w.a._replace(mode=Mode.PAPER)
    b = w.add("b", symbols={"p": ("*",)})
    refused(w, w.request(owner=stranger), Rule.OUT_OF_SCOPE)
    refused(w, w.request(owner=paper), Rule.OUT_OF_SCOPE)
    refused(w, w.request(symbol="XRP-USDT"), Rule.OUT_OF_SCOPE)
    refused(w, w.request(provider="q"), Rule.OUT_OF_SCOPE)
    refused(w, w.request(owner=b, symbol="XRP-USDT"), Rule.INSTRUMENT)
    assert len(w.risk.registry.lanes) == 1
    with pytest.raises(ValueError, match="mode"):
        w.risk.registry.set_instance(paper, {}, InstanceRiskLimits())
    w.approve(w.request())
    w.risk.registry.set_instance(w.a, {"p": (ETH,)}, InstanceRiskLimits())
    refused(w, w.request(), Rule.OUT_OF_SCOPE)
    w.approve(w.request(symbol=ETH))


@pytest.mark.parametrize("scope", [GLOBAL, Scope.provider("p"), Scope(HaltScope.INSTANCE, "a")])
def test_a_halt_lets_only_reduce_only_orders_pass(scope: Scope) -> None:
    w = world()
    w.hold(3)
    assert w.risk.halt(scope, "looks wrong", "alice", w.now)
    assert not w.risk.halt(scope, "again", "bob", w.now)
    error = refused(w, w.request(), Rule.HALTED)
    assert "looks wrong" in str(error)
    refused(w, w.request(SELL), Rule.HALTED)
    refused(w, w.request(reduce_only=True), Rule.REDUCE_ONLY)
    approved = w.approve(w.request(SELL, reduce_only=True))
    w.risk.check_send(approved.order_id)
    status = w.risk.status(scope, w.now)
    assert status.halt is not None
    assert (status.halt.by, status.halt.since, status.open_orders) == ("alice", START, 1)
    assert w.risk.resume(scope, "alice", w.now)
    assert not w.risk.resume(scope, "alice", w.now)
    w.approve(w.request())


def test_the_halt_of_one_instance_does_not_halt_another() -> None:
    w = world()
    b = w.add("b")
    w.risk.halt(Scope.instance(w.a), "why", "alice", w.now)
    w.approve(w.request(owner=b))
    refused(w, w.request(), Rule.HALTED)


def test_every_provider_of_the_scope_has_to_be_reconciled() -> None:
    w = world()
    b = w.add("b", symbols={"p": (BTC,), "q": (BTC,)})
    w.hold(5, owner=b)
    w.approve(w.request())
    refused(w, w.request(owner=b), Rule.NOT_RECONCILED)
    refused(w, w.request(SELL, owner=b, reduce_only=True), Rule.NOT_RECONCILED)
    w.risk.registry.set_reconciled("q", reconciled=True)
    w.approve(w.request(owner=b))
    w.risk.registry.set_reconciled("p", reconciled=False)
    refused(w, w.request(), Rule.NOT_RECONCILED)


def test_an_unknown_order_blocks_its_symbol_for_all_instances_and_stays_reserved() -> None:
    w = world()
    b = w.add("b")
    w.hold(5, owner=b)
    approved = w.approve(w.request())
    reserved = sums(w.risk)
    w.risk.set_unknown(approved.order_id, unknown=True)
    assert sums(w.risk) == reserved
    refused(w, w.request(owner=b), Rule.UNKNOWN_ORDER)
    refused(w, w.request(SELL, owner=b, reduce_only=True), Rule.UNKNOWN_ORDER)
    w.approve(w.request(symbol=ETH))
    w.risk.set_unknown(approved.order_id, unknown=False)
    w.approve(w.request(owner=b))
    w.risk.set_unknown(approved.order_id, unknown=True)
    w.risk.release(approved.order_id)
    w.approve(w.request(owner=b))


@pytest.mark.parametrize("currency", ["BTC", "USDT"])
def test_a_difference_refuses_orders_that_add_risk_in_its_currency(currency: str) -> None:
    w = world()
    w.hold(1)
    w.risk.registry.set_difference("p", currency, Decimal("-0.1"))
    refused(w, w.request(), Rule.DIFFERENCE)
    w.approve(w.request(SELL, reduce_only=True))
    if currency == "BTC":
        w.approve(w.request(symbol=ETH))
    w.risk.registry.set_difference("p", currency, Decimal(0))
    w.approve(w.request())


def test_order_types_and_combinations() -> None:
    w = world({"allowedOrderTypes": "Limit", "priceBandPercent": 1})
    refused(w, w.request(price=None), Rule.ORDER_TYPE)
    w = world({"priceBandPercent": 1})
    refused(w, w.request(price=None)._replace(price=Decimal(1)), Rule.INVALID_ORDER)
    refused(w, w.request()._replace(price=None), Rule.INVALID_ORDER)
    refused(w, w.request(post_only=True, time_in_force=IOC), Rule.INVALID_ORDER)
    refused(w, w.request(price=None, post_only=True), Rule.INVALID_ORDER)
    refused(w, w.request()._replace(side="Hold"), Rule.INVALID_ORDER)  # pyright: ignore[reportArgumentType]
    refused(w, w.request()._replace(order_type="Stop"), Rule.ORDER_TYPE)  # pyright: ignore[reportArgumentType]
    w.approve(w.request(post_only=True))


@pytest.mark.parametrize("number", ["0", "-1", "NaN", "sNaN", "Infinity", "-Infinity", "1E+28", "1E+400"])
def test_numbers_that_are_none_are_refused(number: str) -> None:
    w = world()
    refused(w, w.request(BUY, number), Rule.INVALID_ORDER)
    refused(w, w.request(BUY, 1, number), Rule.INVALID_ORDER)


def test_a_number_with_too_many_digits_is_refused() -> None:
    w = world()
    w.risk.registry.set_instrument("p", Instrument(symbol=BTC, base="BTC", quote="USDT"))
    refused(w, w.request(BUY, "1E-500"), Rule.INVALID_ORDER)
    refused(w, w.request(BUY, 1, "1E-500"), Rule.INVALID_ORDER)
    for number in ("1E-29", "1." + "0" * 28 + "1"):
        refused(w, w.request(BUY, number), Rule.QUANTITY_INCREMENT)
        refused(w, w.request(BUY, 1, number), Rule.PRICE_INCREMENT)
    w.approve(w.request(BUY, "9999999999999999999999999999", "1E-28"))


@pytest.mark.parametrize(
    ("quantity", "price", "rule", "text"),
    [
        ("1.00005", 100, Rule.QUANTITY_INCREMENT, "nearest valid: 1.0000"),
        ("1.00006", 100, Rule.QUANTITY_INCREMENT, "nearest valid: 1.0001"),
        ("0.00001", 100, Rule.QUANTITY_INCREMENT, "nearest valid: 0.0001"),
        (1, "100.005", Rule.PRICE_INCREMENT, "nearest valid: 100.00"),
        (1, "100.006", Rule.PRICE_INCREMENT, "nearest valid: 100.01"),
        ("0.0999", 100, Rule.MIN_NOTIONAL, "at least 10 USDT"),
        ("0.0099", 100, Rule.MIN_QUANTITY, "at least 0.01"),
        ("50.0001", 100, Rule.MAX_QUANTITY, "at most 50"),
        ("41", 100, Rule.MAX_NOTIONAL, "at most 4000 USDT"),
    ],
)
def test_the_rules_of_the_instrument(quantity: str | int, price: str | int, rule: Rule, text: str) -> None:
    w = world()
    rules = {"min_quantity": "0.01", "max_quantity": "50", "max_notional": "4000"}
    w.risk.registry.set_instrument("p", instrument(BTC, **rules))
    assert text in str(refused(w, w.request(BUY, quantity, price), rule))
    w.approve(w.request(BUY, "0.1", 100))
    w.approve(w.request(BUY, "40", 100))


def test_a_symbol_without_an_instrument_and_other_types_are_refused() -> None:
    w = world()
    w.risk.registry.set_instance(w.a, {"p": ("XRP-USDT", BTC)}, InstanceRiskLimits())
    refused(w, w.request(symbol="XRP-USDT"), Rule.INSTRUMENT)
    w.risk.registry.set_instrument("p", replace(instrument(), type="perp"))
    refused(w, w.request(), Rule.INSTRUMENT)


def test_a_sell_is_at_most_the_position_with_all_open_sells() -> None:
    w = world()
    refused(w, w.request(SELL, 1), Rule.POSITION_TO_SELL)
    refused(w, w.request(SELL, 1, reduce_only=True), Rule.REDUCE_ONLY)
    w.hold("1.5")
    first = w.approve(w.request(SELL, 1))
    refused(w, w.request(SELL, "0.5001"), Rule.POSITION_TO_SELL)
    error = refused(w, w.request(SELL, "0.5001", reduce_only=True), Rule.REDUCE_ONLY)
    assert (error.seen, error.limit) == (Decimal("0.5001"), Decimal("0.5"))
    second = w.approve(w.request(SELL, "0.5", reduce_only=True))
    # A fill of the first sell takes its part of the position with it.
    w.fill(w.order(first), 1)
    w.risk.check_send(second.order_id)
    w.hold("0.4999")
    with pytest.raises(OrderRefused) as caught:
        w.risk.check_send(second.order_id)
    assert caught.value.rule == "reduce_only"
    # Another instance's position does not count.
    b = w.add("b")
    refused(w, w.request(SELL, "0.1", owner=b), Rule.POSITION_TO_SELL)


@pytest.mark.parametrize("scope", ["global", "provider", "instance"])
def test_position_and_notional_count_all_open_buys(scope: str) -> None:
    limits = {"maxPositionSize": 3, "maxNotionalValue": 310}
    w = RiskWorld(
        GlobalRiskLimits.model_validate(UNLIMITED.model_dump(by_alias=True) | limits)
        if scope == "global"
        else UNLIMITED,
        provider=RiskLimits.model_validate(limits if scope == "provider" else {}),
        instance=InstanceRiskLimits.model_validate(limits if scope == "instance" else {}),
    )
    b = w.a if scope == "instance" else w.add("b")
    w.hold(1)
    first = w.approve(w.request(BUY, 1))
    refused(w, w.request(BUY, "1.0001", owner=b), Rule.POSITION)
    w.approve(w.request(BUY, 1, owner=b))
    w.approve(w.request(BUY, 3, symbol=ETH))
    w.approve(w.request(SELL, 1))
    w.fill(w.order(first), 1)
    w.risk.release(first.order_id)
    refused(w, w.request(BUY, "0.1001", owner=b), Rule.POSITION)
    w.hold("0.9")
    # 0.9 at the price of the order, 1 reserved at 100, and 1.1 at 110.
    refused(w, w.request(BUY, "1.1", 110, owner=b), Rule.NOTIONAL)
    w.approve(w.request(BUY, "1.1", 100, owner=b))


def test_a_position_below_zero_leaves_no_room_for_another_instance() -> None:
    w = RiskWorld(provider=RiskLimits.model_validate({"maxPositionSize": 3}))
    b = w.add("b")
    # A fee in the base currency, charged after a sell of the whole position.
    w.hold("-0.5")
    refused(w, w.request(BUY, "3.1", owner=b), Rule.POSITION)
    w.approve(w.request(BUY, 3, owner=b))
    w.hold(1)
    assert w.risk.registry.state(Scope.provider("p")).exposure(BTC).size == 4


def test_the_position_is_valued_at_the_market_if_the_order_is_below_it() -> None:
    w = world({"maxNotionalValue": 311})
    w.hold(3)
    refused(w, w.request(BUY, "0.1223", 90), Rule.NOTIONAL)
    w.approve(w.request(BUY, "0.1222", 90))


def test_the_notional_is_converted_by_a_direct_pair() -> None:
    w = world({"maxNotionalValue": 220, "notionalCurrency": "EUR"})
    error = refused(w, w.request(BUY, 1), Rule.NO_RATE)
    assert "USDT in EUR" in str(error)
    w.market.set("EUR-USDT", "0.5", "0.5")
    w.approve(w.request(BUY, 1))
    refused(w, w.request(BUY, "0.1001"), Rule.NOTIONAL)
    w.approve(w.request(BUY, "0.1"))


def test_the_order_size() -> None:
    w = world({"maxOrderSize": 2})
    w.hold(10)
    refused(w, w.request(BUY, "2.0001"), Rule.ORDER_SIZE)
    refused(w, w.request(SELL, "2.0001"), Rule.ORDER_SIZE)
    w.approve(w.request(BUY, 2))
    w.approve(w.request(SELL, 5, reduce_only=True))


@pytest.mark.parametrize("scope", ["global", "provider", "instance"])
def test_open_orders_per_scope_and_concurrent_ones_per_symbol(scope: str) -> None:
    limits = {"maxOpenOrders": 3, "maxConcurrentOrders": 2}
    w = RiskWorld(
        GlobalRiskLimits.model_validate(UNLIMITED.model_dump(by_alias=True) | limits)
        if scope == "global"
        else UNLIMITED,
        provider=RiskLimits.model_validate(limits if scope == "provider" else {}),
        instance=InstanceRiskLimits.model_validate(limits if scope == "instance" else {}),
    )
    b = w.a if scope == "instance" else w.add("b")
    w.hold(1)
    first = w.approve(w.request())
    w.approve(w.request(SELL, owner=w.a))
    refused(w, w.request(owner=b), Rule.CONCURRENT_ORDERS)
    w.approve(w.request(symbol=ETH, owner=b))
    refused(w, w.request(symbol=ETH, owner=b), Rule.OPEN_ORDERS)
    w.risk.release(first.order_id)
    w.approve(w.request(owner=b))


def test_the_free_balance_includes_fees_and_the_orders_of_other_instances() -> None:
    w = world(fee_rate="0.001")
    b = w.add("b")
    w.balances["p", "USDT"] = Decimal(100)
    refused(w, w.request(BUY, 1), Rule.BALANCE)
    error = refused(w, w.request(BUY, "0.9991"), Rule.BALANCE)
    assert (error.seen, error.limit) == (Decimal("100.00991"), 100)
    first = w.approve(w.request(BUY, "0.999"))
    refused(w, w.request(BUY, "0.1", owner=b), Rule.BALANCE)
    w.risk.release(first.order_id)
    w.approve(w.request(BUY, "0.1", owner=b))
    w.hold(2)
    w.balances["p", "BTC"] = Decimal("0.5")
    refused(w, w.request(SELL, "0.5001"), Rule.BALANCE)
    w.approve(w.request(SELL, "0.5"))
    del w.balances["p", "BTC"]
    refused(w, w.request(SELL, "0.1"), Rule.BALANCE_UNKNOWN)


def test_the_decimal_context_of_the_strategy_changes_nothing() -> None:
    w = world({"maxPositionSize": "100.0001"}, fee_rate="0.001")
    with localcontext() as context:
        context.prec = 3
        first = w.approve(w.request(BUY, "33.3333", "99.99"))
        w.risk.filled(
            w.order(first), Decimal("11.1111"), Decimal("99.99"), Decimal("11.1111"), w.market, w.now
        )
        refused(w, w.request(BUY, "66.6669"), Rule.POSITION)
        w.approve(w.request(BUY, "66.6668"))
        w.risk.release(first.order_id)
        assert context.prec == 3
        context.prec = 50
        held = w.risk.registry.listing("p", BTC).quote.held
        assert held == Decimal("66.6668") * 100 * Decimal("1.001")


def test_which_rules_are_breaches() -> None:
    never = {
        Rule.HALTED,
        Rule.BREAKER_OPEN,
        Rule.NOT_RECONCILED,
        Rule.UNKNOWN_ORDER,
        Rule.ORDER_ENDED,
        Rule.AMENDMENT_PENDING,
        Rule.DIFFERENCE,
        Rule.DAILY_LOSS,
        Rule.DRAWDOWN,
        Rule.THROTTLE,
        Rule.INSTRUMENT,
        Rule.NO_REFERENCE,
        Rule.MARKET_STALE,
        Rule.FEED_LAG,
        Rule.BOOK_DEPTH,
        Rule.NO_RATE,
        Rule.BALANCE_UNKNOWN,
        Rule.BALANCE,
    }
    assert set(Rule) - BREACHES == never


def test_every_type_of_order_is_a_type_of_the_limits() -> None:
    assert {kind.value for kind in OrderType} == {"Limit", "Market"}
