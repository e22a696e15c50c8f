"""The faults of trading: what an operator has to look at, as readiness and status show it.

They are derived from the state of trading each time, so a fault that is over is no longer listed.
"""

from enum import StrEnum
from typing import NamedTuple

from meltica.errors import one_line
from meltica.model.enums import Mode
from meltica.trading.absent import absent_owners, positions_elsewhere, unreachable_orders
from meltica.trading.accounts import AccountLink, Key
from meltica.trading.desk import Desk


class FaultKind(StrEnum):
    """What is wrong."""

    NO_ORDERS = "no_orders"
    """No order of any instance leaves; the detail says why."""
    NOT_WRITTEN = "not_written"
    """The last commit failed: new orders are rejected until one succeeds."""
    LEDGER_FROZEN = "ledger_frozen"
    """A fill of the instance could not be stored: none of its orders leaves until a restart."""
    NOT_RECONCILED = "not_reconciled"
    """Orders, fills and balances of the account were not read since its last connect."""
    ORDERS_LOST = "orders_lost"
    """The venue has orders of this home that are not in the database, as after the restore of a backup."""
    ABSENT_INSTANCE = "absent_instance"
    """An instance that is not configured has open orders or a position."""
    ABSENT_PROVIDER = "absent_provider"
    """An instance has a position at a provider that is not configured, and does not start."""
    UNREACHABLE_ORDER = "unreachable_order"
    """An open order is at a provider that does not run, or is not configured: nothing can cancel it."""
    MISPLACED_ORDER = "misplaced_order"
    """The account has an order of ours at a provider which is not configured, or has another account now:
    no order leaves there.
    """
    DISAGREEMENT = "disagreement"
    """The venue had an order otherwise: no order leaves at the account until it is reconciled."""
    UNKNOWN_ORDER = "unknown_order"
    """The state of an order at the venue is unknown: new orders of its symbol are refused."""
    DIFFERENCE = "difference"
    """A part of the venue's balance is unexplained: orders that add risk in the currency are refused."""


class TradingFault(NamedTuple):
    """One fault. Fields that do not apply are None."""

    kind: FaultKind
    detail: str
    provider: str | None = None
    mode: Mode | None = None
    subject: str | None = None
    """The instance, the currency or the client order id that the fault is about."""


def faults(desk: Desk, write_failure: str | None = None) -> list[TradingFault]:
    """Returns the faults of now. `write_failure` is why the last commit failed."""
    found: list[TradingFault] = []
    with desk.lock.reading:
        if desk.gate.failure is not None:
            text = f"trading has failed, and is rebuilt from the database: {one_line(desk.gate.failure)}"
            found.append(TradingFault(FaultKind.NO_ORDERS, text))
        elif desk.gate.blocked is not None:
            found.append(TradingFault(FaultKind.NO_ORDERS, desk.gate.blocked))
        if write_failure is not None:
            found.append(TradingFault(FaultKind.NOT_WRITTEN, write_failure))
        found += [
            TradingFault(FaultKind.LEDGER_FROZEN, "a fill could not be stored", subject=instance)
            for instance in sorted(desk.gate.frozen)
        ]
        for key in desk.accounts.keys():  # noqa: SIM118
            found += _of_account(key, desk.accounts.link(*key))
        found += _absent(desk)
        found += _unknown_orders(desk)
        for mode, balances in desk.accounts.balances.items():
            found += [
                TradingFault(FaultKind.DIFFERENCE, str(each.amount), each.provider, mode, each.currency)
                for each in balances.faults
            ]
    return found


def _of_account(key: Key, link: AccountLink) -> list[TradingFault]:
    found = [
        TradingFault(FaultKind.ORDERS_LOST, "the order is not in the database", *key, id) for id in link.lost
    ]
    found += [
        TradingFault(
            FaultKind.MISPLACED_ORDER, "it is of another provider; restore the settings of both", *key, id
        )
        for id in link.misplaced
    ]
    found += [TradingFault(FaultKind.DISAGREEMENT, text, *key, id) for id, text in link.disagreements.items()]
    if link.account is not None and not link.ready:
        why = "the account is reconciling" if link.account.reconciled else "the account is not connected"
        why = why if link.problem is None else f"{why}: {link.problem}"
        found.append(TradingFault(FaultKind.NOT_RECONCILED, why, *key))
    return found


def _absent(desk: Desk) -> list[TradingFault]:
    found = [
        TradingFault(
            FaultKind.ABSENT_INSTANCE,
            f"it has {', '.join(texts)}; put it back into the configuration, or release its positions",
            mode=owner.mode,
            subject=owner.instance,
        )
        for owner, texts in absent_owners(desk).items()
    ]
    found += [
        TradingFault(
            FaultKind.ABSENT_PROVIDER,
            f"{each.key.owner.instance} has {text}; put the provider back, or release the position",
            each.key.provider,
            each.key.owner.mode,
            each.key.owner.instance,
        )
        for each, text in positions_elsewhere(desk)
    ]
    found += [
        TradingFault(
            FaultKind.UNREACHABLE_ORDER, text, order.provider, order.owner.mode, order.client_order_id
        )
        for order, text in unreachable_orders(desk)
    ]
    return found


def _unknown_orders(desk: Desk) -> list[TradingFault]:
    machines = [
        machine
        for risk in desk.risks.values()
        for listing in risk.registry.listings.values()
        for id in listing.unknown
        if (machine := desk.find(id)) is not None
    ]
    return [
        TradingFault(
            FaultKind.UNKNOWN_ORDER,
            f"{each.symbol} of {each.owner.instance}: {each.reason}",
            each.provider,
            each.owner.mode,
            each.client_order_id,
        )
        for each in (machine.record for machine in machines)
    ]
