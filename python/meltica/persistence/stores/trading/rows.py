"""The rows of trading: one struct per table, whose fields are the columns that trading writes.

Times are nanoseconds since the epoch. Amounts are exact and keep their digits.
"""

from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any, ClassVar, Self, TypeVar
from uuid import UUID

import msgspec

from meltica.model.enums import FillRule, Liquidity, Mode, OrderState, OrderType, Side, TimeInForce

ZERO = Decimal(0)
LONGEST_TEXT = 1000


class EntryKind(StrEnum):
    """Why an amount of an account belongs to no instance."""

    OPENING = "opening"
    DEPOSIT = "deposit"
    WITHDRAWAL = "withdrawal"
    FOREIGN_FILL = "foreign_fill"
    BOOKING = "booking"
    """An operator's."""
    INVENTORY = "inventory"
    """Moved to a position, or released by one."""


class HaltScope(StrEnum):
    """What a halt stops."""

    GLOBAL = "global"
    PROVIDER = "provider"
    INSTANCE = "instance"


class OperatorAction(StrEnum):
    """What an operator may do to trading."""

    HALT = "halt"
    RESUME = "resume"
    FLATTEN = "flatten"
    RESOLVE = "resolve"
    """Ends an order whose state is unknown."""
    BOOK = "book"
    """Explains a difference of a balance."""
    QUERY = "query"
    ADOPT = "adopt"
    """Gives an order that the database has lost to an instance."""
    DISOWN = "disown"
    """Cancels an order that the database has lost, and books its fills as foreign."""
    RELEASE = "release"
    """Moves the positions of an instance to what belongs to none."""
    CANCEL = "cancel"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A row that the group-commit writer writes."""

    free_text: ClassVar[tuple[str, ...]] = ()
    """Columns with foreign text that identifies nothing, so that it may be shortened."""


RowType = TypeVar("RowType", bound=Row)


def clean(row: RowType) -> RowType:
    """Returns a row whose free text can be stored: valid, without NUL, and at most 1,000 characters each."""
    changes: dict[str, str] = {}
    for name in row.free_text:
        text: str | None = getattr(row, name)
        if text is not None and (storable := _storable(text)) != text:
            changes[name] = storable
    return msgspec.structs.replace(row, **changes) if changes else row


def _storable(text: str) -> str:
    if len(text) <= LONGEST_TEXT and text.isascii() and "\0" not in text:
        return text
    # Strings of Python may contain halves of surrogate pairs, which UTF-8 does not have.
    valid = text[:LONGEST_TEXT].encode("utf-8", "replace").decode()
    return valid.replace("\0", "\N{REPLACEMENT CHARACTER}")


class TriggerEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The event of a callback. What ends in `_time` is of the wall clock, what ends in `_at` of trading's."""

    sequence: int
    kind: str
    provider: str
    symbol: str
    venue_time: int | None = None
    """The time by the venue; None if it sends none."""
    received_time: int
    received_at: int
    dispatched_at: int
    """When it was numbered and routed."""
    read_at: int
    """When the host of the instance began the round of deliveries that has it."""


