"""Compares open orders and balances with the venue's while an account runs, once a minute.

1. Only orders that did not change for `SETTLED` before the question are compared.
2. A disagreement counts if a query of the order confirms it, and our order did not change meanwhile.
3. Then reports were missed: no order leaves at the account until it is reconciled again.
4. The balances are read, and again if the account traded meanwhile; `Balances` finds what is unexplained.
"""

import logging
from collections.abc import Mapping

from meltica.errors import VenueError
from meltica.model.account import Account
from meltica.model.balances import Balance
from meltica.model.enums import Mode, OrderState
from meltica.model.orders import OrderSnapshot
from meltica.trading.absent import is_misplaced
from meltica.trading.desk import SECOND, Desk
from meltica.trading.order import OrderRecord
from meltica.trading.state_machine import OrderMachine

log = logging.getLogger("meltica.trading")

EVERY = 60.0
"""Seconds between two comparisons."""
SETTLED = 5 * SECOND
BALANCE_READS = 5
"""How often the balances are read while the account trades."""

_OPEN = frozenset({OrderState.ACK, OrderState.PARTIAL})


async def compare(desk: Desk, account: Account, provider: str, mode: Mode) -> None:
    """Compares an account once. Raises VenueError and OrderRefused if the venue does not answer."""
    asked_at = desk.clock()
    open_orders = {order.client_order_id: order for order in await account.open_orders()}
    with desk.lock:
        for id in open_orders:
            if desk.is_lost(id):
                _disagrees(desk, provider, mode, id, "it has our mark, and is not in memory")
            elif is_misplaced(desk, provider, mode, id):
                _disagrees(desk, provider, mode, id, "it is ours at another provider")
    for machine in _suspects(desk, provider, mode, open_orders, asked_at):
        await _confirm(desk, account, machine, asked_at)
    for currency, balance in (await read_balances(desk, account)).items():
        desk.balance(provider, mode, currency, balance)


async def read_balances(desk: Desk, account: Account) -> Mapping[str, Balance]:
    """Reads the balances until no fill arrived meanwhile."""
    balances: Mapping[str, Balance] = {}
    for _ in range(BALANCE_READS):
        before = desk.fills_booked
        balances = await account.balances()
        if desk.fills_booked == before:
            break
    return balances


def _suspects(
    desk: Desk, provider: str, mode: Mode, open_orders: Mapping[str, OrderSnapshot], asked_at: int
) -> list[OrderMachine]:
    """1: returns the settled orders that the venue's list has otherwise."""
    with desk.lock.reading:
        ours = [
            machine
            for machine in desk.open_machines()
            if (machine.record.provider, machine.record.owner.mode) == (provider, mode)
        ]
        listed = [machine for id in open_orders if (machine := desk.ours(provider, mode, id)) is not None]
        return [
            machine
            for machine in dict.fromkeys((*ours, *listed))
            if _is_settled(machine, asked_at)
            and _disagreement(machine.record, open_orders.get(machine.record.client_order_id)) is not None
        ]


async def _confirm(desk: Desk, account: Account, machine: OrderMachine, asked_at: int) -> None:
    """2: queries an order, records what that confirms, and passes the answer to the order."""
    record, queried_at = machine.record, desk.clock()
    try:
        snapshot = await account.order(record.symbol, record.client_order_id)
    except VenueError as error:
        if error.code != "unsettled":
            raise
        return
    with desk.lock:
        text = _disagreement(record, snapshot) if _is_settled(machine, asked_at) else None
        if text is not None:
            _disagrees(desk, record.provider, record.owner.mode, record.client_order_id, text)
    if snapshot is None:
        desk.apply(machine, lambda m, now: m.not_found(queried_at, now, absent=True))
    else:
        desk.apply(machine, lambda m, now: m.reported(snapshot, now, asked_at=queried_at, recovered=True))


def _disagrees(desk: Desk, provider: str, mode: Mode, client_order_id: str, text: str) -> None:
    """3: lets no order leave until the account is reconciled. The caller holds the lock of trading."""
    log.error("order %s at %s: %s; %s is reconciled again", client_order_id, provider, text, provider)
    desk.accounts.link(provider, mode).disagreements[client_order_id] = text
    desk.accounts.lose_reports(provider, mode)


def _is_settled(machine: OrderMachine, asked_at: int) -> bool:
    """Returns whether an order is certain for us, and did not change lately."""
    record = machine.record
    certain = record.state.is_final or (record.state in _OPEN and record.amendment is None)
    return certain and not record.cancel_wanted and machine.changed_at <= asked_at - SETTLED


def _disagreement(record: OrderRecord, snapshot: OrderSnapshot | None) -> str | None:
    """Returns how the venue has an order otherwise; None if it agrees."""
    if record.state.is_final:
        is_open = snapshot is not None and snapshot.state in _OPEN
        return f"it is open at the venue, and {record.state} for us" if is_open else None
    if snapshot is None or snapshot.state not in _OPEN:
        return f"it is not open at the venue, and {record.state} for us"
    if snapshot.filled_quantity != record.filled_quantity:
        return f"the venue has filled {snapshot.filled_quantity}, we know {record.filled_quantity}"
    if snapshot.quantity != record.quantity or snapshot.price not in (None, record.limit_price):
        ours = f"{record.quantity} at {record.limit_price}"
        return f"the venue has {snapshot.quantity} at {snapshot.price}, we have {ours}"
    return None
