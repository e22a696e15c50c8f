"""`InstanceTrader`: what one instance trades through; implements the port `Trader`.

Its methods run on the instance's host thread. An order that is refused raises, and nothing else happens. One
that is approved is reserved and queued when the method returns; its outcome arrives as callbacks.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from decimal import Decimal
from typing import Literal
from uuid import UUID, uuid4

from meltica.errors import CapacityError, OrderRefused
from meltica.model.account import FeeRates
from meltica.model.enums import OrderType, Side
from meltica.model.fills import Fill
from meltica.model.instruments import Instrument
from meltica.model.symbols import canonical
from meltica.model.trader import (
    Number,
    OnOrder,
    OnRiskControl,
    OnTradingChanged,
    Order,
    PnlView,
    PositionView,
    RiskNotice,
    TradingStatus,
)
from meltica.trading.client_ids import ClientOrderIds
from meltica.trading.closing import CLOSING
from meltica.trading.desk import Desk
from meltica.trading.effects import Callback
from meltica.trading.gate import INSTANCE_STOPPING, LEDGER_FROZEN
from meltica.trading.intents import TriggerOf, record_of, trigger_at
from meltica.trading.numbers import (
    INVALID,
    amount_of,
    nanoseconds_of,
    price_of,
    quantity_of,
    tag_of,
    time_in_force_of,
)
from meltica.trading.order import Intent, OrderRecord, Owner, PositionKey
from meltica.trading.positions import Positions
from meltica.trading.refused import recorded
from meltica.trading.risk.approved import OrderRequest
from meltica.trading.risk.market import Market
from meltica.trading.risk.risk import Risk
from meltica.trading.risk.scopes import Scope
from meltica.trading.scope import provider_in, resolve
from meltica.trading.state_machine import OrderMachine
from meltica.trading.transitions import TimingsOf
from meltica.trading.valuation import value
from meltica.trading.views import position_view, update_order

KEPT_ENDED = 1000
"""Ended orders that `order` still returns."""


class InstanceTrader:
    """The orders of one instance."""

    def __init__(
        self,
        owner: Owner,
        scope: Mapping[str, tuple[str, ...]],
        desk: Desk,
        risk: Risk,
        positions: Positions,
        market: Market,
        ids: ClientOrderIds,
        timings: TimingsOf,
        push: Callable[[OrderMachine], None],
        deliver: Callable[[Callable[[], None]], object],
        trigger: TriggerOf = lambda: None,
    ) -> None:
        """Creates the trader of an instance.

        - `timings`: intervals of a provider.
        - `push`: passes a new order to trading's loop; raises CapacityError.
        - `deliver`: runs a function between two callbacks of the instance.
        - `trigger`: returns what led to the callback that runs.

        """
        self._owner = owner
        self._scope = scope
        self._desk = desk
        self._risk = risk
        self._positions = positions
        self._market = market
        self._ids = ids
        self._timings = timings
        self._push = push
        self._deliver = deliver
        self._trigger = trigger
        self._orders: dict[UUID, Order] = {}
        self._by_client_id: dict[str, Order] = {}
        self._ended: dict[UUID, None] = {}
        """The ended orders that are kept, by the order of their ends."""
        self._fills: dict[UUID, list[Fill]] = {}
        self._stopping = False
        self._counted = True
        """Whether refusals may count as breaches."""
        self.on_callback: OnOrder = _ignore
        """Calls the strategy about an order."""
        self.on_trading_changed: OnTradingChanged = _ignore
        """Calls the strategy when orders begin or cease to go out."""
        self.on_risk_control: OnRiskControl = _ignore
        """Calls the strategy when risk begins or ceases to block its orders."""

    @recorded
    def place(
        self,
        intent: Intent,
        side: Side,
        symbol: str,
        quantity: Number | Literal["all"] | None,
        price: Number | None,
        *,
        cost: Number | None = None,
        provider: str | None = None,
        time_in_force: str = "GTC",
        post_only: bool = False,
        reduce_only: bool = False,
        expires_in: float | None = None,
        round: bool = False,
        tag: str | None = None,
    ) -> Order:
        """Places an order and returns it, PENDING. Raises OrderRefused, and nothing happens then."""
        self._check_open()
        symbol, provider = self._resolve(symbol, provider)
        if self._desk.closings and PositionKey(self._owner, provider, symbol) in self._desk.closings:
            raise OrderRefused(CLOSING, f"{symbol} is being closed; `cancel_all` ends that")
        instrument = self._instrument(provider, symbol)
        limit = None if price is None else price_of(instrument, side, price, may_round=round)
        amount = amount_of(
            instrument,
            side,
            quantity,
            cost,
            limit,
            may_round=round,
            quote=lambda: self._market.quote(provider, symbol),
            sellable=lambda: self.position(symbol, provider).sellable,
        )
        request = OrderRequest(
            order_id=intent.order_id,
            owner=self._owner,
            provider=provider,
            symbol=symbol,
            side=side,
            order_type=OrderType.MARKET if limit is None else OrderType.LIMIT,
            quantity=amount,
            price=limit,
            time_in_force=time_in_force_of(time_in_force),
            post_only=post_only,
            reduce_only=reduce_only,
        )
        expires_at = None if expires_in is None else intent.at + nanoseconds_of("expires_in", expires_in)
        tag = tag_of(tag)
        timings = self._timings(provider, self._owner.mode)
        with self._desk.lock:
            now = self._desk.clock()
            approved = self._risk.approve(request, self._market, now, counted=self._counted, intent=intent)
            record = record_of(
                request,
                approved,
                intent,
                self._ids.next(),
                approved_at=self._desk.clock(),
                expires_at=expires_at,
                tag=tag,
            )
            machine = self._desk.open(record, timings)
            order = self._known(record)
        try:
            self._push(machine)
        except CapacityError as error:
            self._desk.apply(machine, lambda m, at: m.refused(at, "trading_overloaded"))
            raise OrderRefused("trading_overloaded", str(error)) from error
        return order

    def cancel(self, order: Order) -> None:
        """Requests the end of an order. An order that has ended stays as it is."""
        machine = self._machine(order)
        order.pending_cancel = order.is_open
        self._desk.apply(machine, lambda m, now: m.cancel(now))

    @recorded
    def amend(
        self, intent: Intent, order: Order, *, price: Number | None = None, quantity: Number | None = None
    ) -> None:
        """Requests another price or whole quantity of an open order. Raises OrderRefused."""
        if price is None and quantity is None:
            raise OrderRefused(INVALID, "amend: expected a price, a quantity or both, saw neither")
        self._check_open()
        machine, record = self._machine(order), self._machine(order).record
        instrument = self._instrument(record.provider, record.symbol)
        limit = None if price is None else price_of(instrument, record.side, price, may_round=False)
        whole = None if quantity is None else quantity_of(instrument, quantity, may_round=False)
        if (account := self._desk.account_of(record.provider, self._owner.mode)) is None:
            raise OrderRefused("not_running", f"order not amended: provider `{record.provider}` does not run")
        account.capabilities.check_amend(record.client_order_id)
        with self._desk.lock:
            if (refusal := machine.amend_refusal(whole)) is not None:
                text = f"order {record.client_order_id} not amended: it is {record.state}"
                raise OrderRefused(refusal, text)
            self._risk.approve_amendment(
                record, self._market, self._desk.clock(), quantity=whole, price=limit, intent=intent
            )
            self._desk.amended(machine, machine.amend(price=limit, quantity=whole))
        order.pending_amend = True
        self._push(machine)

    def cancel_all(self, symbol: str | None = None) -> None:
        """Requests the end of all open orders, of one symbol or all, and ends `close`."""
        with self._desk.lock:
            self._desk.closings.drop(self._owner, None if symbol is None else canonical(symbol))
        for order in self.orders(symbol):
            self.cancel(order)

    @recorded
    def close(self, _intent: Intent, symbol: str, provider: str | None = None) -> Order | None:
        """Requests the end of a symbol's orders and sells what is left, now or after their ends."""
        symbol, provider = self._resolve(symbol, provider)
        for order in self.orders(symbol):
            if order.provider == provider:
                self.cancel(order)
        self._check_open()
        key = PositionKey(self._owner, provider, symbol)
        with self._desk.lock:
            waits = key in self._desk.closings or key in self._desk.open_keys()
            if waits:
                self._desk.closings.add(key, self._closer(key))
        self._desk.wake()
        return None if waits else self.sell_position(symbol, provider)

    def sell_position(self, symbol: str, provider: str) -> Order | None:
        """Sells what is sellable at the market; None when there is nothing, as if a fee made it short."""
        position = self.position(symbol, provider)
        if position.flat or not position.sellable:
            return None
        return self.place(
            Side.SELL, symbol, position.sellable, None, provider=provider, reduce_only=True, tag="close"
        )

    def _closer(self, key: PositionKey) -> Callable[[], object]:
        """Returns what sells a position on trading's loop, which must not change the orders here."""
        closer = copy(self)
        closer._orders, closer._by_client_id, closer._counted = {}, {}, False
        return lambda: closer.sell_position(key.symbol, key.provider)

    def order(self, id: UUID | str) -> Order | None:
        """Returns an order by either of our ids; None for one that is not the instance's."""
        return self._orders.get(id) if isinstance(id, UUID) else self._by_client_id.get(id)

    def orders(self, symbol: str | None = None, tag: str | None = None) -> Sequence[Order]:
        """Returns the open orders, oldest first."""
        wanted = None if symbol is None else canonical(symbol)
        return [
            order
            for order in self._orders.values()
            if order.is_open and wanted in (None, order.symbol) and tag in (None, order.tag)
        ]

    def fills(self, order: Order) -> Sequence[Fill]:
        """Returns the fills of an order that its callbacks reported, oldest first."""
        return tuple(self._fills.get(order.id, ()))

    def position(self, symbol: str, provider: str | None = None) -> PositionView:
        """Returns the position in a symbol."""
        symbol, provider = self._resolve(symbol, provider)
        key = PositionKey(self._owner, provider, symbol)
        with self._desk.lock.reading:
            found = self._positions.get(key)
            quote = self._market.quote(provider, symbol)
            listing = self._risk.registry.listings.get((provider, symbol))
            instrument = None if listing is None else listing.instrument
        return position_view(key, found, instrument, quote)

    def balance(self, currency: str, provider: str | None = None) -> Decimal | None:
        """Returns what orders may still spend of a currency; None while it is unknown."""
        provider = provider_in(self._scope, provider)
        with self._desk.lock.reading:
            return self._risk.free(provider, currency)

    def fees(self, symbol: str, provider: str | None = None) -> FeeRates | None:
        """Returns the fee rates of a symbol; None while they are unknown."""
        symbol, provider = self._resolve(symbol, provider)
        account = self._desk.account_of(provider, self._owner.mode)
        return None if account is None else account.fee_rates(symbol)

    def pnl(self) -> PnlView:
        """Returns the profit and loss over all symbols, in `notionalCurrency`."""
        with self._desk.lock.reading:
            currency = self._risk.registry.currency(Scope.instance(self._owner))
            positions = self._positions.of_owner(self._owner)
            return value(positions, self._market, currency, self._desk.clock())

    @property
    def trading(self) -> TradingStatus:
        """Whether orders go out now, and if not why."""
        with self._desk.lock.reading:
            why = self._desk.obstacle_of(self._owner, self._scope)
        return TradingStatus(why is None, why)

    def instrument(self, symbol: str, provider: str | None = None) -> Instrument:
        """Returns the rules of a symbol. Raises OrderRefused while the provider has not sent them."""
        symbol, provider = self._resolve(symbol, provider)
        return self._instrument(provider, symbol)

    def intend(self) -> Intent:
        """Returns the intent of a request that begins now."""
        now = self._desk.clock()
        return Intent(uuid4(), now, trigger_at(now, self._trigger()))

    def refused(self, error: OrderRefused, intent: Intent) -> None:
        """Records a refusal that risk has not seen; its message says which symbol it is about."""
        with self._desk.lock:
            now = self._desk.clock()
            self._risk.record(self._owner, "", "", error, now, counted=self._counted, intent=intent)

    # From trading

    @property
    def scope(self) -> Mapping[str, tuple[str, ...]]:
        """Provider -> symbols that it may trade."""
        return self._scope

    def attach(self) -> int:
        """Begins to receive the callbacks of the orders; returns the last report before them."""
        with self._desk.lock:
            self._desk.changes.watch(self._owner, self._scope, self.receive_trading)
            self._desk.controls.watch(self._owner, self._scope, self.receive_risk)
        return self._desk.attach(self._owner, self.receive)

    def detach(self) -> None:
        """Ends the callbacks. None of the orders leaves any more."""
        with self._desk.lock:
            self._desk.changes.forget(self._owner)
            self._desk.controls.forget(self._owner)
        self._desk.detach(self._owner)

    def stop_orders(self) -> None:
        """Refuses orders from now on: `on_stop` may only cancel."""
        self._stopping = True

    def resume_orders(self) -> None:
        """Ends `stop_orders`."""
        self._stopping = False

    def adopt(self, record: OrderRecord, fills: Sequence[Fill] = ()) -> Order:
        """Adds an order of an earlier run."""
        self._fills[record.id] = list(fills)
        return self._known(record)

    def replay(self, callback: Callback, report: int) -> None:
        """Calls the strategy about a change that an earlier run missed. Runs on the host's thread."""
        self._apply(callback, report)

    def receive(self, callback: Callback, report: int) -> None:
        """Passes a callback to the instance. Called under trading's lock; does not wait."""
        self._deliver(lambda: self._apply(callback, report))

    def receive_trading(self, provider: str, on: bool, why: str | None) -> None:
        """Passes to the instance whether orders go out at a provider. Called under trading's lock."""
        self._deliver(lambda: self.on_trading_changed(provider, on, why))

    def receive_risk(self, notice: RiskNotice) -> None:
        """Passes to the instance what risk blocks. Called under trading's lock."""
        self._deliver(lambda: self.on_risk_control(notice))

    def _apply(self, callback: Callback, report: int) -> None:
        """Updates the order, then calls the strategy. Runs between two callbacks of the instance."""
        record = callback.order
        order = self._orders.get(record.id) or self._known(record)
        update_order(order, record, recovered=callback.recovered)
        if callback.reason is not None:
            order.reason = callback.reason
        self.last_report = report
        if callback.fill is not None:
            self._fills.setdefault(record.id, []).append(callback.fill)
        if record.state.is_final:
            self._forget_old(record.id)
        self.on_callback(callback.kind.value, order, callback.fill, callback.reason)

    last_report: int = 0
    """The number of the latest report that the callbacks saw; a checkpoint names it."""

    def _known(self, record: OrderRecord) -> Order:
        order = Order()
        update_order(order, record, recovered=False)
        self._orders[record.id] = self._by_client_id[record.client_order_id] = order
        return order

    def _forget_old(self, id: UUID) -> None:
        self._ended.setdefault(id)
        if len(self._ended) > KEPT_ENDED:
            oldest = next(iter(self._ended))
            del self._ended[oldest]
            order = self._orders.pop(oldest, None)
            self._fills.pop(oldest, None)
            if order is not None:
                del self._by_client_id[order.client_order_id]

    def _check_open(self) -> None:
        if self._stopping:
            raise OrderRefused(INSTANCE_STOPPING, "the instance stops; only cancels are sent")
        if self._owner.instance in self._desk.gate.frozen:
            raise OrderRefused(LEDGER_FROZEN, "a fill could not be stored; restart the gateway to reconcile")

    def _machine(self, order: Order) -> OrderMachine:
        machine = self._desk.find(order.id)
        if machine is None or machine.record.owner != self._owner:
            raise OrderRefused(
                "unknown_order", f"order {order.client_order_id} is not an order of this instance"
            )
        return machine

    def _resolve(self, symbol: str, provider: str | None) -> tuple[str, str]:
        return resolve(self._scope, symbol, provider)

    def _instrument(self, provider: str, symbol: str) -> Instrument:
        listing = self._risk.registry.listings.get((provider, symbol))
        if listing is None or listing.instrument is None:
            raise OrderRefused(
                "unknown_instrument", f"{provider} has not sent the rules of {symbol}; retry later"
            )
        return listing.instrument


def _ignore(*_: object) -> None:
    return None
