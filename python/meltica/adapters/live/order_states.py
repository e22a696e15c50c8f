"""How states of orders and sums of fills compare."""

from collections.abc import Iterable, Iterator
from decimal import Decimal

from meltica.model.enums import OrderState
from meltica.model.fills import Fill
from meltica.model.orders import OrderSnapshot

_RANKS = {OrderState.UNKNOWN: -1, OrderState.PENDING: -1, OrderState.ACK: 0, OrderState.PARTIAL: 1}
_FINAL_RANK = 2


def sums(fills: Iterable[Fill]) -> Iterator[tuple[Fill, Decimal]]:
    """Yields each fill with the sum of its order's fills up to it."""
    filled: dict[tuple[str, str], Decimal] = {}
    for fill in fills:
        key = fill.client_order_id, fill.venue_order_id
        filled[key] = filled.get(key, Decimal(0)) + fill.quantity
        yield fill, filled[key]


def rank(order: OrderSnapshot) -> int:
    """Returns how far an order has come: a later state does not have a lower rank."""
    return _RANKS.get(order.state, _FINAL_RANK)


def advances(order: OrderSnapshot, last: OrderSnapshot) -> bool:
    """Returns whether an order says more than what was published of it."""
    if order.filled_quantity != last.filled_quantity:
        return order.filled_quantity > last.filled_quantity
    if rank(order) != rank(last):
        return rank(order) > rank(last)
    amended = (order.price, order.quantity) != (last.price, last.quantity)
    return amended and not order.state.is_final and (order.time or 0) >= (last.time or 0)


def is_another(venue_order_id: str | None, last: OrderSnapshot) -> bool:
    """Returns whether a venue order id is not that of the order that was published under the same client
    order id.
    """
    if venue_order_id is None or venue_order_id == last.venue_order_id:
        return False
    return last.venue_order_id is not None or last.state.is_final


def same_venue_id(one: OrderSnapshot, other: OrderSnapshot) -> bool:
    """Returns whether two reports under one client order id can be of one order."""
    ids = {one.venue_order_id, other.venue_order_id} - {None}
    return len(ids) <= 1