class Trigger(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The callback in which a strategy requested an order."""

    callback_at: int
    """When it began."""
    event: TriggerEvent | None = None
    """None for a timer, a callback of an order, or the start."""


class OrderRow(Row, frozen=True, kw_only=True):
    """A row of the table `orders`: an order as it is now."""

    free_text: ClassVar[tuple[str, ...]] = ("reason",)

    id: UUID
    client_order_id: str
    instance: str
    uid: UUID
    mode: Mode
    revision: str | None = None
    provider: str
    symbol: str
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    post_only: bool = False
    reduce_only: bool = False
    quantity: Decimal
    price: Decimal | None = None
    limit_price: Decimal
    tag: str | None = None
    expires_at: int | None = None
    state: OrderState = OrderState.PENDING
    venue_order_id: str | None = None
    filled_quantity: Decimal = ZERO
    filled_cost: Decimal = ZERO
    reason: str | None = None
    cancel_wanted: bool = False
    amendment_price: Decimal | None = None
    amendment_quantity: Decimal | None = None
    amendment_sent_at: int | None = None
    amendment_unknown: bool | None = None
    """Whether the outcome of the amendment in flight is unknown; None without an amendment."""
    intent_at: int
    approved_at: int | None = None
    committed_at: int | None = None
    sent_at: int | None = None
    acknowledged_at: int | None = None
    ended_at: int | None = None
    venue_time: int | None = None
    end_report: int | None = None
    """The number of the report of its end."""
    trigger: Trigger | None = None
    """The callback that requested it; None outside of the callbacks."""
    metadata: dict[str, Any] = {}


class FillRow(Row, frozen=True, kw_only=True):
    """A row of the table `fills`. Its order must be in the database or in the same batch."""

    order_id: UUID
    execution_id: str
    provider: str
    instance: str
    """That of the order, like the provider."""
    quantity: Decimal
    price: Decimal
    fee: Decimal | None = None
    fee_currency: str | None = None
    liquidity: Liquidity | None = None
    rule: FillRule | None = None
    """For paper only."""
    trade_id: str | None = None
    traded_at: int
    """The venue's time."""
    booked_at: int | None = None
    """When trading booked it; None for a fill of an earlier version."""
    recovered: bool = False
    report: int
    """The number of the report, ascending over all fills and ends of orders; checkpoints name it."""
    metadata: dict[str, Any] = {}


class PositionRow(Row, frozen=True, kw_only=True):
    """A row of the table `positions`: a position after its last fill."""

    instance: str
    uid: UUID
    mode: Mode
    revision: str | None = None
    provider: str
    symbol: str
    quantity: Decimal
    cost: Decimal
    """What the open quantity cost."""
    realised: Decimal = ZERO
    fees: dict[str, Decimal] = {}
    peak: Decimal = ZERO
    updated_at: int


class BalanceRow(Row, frozen=True, kw_only=True):
    """A row of the table `balances`: a balance as the venue reported it."""

    provider: str
    mode: Mode
    currency: str
    total: Decimal
    available: Decimal
    snapshot_at: int
    metadata: dict[str, Any] = {}


class LedgerEntryRow(Row, frozen=True, kw_only=True):
    """A row of the table `ledger_entries`: what an account owns and no instance does."""

    free_text: ClassVar[tuple[str, ...]] = ("note",)

    provider: str
    mode: Mode
    kind: EntryKind
    venue_id: str
    """The venue's id, or one of ours; with kind and currency it is booked once."""
    currency: str
    amount: Decimal
    booked_at: int
    """The venue's time, or ours for what the venue does not report."""
    booked_by: str | None = None
    note: str | None = None


class HaltRow(Row, frozen=True, kw_only=True):
    """A row of the table `halts`."""

    free_text: ClassVar[tuple[str, ...]] = ("reason",)

    scope: HaltScope
    subject: str = ""
    """The provider or the instance; empty for the global scope."""
    rule: str
    reason: str
    halted_by: str = "meltica"
    mode: Mode | None = None
    """The mode that it stops; None for both."""


class RiskStateRow(Row, frozen=True, kw_only=True):
    """A row of the table `risk_states`. A row of an earlier day than the stored one is not written."""

    scope: HaltScope
    subject: str = ""
    mode: Mode
    day: date | None = None
    currency: str
    opening: Decimal | None = None
    profit: Decimal | None = None
    peak: Decimal | None = None
    base: Decimal | None = None
    valued_at: int = 0
    breaches: list[int] = []
    breaker_until: int = 0
    breaker_cooldown: int = 0
    throttle_full_at: int | None = None
    updated_at: int


class Verdict(StrEnum):
    """What a breach led to."""

    COUNTED = "counted"
    COOLDOWN = "cooldown"
    HALT = "halt"


class RefusalRow(Row, frozen=True, kw_only=True):
    """A row of the table `refusals`: one refusal, or the first of several ones of a kind and their count."""

    free_text: ClassVar[tuple[str, ...]] = ("message", "seen", "limit")

    refused_at: int
    instance: str
    uid: UUID
    mode: Mode
    revision: str | None = None
    provider: str
    symbol: str
    order_id: UUID | None = None
    rule: str
    message: str
    seen: str | None = None
    limit: str | None = None
    verdict: Verdict | None = None
    count: int = 1
    last_refused_at: int
    intent_at: int | None = None
    """When the strategy requested the order or the amendment; None if no strategy did."""
    trigger: Trigger | None = None
    """The callback that requested it."""


class CheckpointRow(Row, frozen=True, kw_only=True):
    """A row of the table `checkpoints`: what a strategy saved, at most 1 MiB of JSON."""

    uid: UUID
    mode: Mode
    instance: str
    revision: str | None = None
    state: str
    """JSON."""
    last_report: int
    saved_at: int


class WatermarkRow(Row, frozen=True, kw_only=True):
    """A row of the table `watermarks`. One that is older than the stored one is not written."""

    provider: str
    mode: Mode
    symbol: str = ""
    """Empty for the whole account."""
    venue_time: int
    venue_id: str | None = None


class ReconciliationRow(Row, frozen=True, kw_only=True):
    """A row of the table `reconciliations`."""

    provider: str
    mode: Mode
    cause: str
    started_at: int
    ended_at: int
    agreed: bool
    found: dict[str, Any]


class OperatorActionRow(Row, frozen=True, kw_only=True):
    """A row of the table `operator_actions`."""

    free_text: ClassVar[tuple[str, ...]] = ("reason",)

    action: OperatorAction
    subject: str
    acted_by: str
    reason: str
    acted_at: int
    details: dict[str, Any] = {}


class DeadLetterRow(Row, frozen=True, kw_only=True):
    """A row of the table `dead_letters`: what could not be stored as it was."""

    source: str
    """The table that it was for, or what received it."""
    error: str
    raw: str
    """The bytes in the form that PostgreSQL reads."""

    @classmethod
    def of(cls, source: str, error: str, raw: bytes) -> Self:
        """Returns the row of raw bytes."""
        return cls(source=source, error=error.replace("\0", ""), raw=f"\\x{raw.hex()}")
