"""A risk setup for tests and measurements: two providers, instances, a market and balances."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest

from meltica.errors import OrderRefused
from meltica.model.enums import Mode, OrderType, Side, TimeInForce
from meltica.model.instruments import Instrument
from meltica.persistence.stores.trading.halts import ActiveHalt
from meltica.trading.exact import ZERO
from meltica.trading.order import OrderRecord, Owner
from meltica.trading.risk.approved import ApprovedOrder, OrderRequest
from meltica.trading.risk.limits import GlobalRiskLimits, InstanceRiskLimits, RiskLimits
from meltica.trading.risk.market import Quote
from meltica.trading.risk.refusals import Refusal
from meltica.trading.risk.risk import Risk
from meltica.trading.risk.rules import Rule
from meltica.trading.risk.scopes import Halt, Scope
from meltica.trading.risk.stored import halt_row

SECOND = 1_000_000_000
START = 1_800_000_000 * SECOND
BTC, ETH = "BTC-USDT", "ETH-USDT"
BUY, SELL = Side.BUY, Side.SELL

UNLIMITED = GlobalRiskLimits.model_validate(
    {
        "maxPositionSize": None,
        "maxNotionalValue": None,
        "orderThrottle": None,
        "maxConcurrentOrders": 0,
        "priceBandPercent": 0,
        "circuitBreaker": None,
        "maxRiskBreaches": 0,
    }
)
"""Global limits that limit nothing."""


def instrument(symbol: str = BTC, **rules: str) -> Instrument:
    """Returns an instrument with the rules of the fake venue, or other ones."""
    base, quote = symbol.split("-")
    texts = {"price_increment": "0.01", "quantity_increment": "0.0001", "min_notional": "10"} | rules
    return replace(
        Instrument(symbol=symbol, base=base, quote=quote),
        **{name: Decimal(text) for name, text in texts.items()},
    )


@dataclass
class FakeMarket:
    """Quotes and depths that a test sets."""

    quotes: dict[tuple[str, str], Quote] = field(default_factory=dict[tuple[str, str], Quote])
    depths: dict[tuple[str, str], Decimal] = field(default_factory=dict[tuple[str, str], Decimal])

    def quote(self, provider: str, symbol: str) -> Quote | None:
        """Returns what the test set."""
        return self.quotes.get((provider, symbol))

    def depth(self, provider: str, symbol: str, side: Side, limit: Decimal) -> Decimal | None:
        """Returns what the test set, for any limit."""
        return self.depths.get((provider, symbol))

    def set(
        self, symbol: str, bid: str | int, ask: str | int, *, provider: str = "p", time: int = START
    ) -> Quote:
        """Sets bid and ask of a symbol."""
        quote = Quote(bid=Decimal(bid), ask=Decimal(ask), top_time=time)
        self.quotes[provider, symbol] = quote
        return quote


class FakeBalances(dict[tuple[str, str], Decimal]):
    """Balances by (provider, currency)."""

    def spendable(self, provider: str, currency: str) -> Decimal | None:
        """Returns what the test set."""
        return self.get((provider, currency))


class RiskWorld:
    """Risk with the instance `a` in BTC-USDT and ETH-USDT at the provider `p`, at a price of 100."""

    def __init__(
        self,
        limits: GlobalRiskLimits = UNLIMITED,
        *,
        provider: RiskLimits | None = None,
        instance: InstanceRiskLimits | None = None,
        fee_rate: str = "0",
    ) -> None:
        self.market = FakeMarket()
        self.balances = FakeBalances()
        self.now = START
        self.risk = Risk(Mode.LIVE, self.balances, limits)
        for symbol in (BTC, ETH):
            self.market.set(symbol, "99.99", "100.01")
            self.market.depths["p", symbol] = Decimal(1_000_000)
            self.risk.registry.set_instrument("p", instrument(symbol), Decimal(fee_rate))
        for currency in ("BTC", "ETH", "USDT"):
            self.balances["p", currency] = Decimal(1_000_000)
        self.risk.registry.set_limits(Scope.provider("p"), provider or RiskLimits())
        self.a = self.add("a", instance)
        self.risk.registry.set_reconciled("p", reconciled=True)

    def add(
        self,
        name: str,
        limits: InstanceRiskLimits | None = None,
        symbols: dict[str, tuple[str, ...]] | None = None,
    ) -> Owner:
        """Registers an instance."""
        owner = Owner(name, uuid4(), Mode.LIVE)
        scope = {"p": (BTC, ETH)} if symbols is None else symbols
        self.risk.registry.set_instance(owner, scope, limits or InstanceRiskLimits())
        return owner

    def request(
        self,
        side: Side = BUY,
        quantity: str | int = 1,
        price: str | int | None = 100,
        *,
        owner: Owner | None = None,
        symbol: str = BTC,
        provider: str = "p",
        time_in_force: TimeInForce = TimeInForce.GTC,
        post_only: bool = False,
        reduce_only: bool = False,
    ) -> OrderRequest:
        """Returns a request of a limit order, or of a market order without a price."""
        return OrderRequest(
            order_id=uuid4(),
            owner=self.a if owner is None else owner,
            provider=provider,
            symbol=symbol,
            side=side,
            order_type=OrderType.MARKET if price is None else OrderType.LIMIT,
            quantity=Decimal(quantity),
            price=None if price is None else Decimal(price),
            time_in_force=time_in_force,
            post_only=post_only,
            reduce_only=reduce_only,
        )

    def approve(self, request: OrderRequest) -> ApprovedOrder:
        """Approves a request now."""
        return self.risk.approve(request, self.market, self.now)

    def order(self, approved: ApprovedOrder) -> OrderRecord:
        """Returns the record of an approved order."""
        request = self.request(
            approved.side,
            str(approved.quantity),
            str(approved.limit_price),
            owner=approved.owner,
            symbol=approved.symbol,
            provider=approved.provider,
            time_in_force=approved.time_in_force,
            post_only=approved.post_only,
            reduce_only=approved.reduce_only,
        )
        return self.record(request._replace(order_id=approved.order_id))

    def record(self, request: OrderRequest, filled: Decimal = ZERO) -> OrderRecord:
        """Returns the record of a limit order."""
        assert request.price is not None
        return OrderRecord(
            id=request.order_id,
            client_order_id="abc" + request.order_id.hex[:15],
            owner=request.owner,
            provider=request.provider,
            symbol=request.symbol,
            side=request.side,
            order_type=request.order_type,
            time_in_force=request.time_in_force,
            quantity=request.quantity,
            limit_price=request.price,
            filled_quantity=filled,
            post_only=request.post_only,
            reduce_only=request.reduce_only,
            intent_at=self.now,
        )

    def fill(self, order: OrderRecord, quantity: str | int, price: str | int = 100) -> None:
        """Fills a part of an order: position, filled quantity and balances follow."""
        amount = Decimal(quantity)
        signed = amount if order.side is BUY else -amount
        lane = self.risk.registry.lane(order.owner, order.provider, order.symbol)
        order.filled_quantity += amount
        self.risk.filled(order, amount, Decimal(price), lane.position + signed, self.market, self.now)
        base, quote = order.symbol.split("-")
        self.balances[order.provider, base] += signed
        self.balances[order.provider, quote] -= signed * Decimal(price)

    def hold(self, quantity: str | int, symbol: str = BTC, owner: Owner | None = None) -> None:
        """Gives an instance a position."""
        self.risk.set_position(self.a if owner is None else owner, "p", symbol, Decimal(quantity))


def world(limits: dict[str, object] | None = None, *, fee_rate: str = "0") -> RiskWorld:
    """Returns a world whose instance has the given limits."""
    return RiskWorld(instance=InstanceRiskLimits.model_validate(limits or {}), fee_rate=fee_rate)


def refused(w: RiskWorld, request: OrderRequest, rule: Rule) -> OrderRefused:
    """Expects that a request is refused by a rule, without any trace but the row."""
    before = sums(w.risk)
    with pytest.raises(OrderRefused) as caught:
        w.approve(request)
    assert caught.value.rule == rule.value, str(caught.value)
    assert sums(w.risk) == before
    [row] = [event for event in w.risk.events.take_all() if isinstance(event, Refusal)]
    assert (row.rule, row.seen, row.limit) == (rule.value, caught.value.seen, caught.value.limit)
    return caught.value


def active_halt(scope: Scope, halt: Halt) -> ActiveHalt:
    """Returns a halt as the database has it."""
    row = halt_row(scope, halt)
    return ActiveHalt(
        scope=row.scope,
        subject=row.subject,
        rule=row.rule,
        reason=row.reason,
        halted_by=row.halted_by,
        mode=row.mode,
        halted_at=datetime.fromtimestamp(0, UTC) + timedelta(microseconds=halt.since // 1000),
    )


def sums(risk: Risk) -> dict[object, object]:
    """Returns the sums that risk keeps, without zeros."""
    found: dict[object, object] = {}
    for state in risk.registry.scopes.values():
        found[state.scope, "open"] = state.open_orders
        for symbol, exposure in state.exposures.items():
            found[state.scope, symbol, "held"] = exposure.held
            found[state.scope, symbol, "size"] = exposure.size
            found[state.scope, symbol, "cost"] = exposure.cost
            found[state.scope, symbol, "orders"] = exposure.orders
    for lane in risk.registry.lanes.values():
        found[lane.owner, lane.listing.provider, lane.listing.symbol, "sells"] = lane.sells
        for funds in (lane.listing.base, lane.listing.quote):
            found[funds.provider, funds.currency, "held"] = funds.held
    return {key: value for key, value in found.items() if value}


def expected_sums(risk: Risk) -> dict[object, object]:
    """Returns the same sums, counted from the reservations and positions."""
    found: dict[object, Decimal] = {}

    def add(key: object, number: Decimal | int) -> None:
        found[key] = found.get(key, Decimal(0)) + number

    for lane in risk.registry.lanes.values():
        for state in lane.states:
            add((state.scope, lane.listing.symbol, "held"), max(Decimal(0), lane.position))
            add((state.scope, lane.listing.symbol, "size"), max(Decimal(0), lane.position))
    for reservation in risk.reservations.all():
        lane, listing = reservation.lane, reservation.lane.listing
        for state in lane.states:
            add((state.scope, "open"), 1)
            add((state.scope, listing.symbol, "orders"), 1)
            if reservation.is_buy:
                add((state.scope, listing.symbol, "size"), reservation.quantity)
                add((state.scope, listing.symbol, "cost"), reservation.cost)
        spends = listing.quote if reservation.is_buy else listing.base
        add((spends.provider, spends.currency, "held"), reservation.spend)
        if not reservation.is_buy:
            add((lane.owner, listing.provider, listing.symbol, "sells"), reservation.quantity)
    return {key: value for key, value in found.items() if value}
