"""`ProviderAccounts`: connects the accounts of running providers, and paper accounts, to trading.

Its methods run on the gateway's loop, except where they say otherwise.

1. The account of an adapter is connected while the provider runs; each run has another one.
2. A paper account begins when its provider lists its instruments, with the open orders and the balances of an
   earlier run, and lasts until the gateway ends.
3. Before an operator's stop of a provider, its live orders are cancelled, and no further one leaves.
4. Reports are followed before an account is connected, so that none after its reconciling is missed.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

from meltica.adapters import registry
from meltica.adapters.base import Adapter
from meltica.errors import CapacityError, OrderRefused
from meltica.model.account import Account
from meltica.model.balances import Balance
from meltica.model.enums import Mode, OrderState
from meltica.model.instruments import Instrument
from meltica.model.orders import NewOrder
from meltica.providers.provider import Provider
from meltica.settings.manifest import account_fault
from meltica.simulator.paper.account import PaperAccount
from meltica.simulator.paper.orders import PaperOrder, PaperReport
from meltica.trading.account_feed import AccountFeed
from meltica.trading.accounts import Key
from meltica.trading.desk import SECOND, Desk
from meltica.trading.instrument_feed import InstrumentFeed
from meltica.trading.market_view import MarketFeed
from meltica.trading.order import OrderRecord
from meltica.trading.paper_feed import PaperFeed
from meltica.trading.risk.limits import missing_for_live
from meltica.trading.transitions import Timings
from meltica.validation.section import AdapterSettings

if TYPE_CHECKING:
    from meltica._core import Core
    from meltica.providers.manager import ProviderManager
    from meltica.providers.spec import ProviderSpec
    from meltica.trading.risk.configured import ConfiguredLimits

log = logging.getLogger("meltica.trading")

CANCEL_SECONDS = 2.0
"""How long a stop waits until the venues have confirmed the cancels."""
POLL = 0.02


class ProviderAccounts:
    """The accounts of the providers of a gateway."""

    def __init__(
        self,
        core: "Core",
        desk: Desk,
        providers: "ProviderManager",
        limits: "ConfiguredLimits",
        market: MarketFeed,
        last_paper_id: int,
    ) -> None:
        """`last_paper_id` is the highest id of earlier runs."""
        self._loop = asyncio.get_running_loop()
        self._desk = desk
        self._providers = providers
        self._limits = limits
        self._market = market
        self._last_paper_id = last_paper_id
        self._used: set[Key] = set()
        self._connected: dict[str, Account] = {}
        self._listed: dict[str, tuple[Mapping[str, object], ...]] = {}
        self._papers: dict[str, PaperAccount] = {}
        self._reports = AccountFeed(core, desk)
        self._paper_feed = PaperFeed(core, self._papers)
        self._instruments = InstrumentFeed(core, desk)
        self._closed = False

    def start(self) -> None:
        """Follows the states of the providers."""
        self._providers.on_state = self._changed
        self._providers.before_stop = self._cancel_all
        self._providers.on_remove = self._removed

    def close(self) -> bool:
        """Ends the feeds; returns whether their threads ended in time. Called on a thread, after trading."""
        self._closed = True
        self._providers.on_state = lambda _: None
        self._providers.on_remove = lambda _: None
        ended = [self._reports.close(), self._paper_feed.close()]
        return all([*ended, self._instruments.close(), self._market.close()])

    def timings(self, provider: str, mode: Mode) -> Timings:
        """Returns the intervals of a provider in a mode. Called from any thread."""
        spec = self._spec(provider)
        if mode is Mode.PAPER:
            seconds = 0.0 if spec is None else spec.paper.latency.total_seconds()
        elif (account := self._connected.get(provider)) is not None:
            seconds = account.arrives_within
        elif spec is None or spec.fault is not None:
            seconds = Adapter.arrives_within(AdapterSettings())
        else:
            seconds = registry.adapter(spec.adapter).arrives_within(spec.settings)
        return Timings(arrives_within=int(seconds * SECOND))

    def fault(self, provider: str, mode: Mode) -> str | None:
        """Returns why instances may not trade at a provider. Called from any thread."""
        spec = self._spec(provider)
        if spec is None:
            return f"provider `{provider}` is not configured"
        if spec.fault is not None:
            return f"provider `{provider}` cannot start: {spec.fault}"
        if mode is Mode.PAPER:
            return None
        adapter = registry.adapter(spec.adapter)
        missing = missing_for_live(self._limits.of_provider(provider))
        return account_fault(provider, adapter, live=spec.live, missing=missing)

    def use(self, provider: str, mode: Mode) -> None:
        """Connects the account of a provider, now or when the provider runs. Called from any thread."""
        self._soon(lambda: self._use(provider, mode))

    def refresh(self) -> None:
        """Follows the markets of all symbols that may be traded now. Called from any thread."""
        self._soon(self._watch)

    def _spec(self, provider: str) -> "ProviderSpec | None":
        found = self._providers.find(provider)
        return None if found is None else found.spec

    def _soon(self, work: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(work)

    def _use(self, provider: str, mode: Mode) -> None:
        if (provider, mode) in self._used or provider not in self._providers:
            return
        self._used.add((provider, mode))
        self._changed(self._providers.get(provider))

    def _changed(self, provider: Provider) -> None:
        """1 and 2: connects the accounts of a provider, or disconnects that of a run which has ended."""
        name = provider.name
        if self._closed:
            return
        if provider.running and {(name, mode) for mode in Mode} & self._used:
            self._list(provider)
        if (name, Mode.LIVE) in self._used:
            self._connect(name, provider.account)
        if (name, Mode.PAPER) in self._used and name not in self._papers and name in self._listed:
            self._open_paper(provider)
        self._watch()

    def _removed(self, name: str) -> None:
        """Forgets a provider that was deleted; the next one of its name begins as after a restart."""
        if self._closed:
            return
        self._listed.pop(name, None)
        for mode in Mode:
            self._used.discard((name, mode))
        self._connect(name, None)
        if self._papers.pop(name, None) is not None:
            self._desk.connect(name, Mode.PAPER, None)
        self._watch()

    async def _cancel_all(self, provider: Provider) -> None:
        """3: cancels the live orders at a provider that is about to stop; names those that may stay open."""
        desk, name = self._desk, provider.name
        if self._closed or (name, Mode.LIVE) not in self._used:
            return
        with desk.lock:
            desk.accounts.begin_close(name, Mode.LIVE)
            orders = [
                each
                for each in desk.open_machines()
                if (each.record.provider, each.record.owner.mode) == (name, Mode.LIVE)
            ]
            desk.cancel(orders)
        desk.wake()
        deadline = self._loop.time() + CANCEL_SECONDS
        while orders and self._connected.get(name) is not None and self._loop.time() < deadline:
            await asyncio.sleep(POLL)
            orders = [each for each in orders if not each.record.state.is_final]
        for each in orders:
            log.warning(
                "order %s at %s: its cancel is not confirmed, and is repeated when the provider runs again",
                each.record.client_order_id,
                name,
            )

    def _connect(self, name: str, account: Account | None) -> None:
        if account is self._connected.get(name):
            return
        if account is None:
            del self._connected[name]
        else:
            self._connected[name] = account
            # 4
            self._reports.watch({provider for provider, mode in self._used if mode is Mode.LIVE})
        self._desk.connect(name, Mode.LIVE, account)

    def _list(self, provider: Provider) -> None:
        name = provider.name
        if self._listed.get(name) is provider.instruments:
            return
        self._listed[name] = provider.instruments
        paper = provider.spec.paper
        rates = {
            Mode.LIVE: provider.fee_rate,
            Mode.PAPER: max(paper.maker_fee, paper.taker_fee, Decimal(0)),
        }
        instruments = list(_instruments(name, provider.instruments))
        with self._desk.lock:
            for mode, risk in self._desk.risks.items():
                for instrument in instruments:
                    risk.registry.set_instrument(name, instrument, rates[mode])

    def _open_paper(self, provider: Provider) -> None:
        name = provider.name
        desk = self._desk

        def publish(report: PaperReport, balances: Mapping[str, Balance]) -> None:
            desk.report(name, Mode.PAPER, report.order, report.fill)
            for currency, balance in balances.items():
                desk.balance(name, Mode.PAPER, currency, balance)

        account = PaperAccount(provider.spec.paper, publish, desk.clock)
        for listed in provider.instruments:
            with contextlib.suppress(ValueError):  # logged for risk
                account.list_instrument(listed)
        with desk.lock:
            opened = desk.accounts.link(name, Mode.PAPER).opened
            owned = desk.accounts.balances[Mode.PAPER].owned(name) if opened else {}
            records = [
                each.record
                for each in desk.open_machines()
                if (each.record.provider, each.record.owner.mode) == (name, Mode.PAPER)
            ]
            orders = [_paper_order(each) for each in records if each.venue_order_id is not None]
        try:
            account.restore(owned, orders, self._last_paper_id)
        except OrderRefused as error:
            log.error("paper orders of %s are not restored: %s", name, error)
        self._papers[name] = account
        desk.connect(name, Mode.PAPER, account)

    def _watch(self) -> None:
        if self._closed:
            return
        routes = {mode: set(self._routes(mode)) for mode in Mode}
        try:
            self._market.watch(routes[Mode.LIVE] | routes[Mode.PAPER])
            self._instruments.watch(routes[Mode.LIVE] | routes[Mode.PAPER])
            self._paper_feed.watch({route for route in routes[Mode.PAPER] if route[0] in self._papers})
        except CapacityError as error:
            log.error("orders are refused in symbols whose market is not followed: %s", error)

    def _routes(self, mode: Mode) -> Iterator[tuple[str, str]]:
        """Yields the listed symbols that instances trade or hold, and those that convert their currencies."""
        desk = self._desk
        with desk.lock:
            registry = desk.risks[mode].registry
            wanted = {
                (provider, symbol)
                for provider, used in self._used
                if used is mode
                for symbol in registry.symbols(provider)
            }
            wanted |= registry.conversion_routes()
            for route in wanted:
                listing = registry.listings.get(route)
                if listing is not None and listing.instrument is not None:
                    yield route


def _instruments(provider: str, listed: tuple[Mapping[str, object], ...]) -> Iterator[Instrument]:
    for payload in listed:
        try:
            yield Instrument.from_payload(payload)
        except ValueError as error:
            log.error("%s: not traded: %s", provider, error)


def _paper_order(record: OrderRecord) -> PaperOrder:
    """Returns an open order as the paper account had it. It queues behind the shown quantity again."""
    assert record.venue_order_id is not None
    return PaperOrder(
        NewOrder(
            client_order_id=record.client_order_id,
            symbol=record.symbol,
            side=record.side,
            quantity=record.quantity,
            price=record.limit_price,
            time_in_force=record.time_in_force,
            post_only=record.post_only,
        ),
        record.venue_order_id,
        record.quantity,
        record.limit_price,
        record.acknowledged_at or record.intent_at,
        record.venue_time or record.intent_at,
        state=OrderState.PARTIAL if record.filled_quantity else OrderState.ACK,
        filled_quantity=record.filled_quantity,
        filled_cost=record.filled_cost,
        fees=dict(record.fees),
    )
