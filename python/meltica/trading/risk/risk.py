"""Risk: approves orders and amendments, keeps their reservations, and halts scopes.

All methods are synchronous and take the time as a parameter. The caller holds the lock of trading. During
each method, the exact decimal context replaces that of the thread, which belongs to a strategy.
"""

from collections.abc import Iterable
from decimal import Decimal, DecimalException, getcontext, localcontext, setcontext
from uuid import UUID

from meltica.errors import OrderRefused
from meltica.model.enums import Mode, OrderState, OrderType, Side, TimeInForce
from meltica.trading.exact import EXACT, ZERO
from meltica.trading.order import Intent, OrderRecord, Owner
from meltica.trading.risk import rules
from meltica.trading.risk.approved import (
    ApprovedAmendment,
    ApprovedOrder,
    OrderRequest,
    approved_amendment,
    approved_order,
)
from meltica.trading.risk.events import Breach, EventLog
from meltica.trading.risk.halts import Halts, ScopeStatus
from meltica.trading.risk.limits import GlobalRiskLimits, resolve
from meltica.trading.risk.market import Market, rate
from meltica.trading.risk.refusals import Refusal
from meltica.trading.risk.registry import Registry
from meltica.trading.risk.reservations import Reservation, Reservations, worst
from meltica.trading.risk.rules import BREACHES, Balances, Rule
from meltica.trading.risk.scopes import GLOBAL, Halt, InstanceState, Lane, Scope

_BUY, _GTC, _IOC, _FOK = Side.BUY, TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK
_BREACHES = frozenset(rule.value for rule in BREACHES)


