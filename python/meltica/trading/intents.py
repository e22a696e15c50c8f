"""What a strategy requests: the callback that led to it, and the order that it becomes."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from meltica.persistence.stores.trading.rows import Trigger, TriggerEvent
from meltica.trading.order import Intent, OrderRecord
from meltica.trading.risk.approved import ApprovedOrder, OrderRequest

if TYPE_CHECKING:
    from meltica._core import Trigger as CoreTrigger

TriggerOf = Callable[[], "CoreTrigger | None"]
"""Returns what led to the callback that runs on this thread; None outside of the callbacks of an instance."""


def trigger_at(now: int, trigger: "CoreTrigger | None") -> Trigger | None:
    """Returns what led to a callback by trading's clock, whose time is `now`."""
    if trigger is None:
        return None
    event = trigger.event
    of_event = None
    if event is not None:
        of_event = TriggerEvent(
            sequence=event.sequence,
            kind=event.kind,
            provider=event.provider,
            symbol=event.symbol,
            venue_time=event.venue_time,
            received_time=event.received_time,
            received_at=now - event.received_age,
            dispatched_at=now - event.dispatched_age,
            read_at=now - event.read_age,
        )
    return Trigger(callback_at=now - trigger.callback_age, event=of_event)


def record_of(
    request: OrderRequest,
    approved: ApprovedOrder,
    intent: Intent,
    client_order_id: str,
    *,
    approved_at: int,
    expires_at: int | None,
    tag: str | None,
) -> OrderRecord:
    """Returns a new order, which risk has approved."""
    return OrderRecord(
        id=request.order_id,
        client_order_id=client_order_id,
        owner=request.owner,
        provider=request.provider,
        symbol=request.symbol,
        side=request.side,
        order_type=request.order_type,
        time_in_force=approved.time_in_force,
        quantity=approved.quantity,
        price=request.price,
        limit_price=approved.limit_price,
        post_only=request.post_only,
        reduce_only=request.reduce_only,
        tag=tag,
        expires_at=expires_at,
        intent_at=intent.at,
        approved_at=approved_at,
        trigger=intent.trigger,
    )
