"""Effects: what the state machine of an order requests after an event, in the order in which to do it."""

from enum import StrEnum
from typing import NamedTuple

from meltica.model.fills import Fill
from meltica.trading.order import Amendment, OrderRecord


class CallbackKind(StrEnum):
    """The callbacks of the owner, by name."""

    ACKNOWLEDGED = "on_order_acknowledged"
    PARTIAL_FILL = "on_order_partial_fill"
    FILLED = "on_order_filled"
    CANCELLED = "on_order_cancelled"
    REJECTED = "on_order_rejected"
    EXPIRED = "on_order_expired"
    UNKNOWN = "on_order_unknown"
    AMENDED = "on_order_amended"
    AMEND_REJECTED = "on_order_amend_rejected"
    CANCEL_REJECTED = "on_order_cancel_rejected"


class FaultCode(StrEnum):
    """What should not happen with an order."""

    FILL_AFTER_END = "fill_after_end"
    """A fill arrived after the order had ended. It is booked."""
    OVERFILLED = "overfilled"
    """The fills exceed the quantity of the order. They are booked."""
    FILL_MISMATCH = "fill_mismatch"
    """A fill under the id of the order has another symbol or side, or no quantity. It is not booked."""
    ORDER_MISMATCH = "order_mismatch"
    """A report under the id of the order has another symbol, side or venue order id. It is ignored."""
    REFUSED_BUT_REPORTED = "refused_but_reported"
    """The venue refused an order that it had reported as accepted or filled."""
    EVENT_FAILED = "event_failed"
    """An event could not be applied, such as a report with impossible numbers. The order is cancelled."""
    OPEN_AFTER_END = "open_after_end"
    """The venue has an order open that has ended for us. It is cancelled."""
    LEFT_OPEN = "left_open"
    """The venue keeps an IOC or FOK order open. It is cancelled."""


class WriteOrder(NamedTuple):
    """Write the order's row with the next commit."""


class BookFill(NamedTuple):
    """Write a new fill, and apply it to position and balances."""

    fill: Fill
    recovered: bool
    """Whether it was found by reconciling, not reported by the stream."""


class Submit(NamedTuple):
    """Send the order now. Requested once in the life of an order."""


class SubmitAmendment(NamedTuple):
    """Send an amendment now. Requested once for each amendment."""

    amendment: Amendment


class SendCancel(NamedTuple):
    """Send a cancel now. Repeated until the venue reports the end of the order."""


class QueryOrder(NamedTuple):
    """Query the order at the venue; pass the answer to `reported` or `not_found`."""


class QueryFills(NamedTuple):
    """Query the fills of the order; pass each to `filled`."""


class CheckForgotten(NamedTuple):
    """Query fills and balances; pass each fill to `filled`, then to `forgotten` whether both agree."""


class Callback(NamedTuple):
    """Call the owner."""

    kind: CallbackKind
    order: OrderRecord
    """A copy of the order as it was at this moment."""
    fill: Fill | None = None
    recovered: bool = False
    reason: str | None = None
    """Why a cancel or an amendment was rejected."""


class Fault(NamedTuple):
    """Report a fault, as a log entry, a metric and an event."""

    code: FaultCode
    detail: str


Effect = (
    WriteOrder
    | BookFill
    | Submit
    | SubmitAmendment
    | SendCancel
    | QueryOrder
    | QueryFills
    | CheckForgotten
    | Callback
    | Fault
)
