"""The ports of trading, and the orders that a strategy sees.

`Trader` is what one instance trades through. `TradingPort` opens and closes the traders of instances.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol
from uuid import UUID

from meltica.model.account import FeeRates
from meltica.model.enums import Mode, OrderState, OrderType, Side, TimeInForce
from meltica.model.fills import Fill
from meltica.model.instruments import Instrument

if TYPE_CHECKING:
    from meltica._core import Trigger

Number = Decimal | str | int | float
"""A number of an order. A float counts by its shortest representation."""

ZERO = Decimal(0)


class Order:
    """One order of a strategy: one object for life, which changes only between two callbacks of its owner."""

    __slots__ = (
        "acknowledged_at",
        "average_price",
        "client_order_id",
        "ended_at",
        "fees",
        "filled_quantity",
        "id",
        "mode",
        "order_type",
        "pending_amend",
        "pending_cancel",
        "post_only",
        "price",
        "provider",
        "quantity",
        "reason",
        "recovered",
        "reduce_only",
        "requested_at",
        "sent_at",
        "side",
        "state",
        "symbol",
        "tag",
        "time_in_force",
        "venue_order_id",
    )

    id: UUID
    """Our id of the order."""
    client_order_id: str
    """The id that the venue has from us."""
    venue_order_id: str | None
    """The venue's id; None until the venue has the order."""
    mode: Mode
    provider: str
    symbol: str
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    post_only: bool
    reduce_only: bool
    quantity: Decimal
    """The whole quantity, in base."""
    price: Decimal | None
    """The limit, in quote; None for a market order."""
    filled_quantity: Decimal
    average_price: Decimal | None
    """Of all fills; None without one."""
    fees: Mapping[str, Decimal]
    """Fees of all fills by currency; negative for rebates."""
    state: OrderState
    reason: str | None
    """Why the order was rejected, cancelled or expired, or became unknown; in the callback of a rejected
    cancel or amendment, why that was rejected.
    """
    tag: str | None
    pending_cancel: bool
    """Whether a cancel was requested and the order has not ended."""
    pending_amend: bool
    """Whether an amendment was requested and is not answered."""
    requested_at: int
    """Times are nanoseconds since the epoch; None before they happen."""
    sent_at: int | None
    acknowledged_at: int | None
    ended_at: int | None
    recovered: bool
    """Whether its latest change was found after a restart or a reconnect."""

    @property
    def remaining_quantity(self) -> Decimal:
        """The quantity that can still be filled; zero after the end."""
        return ZERO if self.state.is_final else max(ZERO, self.quantity - self.filled_quantity)

    @property
    def is_open(self) -> bool:
        """Whether the order has not ended."""
        return not self.state.is_final

    def __repr__(self) -> str:
        price = "market" if self.price is None else f"at {self.price}"
        done = f"{self.filled_quantity} of {self.quantity}"
        return f"<Order {self.client_order_id} {self.side} {done} {self.symbol} {price} {self.state}>"


class PositionView(NamedTuple):
    """A position of a strategy in one symbol."""

    provider: str
    symbol: str
    quantity: Decimal
    average_price: Decimal | None
    """Average cost of the quantity; None when there is none."""
    sellable: Decimal
    """How much an order can sell: the quantity down to the lot."""
    flat: bool
    """Whether what is left is below the least order."""
    realised_pnl: Decimal
    """In the quote currency."""
    fees: Mapping[str, Decimal]


class TradingStatus(NamedTuple):
    """Whether orders go out now."""

    on: bool
    why: str | None = None
    """Why not; None while orders go out."""

    def __bool__(self) -> bool:
        return self.on


class PnlView(NamedTuple):
    """Profit and loss of an instance since it was created, over all of its symbols."""

    currency: str
    """The currency of the amounts: `notionalCurrency`."""
    realised: Decimal
    unrealised: Decimal
    fees: Decimal
    """Fees that are not in `realised`; negative for rebates."""
    unvalued: tuple[str, ...]
    """What has no price in `currency` now, and is in none of the amounts: currencies of fees, and symbols of
    positions.
    """

    @property
    def net(self) -> Decimal:
        """Realised and unrealised PnL less fees."""
        return self.realised + self.unrealised - self.fees


OnOrder = Callable[[str, Order, Fill | None, str | None], None]
"""Receives the name of a callback such as `on_order_filled`, its order, its fill and its reason."""

OnTradingChanged = Callable[[str, bool, str | None], None]
"""Receives a provider, whether orders go out there now, and why not."""


class RiskNotice(NamedTuple):
    """What risk has begun, or ceased, to block for an instance."""

    provider: str
    symbol: str
    """What it is about; the first of the scope where it is about all of it."""
    status: Literal["TRIGGERED", "CLEARED"]
    rule: str
    """The rule that halted a scope, `operator`, `breaker_open` or `feed_lag`."""
    reason: str
    halted: bool
    """Whether a halt is in force now: only orders that reduce pass."""
    breaker_open: bool
    """Whether the circuit breaker pauses orders now."""
    metrics: Mapping[str, str]
    time: int


OnRiskControl = Callable[[RiskNotice], None]
"""Receives what risk has begun, or ceased, to block."""


