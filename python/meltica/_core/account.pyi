"""Events of the account: reports on orders, balances and risk checks. These kinds are never dropped.

Numbers have two forms, as in `meltica._core.events`: `report.price` is a float, `report.price_decimal` the exact
`Decimal`.
"""

from decimal import Decimal
from typing import final

from meltica._core.events import Event
from meltica.model.enums import Side

__all__ = ["BalanceUpdate", "ExecReport", "RiskControl"]

@final
class ExecReport(Event):
    """A report on an order of the account: the order's state and, if one caused the report, a fill.

    `fee` belongs to the whole order so far. `execution_id`, `liquidity` and the fields that start with `last_`
    belong to the fill; they are None in a report without a fill.

    The states, of which four are final:

    - `ACK`: the venue accepted the order.
    - `PARTIAL`: filled in part, and still open.
    - `FILLED` (final): filled completely.
    - `CANCELLED` (final): cancelled; may be filled in part.
    - `REJECTED` (final): the venue refused the order.
    - `EXPIRED` (final): the remainder expired, as of an IOC or market order.
    - `UNKNOWN`: the venue no longer knows an order that was open; a later report replaces this state.

    Adapters and the simulator publish it. A `Lambda` receives callbacks of its orders instead: `on_order_filled`.

    Immutable. In a test: `meltica.testing.event("ExecReport", "BTC-USDT", client_order_id="a1", state="ACK",
    side="Buy", order_type="Limit", price="100", quantity="1", filled_quantity="0")`.
    """

    @property
    def client_order_id(self) -> str:
        """str: The client's id of the order: 1 to 18 of `0-9` and `a-z` for an order that Meltica sends."""
    @property
    def venue_order_id(self) -> str | None:
        """str | None: The venue's id of the order; None while it has not assigned one."""
    @property
    def state(self) -> str:
        """str: One of the states in the class's description; equal to a member of `meltica.adapters.OrderState`."""
    @property
    def side(self) -> Side:
        """meltica.Side: Side of the order."""
    @property
    def order_type(self) -> str:
        """str: `Limit` or `Market`; equal to a member of `meltica.OrderType`."""
    @property
    def time_in_force(self) -> str | None:
        """str | None: `GTC`, `IOC` or `FOK`, as in `meltica.TimeInForce`; None if not sent."""
    @property
    def price(self) -> float | None:
        """float | None: Limit price, in quote currency; None for a market order."""
    @property
    def price_decimal(self) -> Decimal | None:
        """Decimal | None: The exact `price`; None if `price` is None."""
    @property
    def quantity(self) -> float:
        """float: Ordered quantity, in base currency."""
    @property
    def quantity_decimal(self) -> Decimal:
        """Decimal: The exact `quantity`."""
    @property
    def filled_quantity(self) -> float:
        """float: Quantity filled so far, in base currency."""
    @property
    def filled_quantity_decimal(self) -> Decimal:
        """Decimal: The exact `filled_quantity`."""
    @property
    def remaining_quantity(self) -> float | None:
        """float | None: Quantity still open, in base currency; None if not sent."""
    @property
    def remaining_quantity_decimal(self) -> Decimal | None:
        """Decimal | None: The exact `remaining_quantity`; None if `remaining_quantity` is None."""
    @property
    def average_price(self) -> float | None:
        """float | None: Average price of all fills so far, in quote currency; None without a fill."""
    @property
    def average_price_decimal(self) -> Decimal | None:
        """Decimal | None: The exact `average_price`; None if `average_price` is None."""
    @property
    def fee(self) -> float | None:
        """float | None: Fee of all fills so far, in `fee_currency`; None if not sent."""
    @property
    def fee_decimal(self) -> Decimal | None:
        """Decimal | None: The exact `fee`; None if `fee` is None."""
    @property
    def fee_currency(self) -> str | None:
        """str | None: Currency of `fee`; None if not sent."""
    @property
    def reason(self) -> str | None:
        """str | None: Code of why the order was rejected, expired or became unknown; None if not sent.

        Meltica's own code is `unknown_to_venue`, in state `UNKNOWN`. All others are the venue's. The simulator has
        `invalid_quantity`, `invalid_price`, `tick_size`, `lot_size`, `min_quantity`, `max_quantity`,
        `min_notional`, `would_cross`, `unfillable`, `insufficient_funds`, `unknown_account`, `overflow` and
        `book_full`.
        """
    @property
    def execution_id(self) -> str | None:
        """str | None: The venue's id of the fill; None without a fill."""
    @property
    def last_quantity(self) -> float | None:
        """float | None: Quantity of the fill, in base currency; None without a fill."""
    @property
    def last_quantity_decimal(self) -> Decimal | None:
        """Decimal | None: The exact `last_quantity`; None if `last_quantity` is None."""
    @property
    def last_price(self) -> float | None:
        """float | None: Price of the fill, in quote currency; None without a fill."""
    @property
    def last_price_decimal(self) -> Decimal | None:
        """Decimal | None: The exact `last_price`; None if `last_price` is None."""
    @property
    def liquidity(self) -> str | None:
        """str | None: `maker` or `taker`, as in `meltica.adapters.Liquidity`; None without a fill or if not sent."""
    @property
    def last_fee(self) -> float | None:
        """float | None: Fee of the fill, in `last_fee_currency`; None without a fill or if not sent."""
    @property
    def last_fee_decimal(self) -> Decimal | None:
        """Decimal | None: The exact `last_fee`; None if `last_fee` is None."""
    @property
    def last_fee_currency(self) -> str | None:
        """str | None: Currency of `last_fee`; None without a fill or if not sent."""

