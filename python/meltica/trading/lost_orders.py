"""Lost orders: a venue has them with the mark of this home, but the database does not, as after a restore."""

from typing import NamedTuple
from uuid import uuid4

from meltica.errors import Conflict, NotFound
from meltica.model.enums import Mode, OrderState, TimeInForce
from meltica.model.orders import OrderSnapshot
from meltica.trading.desk import Desk
from meltica.trading.exact import ZERO
from meltica.trading.order import OrderRecord, Owner
from meltica.trading.state_machine import OrderMachine
from meltica.trading.transitions import Timings


class LostOrder(NamedTuple):
    """A lost order as its venue reported it."""

    snapshot: OrderSnapshot
    asked_at: int


async def find_lost(desk: Desk, provider: str, mode: Mode, client_order_id: str) -> LostOrder:
    """Returns a lost order, open or ended, from its venue.

    Raises NotFound unless the last reconciliation found it, Conflict if the venue has forgotten it, and the
    errors of the account.
    """
    account = desk.account(provider, mode)
    venue_time = await account.time()
    with desk.lock:
        check_lost(desk, provider, mode, client_order_id)
        marks = desk.accounts.marks(provider, mode, desk.symbols(provider, mode), venue_time)
    asked_at = desk.clock()
    for order in await account.open_orders():
        if order.client_order_id == client_order_id:
            return LostOrder(order, asked_at)
    for fill in await account.fills_since(marks):
        if fill.client_order_id == client_order_id:
            snapshot = await account.order(fill.symbol, client_order_id)
            if snapshot is not None:
                return LostOrder(snapshot, asked_at)
    raise Conflict(
        f"order {client_order_id} not adopted: {provider} has forgotten it; disown it, which books its fills"
    )


async def cancel_disowned(desk: Desk, provider: str, mode: Mode, client_order_id: str) -> None:
    """Cancels an order if it is open. Raises the errors of the account."""
    account = desk.account(provider, mode)
    for order in await account.open_orders():
        if order.client_order_id == client_order_id:
            ended = await account.cancel(order.symbol, client_order_id)
            with desk.lock:
                desk.accounts.foreign_order(provider, mode, ended)


def check_lost(desk: Desk, provider: str, mode: Mode, client_order_id: str) -> None:
    """Raises NotFound unless an order is lost, or was disowned. The caller holds the lock of trading."""
    lost = desk.accounts.link(provider, mode).lost
    if client_order_id not in lost and client_order_id not in desk.accounts.disowned:
        raise NotFound(f"order {client_order_id} is not a lost order of {provider}, mode {mode.value}")


def forget_lost(desk: Desk, provider: str, mode: Mode, client_order_id: str) -> None:
    """Removes an order from the lost ones, so that its account is reconciled at once."""
    link = desk.accounts.link(provider, mode)
    link.lost = tuple(id for id in link.lost if id != client_order_id)


def adopt(desk: Desk, order: LostOrder, provider: str, owner: Owner, timings: Timings) -> OrderMachine:
    """Makes a lost order one of an instance. Its fills arrive by reconciling, as recovered.

    The caller holds the lock of trading.
    """
    snapshot, now = order.snapshot, desk.clock()
    limit = snapshot.price if snapshot.price is not None else snapshot.average_price
    record = OrderRecord(
        id=uuid4(),
        client_order_id=snapshot.client_order_id,
        owner=owner,
        provider=provider,
        symbol=snapshot.symbol,
        side=snapshot.side,
        order_type=snapshot.order_type,
        time_in_force=snapshot.time_in_force or TimeInForce.GTC,
        quantity=snapshot.quantity,
        price=snapshot.price,
        limit_price=ZERO if limit is None else limit,
        state=OrderState.ACK,
        venue_order_id=snapshot.venue_order_id,
        reason=None,
        intent_at=now if snapshot.time is None else snapshot.time,
        committed_at=now,
        sent_at=now,
        acknowledged_at=now,
    )
    machine = OrderMachine(record, timings)
    desk.restore(machine)
    desk.pending.changed(machine)
    desk.carry_out(machine, machine.reported(snapshot, now, asked_at=order.asked_at, recovered=True))
    return machine
