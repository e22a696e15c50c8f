"""Maps orders, fills, positions and ledger entries to their rows and back."""

from meltica.model.enums import FillRule, Mode
from meltica.model.fills import Fill
from meltica.persistence.stores.trading.loaders import StoredOrder
from meltica.persistence.stores.trading.rows import (
    FillRow,
    LedgerEntryRow,
    OrderRow,
    PositionRow,
)
from meltica.trading.balances import Entry
from meltica.trading.exact import ZERO
from meltica.trading.order import Amendment, OrderRecord, Owner, PositionKey
from meltica.trading.positions import Position


def order_row(record: OrderRecord, end_report: int | None = None) -> OrderRow:
    """Returns the row of an order. `end_report` is the number of the report of its end."""
    owner, amendment = record.owner, record.amendment
    return OrderRow(
        id=record.id,
        client_order_id=record.client_order_id,
        instance=owner.instance,
        uid=owner.uid,
        mode=owner.mode,
        revision=owner.revision,
        provider=record.provider,
        symbol=record.symbol,
        side=record.side,
        order_type=record.order_type,
        time_in_force=record.time_in_force,
        post_only=record.post_only,
        reduce_only=record.reduce_only,
        quantity=record.quantity,
        price=record.price,
        limit_price=record.limit_price,
        tag=record.tag,
        expires_at=record.expires_at,
        state=record.state,
        venue_order_id=record.venue_order_id,
        filled_quantity=record.filled_quantity,
        filled_cost=record.filled_cost,
        reason=record.reason,
        cancel_wanted=record.cancel_wanted,
        amendment_price=None if amendment is None else amendment.price,
        amendment_quantity=None if amendment is None else amendment.quantity,
        amendment_sent_at=None if amendment is None else amendment.sent_at,
        amendment_unknown=None if amendment is None else amendment.outcome_unknown,
        intent_at=record.intent_at,
        approved_at=record.approved_at,
        committed_at=record.committed_at,
        sent_at=record.sent_at,
        acknowledged_at=record.acknowledged_at,
        ended_at=record.ended_at,
        venue_time=record.venue_time,
        end_report=end_report,
        trigger=record.trigger,
    )


def order_record(row: StoredOrder) -> OrderRecord:
    """Returns the order of a row, with the fees of its fills."""
    amendment = None
    if row.amendment_unknown is not None:
        amendment = Amendment(
            price=row.amendment_price,
            quantity=row.amendment_quantity,
            sent_at=row.amendment_sent_at,
            outcome_unknown=row.amendment_unknown,
        )
    return OrderRecord(
        id=row.id,
        client_order_id=row.client_order_id,
        owner=Owner(row.instance, row.uid, row.mode, row.revision),
        provider=row.provider,
        symbol=row.symbol,
        side=row.side,
        order_type=row.order_type,
        time_in_force=row.time_in_force,
        quantity=row.quantity,
        price=row.price,
        limit_price=row.limit_price,
        post_only=row.post_only,
        reduce_only=row.reduce_only,
        tag=row.tag,
        expires_at=row.expires_at,
        state=row.state,
        venue_order_id=row.venue_order_id,
        filled_quantity=row.filled_quantity,
        filled_cost=row.filled_cost,
        fees=dict(row.fees),
        reason=row.reason,
        cancel_wanted=row.cancel_wanted,
        amendment=amendment,
        intent_at=row.intent_at,
        approved_at=row.approved_at,
        committed_at=row.committed_at,
        sent_at=row.sent_at,
        acknowledged_at=row.acknowledged_at,
        ended_at=row.ended_at,
        venue_time=row.venue_time,
        trigger=row.trigger,
    )


def fill_row(
    record: OrderRecord, fill: Fill, report: int, *, booked_at: int, recovered: bool = False
) -> FillRow:
    """Returns the row of a fill of an order. `report` is the number of its report."""
    return FillRow(
        order_id=record.id,
        execution_id=fill.execution_id,
        provider=record.provider,
        instance=record.owner.instance,
        quantity=fill.quantity,
        price=fill.price,
        fee=fill.fee,
        fee_currency=fill.fee_currency,
        liquidity=fill.liquidity,
        rule=None if fill.rule is None else FillRule(fill.rule),
        trade_id=fill.trade_id,
        traded_at=fill.time,
        booked_at=booked_at,
        recovered=recovered,
        report=report,
    )


def fill_of(row: FillRow, record: OrderRecord) -> Fill:
    """Returns the fill of a row of an order."""
    return Fill(
        execution_id=row.execution_id,
        time=row.traded_at,
        symbol=record.symbol,
        client_order_id=record.client_order_id,
        venue_order_id=record.venue_order_id or "",
        side=record.side,
        price=row.price,
        quantity=row.quantity,
        fee=row.fee or ZERO,
        fee_currency=row.fee_currency or "",
        liquidity=row.liquidity,
        trade_id=row.trade_id,
        rule=None if row.rule is None else row.rule.value,
    )


def entry_row(
    entry: Entry, mode: Mode, now: int, *, by: str | None = None, note: str | None = None
) -> LedgerEntryRow:
    """Returns the row of an entry of "not ours". `by` and `note` are an operator's."""
    return LedgerEntryRow(
        provider=entry.provider,
        mode=mode,
        kind=entry.kind,
        venue_id=entry.id,
        currency=entry.currency,
        amount=entry.amount,
        booked_at=now if entry.time is None else entry.time,
        booked_by=by,
        note=note,
    )


def position_row(position: Position, now: int) -> PositionRow:
    """Returns the row of a position."""
    owner = position.key.owner
    return PositionRow(
        instance=owner.instance,
        uid=owner.uid,
        mode=owner.mode,
        revision=owner.revision,
        provider=position.key.provider,
        symbol=position.key.symbol,
        quantity=position.quantity,
        cost=position.cost,
        realised=position.realised,
        fees=position.fees,
        peak=position.peak,
        updated_at=now,
    )


def position(row: PositionRow) -> Position:
    """Returns the position of a row."""
    owner = Owner(row.instance, row.uid, row.mode, row.revision)
    return Position(
        key=PositionKey(owner, row.provider, row.symbol),
        quantity=row.quantity,
        cost=row.cost,
        realised=row.realised,
        fees=dict(row.fees),
        peak=row.peak,
    )
