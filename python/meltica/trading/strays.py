"""Stray orders: an account has orders of ours that belong to another configured provider.

1. If the account of that provider has them as well, both names are of one account: the orders are foreign.
2. Otherwise the accounts of the two were exchanged. No order leaves at an account with strays.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from meltica.errors import VenueUnavailable
from meltica.model.enums import Mode
from meltica.trading.order import OrderRecord

if TYPE_CHECKING:
    from meltica.trading.desk import Desk

TRIES = 3
"""How many orders of a provider its account is asked for: it may have forgotten some."""


async def find_strays(desk: "Desk", provider: str, mode: Mode, ids: Iterable[str]) -> frozenset[str]:
    """Returns those of an account's client order ids that are strays.

    Raises VenueUnavailable if another provider has to run first, and the errors of its account.
    """
    strays: set[str] = set()
    for other, orders in _orders_of_others(desk, provider, mode, ids).items():
        if not await _has_one(desk, other, mode, orders[-TRIES:]):
            # 2
            strays |= {order.client_order_id for order in orders}
    return frozenset(strays)


def _orders_of_others(
    desk: "Desk", provider: str, mode: Mode, ids: Iterable[str]
) -> dict[str, list[OrderRecord]]:
    """Returns our orders of other configured providers among ids, by provider."""
    found: dict[str, list[OrderRecord]] = {}
    with desk.lock.reading:
        for id in dict.fromkeys(ids):
            machine = desk.orders.of_client_id(id)
            if machine is None:
                continue
            record = machine.record
            is_other = record.provider != provider and record.owner.mode is mode
            if is_other and desk.configured.has_provider(record.provider):
                found.setdefault(record.provider, []).append(record)
    return found


async def _has_one(desk: "Desk", provider: str, mode: Mode, orders: Iterable[OrderRecord]) -> bool:
    """1: returns whether the account of a provider has one of its orders."""
    account = desk.account_of(provider, mode)
    for order in orders:
        if account is None or not account.reconciled:
            raise VenueUnavailable(
                "not_running",
                f"it has order {order.client_order_id} of provider `{provider}`, which does not run;"
                " start it",
            )
        if await account.order(order.symbol, order.client_order_id) is not None:
            return True
    return False
