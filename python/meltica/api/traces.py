"""`/orders/{id}/trace` and `/deliveries/slowest`: orders and events as waterfalls."""

from enum import StrEnum

from msgspec import UNSET, UnsetType

from meltica.api.envelope import Schema
from meltica.model.enums import Mode, OrderState

Text = str | UnsetType
Number = int | UnsetType


class Span(StrEnum):
    """What the time before a step was spent with."""

    WORK = "work"
    """Code of Meltica or of the strategy ran."""
    WAIT = "wait"
    """It waited for its turn."""
    VENUE = "venue"
    """It was with the venue, or on the way from or to it."""


class TraceEvent(Schema, frozen=True, kw_only=True):
    """The event of a callback."""

    sequence: int
    """Its global number since the start of the gateway."""
    kind: str
    """Such as Trade or Ticker."""
    provider: str
    symbol: str


class TraceStep(Schema, frozen=True, kw_only=True):
    """One step that was reached."""

    step: str
    """`venue`, `received`, `dispatched`, `read`, `callback`, `intent`, `approved`, `refused`, `committed`,
    `sent`, `acknowledged`, `filled` or `ended`; of a delivery also `returned`, the end of the callback."""
    at: int
    """When, in milliseconds."""
    after_ns: Number = UNSET
    """The time since the step before it; negative if the clocks of both disagree; absent for the first."""
    span: Span | UnsetType = UNSET
    """What that time was spent with; absent for the first."""
    quantity: Text = UNSET
    """Of a fill, in the base currency."""
    price: Text = UNSET
    """Of a fill."""
    recovered: bool | UnsetType = UNSET
    """True for a fill that was found by reconciling; absent otherwise."""


class TraceRefusal(Schema, frozen=True, kw_only=True):
    """The refusal of the order, or of an amendment of it."""

    rule: str
    """The rule that refused."""
    message: str
    """Text for people."""
    seen: Text = UNSET
    """What the rule saw; absent without a number."""
    limit: Text = UNSET
    """Its limit; absent without one."""
    count: int
    """How many refusals it stands for: this one, and later ones of the same kind."""
    refused_at: int
    """When, in milliseconds."""


class OrderTrace(Schema, frozen=True, kw_only=True):
    """An order, its steps in their order, and how long it was with what until the venue had it."""

    id: str
    instance: str
    mode: Mode
    provider: Text = UNSET
    """Absent if the order was refused before its provider was clear, like the symbol."""
    symbol: Text = UNSET
    state: OrderState | UnsetType = UNSET
    """Absent if the order was refused before it existed."""
    reason: Text = UNSET
    """Why it was refused, or ended before it was filled; absent otherwise."""
    event: TraceEvent | UnsetType = UNSET
    """The event whose callback requested it; absent for a timer, a callback of an order and the like."""
    steps: list[TraceStep]
    """The steps that were reached; others are absent."""
    work_ns: int
    """The time of all steps of `span` `work`, until the venue acknowledged the order."""
    wait_ns: int
    """The same of `wait`."""
    venue_ns: int
    """The same of `venue`, from the receipt of the event on."""
    refusals: list[TraceRefusal]
    """Why the order was refused, or amendments of it; the latest first."""


class SlowDelivery(Schema, frozen=True, kw_only=True):
    """The delivery of an event to an instance."""

    instance: str
    event: TraceEvent
    """The event."""
    steps: list[TraceStep]
    """The steps that were reached, up to `returned`."""
    total_ns: int
    """The time from `dispatched` to `returned`, by which deliveries are compared."""


class SlowDeliveries(Schema, frozen=True, kw_only=True):
    """The slowest deliveries of the last minute, at most 50, the slowest first."""

    deliveries: list[SlowDelivery]
    """The deliveries; events without a callback are not among them."""
    count: int
    """How many entries this response has."""
