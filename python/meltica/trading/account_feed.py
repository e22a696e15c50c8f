"""`AccountFeed`: passes the reports of accounts, which the core delivers, to the desk.

What must not happen silently is a report that does not arrive. In each of these cases the account counts as
not reconciled, so that its orders wait until orders, fills and balances were read again:

1. A report cannot be applied: a field of it is missing, or the desk raises.
2. More reports waited than the core keeps. The reader has ended, and is replaced.
"""

import logging
import threading
from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from meltica.errors import one_line
from meltica.model.balances import Balance
from meltica.model.enums import Liquidity, Mode, OrderState, OrderType, TimeInForce
from meltica.model.fills import Fill
from meltica.model.orders import OrderSnapshot
from meltica.persistence.stores.trading.rows import EntryKind
from meltica.trading.balances import Entry
from meltica.trading.readers import Readers

if TYPE_CHECKING:
    from meltica._core import BalanceUpdate, Core, ExecReport, Host, Instance
    from meltica.trading.desk import Desk

log = logging.getLogger("meltica.trading")

T = TypeVar("T")


class AccountFeed:
    """The reports of the live accounts of providers."""

    def __init__(self, core: "Core", desk: "Desk") -> None:
        """Creates a feed of no account; its thread calls the desk."""
        self._desk = desk
        self._readers = Readers[str](core, self._add)

    def watch(self, providers: Collection[str]) -> None:
        """Sets the providers whose accounts are followed, in place of the previous ones.

        Watch a provider before its account is connected to the desk. Do not hold the desk's lock.
        """
        added, _ = self._readers.watch(providers)
        for provider in added:
            self._lose(provider)

    def close(self) -> bool:
        """Stops the feed; returns whether its thread ended in time."""
        return self._readers.close()

    def _add(self, host: "Host", provider: str) -> "Instance":
        callbacks: dict[str, Callable[..., object]] = {
            "ExecReport": partial(self._report, provider),
            "BalanceUpdate": partial(self._balance, provider),
        }
        return host.add(
            f"account of {provider}",
            callbacks=callbacks,
            routes=[(provider, kind, None) for kind in callbacks],
            on_error=partial(self._failed, provider),
            on_stop=partial(self._stopped, provider),
        )

    def _report(self, provider: str, report: "ExecReport") -> None:
        self._desk.report(provider, Mode.LIVE, order_snapshot(report), report_fill(report))

    def _balance(self, provider: str, update: "BalanceUpdate") -> None:
        desk = self._desk
        entry = transfer_entry(provider, update)
        if entry is not None:
            with desk.lock:
                desk.accounts.transfer(entry, Mode.LIVE)
        desk.balance(provider, Mode.LIVE, update.symbol, balance_of(update))

    def _failed(self, provider: str, name: str, error: BaseException) -> None:
        """1: reports a failed callback."""
        log.error(
            "a report of the account of %s was not applied, no order leaves until it is reconciled: %s: %s",
            provider,
            name,
            one_line(error),
            exc_info=error,
        )
        self._lose(provider)

    def _stopped(self, provider: str) -> None:
        """2: replaces a reader that has ended by itself. Runs on the readers' thread."""
        if not self._readers.is_watched(provider):
            return
        log.error(
            "reports of the account of %s were lost, no order leaves until it is reconciled: too many waited",
            provider,
        )
        self._lose(provider)
        # The thread of the readers would wait for itself.
        threading.Thread(target=self._replace, args=(provider,), name="meltica-account-feed").start()

    def _replace(self, provider: str) -> None:
        if self._readers.replace(provider):
            # What was read before the new reader started may lack a report.
            self._lose(provider)

    def _lose(self, provider: str) -> None:
        with self._desk.lock:
            self._desk.accounts.lose_reports(provider, Mode.LIVE)
        self._desk.wake()


def order_snapshot(report: "ExecReport") -> OrderSnapshot:
    """Returns the order of a report. Raises ValueError for a value that no order can have."""
    tif = report.time_in_force
    return OrderSnapshot(
        client_order_id=report.client_order_id,
        venue_order_id=report.venue_order_id,
        symbol=report.symbol,
        side=report.side,
        state=OrderState(report.state),
        order_type=OrderType(report.order_type),
        quantity=report.quantity_decimal,
        filled_quantity=report.filled_quantity_decimal,
        time_in_force=None if tif is None else TimeInForce(tif),
        price=report.price_decimal,
        remaining_quantity=report.remaining_quantity_decimal,
        average_price=report.average_price_decimal,
        fee=report.fee_decimal,
        fee_currency=report.fee_currency,
        reason=report.reason,
        time=report.venue_time,
    )


def report_fill(report: "ExecReport") -> Fill | None:
    """Returns the fill of a report, None for a report without one.

    Raises ValueError for an incomplete fill.
    """
    id = report.execution_id
    if id is None and report.last_quantity_decimal is None:
        return None
    liquidity = report.liquidity
    return Fill(
        execution_id=_required(id, "executionId"),
        time=_required(report.venue_time, "time"),
        symbol=report.symbol,
        client_order_id=report.client_order_id,
        venue_order_id=_required(report.venue_order_id, "venueOrderId"),
        side=report.side,
        price=_required(report.last_price_decimal, "lastPrice"),
        quantity=_required(report.last_quantity_decimal, "lastQuantity"),
        fee=_required(report.last_fee_decimal, "lastFee"),
        fee_currency=_required(report.last_fee_currency, "lastFeeCurrency"),
        liquidity=None if liquidity is None else Liquidity(liquidity),
    )


def balance_of(update: "BalanceUpdate") -> Balance:
    """Returns the balance of an update. Raises ValueError when the venue sent no time."""
    return Balance(update.total_decimal, update.available_decimal, _required(update.venue_time, "time"))


def transfer_entry(provider: str, update: "BalanceUpdate") -> Entry | None:
    """Returns the deposit or withdrawal of an update; None for any other change. Raises ValueError."""
    change = update.change_decimal
    if change is None:
        return None
    kind = EntryKind(_required(update.reason, "reason"))
    id = _required(update.transfer_id, "transferId")
    return Entry(provider, kind, id, update.symbol, change, _required(update.venue_time, "time"))


def _required(value: T | None, name: str) -> T:
    if value is None:
        raise ValueError(f"report not applied: expected `{name}`, saw none")
    return value
