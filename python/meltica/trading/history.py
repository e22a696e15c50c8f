"""What a strategy missed: the fills and ends of its orders between two reports, from the database."""

from typing import TYPE_CHECKING, NamedTuple

from meltica.model.enums import OrderState
from meltica.trading.effects import Callback, CallbackKind
from meltica.trading.order import Owner
from meltica.trading.stored import fill_of, order_record

if TYPE_CHECKING:
    from meltica.trading.service import Trading

_ENDS = {
    OrderState.FILLED: CallbackKind.FILLED,
    OrderState.CANCELLED: CallbackKind.CANCELLED,
    OrderState.REJECTED: CallbackKind.REJECTED,
    OrderState.EXPIRED: CallbackKind.EXPIRED,
}


class Missed(NamedTuple):
    """A callback that was missed, and the number of its report."""

    callback: Callback
    report: int


async def missed(trading: "Trading", owner: Owner, after: int, until: int) -> list[Missed]:
    """Returns the callbacks of fills and ends after a report, up to another, in their order.

    Each has the order as it is now. Raises DatabaseError.
    """
    ends = await trading.load(lambda loader: loader.ends_after(owner.uid, owner.mode, after))
    fills = await trading.load(lambda loader: loader.fills_after(owner.uid, owner.mode, after))
    ends = [row for row in ends if (row.end_report or 0) <= until]
    fills = [row for row in fills if row.report <= until]
    rows = {row.id: row for row in ends}
    others = {fill.order_id for fill in fills} - rows.keys()
    rows |= {row.id: row for row in await trading.load(lambda loader: loader.orders(others))}
    last = {fill.order_id: fill.report for fill in fills}
    events: list[Missed] = []
    for fill in fills:
        record = order_record(rows[fill.order_id])
        # The fill that completes an order and its end are one callback. An end after `until` follows later.
        end = rows[fill.order_id].end_report or 0
        completes = record.state is OrderState.FILLED and last[fill.order_id] == fill.report and end <= until
        kind = CallbackKind.FILLED if completes else CallbackKind.PARTIAL_FILL
        report = max(fill.report, end) if completes else fill.report
        events.append(Missed(Callback(kind, record, fill_of(fill, record), recovered=True), report))
    events += [
        Missed(Callback(_ENDS[row.state], order_record(row), recovered=True), row.end_report or 0)
        for row in ends
        if not (row.state is OrderState.FILLED and row.id in last)
    ]
    return sorted(events, key=lambda event: event.report)