class Trader(Protocol):
    """What one instance trades through. Its methods are called in the instance's callbacks and never wait."""

    on_callback: OnOrder
    """Calls the strategy about an order that has changed; the order, position and balance are up to date. Set
    before the instance starts, called on its host's thread between two callbacks.
    """
    on_trading_changed: OnTradingChanged
    """Calls the strategy when orders begin or cease to go out at a provider. As `on_callback`."""
    on_risk_control: OnRiskControl
    """Calls the strategy when risk begins or ceases to block its orders. As `on_callback`."""

    def place(
        self,
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
        ...

    def cancel(self, order: Order) -> None:
        """Requests the end of an order."""
        ...

    def amend(self, order: Order, *, price: Number | None, quantity: Number | None) -> None:
        """Requests another price or whole quantity of an open order. Raises OrderRefused."""
        ...

    def cancel_all(self, symbol: str | None = None) -> None:
        """Requests the end of all open orders, of one symbol or all."""
        ...

    def close(self, symbol: str, provider: str | None = None) -> Order | None:
        """Cancels the orders of a symbol and sells what is sellable; None when flat."""
        ...

    def order(self, id: UUID | str) -> Order | None:
        """Returns an order by either of our ids."""
        ...

    def orders(self, symbol: str | None = None, tag: str | None = None) -> Sequence[Order]:
        """Returns the open orders, oldest first."""
        ...

    def fills(self, order: Order) -> Sequence[Fill]:
        """Returns the fills of an order, oldest first."""
        ...

    def position(self, symbol: str, provider: str | None = None) -> PositionView:
        """Returns the position in a symbol."""
        ...

    def balance(self, currency: str, provider: str | None = None) -> Decimal | None:
        """Returns what orders may still spend of a currency; None while it is unknown."""
        ...

    def fees(self, symbol: str, provider: str | None = None) -> FeeRates | None:
        """Returns the fee rates of a symbol; None while they are unknown."""
        ...

    def pnl(self) -> PnlView:
        """Returns the profit and loss over all symbols."""
        ...

    def instrument(self, symbol: str, provider: str | None = None) -> Instrument:
        """Returns the rules of a symbol. Raises OrderRefused while the provider has not sent them."""
        ...

    @property
    def trading(self) -> TradingStatus:
        """Whether orders go out now, and if not why."""
        ...


OnStop = Literal["cancel", "keep"]
"""What happens to the open orders of an instance that stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """Coins of the account that an instance may sell, at the price at which it takes them over."""

    quantity: Decimal
    price: Decimal
    """In the quote currency."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TradingSpec:
    """How an instance trades."""

    instance: str
    scope: Mapping[str, tuple[str, ...]]
    """Provider -> symbols; `("*",)` is all of them."""
    dry_run: bool = True
    """Whether it trades on a paper account."""
    on_stop: OnStop = "cancel"
    risk: Mapping[str, object] = field(default_factory=dict[str, object])
    """Its risk limits, with the keys of the config file."""
    inventory: Mapping[tuple[str, str], Inventory] = field(default_factory=dict[tuple[str, str], Inventory])
    """(provider, symbol) -> the coins that it takes over."""
    saves: bool = False
    """Whether it keeps checkpoints. Without one it begins from nothing, so it missed all of its fills."""


class TradingPort(Protocol):
    """Trading, as the manager of instances uses it.

    For each run of an instance, the manager calls `open`, `ready` and `checkpoint`, `replay_missed` right
    after `on_start`, `save` after each `on_save`, then `stop_orders` before `on_stop`, and `close` at last.
    `close` is called for each trader that was opened, also when the start or the run has failed.
    """

    def open(
        self,
        spec: TradingSpec,
        deliver: Callable[[Callable[[], None]], object],
        trigger: "Callable[[], Trigger | None]",
    ) -> Trader:
        """Registers an instance and returns its trader. Called on a thread; may wait for the database.

        - `deliver`: runs a function on the instance's host thread between two callbacks; until the instance
          runs, the function waits. It can be called from any thread, and never waits or raises. An instance
          that cannot take a function is halted by its host, so the result has no meaning.
        - `trigger`: returns what led to the callback of the instance that runs on the calling thread.

        Raises ConfigError when it may not trade so: a provider without an account, or a real venue without
        `live: true` and explicit limits.
        """
        ...

    async def ready(self, trader: Trader) -> None:
        """Waits until each provider of the scope is reconciled and orders of an earlier run are handled.

        With `cancel` they have been seen ended, with `keep` they are handed over. The inventory is then in
        the positions. Waits without a limit; the caller cancels it. Raises ConfigError for an inventory that
        exceeds what is of no instance, or differs from the one that was moved before.
        """
        ...

    def waits_for(self, trader: Trader) -> str | None:
        """Returns what `ready` waits for, with the name of the provider; None when it does not wait."""
        ...

    def checkpoint(self, trader: Trader) -> bytes | None:
        """Returns the state that was saved last, as JSON. Called on a thread, after `ready`."""
        ...

    def replay_missed(self, trader: Trader) -> None:
        """Delivers the fills and ends of orders since the report that the checkpoint names, once.

        Called on the host's thread, after `on_start` and before the first event. Their orders have
        `recovered`.
        """
        ...

    def save(self, trader: Trader, state: bytes) -> None:
        """Keeps a checkpoint that names the last report which the callbacks saw.

        It is committed with that report or after it. Called on the host's thread; does not wait.
        """
        ...

    def stop_orders(self, trader: Trader) -> None:
        """Refuses orders of the instance from now on; cancels pass. Called from any thread."""
        ...

    def suspend(self, trader: Trader) -> None:
        """Refuses orders until `resume`, and handles the open ones as `on_stop` says.

        Called from any thread, when a callback of the instance does not return. The callbacks go on.
        """
        ...

    def resume(self, trader: Trader) -> None:
        """Ends `suspend`: the callback has returned. Called from any thread."""
        ...

    async def close(self, trader: Trader, *, failed: bool = False) -> None:
        """Handles the open orders as `on_stop` says, and ends the callbacks. Called after the last one.

        With `failed`, the instance does not come back by itself, and its orders are cancelled in any case.
        Requests the cancels, and does not wait for the venue.
        """
        ...
