"""`Account`: the port through which orders reach a venue, the same for every venue, real or simulated.

Each request has one of four outcomes; all but the first raise an exception of their own:

- The venue did it.
- `OrderRefused`: the venue refused it, and nothing changed.
- `VenueUnavailable`, `RateLimited`, `Unauthenticated`: the venue did not take it, and nothing changed.
- `OutcomeUnknown`: it was sent, and its outcome is unknown. Query the order once the venue answers again.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from meltica.errors import OrderRefused
from meltica.model.balances import Balance
from meltica.model.fills import Fill, FillMark
from meltica.model.orders import NewOrder, OrderSnapshot

LastCheck = Callable[[], None]
"""Called on any thread immediately before an order or an amendment is written to the connection.

It raises `OrderRefused` if the request may no longer leave; the account then sends nothing and raises that.
It may be called again, such as before the body of a request whose head is written; if it raises then, the
outcome is unknown.
"""


def unchecked() -> None:
    """The last check of a request that may leave at any time."""


class CancelAllScope(StrEnum):
    """Which open orders one request can cancel."""

    NONE = "none"
    """The venue has no such request."""
    SYMBOL = "symbol"
    """Those of one symbol; the symbol is required."""
    ACCOUNT = "account"
    """Those of one symbol, or all of the account."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountCapabilities:
    """What an account supports at its venue. An adapter states every value."""

    amend: bool
    """Whether open orders can be changed; else `amend` is refused with `amend_unsupported`."""
    cancel_all: CancelAllScope
    """The scope of `cancel_all`; beyond it, the call is refused with `cancel_all_unsupported`."""
    reduce_only: bool
    """Whether the venue itself keeps an order from increasing a position."""
    dead_man: bool
    """Whether the venue can cancel the open orders of a client that no longer responds."""
    account_fills: bool
    """Whether the fills of all symbols are one list. Else each symbol takes a request of its own."""

    def check_order(self, order: NewOrder) -> None:
        """Raises OrderRefused for an order with a feature that the venue does not have."""
        if order.reduce_only and not self.reduce_only:
            raise OrderRefused(
                "reduce_only_unsupported", f"order {order.client_order_id}: the venue has no reduce-only"
            )

    def check_amend(self, client_order_id: str) -> None:
        """Raises OrderRefused where the venue cannot amend."""
        if not self.amend:
            raise OrderRefused(
                "amend_unsupported", f"order {client_order_id}: the venue has no amend; cancel and replace it"
            )

    def check_cancel_all(self, symbol: str | None) -> None:
        """Raises OrderRefused where the venue cannot cancel all orders of the symbol, or of the account."""
        scope = self.cancel_all
        if scope is CancelAllScope.NONE or (scope is CancelAllScope.SYMBOL and symbol is None):
            whose = "the account" if symbol is None else symbol
            raise OrderRefused(
                "cancel_all_unsupported",
                f"orders of {whose} not cancelled: the venue's scope is `{scope}`; cancel each order",
            )


class FeeRates(NamedTuple):
    """The fees of an account in a symbol, as fractions of the value: 0.001 is 0.1 %, a rebate is negative."""

    maker: Decimal
    """For an order that rested."""
    taker: Decimal
    """For an order that took liquidity."""


class Account(ABC):
    """One account at a venue. Its methods may be awaited on any event loop, once the adapter has started.

    The module's docstring lists what they raise. Queries change nothing, so they never raise
    `OutcomeUnknown`.
    """

    @property
    @abstractmethod
    def capabilities(self) -> AccountCapabilities:
        """What the account supports; constant."""

    @property
    @abstractmethod
    def arrives_within(self) -> float:
        """Seconds after `submit` raised `OutcomeUnknown` within which the order may still reach the venue.

        An order that the venue does not know after that time never arrives.
        """

    @property
    def is_volatile(self) -> bool:
        """Whether the account exists in this process only.

        Each is a new one: what it has at first is its opening, and it knows only its own fills.
        """
        return False

    @property
    def has_stream(self) -> bool:
        """Whether a stream reports every order. Without one, reports cannot get lost."""
        return False

    @property
    def disconnects(self) -> int:
        """How often the account's stream was lost: each time, reports may have been missed.

        0 for an account whose reports cannot get lost.
        """
        return 0

    def fee_rates(self, symbol: str) -> FeeRates | None:  # noqa: ARG002
        """Returns the fee rates of a symbol; None where the venue does not state them. Does not wait."""
        return None

    async def time(self) -> int | None:
        """Returns the time that the venue stamps on fills and balances, in ns; None if its clock is ours."""
        return None

    @property
    @abstractmethod
    def reconciled(self) -> bool:
        """Whether everything that happened at the venue was reported; orders are refused until then."""

    async def reconnect(self) -> None:
        """Closes the stream, whose reports are missing, and connects it again. Needs `has_stream`."""
        raise NotImplementedError(f"{type(self).__name__} has no stream")

    @abstractmethod
    async def submit(self, order: NewOrder, last_check: LastCheck = unchecked) -> OrderSnapshot:
        """Sends an order; returns the venue's answer. Fills arrive as reports.

        `last_check` comes after every wait of the account, for a connection or a rate limit.
        """

    @abstractmethod
    async def cancel(self, symbol: str, client_order_id: str) -> OrderSnapshot:
        """Cancels an open order; returns the order. It has ended only if its state is final."""

    @abstractmethod
    async def cancel_all(self, symbol: str | None = None) -> None:
        """Cancels all open orders of a symbol or of the account, those of other clients included.

        Their ends arrive as reports.
        """

    @abstractmethod
    async def amend(
        self,
        symbol: str,
        client_order_id: str,
        *,
        quantity: Decimal | None = None,
        price: Decimal | None = None,
        last_check: LastCheck = unchecked,
    ) -> OrderSnapshot:
        """Changes an open order's price, its whole quantity (the filled part included), or both.

        Returns the order after the change. `last_check` is that of `submit`.
        """

    @abstractmethod
    async def order(self, symbol: str, client_order_id: str) -> OrderSnapshot | None:
        """Returns an order as the venue has it; None when the venue does not know the id.

        After an `OutcomeUnknown` of `submit`, the order may still arrive. Until `arrives_within` has passed,
        an order that the venue does not know raises VenueUnavailable with code `unsettled`.
        """

    @abstractmethod
    async def open_orders(self) -> Sequence[OrderSnapshot]:
        """Returns all open orders, oldest first, those of other clients included."""

    @abstractmethod
    async def fills_since(self, marks: Mapping[str, FillMark]) -> Sequence[Fill]:
        """Returns the fills of symbols, each from its mark on, oldest first; those of other clients included.

        A fill at its mark is returned again. Without marks, nothing is requested.
        """

    @abstractmethod
    async def balances(self) -> Mapping[str, Balance]:
        """Returns the balances of the account, by currency."""
