"""`/strategy/instances/{id}/orders`: the orders of an instance, in the spelling of the contract.

Times are milliseconds since the epoch; amounts are exact, as text.
"""

from typing import Any, Self

import msgspec
from msgspec import UNSET, Struct, UnsetType

from meltica.api import contract
from meltica.api.envelope import JsonObject, Schema
from meltica.model.enums import Mode, OrderState, OrderType, Side, TimeInForce


class Order(Struct, rename=dict(contract.ORDER), frozen=True, kw_only=True):
    """An order."""

    id: str
    client_order_id: str
    """The id that the venue gets."""
    venue_order_id: str | UnsetType = UNSET
    """The id of the venue; absent until the venue has the order."""
    provider: str
    instance: str
    mode: Mode
    symbol: str
    side: Side
    order_type: OrderType
    """As requested."""
    time_in_force: TimeInForce
    """As sent: a market order leaves as IOC."""
    post_only: bool
    """Whether it may only enter the book."""
    reduce_only: bool
    """Whether it may only reduce the position."""
    quantity: str
    """In the base currency."""
    price: str | UnsetType = UNSET
    """The requested limit; absent for market orders."""
    limit_price: str
    """The limit that is sent; for market orders the edge of the price band."""
    filled_quantity: str
    """What has filled, in the base currency."""
    average_price: str | UnsetType = UNSET
    """Of all fills; absent without any."""
    fees: dict[str, str]
    """Sum of the fees by currency; negative for rebates."""
    state: OrderState
    reason: str | UnsetType = UNSET
    """Why it was refused, or ended before it was filled; absent otherwise."""
    cancel_wanted: bool
    """Whether a cancel is repeated until the order has ended."""
    tag: str | UnsetType = UNSET
    """What the strategy calls it."""
    expires_at: int | UnsetType = UNSET
    """When the venue ends it; absent if it does not."""
    intent_at: int
    """When the strategy requested the order."""
    sent_at: int | UnsetType = UNSET
    """When it was sent; absent before."""
    acknowledged_at: int | UnsetType = UNSET
    """When the venue first acknowledged it; absent before."""
    ended_at: int | UnsetType = UNSET
    """When it ended; absent before."""
    metadata: JsonObject
    """What the adapter adds."""
    created_at: int
    updated_at: int

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        """Returns the schema of an order with our names and types."""
        return msgspec.convert(contract.order_to_contract(values), cls)


class Orders(Schema, frozen=True, kw_only=True):
    """Orders, the latest request first."""

    orders: list[Order]
    """The orders of this page."""
    count: int
    """How many orders this response has."""
    cursor: str | UnsetType = UNSET
    """Where the next page begins; absent on the last one."""
