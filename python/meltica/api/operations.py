"""The bodies and results of operations on trading: halts, and what is done to orders."""

from uuid import UUID

from msgspec import UNSET, UnsetType

from meltica.api.envelope import Schema
from meltica.api.executions import Execution
from meltica.api.orders import Order
from meltica.model.enums import Mode, OrderState

Milliseconds = int | UnsetType


class Request(Schema, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why an operation is requested; recorded with the client."""

    reason: str
    """Why; at most 4,096 bytes, recorded with the client."""


class ScopeRequest(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An operation on a scope."""

    scope: str = "global"
    """`global`, `provider:NAME` or `instance:ID`."""


class CancelRequest(ScopeRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A cancel of the open orders of a scope."""

    symbol: str | UnsetType = UNSET
    """Only the orders of this symbol; of all symbols if absent."""


class ReleaseRequest(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A move of the positions of an instance to what belongs to none."""

    mode: Mode
    uid: UUID | UnsetType = UNSET
    """Which creation of the instance; needed if several have positions."""


class ResolveRequest(Request, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The end of an order whose state is unknown, as the operator found it at the venue."""

    state: OrderState
    """CANCELLED, REJECTED or EXPIRED."""


class ScopeChange(Schema, frozen=True, kw_only=True):
    """The result of a halt or a resume."""

    scope: str
    halted: bool
    """Whether only orders that reduce and cancels pass."""
    changed: bool | UnsetType = UNSET
    """False if the scope was in this state before; absent while that is not recorded."""
    recorded: bool | UnsetType = UNSET
    """False while the change acts and is not in the database yet; absent otherwise."""


class Unclosed(Schema, frozen=True, kw_only=True):
    """A position that was not sold, and why."""

    instance: str
    provider: str
    symbol: str
    mode: Mode
    rule: str
    """The rule that refused the sale."""
    message: str
    """Text for people."""


class FlattenResult(Schema, frozen=True, kw_only=True):
    """The result of a flatten. The scope stays halted."""

    scope: str
    complete: bool
    """False while orders or sales have not ended, or a position could not be sold."""
    open: list[str]
    """Ids of orders that have not ended; they are cancelled until they have."""
    closing: list[str]
    """Ids of the orders that sell the positions."""
    unclosed: list[Unclosed]
    """Positions that could not be sold."""


class CancelResult(Schema, frozen=True, kw_only=True):
    """The result of a cancel of several orders."""

    scope: str
    orders: list[str]
    """Ids of the orders whose cancel was requested."""
    recorded: bool | UnsetType = UNSET
    """False while the request is not in the database yet; absent otherwise."""


class OrderTimes(Schema, frozen=True, kw_only=True):
    """When an order passed each step, in milliseconds; absent for a step that it did not reach."""

    intent: int
    """The strategy requested it."""
    approved: Milliseconds = UNSET
    """Risk approved it."""
    committed: Milliseconds = UNSET
    """The database had it."""
    sent: Milliseconds = UNSET
    """It left."""
    acknowledged: Milliseconds = UNSET
    """The venue first acknowledged it."""
    venue: Milliseconds = UNSET
    """The venue's time of its last report."""
    ended: Milliseconds = UNSET
    """It ended."""


class OrderDetail(Schema, frozen=True, kw_only=True):
    """An order with its whole life."""

    order: Order
    """The order."""
    times: OrderTimes
    """When it passed each step."""
    executions: list[Execution]
    """Its fills, the latest first."""


class OrderChange(Schema, frozen=True, kw_only=True):
    """An order after an operation was requested; its further states arrive from the venue."""

    id: str
    state: OrderState
    cancel_wanted: bool
    """Whether a cancel is repeated until it has ended."""
    recorded: bool | UnsetType = UNSET
    """False while the request is not in the database yet; absent otherwise."""
