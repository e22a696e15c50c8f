"""Lambdas that record books, order reports and balances during a soak test."""

from collections import Counter
from decimal import Decimal

from meltica import BalanceUpdate, BookSnapshot, Event, ExecReport, Lambda

OPEN = ("ACK", "PARTIAL")


class Owner:
    """Keeps the latest report of each order and balance, also when reports are late or duplicated."""

    def __init__(self) -> None:
        self.orders: dict[str, ExecReport] = {}
        self.balances: dict[str, BalanceUpdate] = {}

    def on_exec_report(self, report: ExecReport) -> None:
        last = self.orders.get(report.client_order_id)
        if last is None or _progress(report) >= _progress(last):
            self.orders[report.client_order_id] = report

    def on_balance_update(self, balance: BalanceUpdate) -> None:
        last = self.balances.get(balance.symbol)
        if last is None or (balance.venue_time or 0) >= (last.venue_time or 0):
            self.balances[balance.symbol] = balance


def _progress(report: ExecReport) -> tuple[Decimal, bool, int]:
    return report.filled_quantity_decimal, report.state not in OPEN, report.venue_time or 0


class Watcher(Lambda):
    """Keeps the latest book of each symbol and counts its gaps and stale notices."""

    def __init__(self) -> None:
        self.books: dict[str, BookSnapshot] = {}
        self.gaps: Counter[str] = Counter()
        self.stale: Counter[str] = Counter()
        self.last_seq = 0
        self.disorder = 0

    def check_order(self, event: Event) -> None:
        """Counts events that arrive out of order."""
        self.disorder += event.seq <= self.last_seq
        self.last_seq = event.seq

    def on_book_snapshot(self, book: BookSnapshot) -> None:
        self.check_order(book)
        self.books[book.symbol] = book

    def on_trade(self, trade: Event) -> None:
        self.check_order(trade)

    def on_gap(self, gap: Event) -> None:
        self.check_order(gap)
        self.gaps[gap.symbol] += 1

    def on_stale(self, stale: Event) -> None:
        self.check_order(stale)
        self.stale[stale.symbol] += 1
        self.books.pop(stale.symbol, None)
