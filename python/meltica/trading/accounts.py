"""`Accounts`: the accounts of all providers as trading uses them, and what on them is of no instance.

The caller holds the lock of trading.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

from meltica.errors import VenueUnavailable
from meltica.model.account import Account
from meltica.model.balances import Balance
from meltica.model.enums import Mode
from meltica.model.fills import START, Fill, FillMark
from meltica.model.orders import OrderSnapshot
from meltica.model.symbols import currencies
from meltica.persistence.stores.outbox import event
from meltica.persistence.stores.trading.rows import BalanceRow, Row, WatermarkRow
from meltica.trading.balances import Balances, Currency, Entry
from meltica.trading.risk.risk import Risk
from meltica.trading.stored import entry_row

SECOND = 10**9

MARGIN = 300 * SECOND
"""How much earlier than an order its fills are queried: clocks of venues differ from ours."""
REPORTED_WITHIN = 3 * SECOND
"""How long after the answer to an order the stream may take to report it."""

Key = tuple[str, Mode]
"""Provider and mode."""


class FillOrigin(StrEnum):
    """Whose order a fill is of."""

    OURS = "ours"
    FOREIGN = "foreign"
    LOST = "lost"
    """The order has the mark of this home, but is not in the database."""
    MISPLACED = "misplaced"
    """The order is ours at another provider."""


@dataclass(slots=True)
class AccountLink:
    """The account of one provider in one mode."""

    account: Account | None = None
    """None while the provider does not run."""
    reconciled: bool = False
    """Whether orders, fills and balances were read again since the account was connected."""
    losses: int = 0
    """How often reports of the account were lost on their way to the desk."""
    reconciled_gaps: int = 0
    """The `gaps` before orders, fills and balances were read."""
    opened: bool = False
    """Whether the opening of the account was booked."""
    is_new: bool = False
    """Whether what a volatile account has was not compared yet."""
    disagreements: dict[str, str] = field(default_factory=dict[str, str])
    """Client order id -> how the venue had the order otherwise; the account is reconciled then."""
    unreported: dict[UUID, int] = field(default_factory=dict[UUID, int])
    """Orders that the venue acknowledged in its answer, and when; their reports have not arrived."""
    closing: bool = False
    """Whether its provider is about to stop: no order leaves, cancels do."""
    problem: str | None = None
    """Why the last attempt to reconcile failed; None if it did not."""
    lost: tuple[str, ...] = ()
    """Client order ids at the venue with the mark of this home whose orders are not in the database."""
    misplaced: tuple[str, ...] = ()
    """Client order ids at the venue of orders that are ours at another provider."""
    strays: frozenset[str] = frozenset()
    """Those of `misplaced` whose provider is configured, and has another account; see `strays`."""
    marks: dict[str, FillMark] = field(default_factory=dict[str, FillMark])
    """Symbol -> the place up to which its fills were read."""

    @property
    def gaps(self) -> int:
        """How often reports may have been missed."""
        return self.losses + (0 if self.account is None else self.account.disconnects)

    @property
    def ready(self) -> bool:
        """Whether orders may leave."""
        account = self.account
        if self.closing or not self.reconciled or account is None or not account.reconciled:
            return False
        return self.gaps == self.reconciled_gaps


class Accounts:
    """The accounts, their balances, and their foreign orders and fills."""

    def __init__(
        self,
        risks: Mapping[Mode, Risk],
        balances: Mapping[Mode, Balances],
        write: Callable[[Row], None],
        clock: Callable[[], int],
    ) -> None:
        self._risks = risks
        self.balances = balances
        self._write = write
        self._clock = clock
        self.disowned: set[str] = set()
        """Client order ids with the mark of this home that an operator made foreign."""
        self._links: dict[Key, AccountLink] = {}

    def connect(self, provider: str, mode: Mode, account: Account | None) -> None:
        """Sets the account of a provider, which is not reconciled yet; None when the provider stopped."""
        link = self.link(provider, mode)
        if account is not None and account.is_volatile and account is not link.account:
            link.is_new = True
            link.marks = dict.fromkeys(link.marks, START)
            self.balances[mode].renew_account(provider)
        link.account, link.reconciled, link.closing = account, False, False
        link.problem, link.lost, link.misplaced, link.strays = None, (), (), frozenset()
        self._risks[mode].registry.set_reconciled(provider, reconciled=False)

    def keys(self) -> list[Key]:
        """Returns the accounts that were connected."""
        return list(self._links)

    def link(self, provider: str, mode: Mode) -> AccountLink:
        """Returns the account of a provider; a new one has no account."""
        return self._links.setdefault((provider, mode), AccountLink())

    def get(self, provider: str, mode: Mode) -> Account:
        """Returns the account of a provider. Raises VenueUnavailable while there is none."""
        account = self.link(provider, mode).account
        if account is None:
            raise VenueUnavailable("not_running", f"provider `{provider}` has no account: it is not running")
        return account

    def set_reconciled(self, provider: str, mode: Mode, *, reconciled: bool, gaps: int = 0) -> None:
        """Sets whether an account is reconciled, as of its number of gaps."""
        link = self.link(provider, mode)
        link.reconciled, link.reconciled_gaps = reconciled, gaps
        if link.ready:
            link.disagreements = {}
        self._risks[mode].registry.set_reconciled(provider, reconciled=link.ready)

    def begin_close(self, provider: str, mode: Mode) -> None:
        """Lets no further order leave for an account, until its provider runs again."""
        self.link(provider, mode).closing = True
        self._risks[mode].registry.set_reconciled(provider, reconciled=False)

    def lose_reports(self, provider: str, mode: Mode) -> None:
        """Records that reports of an account were lost: no order leaves until it is reconciled again."""
        self.link(provider, mode).losses += 1
        self._risks[mode].registry.set_reconciled(provider, reconciled=False)

    def silent(self, now: int) -> list[Key]:
        """Returns the accounts whose stream did not report an acknowledged order in time."""
        found: list[Key] = []
        for key, link in self._links.items():
            if link.unreported and now >= next(iter(link.unreported.values())) + REPORTED_WITHIN:
                link.unreported.clear()
                self.lose_reports(*key)
                found.append(key)
        return found

    # Fills

    def marks(
        self, provider: str, mode: Mode, symbols: Iterable[str], venue_time: int | None = None
    ) -> dict[str, FillMark]:
        """Returns the places from which the fills of symbols have to be read.

        A symbol without one begins now: what the account did before is in its opening. `venue_time` is the
        time by the venue's clock, from which ours may differ by more than the margin.
        """
        link = self.link(provider, mode)
        now = self._clock() if venue_time is None else venue_time
        for symbol in symbols:
            if symbol not in link.marks:
                volatile = link.account is not None and link.account.is_volatile
                link.marks[symbol] = START if volatile else FillMark(now)
                self.write_mark(provider, mode, symbol)
        return {symbol: link.marks[symbol] for symbol in symbols}

    def restore_mark(self, row: WatermarkRow) -> None:
        """Restores a watermark from its row."""
        link = self.link(row.provider, row.mode)
        link.marks[row.symbol] = FillMark(row.venue_time, row.venue_id)

    def advance(self, provider: str, mode: Mode, fills: Iterable[Fill]) -> None:
        """Moves the watermarks behind fills that were read; they are committed with the fills or later."""
        link = self.link(provider, mode)
        moved: set[str] = set()
        for fill in fills:
            mark = link.marks.get(fill.symbol)
            if mark is None or fill.time >= mark.time:
                link.marks[fill.symbol] = FillMark.at(fill)
                moved.add(fill.symbol)
        for symbol in moved:
            self.write_mark(provider, mode, symbol)

    def write_mark(self, provider: str, mode: Mode, symbol: str) -> None:
        """Writes the watermark of a symbol."""
        mark = self.link(provider, mode).marks[symbol]
        self._write(
            WatermarkRow(
                provider=provider,
                mode=mode,
                symbol=symbol,
                venue_time=mark.time,
                venue_id=mark.execution_id,
            )
        )

    # What is of no instance

    def foreign_order(self, provider: str, mode: Mode, order: OrderSnapshot) -> None:
        """Records a report of an order that is of no instance."""
        self.balances[mode].foreign_order(provider, order)

    def foreign_fill(self, provider: str, mode: Mode, fill: Fill) -> bool:
        """Books a fill of an order that is of no instance; returns whether it is new."""
        entries = self.balances[mode].foreign_fill(provider, fill)
        self._book(entries, mode)
        return bool(entries)

    def transfer(self, entry: Entry, mode: Mode) -> None:
        """Books a deposit or a withdrawal that the venue reported."""
        if self.balances[mode].book(entry):
            self._book([entry], mode)

    def take_balance(self, provider: str, mode: Mode, currency: str, balance: Balance) -> None:
        """Records a balance that the venue reported."""
        if self.balances[mode].reported(provider, currency, balance):
            row = BalanceRow(
                provider=provider,
                mode=mode,
                currency=currency,
                total=balance.total,
                available=balance.available,
                snapshot_at=balance.time,
            )
            self._write(row)
            self._write(event("balance", provider, "balance", row))

    def take_all(
        self,
        provider: str,
        mode: Mode,
        balances: Mapping[str, Balance],
        foreign: Iterable[OrderSnapshot],
    ) -> dict[str, str]:
        """Records all balances and foreign orders of an account; returns the differences by currency.

        The first time, what nothing explains is the opening of the account. Each volatile account has one.
        """
        ours = self.balances[mode]
        for currency, balance in balances.items():
            self.take_balance(provider, mode, currency, balance)
        ours.foreign_orders(provider, foreign)
        link = self.link(provider, mode)
        if not link.opened or link.is_new:
            id = f"opening of {self._clock()}" if link.opened else "opening"
            link.opened, link.is_new = True, False
            self._book(ours.open_account(provider, id), mode)
        differences = {currency: ours.lines(provider, currency).difference for currency in balances}
        return {currency: str(amount) for currency, amount in differences.items() if amount}

    def check_differences(self, in_flight: Mapping[Mode, Mapping[Currency, int]]) -> list[str]:
        """Passes differences that became, changed or ended as faults to risk; returns texts for the log."""
        texts: list[str] = []
        for mode, balances in self.balances.items():
            for change in balances.check(self._clock(), in_flight.get(mode, {})):
                registry = self._risks[mode].registry
                registry.set_difference(change.provider, change.currency, change.amount)
                what = f"{change.amount} {change.currency}" if change.amount else f"{change.currency}: none"
                texts.append(f"{change.provider}: unexplained part of the balance: {what}")
        return texts

    def _book(self, entries: Iterable[Entry], mode: Mode) -> None:
        for entry in entries:
            self._write(entry_row(entry, mode, self._clock()))


def currencies_of(provider: str, symbol: str) -> set[Currency]:
    """Returns the currencies that an order in a symbol may move, beside those of third fees."""
    return {(provider, currency) for currency in currencies(symbol)}
