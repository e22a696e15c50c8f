"""`Instances`: opens and closes the traders of instances; implements the port `TradingPort`.

Between `open` and the first callback of a run:

1. Orders of an earlier run that are still open are cancelled and seen ended, or with `keep` handed over.
2. The accounts of the scope are reconciled, and the inventory of the instance is moved to its positions.
3. The trader begins to receive reports. What the strategy missed before is read from the database: fills and
   ends after the report that its checkpoint names. A strategy that saves and has no checkpoint yet missed all
   of them, one that does not save only those after its last run.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from copy import copy
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from meltica.errors import ConfigError, DatabaseError, one_line
from meltica.model.enums import Mode
from meltica.model.trader import Trader, TradingSpec
from meltica.persistence.stores.trading.rows import CheckpointRow
from meltica.trading.absent import end_orders, left_elsewhere, unmanaged
from meltica.trading.client_ids import ClientOrderIds
from meltica.trading.desk import Desk
from meltica.trading.history import Missed, missed
from meltica.trading.intents import TriggerOf
from meltica.trading.inventory import take_over
from meltica.trading.order import Owner
from meltica.trading.positions import Positions
from meltica.trading.risk.limits import InstanceRiskLimits
from meltica.trading.risk.market import Market
from meltica.trading.risk.scopes import Scope
from meltica.trading.service import Trading
from meltica.trading.state_machine import OrderMachine
from meltica.trading.stored import fill_of
from meltica.trading.trader import InstanceTrader
from meltica.trading.transitions import TimingsOf
from meltica.validation.models import load

log = logging.getLogger("meltica.trading")

RETRY = 1.0
"""Seconds between two attempts to read the database."""
POLL = 0.05
"""Seconds between two checks of what a start or a stop waits for."""
EMITTED = "meltica"
"""The provider name of events that lambdas emit; nothing is traded there."""


class Venues(Protocol):
    """The accounts and markets of the providers, for instances."""

    def fault(self, provider: str, mode: Mode) -> str | None:
        """Returns why instances may not trade at a provider; None if they may."""
        ...

    def use(self, provider: str, mode: Mode) -> None:
        """Connects the account of a provider, now or when the provider runs. Called from any thread."""
        ...

    def refresh(self) -> None:
        """Follows the markets of all symbols that may be traded now. Called from any thread."""
        ...


@dataclass(eq=False)
class Run:
    """One run of an instance."""

    spec: TradingSpec
    owner: Owner
    trader: InstanceTrader
    baseline: int
    """The last report that an earlier run of the instance saw, as far as it is known."""
    until: int = 0
    """The last report before the trader began to receive them."""
    leftovers: list[OrderMachine] = field(default_factory=list[OrderMachine])
    """Orders of an earlier run, or of the other mode, that are cancelled."""
    missed: list[Missed] = field(default_factory=list[Missed])
    checkpoint: bytes | None = None


class Instances:
    """The instances that trade."""

    def __init__(
        self,
        trading: Trading,
        positions: Positions,
        market: Market,
        ids: ClientOrderIds,
        timings: TimingsOf,
        venues: Venues,
        uid_of: Callable[[str], UUID],
    ) -> None:
        """`uid_of` returns the uid of an instance, which each creation of an instance has of its own."""
        self._trading = trading
        self._desk: Desk = trading.desk
        self._positions = positions
        self._market = market
        self._ids = ids
        self._timings = timings
        self._venues = venues
        self._uid_of = uid_of
        self._runs: dict[Trader, Run] = {}
        self._seen: dict[Owner, int] = {}
        self._restored = self._desk.pending.last_report
        self._earlier = {each.record.id for each in self._desk.open_machines()}
        """The orders that were open when trading started."""

    @property
    def runs(self) -> list[Run]:
        """The instances that are open."""
        return list(self._runs.values())

    def open(
        self,
        spec: TradingSpec,
        deliver: Callable[[Callable[[], None]], object],
        trigger: TriggerOf = lambda: None,
    ) -> Trader:
        """Registers an instance and returns its trader. Raises ConfigError when it may not trade so."""
        mode = Mode.PAPER if spec.dry_run else Mode.LIVE
        scope = {name: symbols for name, symbols in spec.scope.items() if name != EMITTED}
        faults = [fault for name in scope if (fault := self._venues.fault(name, mode)) is not None]
        if faults:
            raise ConfigError(f"orders of {spec.instance}", faults)
        limits = load(InstanceRiskLimits, dict(spec.risk), subject=f"risk limits of {spec.instance}")
        owner = Owner(spec.instance, self._uid_of(spec.instance), mode)
        risk = self._desk.risks[mode]
        trader = InstanceTrader(
            owner,
            scope,
            self._desk,
            risk,
            self._positions,
            self._market,
            self._ids,
            self._timings,
            self._trading.push,
            deliver,
            trigger,
        )
        with self._desk.lock:
            risk.registry.set_instance(owner, scope, limits)
            run = Run(spec, owner, trader, self._seen.get(owner, self._restored))
            run.leftovers = self._cancel(self._leftovers(run))
            unattended = unmanaged(self._desk, owner, scope)
        self._desk.wake()
        self._runs[trader] = run
        if unattended:
            text = "instance %s does not trade its live position of %s: its scope or dryRun has changed"
            log.warning(text, spec.instance, ", ".join(unattended))
        for name in scope:
            self._venues.use(name, mode)
        self._venues.refresh()
        return trader

    async def ready(self, trader: Trader) -> None:
        """Waits until the scope is reconciled and orders of an earlier run are handled; see the module.

        Raises ConfigError for an inventory that cannot be moved.
        """
        run = self._runs[trader]
        while self._wait_for(run) is not None:
            await asyncio.sleep(POLL)
        with self._desk.lock:
            take_over(self._desk, run.owner, run.spec)
        run.until = run.trader.attach()
        while True:
            try:
                await self._read(run)
            except DatabaseError as error:
                log.warning("instance %s waits for its history: %s", run.spec.instance, one_line(error))
                await asyncio.sleep(RETRY)
            else:
                return

    def waits_for(self, trader: Trader) -> str | None:
        """Returns what `ready` waits for; None when it does not wait."""
        run = self._runs.get(trader)
        return None if run is None else self._wait_for(run)

    def checkpoint(self, trader: Trader) -> bytes | None:
        """Returns the state that was saved last, as JSON."""
        return self._runs[trader].checkpoint

    def replay_missed(self, trader: Trader) -> None:
        """Delivers the fills and ends that the strategy missed, once."""
        run = self._runs[trader]
        events, run.missed = run.missed, []
        for callback, report in events:
            run.trader.replay(callback, report)

    def save(self, trader: Trader, state: bytes) -> None:
        """Keeps a checkpoint that names the last report which the callbacks saw."""
        run = self._runs[trader]
        row = CheckpointRow(
            uid=run.owner.uid,
            mode=run.owner.mode,
            instance=run.owner.instance,
            state=state.decode(),
            last_report=run.trader.last_report,
            saved_at=self._desk.clock(),
        )
        self._desk.write([row])

    def stop_orders(self, trader: Trader) -> None:
        """Refuses orders of the instance from now on; cancels pass."""
        run = self._runs.get(trader)
        if run is not None:
            run.trader.stop_orders()
            self._desk.stop_orders(run.owner)

    def suspend(self, trader: Trader) -> None:
        """Refuses orders until `resume`, and cancels the open ones unless they are kept."""
        self.stop_orders(trader)
        run = self._runs.get(trader)
        if run is not None:
            self._cancel_unless_kept(run)

    def resume(self, trader: Trader) -> None:
        """Ends `suspend`."""
        run = self._runs.get(trader)
        if run is not None:
            run.trader.resume_orders()
            with self._desk.lock:
                self._desk.gate.open(run.owner)

    async def close(self, trader: Trader, *, failed: bool = False) -> None:
        """Cancels the open orders unless they are kept, and ends the callbacks; does not wait for ends.

        An instance that has failed does not come back by itself, so none of its orders is kept.
        """
        run = self._runs.pop(trader, None)
        if run is None:
            return
        run.trader.stop_orders()
        run.trader.detach()
        self._seen[run.owner] = run.trader.last_report or run.baseline
        self._cancel_unless_kept(run, failed=failed)
        self._register_idle(run.owner)
        self._venues.refresh()

    def restored(self, limits_of: Callable[[str], InstanceRiskLimits]) -> None:
        """Registers instances with orders or positions of an earlier run, and follows their accounts.

        Orders of instances that do not run are cancelled. `limits_of` returns the limits of an instance.
        """
        with self._desk.lock:
            end_orders(self._desk)
            owners = {each.record.owner for each in self._desk.open_machines()}
            owners |= {each.key.owner for each in self._positions if each.quantity}
        for owner in owners:
            self._register_idle(owner, limits_of(owner.instance))
        self._venues.refresh()

    def cancel_abandoned(self, running: Collection[str]) -> None:
        """Cancels the orders of an earlier run whose instances did not open and are not among `running`."""
        opened = {run.owner.uid for run in self.runs}
        with self._desk.lock:
            abandoned = [
                each
                for each in self._desk.open_machines()
                if each.record.id in self._earlier
                and each.record.owner.uid not in opened
                and each.record.owner.instance not in running
                and not each.record.cancel_wanted
            ]
            self._cancel(abandoned)
        for each in abandoned:
            log.warning(
                "order %s of %s is cancelled: the instance does not run",
                each.record.client_order_id,
                each.record.owner.instance,
            )
        if abandoned:
            self._desk.wake()

    def _register_idle(self, owner: Owner, limits: InstanceRiskLimits | None = None) -> None:
        """Registers an instance that does not run for the symbols of its orders and positions only.

        Without `limits`, it keeps those that it has, which may have changed since it was opened.
        """
        scope: dict[str, tuple[str, ...]] = {}
        registry = self._desk.risks[owner.mode].registry
        with self._desk.lock:
            held = {(each.record.provider, each.record.symbol) for each in self._open(owner)}
            held |= {
                (each.key.provider, each.key.symbol)
                for each in self._positions.of_owner(owner)
                if each.quantity
            }
            for provider, symbol in sorted(held):
                scope[provider] = (*scope.get(provider, ()), symbol)
            current = registry.state(Scope.instance(owner)).limits if limits is None else limits
            assert isinstance(current, InstanceRiskLimits)
            registry.set_instance(owner, scope, current)
        for provider in scope:
            self._venues.use(provider, owner.mode)

    def _cancel_unless_kept(self, run: Run, *, failed: bool = False) -> None:
        if run.spec.on_stop == "keep" and not failed:
            return
        with self._desk.lock:
            self._cancel(self._open(run.owner))
        self._desk.wake()

    def _open(self, owner: Owner) -> list[OrderMachine]:
        return [each for each in self._desk.open_machines() if each.record.owner == owner]

    def _leftovers(self, run: Run) -> list[OrderMachine]:
        """Returns the open orders that a start cancels: with `keep`, only those of the other mode."""
        keeps = run.spec.on_stop == "keep"
        return [
            each
            for each in self._desk.open_machines()
            if each.record.owner.uid == run.owner.uid and not (keeps and each.record.owner == run.owner)
        ]

    def _cancel(self, machines: list[OrderMachine]) -> list[OrderMachine]:
        """Cancels orders. The caller holds the lock."""
        self._desk.cancel(machines)
        return machines

    def _wait_for(self, run: Run) -> str | None:
        with self._desk.lock.reading:
            if (left_behind := left_elsewhere(self._desk, run.owner)) is not None:
                return left_behind
            for name in run.trader.scope:
                if not self._desk.accounts.link(name, run.owner.mode).ready:
                    return f"the {run.owner.mode.value} account of {name} is not reconciled"
            left = [each.record for each in run.leftovers if not each.record.state.is_final]
        if left:
            return f"the end of order {left[0].client_order_id} of an earlier run at {left[0].provider}"
        return None

    async def _read(self, run: Run) -> None:
        """3: reads the checkpoint, and what was missed since; passes open orders to the trader."""
        owner = run.owner
        await self._trading.committed()
        row = await self._trading.load(lambda loader: loader.checkpoint(owner.uid, owner.mode))
        if row is not None:
            run.checkpoint, run.baseline = row.state.encode(), row.last_report
        elif run.spec.saves:
            run.baseline = 0
        run.trader.last_report = run.baseline
        run.missed = await missed(self._trading, owner, run.baseline, run.until)
        with self._desk.lock:
            records = [copy(each.record) for each in self._open(owner)]
        fills = await self._trading.load(lambda loader: loader.fills([each.id for each in records]))
        for record in records:
            # The callbacks bring the later ones.
            seen = [fill for fill in fills if fill.order_id == record.id and fill.report <= run.baseline]
            run.trader.adopt(record, [fill_of(fill, record) for fill in seen])
