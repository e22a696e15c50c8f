"""Risk against a naive model that recomputes everything from a list of orders.

After any sequence of orders, fills, ends, amendments, unknown outcomes, failures and restarts, risk decides
as the model does, its sums are those of the model, and no exposure passes a limit.
"""

from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID, uuid4

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from meltica.errors import OrderRefused
from meltica.model.enums import Mode, OrderState
from meltica.persistence.stores.trading.rows import HaltScope
from meltica.trading.order import Amendment, OrderRecord, Owner
from meltica.trading.risk.limits import GlobalRiskLimits, InstanceRiskLimits, RiskLimits
from meltica.trading.risk.risk import Risk
from meltica.trading.risk.scopes import GLOBAL, Scope
from meltica.trading.risk.stored import load_state, state_rows
from tests.support.risk import BTC, BUY, ETH, SELL, UNLIMITED, RiskWorld, active_halt, instrument, sums

ZERO, FEE = Decimal(0), Decimal("1.001")
PROVIDERS, SYMBOLS = ("p", "q"), (BTC, ETH)
GLOBAL_LIMITS = {"maxPositionSize": 9, "maxNotionalValue": 800, "maxConcurrentOrders": 5, "maxOpenOrders": 7}
PROVIDER_LIMITS = {"maxPositionSize": 7, "maxOpenOrders": 5}
A_LIMITS = {"maxPositionSize": 5, "maxNotionalValue": 470, "maxOrderSize": 4, "maxOpenOrders": 4}
B_LIMITS = {"maxPositionSize": 6, "maxConcurrentOrders": 3}
SCOPES = [GLOBAL, Scope.provider("p"), Scope(HaltScope.INSTANCE, "a")]

quantities = st.sampled_from(["0.5", "1", "1.5", "2", "3.3333", "4", "4.0001"]).map(Decimal)
prices = st.sampled_from(["90", "95", "99.99", "100", "104", "110", "111"]).map(Decimal)
picks = st.integers(0, 1_000_000)
rarely = st.integers(0, 9).map(lambda number: number == 9)


@dataclass
class NaiveOrder:
    """What the model knows about an order."""

    owner: Owner
    provider: str
    symbol: str
    is_buy: bool
    quantity: Decimal
    price: Decimal
    reduce_only: bool
    filled: Decimal = ZERO
    amended: tuple[Decimal, Decimal] | None = None
    unknown: bool = False

    def versions(self) -> list[tuple[Decimal, Decimal]]:
        """The (remaining quantity, price) that the order may have at the venue."""
        wholes = [(self.quantity, self.price)] + ([self.amended] if self.amended else [])
        return [(max(ZERO, quantity - self.filled), price) for quantity, price in wholes]

    @property
    def open(self) -> Decimal:
        """The most that may still trade."""
        return max(quantity for quantity, _ in self.versions())

    @property
    def cost(self) -> Decimal:
        """The most that it may still cost, without fees."""
        return max(quantity * price for quantity, price in self.versions())


