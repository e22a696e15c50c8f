"""`PaperAccount`: an account whose orders fill against the live market of a provider, without reaching it.

Requests arrive after the configured latency. Market events may come from any thread. Reports are published in
the order in which they happen.
"""

import asyncio
import threading
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from decimal import Context, Decimal, localcontext
from itertools import count
from typing import Any

from meltica.errors import OrderRefused
from meltica.model.account import (
    Account,
    AccountCapabilities,
    CancelAllScope,
    FeeRates,
    LastCheck,
    unchecked,
)
from meltica.model.balances import Balance
from meltica.model.enums import OrderState, Side, TimeInForce
from meltica.model.fills import Fill, FillMark
from meltica.model.instruments import Instrument
from meltica.model.orders import NewOrder, OrderSnapshot
from meltica.simulator.paper.funds import Funds
from meltica.simulator.paper.liquidity import Levels
from meltica.simulator.paper.market import PaperMarket
from meltica.simulator.paper.orders import PaperOrder, PaperReport
from meltica.simulator.paper.settings import PaperSettings

KEPT = 100_000
"""Ended orders and fills that can still be queried."""
DEFAULT_QUOTE = Decimal(100_000)
"""Balance of each quote currency unless the settings name balances."""

_EXACT = Context(prec=100)

Publish = Callable[[PaperReport, Mapping[str, Balance]], None]
"""Receives a report, and the balances that it changed, by currency."""


