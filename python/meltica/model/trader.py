"""`Trader`: the port through which a strategy trades, and the orders that it sees."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Literal, NamedTuple, Protocol
from uuid import UUID

from meltica.model.enums import Mode, OrderState, OrderType, Side, TimeInForce
from meltica.model.fills import Fill

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
    """Why the order was rejected, cancelled or expired, or became unknown."""
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


class Trader(Protocol):
    """What one instance trades through. Its methods are called in the instance's callbacks and never wait."""

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

    @property
    def trading(self) -> TradingStatus:
        """Whether orders go out now, and if not why."""
        ...
