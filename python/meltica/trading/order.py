"""Orders of instances as trading keeps them: everything here is also a column of the order's row."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from meltica.model.enums import Mode, OrderState, OrderType, Side, TimeInForce
from meltica.persistence.stores.trading.rows import Trigger
from meltica.trading.exact import ZERO, divide, subtract


class Owner(NamedTuple):
    """The instance that an order or a position belongs to."""

    instance: str
    uid: UUID
    """Each creation of an instance has its own, so that a later instance of the same name owns nothing of the
    earlier one.
    """
    mode: Mode
    revision: str | None = None
    """The revision of a shadow; None for the instance itself."""


class Intent(NamedTuple):
    """A request of a strategy for an order or an amendment."""

    order_id: UUID
    """That of the new order."""
    at: int
    trigger: Trigger | None = None


STAMPS = "approved_at", "committed_at", "sent_at", "acknowledged_at"
"""The times of an order from its request on, in their order."""


class PositionKey(NamedTuple):
    """What one position belongs to."""

    owner: Owner
    provider: str
    symbol: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Amendment:
    """A change of an order that the venue has not answered yet."""

    price: Decimal | None = None
    """The new limit; None if it does not change."""
    quantity: Decimal | None = None
    """The new whole quantity, the filled part included; None if it does not change."""
    sent_at: int | None = None
    """When it was written to the connection; None before."""
    outcome_unknown: bool = False
    """Whether it was sent and no answer came: the venue may have either version of the order."""


@dataclass(slots=True, kw_only=True)
class OrderRecord:
    """One order. Times are nanoseconds since the epoch; None means that it has not happened."""

    id: UUID
    client_order_id: str
    """The id for the venue; see `meltica.trading.client_ids`."""
    owner: Owner
    provider: str
    symbol: str
    side: Side
    order_type: OrderType
    """As the strategy requested it."""
    time_in_force: TimeInForce
    """As it is sent: a market order leaves as an `IOC` limit order."""
    quantity: Decimal
    """The whole quantity in base, as last amended."""
    price: Decimal | None = None
    """The limit that the strategy requested; None for a market order."""
    limit_price: Decimal
    """The limit that is sent; for a market order the edge of the price band."""
    post_only: bool = False
    reduce_only: bool = False
    tag: str | None = None
    expires_at: int | None = None
    """When Meltica cancels what is still open."""
    state: OrderState = OrderState.PENDING
    venue_order_id: str | None = None
    filled_quantity: Decimal = ZERO
    """Sum of the fills."""
    filled_cost: Decimal = ZERO
    """Sum of price x quantity of the fills, in quote."""
    fees: dict[str, Decimal] = field(default_factory=dict[str, Decimal])
    """Sum of the fills' fees by currency; negative for rebates. Replaced, never changed, by a fill."""
    reason: str | None = None
    """Why the order was rejected, cancelled or expired, or became unknown."""
    trace: str | None = None
    """`traceparent` of the request that changed it last, for its events; not stored."""
    cancel_wanted: bool = False
    """Whether the cancel is repeated until the order has ended."""
    amendment: Amendment | None = None
    intent_at: int
    """When the strategy requested the order."""
    approved_at: int | None = None
    committed_at: int | None = None
    sent_at: int | None = None
    acknowledged_at: int | None = None
    """When the first proof arrived that the venue has the order: an answer, a report or a fill."""
    ended_at: int | None = None
    venue_time: int | None = None
    """The venue's time of the latest change that it reported."""
    trigger: Trigger | None = None
    """The callback in which the strategy requested the order; None outside of its callbacks."""

    def __copy__(self) -> "OrderRecord":
        """Returns a copy; faster than the general way of `copy`, and there is one for each callback."""
        copied = object.__new__(OrderRecord)
        for name in self.__slots__:
            setattr(copied, name, getattr(self, name))
        return copied

    @property
    def position_key(self) -> PositionKey:
        """The position that the order's fills move."""
        return PositionKey(self.owner, self.provider, self.symbol)

    @property
    def average_price(self) -> Decimal | None:
        """The average price of all fills, to 34 significant digits; None without a fill."""
        return divide(self.filled_cost, self.filled_quantity) if self.filled_quantity else None

    @property
    def remaining_quantity(self) -> Decimal:
        """The part of the quantity that is not filled; zero after the end."""
        if self.state.is_final:
            return ZERO
        return max(ZERO, subtract(self.quantity, self.filled_quantity))

    @property
    def worst_quantity(self) -> Decimal:
        """The whole quantity, or that of an unanswered amendment if it is larger."""
        amended = self.amendment.quantity if self.amendment is not None else None
        return self.quantity if amended is None else max(self.quantity, amended)

    @property
    def worst_price(self) -> Decimal:
        """The limit, or that of an unanswered amendment if it costs more: the higher one in each case.

        A sell needs its base, not its price; exposure and notional are the larger at the higher price.
        """
        amended = self.amendment.price if self.amendment is not None else None
        return self.limit_price if amended is None else max(self.limit_price, amended)

    @property
    def open_quantity(self) -> Decimal:
        """The quantity that may still trade, at worst: what is reserved for the order."""
        if self.state.is_final:
            return ZERO
        return max(ZERO, subtract(self.worst_quantity, self.filled_quantity))