class RiskMachine(RuleBasedStateMachine):
    """Drives risk and the model together."""

    @initialize()
    def start(self) -> None:
        """Starts with two instances that hold 2 BTC each, two providers and little money."""
        self.w = RiskWorld()
        self.a, self.b = Owner("a", uuid4(), Mode.LIVE), Owner("b", uuid4(), Mode.LIVE)
        self.limits: dict[str, dict[str, int]] = {"a": A_LIMITS, "b": B_LIMITS}
        self.orders: dict[UUID, NaiveOrder] = {}
        self.positions: dict[tuple[Owner, str, str], Decimal] = {}
        self.halted: set[Scope] = set()
        self.faulty = False
        self.w.balances.clear()
        for provider in PROVIDERS:
            for currency, amount in (("USDT", 900), ("BTC", 0), ("ETH", 0)):
                self.w.balances[provider, currency] = Decimal(amount)
            for symbol in SYMBOLS:
                self.w.market.set(symbol, 99, 101, provider=provider)
        self.w.risk = self.configured()
        for owner in (self.a, self.b):
            self.positions[owner, "p", BTC] = Decimal(2)
            self.w.balances["p", "BTC"] += 2
            self.w.risk.set_position(owner, "p", BTC, Decimal(2))

    def configured(self) -> Risk:
        """Returns a `Risk` as it is configured at each start."""
        base = UNLIMITED.model_dump(by_alias=True) | {"priceBandPercent": 10}
        risk = Risk(Mode.LIVE, self.w.balances, GlobalRiskLimits.model_validate(base | GLOBAL_LIMITS))
        for provider in PROVIDERS:
            risk.registry.set_limits(Scope.provider(provider), RiskLimits.model_validate(PROVIDER_LIMITS))
            risk.registry.set_reconciled(provider, reconciled=True)
            for symbol in SYMBOLS:
                risk.registry.set_instrument(provider, instrument(symbol), FEE - 1)
        for owner in (self.a, self.b):
            limits = InstanceRiskLimits.model_validate(self.limits[owner.instance])
            risk.registry.set_instance(owner, dict.fromkeys(PROVIDERS, SYMBOLS), limits)
        return risk

    @rule(
        a=st.booleans(),
        provider=st.sampled_from(PROVIDERS),
        symbol=st.sampled_from(SYMBOLS),
        is_buy=st.sampled_from([True, True, False]),
        quantity=quantities,
        price=prices,
        reduce_only=st.booleans(),
        fails=rarely,
    )
    def order(
        self,
        a: bool,
        provider: str,
        symbol: str,
        is_buy: bool,
        quantity: Decimal,
        price: Decimal,
        reduce_only: bool,
        fails: bool,
    ) -> None:
        """Requests an order; one in ten approved ones cannot be committed or sent."""
        owner = self.a if a else self.b
        order = NaiveOrder(owner, provider, symbol, is_buy, quantity, price, reduce_only and not is_buy)
        expected = self.verdict(order, order.open, order.cost, price, quantity, is_new=True)
        request = self.w.request(
            BUY if is_buy else SELL,
            str(quantity),
            str(price),
            owner=owner,
            symbol=symbol,
            provider=provider,
            reduce_only=order.reduce_only,
        )
        if self.decided(lambda: self.w.approve(request), expected):
            self.orders[request.order_id] = order
            if fails:
                self.end(request.order_id)

    @precondition(lambda self: self.orders)
    @rule(pick=picks, share=st.sampled_from(["0.25", "0.5", "1"]), better=st.booleans())
    def fill(self, pick: int, share: str, better: bool) -> None:
        """Fills a part of an order, at its price or better."""
        order_id, order = self.pick(pick)
        quantity, price = next(each for each in order.versions() if each[0] == order.open)
        quantity *= Decimal(share)
        if quantity:
            self.apply(order_id, order, quantity, price - 1 if better and order.is_buy else price)
            if not order.open:
                self.end(order_id)

    @precondition(lambda self: self.orders)
    @rule(pick=picks)
    def reject_cancel_or_expire(self, pick: int) -> None:
        """Ends an order."""
        self.end(self.pick(pick)[0])

    @precondition(lambda self: self.orders)
    @rule(pick=picks, quantity=quantities)
    def fill_after_the_end(self, pick: int, quantity: Decimal) -> None:
        """The venue fills an order that has ended: a fault, after which exposures may pass limits."""
        order_id, order = self.pick(pick)
        self.end(order_id)
        self.faulty = True
        self.apply(order_id, order, quantity, order.price)

    @precondition(lambda self: self.orders)
    @rule(pick=picks, quantity=quantities, price=prices)
    def amend(self, pick: int, quantity: Decimal, price: Decimal) -> None:
        """Requests an amendment; its answer is another step, or never comes."""
        order_id, order = self.pick(pick)
        remaining = max(ZERO, quantity - order.filled)
        more, dearer = max(order.open, remaining), max(order.cost, remaining * price)
        expected = self.verdict(order, more - order.open, dearer - order.cost, price, quantity, is_new=False)
        record = self.record(order_id, order)

        def approve() -> object:
            return self.w.risk.approve_amendment(
                record, self.w.market, self.w.now, quantity=quantity, price=price
            )

        if self.decided(approve, expected):
            order.amended = (quantity, price)

    @precondition(lambda self: any(order.amended for order in self.orders.values()))
    @rule(pick=picks, accepted=st.booleans())
    def answer(self, pick: int, accepted: bool) -> None:
        """The venue answers an amendment."""
        amended = [each for each, order in self.orders.items() if order.amended]
        order_id = amended[pick % len(amended)]
        order = self.orders[order_id]
        if accepted and order.amended:
            order.quantity, order.price = order.amended
        order.amended = None
        self.w.risk.amended(self.record(order_id, order))

    @precondition(lambda self: self.orders)
    @rule(pick=picks, unknown=rarely)
    def change_unknown(self, pick: int, unknown: bool) -> None:
        """The state of an order becomes unknown, or known again."""
        order_id, order = self.pick(pick)
        order.unknown = unknown
        self.w.risk.set_unknown(order_id, unknown=order.unknown)

    @rule(scope=st.sampled_from(SCOPES), halts=rarely)
    def halt_or_resume(self, scope: Scope, halts: bool) -> None:
        """An operator halts a scope, or ends the halt."""
        if scope in self.halted:
            self.halted.discard(scope)
            self.w.risk.resume(scope, "alice", self.w.now)
        elif halts:
            self.halted.add(scope)
            self.w.risk.halt(scope, "why", "alice", self.w.now)

    @rule(middle=st.sampled_from([95, 100, 104]))
    def move_the_market(self, middle: int) -> None:
        """All prices change."""
        for provider, symbol in list(self.w.market.quotes):
            self.w.market.set(symbol, middle - 1, middle + 1, provider=provider)

    @rule()
    def restart(self) -> None:
        """Rebuilds risk from its rows, the positions and the records of open orders."""
        before = self.w.risk
        rows = state_rows(before, self.w.now)
        self.w.risk = self.configured()
        for (owner, provider, symbol), position in self.positions.items():
            self.w.risk.set_position(owner, provider, symbol, position)
        halts = [
            active_halt(state.scope, state.halt) for state in before.registry.scopes.values() if state.halt
        ]
        load_state(self.w.risk, rows, halts)
        for order_id, order in self.orders.items():
            self.w.risk.restore_order(self.record(order_id, order))
        assert state_rows(self.w.risk, self.w.now) == rows

    @invariant()
    def sums_agree(self) -> None:
        """The sums of risk are those of the model."""
        assert sums(self.w.risk) == self.sums()

    @invariant()
    def no_exposure_passes_a_limit(self) -> None:
        """Positions, open buys, sells and funds stay within their limits."""
        if self.faulty:
            return
        for limits, orders, positions in self.scopes(None):
            assert len(orders) <= limits.get("maxOpenOrders", 99)
            for symbol in SYMBOLS:
                held = sum((each for key, each in positions.items() if key[2] == symbol), ZERO)
                buys = sum((each.open for each in orders if each.is_buy and each.symbol == symbol), ZERO)
                assert held + buys <= limits.get("maxPositionSize", 99)
        for (owner, provider, symbol), position in self.positions.items():
            assert self.open_sells(owner, provider, symbol) <= position
        for provider in PROVIDERS:
            assert self.held(provider, "USDT") <= self.w.balances[provider, "USDT"]

    # The model.

    def verdict(
        self,
        order: NaiveOrder,
        more: Decimal,
        dearer: Decimal,
        price: Decimal,
        quantity: Decimal,
        *,
        is_new: bool,
    ) -> str | None:
        """Returns the first rule that refuses an order or an amendment; None if it passes."""
        owner, provider, symbol = order.owner, order.provider, order.symbol
        if {GLOBAL, Scope.provider(provider), Scope.instance(owner)} & self.halted and not order.reduce_only:
            return "halted"
        if any(
            each.unknown and (each.provider, each.symbol) == (provider, symbol)
            for each in self.orders.values()
        ):
            return "unknown_order"
        if not is_new and order.amended:
            return "amendment_pending"
        if not is_new and quantity <= order.filled:
            return "invalid_order"
        quote = self.w.market.quotes[provider, symbol]
        reference = quote.reference
        assert reference is not None
        if not reference * Decimal("0.9") <= price <= reference * Decimal("1.1"):
            return "price_band"
        size = self.limits[owner.instance].get("maxOrderSize")
        too_large = size is not None and quantity > size and not order.reduce_only
        if too_large and (order.is_buy or not is_new):
            return "max_order_size"
        if order.is_buy and (more or dearer):
            broken = self.exposure(order, more, dearer, max(reference, price))
            if broken:
                return broken
        if not order.is_buy:
            if self.open_sells(owner, provider, symbol) + more > self.positions.get(
                (owner, provider, symbol), ZERO
            ):
                return "reduce_only" if order.reduce_only else "position_to_sell"
            if too_large:
                return "max_order_size"
        if is_new:
            for limits, orders, _ in self.scopes(order):
                if sum(each.symbol == symbol for each in orders) >= limits.get("maxConcurrentOrders", 99):
                    return "max_concurrent_orders"
                if len(orders) >= limits.get("maxOpenOrders", 99):
                    return "max_open_orders"
        base, currency = symbol.split("-")
        spent, spends = (dearer * FEE, currency) if order.is_buy else (more, base)
        if spent and spent > self.w.balances[provider, spends] - self.held(provider, spends):
            return "insufficient_balance"
        return None

    def exposure(self, order: NaiveOrder, more: Decimal, dearer: Decimal, mark: Decimal) -> str | None:
        """Returns the limit of position or notional that `more` would pass."""
        for limits, orders, positions in self.scopes(order):
            buys = [each for each in orders if each.is_buy and each.symbol == order.symbol]
            held = sum((each for key, each in positions.items() if key[2] == order.symbol), ZERO)
            if held + sum((each.open for each in buys), ZERO) + more > limits.get("maxPositionSize", 99):
                return "max_position_size"
            value = held * mark + sum((each.cost for each in buys), ZERO) + dearer
            if value > limits.get("maxNotionalValue", 99_999):
                return "max_notional_value"
        return None

    def scopes(
        self, order: NaiveOrder | None
    ) -> list[tuple[dict[str, int], list[NaiveOrder], dict[tuple[Owner, str, str], Decimal]]]:
        """Returns limits, orders and positions above zero of the scopes of an order, or of all scopes."""
        every = list(self.orders.values())
        positions = {key: each for key, each in self.positions.items() if each > 0}
        found = [(GLOBAL_LIMITS, every, positions)]
        for name in PROVIDERS:
            if order is None or order.provider == name:
                own = {key: each for key, each in positions.items() if key[1] == name}
                found.append((PROVIDER_LIMITS, [each for each in every if each.provider == name], own))
        for owner in (self.a, self.b):
            if order is None or order.owner == owner:
                own = {key: each for key, each in positions.items() if key[0] == owner}
                orders = [each for each in every if each.owner == owner]
                found.append((self.limits[owner.instance], orders, own))
        return found

    def open_sells(self, owner: Owner, provider: str, symbol: str) -> Decimal:
        """Returns the quantity of the open sells of an owner."""
        key = (owner, provider, symbol)
        orders = [each for each in self.orders.values() if (each.owner, each.provider, each.symbol) == key]
        return sum((each.open for each in orders if not each.is_buy), ZERO)

    def held(self, provider: str, currency: str) -> Decimal:
        """Returns what open orders may spend of a currency."""
        total = ZERO
        for order in self.orders.values():
            base, quote = order.symbol.split("-")
            if order.provider == provider and currency == (quote if order.is_buy else base):
                total += order.cost * FEE if order.is_buy else order.open
        return total

    def sums(self) -> dict[object, object]:
        """Returns the sums that risk should have, without zeros."""
        found: dict[object, object] = {}
        scopes = [GLOBAL, *map(Scope.provider, PROVIDERS), *map(Scope.instance, (self.a, self.b))]
        for scope, (_, orders, positions) in zip(scopes, self.scopes(None), strict=True):
            found[scope, "open"] = len(orders)
            for symbol in SYMBOLS:
                held = sum((each for key, each in positions.items() if key[2] == symbol), ZERO)
                mine = [each for each in orders if each.symbol == symbol]
                buys = [each for each in mine if each.is_buy]
                found[scope, symbol, "held"] = held
                found[scope, symbol, "size"] = held + sum((each.open for each in buys), ZERO)
                found[scope, symbol, "cost"] = sum((each.cost for each in buys), ZERO)
                found[scope, symbol, "orders"] = len(mine)
        for provider in PROVIDERS:
            for currency in ("USDT", "BTC", "ETH"):
                found[provider, currency, "held"] = self.held(provider, currency)
            for symbol in SYMBOLS:
                for owner in (self.a, self.b):
                    found[owner, provider, symbol, "sells"] = self.open_sells(owner, provider, symbol)
        return {key: value for key, value in found.items() if value}

    # Steps of both.

    def decided(self, approve: object, expected: str | None) -> bool:
        """Compares a decision with the expected rule; returns whether it was an approval."""
        assert callable(approve)
        try:
            approve()
        except OrderRefused as refused:
            assert refused.rule == expected, str(refused)
            return False
        assert expected is None
        return True

    def pick(self, number: int) -> tuple[UUID, NaiveOrder]:
        """Returns one of the open orders."""
        return list(self.orders.items())[number % len(self.orders)]

    def end(self, order_id: UUID) -> None:
        """Ends an order in both."""
        del self.orders[order_id]
        assert self.w.risk.release(order_id)

    def apply(self, order_id: UUID, order: NaiveOrder, quantity: Decimal, price: Decimal) -> None:
        """Fills an order in both; position and balances follow, with a fee in the quote currency."""
        order.filled += quantity
        key = (order.owner, order.provider, order.symbol)
        signed = quantity if order.is_buy else -quantity
        self.positions[key] = self.positions.get(key, ZERO) + signed
        base, quote = order.symbol.split("-")
        self.w.balances[order.provider, base] += signed
        self.w.balances[order.provider, quote] -= signed * price + abs(signed * price) * (FEE - 1)
        record = self.record(order_id, order)
        self.w.risk.filled(record, quantity, price, self.positions[key], self.w.market, self.w.now)
        for state in self.w.risk.registry.scopes.values():
            if state.halt is not None and state.halt.by == "meltica":
                assert self.faulty
                self.w.risk.resume(state.scope, "alice", self.w.now)

    def record(self, order_id: UUID, order: NaiveOrder) -> OrderRecord:
        """Returns the record of an order."""
        request = self.w.request(
            BUY if order.is_buy else SELL,
            str(order.quantity),
            str(order.price),
            owner=order.owner,
            symbol=order.symbol,
            provider=order.provider,
            reduce_only=order.reduce_only,
        )
        record = self.w.record(request._replace(order_id=order_id), order.filled)
        if order.amended:
            record.amendment = Amendment(quantity=order.amended[0], price=order.amended[1])
        record.state = OrderState.UNKNOWN if order.unknown else OrderState.ACK
        return record


RiskMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestRiskAgainstTheModel = RiskMachine.TestCase