class PaperAccount(Account):
    """The paper account of one provider. Times are in nanoseconds of the clock."""

    def __init__(self, settings: PaperSettings, publish: Publish, clock: Callable[[], int]) -> None:
        self._settings = settings
        self._publish = publish
        self._clock = clock
        self._lock = threading.Lock()
        self._ids = count(1)
        fee_rate = max(settings.maker_fee, settings.taker_fee, Decimal(0))
        self._funds = Funds(settings.balances or {}, settings.fee_in, fee_rate)
        self._markets: dict[str, PaperMarket] = {}
        self._symbols: dict[str, str] = {}
        """Client order id -> symbol, of the open orders."""
        self._ended: dict[str, OrderSnapshot] = {}
        self._fills: list[Fill] = []
        self._quiet = int(settings.quiet.total_seconds() * 1e9)

    @property
    def capabilities(self) -> AccountCapabilities:
        """What the account supports; constant."""
        return AccountCapabilities(
            amend=True,
            cancel_all=CancelAllScope.ACCOUNT,
            reduce_only=False,
            dead_man=False,
            account_fills=True,
        )

    @property
    def is_volatile(self) -> bool:
        """Always true: the account is in this process."""
        return True

    @property
    def arrives_within(self) -> float:
        """The latency in seconds."""
        return self._settings.latency.total_seconds()

    def fee_rates(self, symbol: str) -> FeeRates | None:  # noqa: ARG002
        """Returns the configured fee rates, which are those of all symbols."""
        return FeeRates(self._settings.maker_fee, self._settings.taker_fee)

    @property
    def reconciled(self) -> bool:
        """Always true: the account is in this process."""
        return True

    def list_instrument(self, instrument: Mapping[str, Any]) -> None:
        """Adds a symbol, or changes the rules of one. Takes the form of `InstrumentUpdate.instrument`."""
        rules, symbol = Instrument.from_payload(instrument), instrument["symbol"]
        with self._locked():
            if symbol in self._markets:
                self._markets[symbol].rules = rules
                return
            if self._settings.balances is None:
                self._funds.open(rules.quote, DEFAULT_QUOTE)
            self._markets[symbol] = PaperMarket(
                rules,
                self._funds,
                lambda: next(self._ids),
                maker_fee=self._settings.maker_fee,
                taker_fee=self._settings.taker_fee,
                quiet=self._quiet,
            )

    def restore(self, balances: Mapping[str, Decimal], orders: Iterable[PaperOrder], last_id: int) -> None:
        """Takes over the state of an earlier run, after its instruments were listed.

        Orders that do not rest, IOC and FOK, have expired: they never trade with the market after a restart.
        `last_id` is the highest venue order id or execution id that was used. Raises OrderRefused for an
        order of an unlisted symbol.
        """
        with self._locked():
            self._funds.restore(balances)
            self._ids = count(last_id + 1)
            for order in orders:
                market = self._market(order.new.symbol)
                if order.new.time_in_force is not TimeInForce.GTC:
                    order.state, order.reason = OrderState.EXPIRED, "the account was restarted"
                    self._ended[order.id] = order.snapshot()
                    continue
                market.restore(order)
                self._symbols[order.id] = order.new.symbol

    def resting_orders(self) -> list[PaperOrder]:
        """Returns the open orders, as `restore` takes them."""
        with self._locked():
            return [order for market in self._markets.values() for order in market.open_orders]

    def book(self, symbol: str, bids: Levels, asks: Levels, time: int, *, complete: bool = False) -> None:
        """Applies a book that was received at `time`; `complete` if it has all levels of the venue's."""
        with self._locked():
            market = self._markets.get(symbol)
            if market is not None:
                self._report(symbol, market.book(bids, asks, time, complete=complete))

    def trade(self, symbol: str, price: Decimal, quantity: Decimal, taker: Side | None, time: int) -> None:
        """Applies a public trade that was received at `time`."""
        with self._locked():
            market = self._markets.get(symbol)
            if market is not None:
                self._report(symbol, market.trade(price, quantity, taker, time))

    def mark_stale(self, symbol: str) -> None:
        """Marks the book of a symbol as stale or in a gap; nothing is filled until its next update."""
        with self._locked():
            market = self._markets.get(symbol)
            if market is not None:
                market.mark_stale()

    def advance(self) -> float | None:
        """Lets orders take from books that did not change; returns the seconds until the next one is due."""
        with self._locked():
            now = self._clock()
            for symbol, market in self._markets.items():
                due = market.due()
                if due is not None and due <= now:
                    self._report(symbol, market.advance(now))
            waiting = [due for market in self._markets.values() if (due := market.due()) is not None]
            return (min(waiting) - now) / 1e9 if waiting else None

    async def submit(self, order: NewOrder, last_check: LastCheck = unchecked) -> OrderSnapshot:
        """Sends an order; returns it as accepted. Fills arrive as reports."""
        self.capabilities.check_order(order)
        last_check()
        await self._arrive()
        with self._locked():
            id = order.client_order_id
            if id in self._symbols:
                raise OrderRefused("duplicate_order_id", f"order {id} is open")
            accepted = self._market(order.symbol).arrive(order, self._clock())
            self._symbols[id] = order.symbol
        self._wait_for_book()
        return accepted.snapshot()

    async def cancel(self, symbol: str, client_order_id: str) -> OrderSnapshot:
        """Cancels an open order; returns the order."""
        await self._arrive()
        with self._locked():
            return self._cancel(symbol, client_order_id)

    async def cancel_all(self, symbol: str | None = None) -> None:
        """Cancels all open orders of a symbol or of the account."""
        await self._arrive()
        with self._locked():
            for id, traded in list(self._symbols.items()):
                if symbol in (None, traded):
                    self._cancel(traded, id)

    async def amend(
        self,
        symbol: str,
        client_order_id: str,
        *,
        quantity: Decimal | None = None,
        price: Decimal | None = None,
        last_check: LastCheck = unchecked,
    ) -> OrderSnapshot:
        """Changes an open order's price, its whole quantity (the filled part included), or both."""
        last_check()
        await self._arrive()
        with self._locked():
            report = self._market(symbol).amend(client_order_id, quantity, price, self._clock())
            self._report(symbol, [report])
        self._wait_for_book()
        return report.order

    async def order(self, symbol: str, client_order_id: str) -> OrderSnapshot | None:
        """Returns an order, open or ended; None when the id is not known."""
        await self._arrive()
        with self._locked():
            for order in self._market(symbol).open_orders:
                if order.id == client_order_id:
                    return order.snapshot()
            return self._ended.get(client_order_id)

    async def open_orders(self) -> Sequence[OrderSnapshot]:
        """Returns all open orders, oldest first."""
        await self._arrive()
        orders = sorted(self.resting_orders(), key=lambda order: order.arrived_at)
        return [order.snapshot() for order in orders]

    async def fills_since(self, marks: Mapping[str, FillMark]) -> Sequence[Fill]:
        """Returns the fills of symbols, each from its mark on, oldest first."""
        await self._arrive()
        with self._locked():
            return [
                fill
                for fill in self._fills
                if (mark := marks.get(fill.symbol)) is not None and fill.time >= mark.time
            ]

    async def balances(self) -> Mapping[str, Balance]:
        """Returns the balances of the account, by currency."""
        await self._arrive()
        with self._locked():
            return self._funds.balances(self._clock())

    @contextmanager
    def _locked(self) -> Generator[None]:
        # The decimal context is that of the thread, and a strategy may have changed it.
        with self._lock, localcontext(_EXACT):
            yield

    async def _arrive(self) -> None:
        await asyncio.sleep(self._settings.latency.total_seconds())

    def _wait_for_book(self) -> None:
        """Calls `advance` when an order may take from an unchanged book."""
        pause = self.advance()
        if pause is not None:
            asyncio.get_running_loop().call_later(max(0.001, pause), self._wait_for_book)

    def _market(self, symbol: str) -> PaperMarket:
        market = self._markets.get(symbol)
        if market is None:
            raise OrderRefused("unknown_symbol", f"the provider has no instrument {symbol[:80]!r}")
        return market

    def _cancel(self, symbol: str, id: str) -> OrderSnapshot:
        report = self._market(symbol).cancel(id, self._clock())
        self._report(symbol, [report])
        return report.order

    def _report(self, symbol: str, reports: Iterable[PaperReport]) -> None:
        for report in reports:
            order = report.order
            if order.state.is_final:
                del self._symbols[order.client_order_id]
                self._ended[order.client_order_id] = order
                if len(self._ended) > KEPT:
                    del self._ended[next(iter(self._ended))]
            if report.fill is not None:
                self._fills.append(report.fill)
                if len(self._fills) > KEPT:
                    del self._fills[: KEPT // 10]
            rules = self._markets[symbol].rules
            changed = dict.fromkeys([rules.base, rules.quote])
            if report.fill is not None:
                changed[report.fill.fee_currency] = None
            time = order.time or 0
            self._publish(report, {currency: self._funds.balance(currency, time) for currency in changed})
