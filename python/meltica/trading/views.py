"""What a strategy sees of its orders and positions, from what trading keeps."""

from decimal import Decimal

from meltica.model.instruments import Instrument
from meltica.model.trader import Order, PositionView
from meltica.trading.exact import ZERO
from meltica.trading.order import OrderRecord, PositionKey
from meltica.trading.positions import Position
from meltica.trading.risk.market import Quote


def position_view(
    key: PositionKey, position: Position | None, instrument: Instrument | None, quote: Quote | None
) -> PositionView:
    """Returns the view of a position; of an empty one if it does not exist yet.

    Without an instrument, its rules do not count: no order can be placed then either.
    """
    if position is None:
        return PositionView(key.provider, key.symbol, ZERO, None, ZERO, True, ZERO, {})
    lot = (instrument and instrument.quantity_increment) or Decimal("1e-18")
    flat = position.is_flat(
        lot,
        (instrument and instrument.min_quantity) or ZERO,
        (instrument and instrument.min_notional) or ZERO,
        None if quote is None else quote.reference,
    )
    return PositionView(
        key.provider,
        key.symbol,
        position.quantity,
        position.average_price,
        position.sellable(lot),
        flat,
        position.realised,
        dict(position.fees),
    )


def update_order(order: Order, record: OrderRecord, *, recovered: bool) -> None:
    """Copies what trading keeps of an order to what the strategy sees of it."""
    order.id, order.client_order_id, order.venue_order_id = (
        record.id,
        record.client_order_id,
        record.venue_order_id,
    )
    order.mode, order.provider, order.symbol = record.owner.mode, record.provider, record.symbol
    order.side, order.order_type, order.time_in_force = record.side, record.order_type, record.time_in_force
    order.post_only, order.reduce_only, order.tag = record.post_only, record.reduce_only, record.tag
    order.quantity = record.quantity
    order.price = None if record.price is None else record.limit_price
    order.filled_quantity, order.average_price = record.filled_quantity, record.average_price
    order.fees, order.state, order.reason = dict(record.fees), record.state, record.reason
    order.pending_cancel = record.cancel_wanted and not record.state.is_final
    order.pending_amend = record.amendment is not None
    order.requested_at, order.sent_at = record.intent_at, record.sent_at
    order.acknowledged_at, order.ended_at = record.acknowledged_at, record.ended_at
    order.recovered = recovered
