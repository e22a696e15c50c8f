"""`Account`: an adapter's way to trade, the same for every venue, real or simulated.

A request ends in one of four ways, and each has its own exception but the first:

- it was done;
- `OrderRefused`: the venue said no, and nothing changed;
- `VenueUnavailable`, `RateLimited`, `Unauthenticated`: the venue did not take it, and nothing changed;
- `OutcomeUnknown`: it was sent, and nobody knows. `order` tells, once the venue answers again.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, NamedTuple

from meltica.model.enums import Side

TimeInForce = Literal["GTC", "IOC", "FOK"]

OrderState = Literal["ACK", "PARTIAL", "FILLED", "CANCELLED", "REJECTED", "EXPIRED"]
"""What a venue can say of an order; the last four are final."""


@dataclass(frozen=True, slots=True)
class NewOrder:
    """An order as it is sent; numbers are already on the instrument's increments."""

    client_order_id: str
    """1 to 18 of 0-9 and a-z."""
    symbol: str
    side: Side
    quantity: Decimal
    """In base."""
    price: Decimal | None = None
    """The limit, in quote; None is a market order."""
    time_in_force: TimeInForce = "GTC"
    post_only: bool = False


class OrderStatus(NamedTuple):
    """What a venue knows of an order."""

    client_order_id: str
    venue_order_id: str | None
    symbol: str
    side: Side
    state: OrderState
    quantity: Decimal
    filled: Decimal
    price: Decimal | None = None
    """The limit; None of a market order."""
    reason: str | None = None
    """Why it was rejected or expired."""


class Execution(NamedTuple):
    """One fill of an order of the account."""

    execution_id: str
    """The venue's; unique among the account's."""
    time: int
    """The venue's, ns."""
    symbol: str
    client_order_id: str
    venue_order_id: str
    side: Side
    price: Decimal
    quantity: Decimal
    fee: Decimal
    fee_currency: str
    maker: bool
    """Whether the order rested."""


class Holding(NamedTuple):
    """What an account owns of a currency."""

    total: Decimal
    available: Decimal
    """What no open order holds."""


class Account(ABC):
    """One account at a venue. Its methods may be awaited on any event loop, once the adapter has started.

    All raise what the module says; queries change nothing, so they never raise `OutcomeUnknown`.
    """

    @property
    @abstractmethod
    def reconciled(self) -> bool:
        """Whether nothing is missing of what the venue did; orders are refused until then."""

    @abstractmethod
    async def submit(self, order: NewOrder) -> OrderStatus:
        """Sends an order; returns what the venue says of it at once. Fills come as reports."""

    @abstractmethod
    async def cancel(self, symbol: str, client_order_id: str) -> None:
        """Cancels an open order."""

    @abstractmethod
    async def amend(
        self,
        symbol: str,
        client_order_id: str,
        *,
        quantity: Decimal | None = None,
        price: Decimal | None = None,
    ) -> None:
        """Changes an open order's limit, its whole quantity (what is filled included), or both."""

    @abstractmethod
    async def order(self, symbol: str, client_order_id: str) -> OrderStatus | None:
        """Returns what the venue knows of an order; None when it says that it knows none of that id.

        After an `OutcomeUnknown` of `submit` its not knowing is no answer while the order may still arrive:
        for that time this raises VenueUnavailable, code `unsettled`.
        """

    @abstractmethod
    async def open_orders(self) -> Sequence[OrderStatus]:
        """Returns all open orders, oldest first."""

    @abstractmethod
    async def fills_since(self, time: int = 0) -> Sequence[Execution]:
        """Returns all executions from a venue time (ns) on, that time included, oldest first."""

    @abstractmethod
    async def balances(self) -> Mapping[str, Holding]:
        """Returns what the account owns, by currency."""
