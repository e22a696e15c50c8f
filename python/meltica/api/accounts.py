"""The four lines of an account, the entries of what is not ours, and its lost orders.

Times are milliseconds; amounts are exact, as text.
"""

from msgspec import UNSET, UnsetType

from meltica.api.envelope import Schema
from meltica.api.operations import Request
from meltica.model.enums import Mode, OrderState

Text = str | UnsetType


class Line(Schema, frozen=True, kw_only=True):
    """One currency of an account: `venue` = `instances` + `notOurs` + `difference`."""

    mode: Mode
    currency: str
    venue: Text = UNSET
    """The venue's total with all later flows; absent before the first balance, like `difference`."""
    instances: str
    """What the fills of our orders add up to."""
    not_ours: str
    """The sum of the entries of `/providers/{name}/ledger`."""
    difference: Text = UNSET
    """What neither explains; a fault once it has lasted."""
    fault: bool
    """Whether the difference has lasted: orders that add risk in the currency are refused."""


class LostOrder(Schema, frozen=True, kw_only=True):
    """An order at the venue with the mark of this home that the database does not have."""

    mode: Mode
    client_order_id: str


class Lines(Schema, frozen=True, kw_only=True):
    """The lines of an account."""

    trading: bool
    """Whether trading was started; lines exist only then."""
    lines: list[Line]
    """One for each mode and currency."""
    lost_orders: list[LostOrder]
    """Orders at the venue that the database does not have."""


class LedgerEntry(Schema, frozen=True, kw_only=True):
    """An amount of an account that belongs to no instance."""

    id: int
    provider: str
    mode: Mode
    kind: str
    """`opening`, `deposit`, `withdrawal`, `foreign_fill`, `booking` or `inventory`."""
    venue_id: str
    """The venue's id of the entry, or one of Meltica's."""
    currency: str
    amount: str
    """In `currency`; negative if it left."""
    booked_at: int
    """When, in milliseconds."""
    booked_by: Text = UNSET
    """The client, of a booking or a release."""
    note: Text = UNSET
    """The reason that the client gave."""


class LedgerEntries(Schema, frozen=True, kw_only=True):
    """Entries, the latest first."""

    entries: list[LedgerEntry]
    """The entries of this page."""
    count: int
    """How many entries this response has."""
    cursor: Text = UNSET
    """Where the next page begins; absent on the last one."""


class BookRequest(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The booking of a difference as not ours."""

    mode: Mode
    currency: str
    amount: str
    """The difference as it is now, so that it is not booked twice."""


class Booked(Schema, frozen=True, kw_only=True):
    """A difference that was booked."""

    provider: str
    mode: Mode
    currency: str
    amount: str
    """What was booked."""
    recorded: bool | UnsetType = UNSET
    """False while the booking acts and is not in the database yet; absent otherwise."""


class DisownRequest(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The cancel of a lost order, whose fills belong to no instance."""

    mode: Mode
    client_order_id: str


class AdoptRequest(DisownRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The assignment of a lost order to an instance, which its fills then belong to."""

    instance: str


class LostOrderChange(Schema, frozen=True, kw_only=True):
    """A lost order after it was adopted or disowned."""

    mode: Mode
    client_order_id: str
    order_id: Text = UNSET
    """Of the instance's order, see `/orders/{id}`; absent if it has none, or not yet."""
    state: OrderState | UnsetType = UNSET
    """Of that order; absent like `orderId`."""
    recorded: bool | UnsetType = UNSET
    """False while the request goes on, or is not in the database yet; absent otherwise."""