@final
class BalanceUpdate(Event):
    """A changed balance of the account; `symbol` is the currency.

    Immutable. In a test: `meltica.testing.event("BalanceUpdate", "USDT", total="10", available="8")`.
    """

    @property
    def total(self) -> float:
        """float: The whole balance, in the currency `symbol`."""
    @property
    def total_decimal(self) -> Decimal:
        """Decimal: The exact `total`."""
    @property
    def available(self) -> float:
        """float: The part of `total` that open orders do not hold, in the currency `symbol`."""
    @property
    def available_decimal(self) -> Decimal:
        """Decimal: The exact `available`."""
    @property
    def change(self) -> float | None:
        """float | None: Amount of the deposit or withdrawal, negative for a withdrawal; None for any other change."""
    @property
    def change_decimal(self) -> Decimal | None:
        """Decimal | None: The exact `change`; None if `change` is None."""
    @property
    def reason(self) -> str | None:
        """str | None: `deposit` or `withdrawal`; None for any other change."""
    @property
    def transfer_id(self) -> str | None:
        """str | None: The venue's id of the deposit or withdrawal; None for any other change."""

@final
class RiskControl(Event):
    """A risk check that tripped or cleared.

    Immutable. In a test: `meltica.testing.event("RiskControl", "BTC-USDT", strategy_id="a", status="TRIGGERED",
    reason="position too large", breach_type="position", kill_switch_engaged=True, circuit_breaker_open=False)`.
    """

    @property
    def strategy_id(self) -> str:
        """str: Id of the instance whose order was checked."""
    @property
    def status(self) -> str:
        """str: `TRIGGERED` or `CLEARED`."""
    @property
    def reason(self) -> str:
        """str: Explanation in one sentence."""
    @property
    def breach_type(self) -> str:
        """str: Code of the limit that was breached."""
    @property
    def metrics(self) -> dict[str, str]:
        """dict[str, str]: The values that were checked, by name; empty if there are none."""
    @property
    def kill_switch_engaged(self) -> bool:
        """bool: Whether the kill switch blocks new orders."""
    @property
    def circuit_breaker_open(self) -> bool:
        """bool: Whether the circuit breaker blocks new orders."""
