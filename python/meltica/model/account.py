"""`Account`: the port through which orders reach a venue, the same for every venue, real or simulated.

Each request has one of four outcomes; all but the first raise an exception of their own:

- The venue did it.
- `OrderRefused`: the venue refused it, and nothing changed.
- `VenueUnavailable`, `RateLimited`, `Unauthenticated`: the venue did not take it, and nothing changed.
- `OutcomeUnknown`: it was sent, and its outcome is unknown. Query the order once the venue answers again.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from decimal import Decimal

from meltica.model.balances import Balance
from meltica.model.fills import Fill
from meltica.model.orders import NewOrder, OrderSnapshot


class Account(ABC):
    """One account at a venue. Its methods may be awaited on any event loop, once the adapter has started.

    The module's docstring lists what they raise. Queries change nothing, so they never raise
    `OutcomeUnknown`.
    """

    @property
    @abstractmethod
    def reconciled(self) -> bool:
        """Whether everything that happened at the venue was reported; orders are refused until then."""

    @abstractmethod
    async def submit(self, order: NewOrder) -> OrderSnapshot:
        """Sends an order; returns the venue's answer. Fills arrive as reports."""

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
        """Changes an open order's price, its whole quantity (the filled part included), or both."""

    @abstractmethod
    async def order(self, symbol: str, client_order_id: str) -> OrderSnapshot | None:
        """Returns an order as the venue has it; None when the venue does not know the id.

        After an `OutcomeUnknown` of `submit`, the order may still arrive for some time. Until that time is
        over, an order that the venue does not know raises VenueUnavailable with code `unsettled`.
        """

    @abstractmethod
    async def open_orders(self) -> Sequence[OrderSnapshot]:
        """Returns all open orders, oldest first."""

    @abstractmethod
    async def fills_since(self, time: int = 0) -> Sequence[Fill]:
        """Returns all fills from a venue time (in nanoseconds) on, that time included, oldest first."""

    @abstractmethod
    async def balances(self) -> Mapping[str, Balance]:
        """Returns the balances of the account, by currency."""