class Risk:
    """The risk checks of one mode."""

    def __init__(self, mode: Mode, balances: Balances, limits: GlobalRiskLimits) -> None:
        self.registry = Registry(mode, limits)
        self.reservations = Reservations()
        self.events = EventLog()
        self._halts = Halts(self.registry, self.events)
        self._balances = balances

    def approve(
        self,
        request: OrderRequest,
        market: Market,
        now: int,
        *,
        counted: bool = True,
        intent: Intent | None = None,
    ) -> ApprovedOrder:
        """Approves an order and reserves it. Raises `OrderRefused`; nothing is reserved then.

        - `counted`: whether the refusal may count as a breach of the instance.
        - `intent`: the request of the strategy, which a refusal keeps.

        """
        outer = getcontext()
        setcontext(EXACT)
        try:
            return self._approve(request, market, now)
        except OrderRefused as refused:
            self.record(
                request.owner,
                request.provider,
                request.symbol,
                refused,
                now,
                request.order_id,
                counted=counted,
                intent=intent,
            )
            raise
        except DecimalException as error:
            refused = OrderRefused(Rule.INVALID_ORDER.value, f"a number has too many digits: {error!r}")
            owner, provider, symbol = request.owner, request.provider, request.symbol
            self.record(owner, provider, symbol, refused, now, request.order_id, intent=intent)
            raise refused from error
        finally:
            setcontext(outer)

    def _approve(self, request: OrderRequest, market: Market, now: int) -> ApprovedOrder:
        order_id, owner, provider, symbol, side, kind, quantity, price, lifetime, post_only, reduces = request
        registry = self.registry
        lane = registry.lanes.get((owner, provider, symbol))
        if lane is None or not lane.instance.allows(provider, symbol):
            lane = self._lane(owner, provider, symbol)
        rules.check_state(lane, now, reduce_only=reduces)
        rules.check_throttles(lane, now, reduce_only=reduces)
        instrument = rules.check_form(lane, side, kind, lifetime, price, post_only=post_only)
        rules.check_quantity(instrument, quantity)
        if price is None:
            reference = rules.check_market(lane, market, now, rests=False)
            price = rules.market_limit(lane, instrument, market, side, quantity, reference)
            lifetime = _FOK if lifetime is _FOK else _IOC
        else:
            rules.check_price(instrument, price)
            reference = _reference(lane, market, now, rests=lifetime is _GTC, reduce_only=reduces)
            rules.check_band(lane, instrument, price, reference)
        cost = rules.check_notional(instrument, quantity, price)
        is_buy = side is _BUY
        if is_buy:
            if reduces:
                rules.refuse(Rule.REDUCE_ONLY, "a buy order reduces nothing on spot")
            rules.check_size(lane, quantity)
            mark = price if reference is None or price > reference else reference
            rules.check_exposure(lane, quantity, cost, mark, market, now)
            factor = lane.listing.spend_factor
            spend = cost * factor
        else:
            rules.check_sell(lane, quantity, reduce_only=reduces)
            if not reduces:
                rules.check_size(lane, quantity)
            cost, factor, spend = ZERO, lane.listing.spend_factor, quantity
        rules.check_counts(lane)
        rules.check_funds(lane, self._balances, spend, is_buy=is_buy)
        lane.take_tokens(now, reduce_only=reduces)
        reservation = Reservation(order_id, lane, is_buy, reduces, quantity, price, factor)
        self.reservations.place(reservation, quantity, cost, spend)
        return approved_order(
            order_id, owner, provider, symbol, side, quantity, price, lifetime, post_only, reduces, now
        )

    def _lane(self, owner: Owner, provider: str, symbol: str) -> Lane:
        if not self.registry.may_trade(owner, provider, symbol):
            text = f"{owner.instance} does not have {symbol} at {provider} in its scope"
            rules.refuse(Rule.OUT_OF_SCOPE, text)
        return self.registry.lane(owner, provider, symbol)

    def approve_amendment(
        self,
        order: OrderRecord,
        market: Market,
        now: int,
        *,
        price: Decimal | None = None,
        quantity: Decimal | None = None,
        intent: Intent | None = None,
    ) -> ApprovedAmendment:
        """Approves a new limit, a new whole quantity (fills included) or both.

        The larger of old and new is reserved until `amended`. Raises `OrderRefused`; nothing changes then.
        """
        with localcontext(EXACT):
            try:
                return self._approve_amendment(order, market, now, price, quantity)
            except OrderRefused as refused:
                self._record_amendment(order, refused, now, intent)
                raise
            except DecimalException as error:
                refused = OrderRefused(Rule.INVALID_ORDER.value, f"a number has too many digits: {error!r}")
                self._record_amendment(order, refused, now, intent)
                raise refused from error

    def _approve_amendment(
        self, order: OrderRecord, market: Market, now: int, price: Decimal | None, quantity: Decimal | None
    ) -> ApprovedAmendment:
        reservation = self._reservation(order.id)
        lane, reduces = reservation.lane, reservation.reduce_only
        rules.check_state(lane, now, reduce_only=reduces)
        if reservation.next_remaining is not None:
            rules.refuse(Rule.AMENDMENT_PENDING, "the order has an amendment that is not answered")
        rules.check_throttles(lane, now, reduce_only=reduces)
        price = reservation.price if price is None else price
        quantity = order.quantity if quantity is None else quantity
        instrument = rules.check_form(
            lane, order.side, OrderType.LIMIT, order.time_in_force, price, post_only=order.post_only
        )
        rules.check_quantity(instrument, quantity)
        rules.check_price(instrument, price)
        remaining = quantity - order.filled_quantity
        if remaining <= 0:
            text = f"quantity: expected more than the filled {order.filled_quantity}, saw {quantity}"
            rules.refuse(Rule.INVALID_ORDER, text, quantity, order.filled_quantity)
        reference = _reference(lane, market, now, rests=True, reduce_only=reduces)
        rules.check_band(lane, instrument, price, reference)
        rules.check_notional(instrument, quantity, price)
        most, cost, spend = worst(reservation, remaining, price)
        if not reduces:
            rules.check_size(lane, quantity)
        if reservation.is_buy:
            mark = price if reference is None or price > reference else reference
            more, dearer = most - reservation.quantity, cost - reservation.cost
            if more or dearer:
                rules.check_exposure(lane, more, dearer, mark, market, now)
        else:
            rules.check_sell(lane, most - reservation.quantity, reduce_only=reduces)
        if spend > reservation.spend:
            rules.check_funds(lane, self._balances, spend - reservation.spend, is_buy=reservation.is_buy)
        lane.take_tokens(now, reduce_only=reduces)
        self.reservations.amend(reservation, remaining, price)
        return approved_amendment(order.id, quantity, price, now)

    def check_send(self, order_id: UUID) -> None:
        """Checks an approved order immediately before it is written to the connection. Raises `OrderRefused`.

        Checked is what can change after the approval: halts, also of the instrument, reconciliation, unknown
        orders, and the position that the open sells may not pass. A refusal never counts as a breach; the
        caller ends and releases the order.
        """
        reservation = self._reservation(order_id)
        lane = reservation.lane
        with localcontext(EXACT):
            rules.check_halts(lane, reduce_only=reservation.reduce_only)
            rules.check_reconciled(lane)
            rules.check_unknown(lane)
            rules.check_listed(lane)
            if not reservation.is_buy:
                rules.check_sell(lane, ZERO, reduce_only=reservation.reduce_only)

    def obstacle(self, order_id: UUID) -> str | None:
        """Returns why an approved order may not be written to the connection; None if it may."""
        try:
            self.check_send(order_id)
        except OrderRefused as refused:
            return refused.reason
        return None

    def amended(self, order: OrderRecord) -> None:
        """Takes the terms of an order after its amendment was answered, or as another client changed them.

        While the answer is unknown, the larger stays reserved.
        """
        reservation = self.reservations.get(order.id)
        if reservation is not None:
            with localcontext(EXACT):
                remaining = max(ZERO, order.quantity - order.filled_quantity)
                self.reservations.settle(reservation, remaining, order.limit_price)

    def set_unknown(self, order_id: UUID, *, unknown: bool) -> None:
        """Takes whether an order's state is unknown. Its worst case stays reserved.

        While one is unknown, new orders of its symbol and provider are refused for all instances.
        """
        reservation = self.reservations.get(order_id)
        if reservation is not None:
            self.reservations.set_unknown(reservation, unknown=unknown)

    def release(self, order_id: UUID) -> bool:
        """Releases the reservation of an order that has ended; returns False if it has none."""
        with localcontext(EXACT):
            return self.reservations.release(order_id)

    def restore_order(self, order: OrderRecord) -> None:
        """Reserves what an order that was open before a restart may still trade, unless it is reserved."""
        if self.reservations.get(order.id) is not None:
            return
        lane = self.registry.lane(order.owner, order.provider, order.symbol)
        with localcontext(EXACT):
            reservation = Reservation(
                order_id=order.id,
                lane=lane,
                is_buy=order.side is _BUY,
                reduce_only=order.reduce_only,
                remaining=max(ZERO, order.quantity - order.filled_quantity),
                price=order.limit_price,
                factor=lane.listing.spend_factor,
                unknown=order.state is OrderState.UNKNOWN,
            )
            amendment = order.amendment
            if amendment is not None:
                quantity = order.quantity if amendment.quantity is None else amendment.quantity
                reservation.next_remaining = max(ZERO, quantity - order.filled_quantity)
                reservation.next_price = order.limit_price if amendment.price is None else amendment.price
            self.reservations.add(reservation)

    def filled(
        self,
        order: OrderRecord,
        quantity: Decimal,
        price: Decimal,
        position: Decimal,
        market: Market,
        now: int,
    ) -> None:
        """Takes a fill of an order in any state, and the position after it.

        A fill that leads to a position beyond a limit halts the scopes concerned at once.
        """
        with localcontext(EXACT):
            reservation = self.reservations.get(order.id)
            lane = self.registry.lane(order.owner, order.provider, order.symbol)
            if reservation is not None:
                self.reservations.fill(reservation, quantity)
            lane.set_position(position)
            if order.side is not _BUY:
                return

            def rates(currency: str, into: str) -> Decimal | None:
                return rate(market, order.provider, currency, into, now, lane.limits.stale_ns)

            rule = self._halts.check_overrun(lane, price, rates, now)
            if rule is not None:
                self._breach(lane, rule, "a fill passed a limit", now)

    def set_position(self, owner: Owner, provider: str, symbol: str, position: Decimal) -> None:
        """Takes a position as it is: after a restart, or after a booking."""
        with localcontext(EXACT):
            self.registry.lane(owner, provider, symbol).set_position(position)

    def rejected(self, order: OrderRecord, now: int, *, post_only: bool = False) -> None:
        """Takes that the venue rejected an order: a breach while the kill switch is enabled.

        `post_only` says that the venue rejected it because it would have taken liquidity, which never counts.
        The reservation stays until `release`.
        """
        lane = self.registry.lane(order.owner, order.provider, order.symbol)
        if lane.limits.kill_switch and not post_only:
            self._breach(lane, "rejected", order.reason or "the venue rejected the order", now)

    def halt(self, scope: Scope, reason: str, by: str, now: int) -> bool:
        """Halts a scope as an operator: only orders with `reduce_only` pass.

        Returns False if it is halted already.
        """
        return self._halts.halt(scope, Halt("operator", reason, by, now))

    def restore_halt(self, scope: Scope, halt: Halt) -> bool:
        """Halts a scope by a halt that is stored; returns False if it is halted already."""
        return self._halts.halt(scope, halt, is_stored=True)

    def resume(self, scope: Scope, by: str, now: int) -> bool:
        """Ends a halt or the cooldown of a breaker; returns False if the scope has neither."""
        return self._halts.resume(scope, by, now)

    def status(self, scope: Scope, now: int) -> ScopeStatus:
        """Returns halt, breaches, open orders and losses of a scope."""
        return self._halts.status(scope, now)

    def record(
        self,
        owner: Owner,
        provider: str,
        symbol: str,
        refused: OrderRefused,
        now: int,
        order_id: UUID | None = None,
        *,
        counted: bool = True,
        intent: Intent | None = None,
    ) -> None:
        """Counts a refusal, once; it becomes a row, and a breach if it is `counted` and its rule says so."""
        if refused.recorded:
            return
        refused.recorded = True
        verdict = None
        # What an instance requests while it is paused does not pause it again.
        if counted and refused.reason in _BREACHES and not (order_id is None and self._is_paused(owner, now)):
            lane = self.registry.lanes.get((owner, provider, symbol))
            scopes = self.registry.scopes
            states = [scopes[scope] for scope in (GLOBAL, Scope.instance(owner)) if scope in scopes]
            limits = resolve([state.limits for state in states]) if lane is None else lane.limits
            verdict = self._halts.count(owner, limits, refused.reason, refused.message, now)
        self.events.add(
            Refusal(
                now,
                owner,
                intent.order_id if order_id is None and intent is not None else order_id,
                provider,
                symbol,
                refused.reason,
                refused.message,
                refused.seen,
                refused.limit,
                verdict,
                intent_at=None if intent is None else intent.at,
                trigger=None if intent is None else intent.trigger,
            )
        )

    def _record_amendment(
        self, order: OrderRecord, refused: OrderRefused, now: int, intent: Intent | None
    ) -> None:
        self.record(order.owner, order.provider, order.symbol, refused, now, order.id, intent=intent)

    def _is_paused(self, owner: Owner, now: int) -> bool:
        state = self.registry.state(Scope.instance(owner))
        return state.halt is not None or (isinstance(state, InstanceState) and state.breaches.is_open(now))

    def halted(self, owner: Owner, providers: Iterable[str] = ()) -> str | None:
        """Returns why the orders of an instance are halted: by which rule, and the reason; None if not."""
        scopes = self.registry.scopes
        for scope in (GLOBAL, Scope.instance(owner), *map(Scope.provider, providers)):
            halt = scopes[scope].halt if scope in scopes else None
            if halt is not None:
                return f"halted: {halt.rule}: {halt.reason}"
        return None

    def free(self, provider: str, currency: str) -> Decimal | None:
        """Returns what orders may still spend of a currency; None while the balance is unknown."""
        spendable = self._balances.spendable(provider, currency)
        if spendable is None:
            return None
        with localcontext(EXACT):
            return spendable - self.registry.held(provider, currency)

    def mark(self, scope: Scope, profit: Decimal | None, equity: Decimal | None, now: int) -> None:
        """Takes the valuation of a scope; see `Halts.mark`. It has to be repeated within 10 s."""
        with localcontext(EXACT):
            self._halts.mark(scope, profit, equity, now)

    def _reservation(self, order_id: UUID) -> Reservation:
        reservation = self.reservations.get(order_id)
        if reservation is None:
            rules.refuse(Rule.ORDER_ENDED, "the order is not open")
        return reservation

    def _breach(self, lane: Lane, rule: str, message: str, now: int) -> None:
        verdict = self._halts.count(lane.owner, lane.limits, rule, message, now)
        self.events.add(Breach(now, lane.owner, rule, message, verdict))


def _reference(lane: Lane, market: Market, now: int, *, rests: bool, reduce_only: bool) -> Decimal | None:
    """Returns the reference price of a limit order; None if it reduces and has no fresh one."""
    if reduce_only:
        return rules.fresh_reference(lane, market, now)
    return rules.check_market(lane, market, now, rests=rests)
