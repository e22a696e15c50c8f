"""`TradingRuntime`: trading while it runs, built from the settings of the gateway."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from meltica.gateway.accounts import CANCEL_SECONDS, ProviderAccounts
from meltica.model.enums import Mode
from meltica.persistence.database import Database, PoolOptions
from meltica.persistence.stores.trading.durability import check_durability
from meltica.persistence.stores.trading.halts import HaltStore
from meltica.persistence.stores.trading.loaders import TradingLoader
from meltica.persistence.stores.trading.rows import HaltScope
from meltica.persistence.stores.trading.writer import GroupCommitWriter
from meltica.runtime.threads import call
from meltica.trading import clock
from meltica.trading.absent import Configured
from meltica.trading.balances import Balances
from meltica.trading.client_ids import ClientOrderIds, new_mark
from meltica.trading.desk import Desk
from meltica.trading.failure import cancel_open
from meltica.trading.faults import FaultKind, TradingFault
from meltica.trading.gate import SUPERSEDED
from meltica.trading.instances import Instances
from meltica.trading.market_view import MarketFeed
from meltica.trading.operator import Operator
from meltica.trading.order import Owner
from meltica.trading.positions import Positions
from meltica.trading.risk.risk import Risk
from meltica.trading.risk.scopes import GLOBAL, Scope
from meltica.trading.service import Storage, Trading
from meltica.trading.valuation import value

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from meltica.gateway.trading import GatewayTrading
    from meltica.trading.risk.limits import RiskLimits

log = logging.getLogger("meltica.gateway")

LOCK_NOT_HELD = "lock_not_held"
ABSENT = {FaultKind.ABSENT_INSTANCE, FaultKind.ABSENT_PROVIDER, FaultKind.UNREACHABLE_ORDER}
"""Faults of an edit of the configuration, which a start names in the log."""
DRAIN_SECONDS = 4.0
"""How long a stop waits for requests in flight and the last commit."""
ABANDONED_SECONDS = 60.0
"""How long the orders of an earlier run wait for an instance that should run and has not opened."""
POLL = 0.05


class TradingRuntime:
    """Trading of a gateway, from `start` to `stop`."""

    def __init__(self, gateway: "GatewayTrading", mark: str, last_paper_id: int) -> None:
        self._gateway = gateway
        limits = gateway.limits
        ids = ClientOrderIds(mark)
        self.positions = Positions()
        self.balances = {mode: Balances(mode) for mode in Mode}
        self.risks = {mode: Risk(mode, self.balances[mode], limits.of_global()) for mode in Mode}
        self.market = MarketFeed(gateway.core)
        self.desk = Desk(
            self.risks, self.positions, self.balances, self.market, clock.now, has_mark=ids.has_mark
        )
        self.accounts = ProviderAccounts(
            gateway.core, self.desk, gateway.providers, limits, self.market, last_paper_id
        )
        self.desk.on_routes = self.accounts.refresh
        self.desk.configured = Configured(gateway.providers, self._uid_of, gateway.volatile)
        self.trading = Trading(self.desk, self._open_storage, self.accounts.timings)
        self.trading.on_failure = self._failed
        self._ids = ids
        self.operator = Operator(self.trading, HaltStore(gateway.database), ids)
        self._takeovers = gateway.lock.takeovers
        self._register_limits()
        self._loop = asyncio.get_running_loop()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopped: asyncio.Future[bool] | None = None

    @classmethod
    async def start(cls, gateway: "GatewayTrading", *, cancel: bool = False) -> "TradingRuntime":
        """Starts trading; with `cancel`, it cancels all open orders. Raises DatabaseError."""
        await check_durability(gateway.database)
        loader = TradingLoader(gateway.database)
        runtime = cls(gateway, await loader.mark(new_mark()), await loader.last_paper_id())
        try:
            await runtime._start()
            if cancel:
                cancel_open(runtime.desk)
        except BaseException:
            await runtime.stop()
            raise
        return runtime

    async def _start(self) -> None:
        gateway = self._gateway
        self.set_lock_held(gateway.lock.held)
        await call(self.trading.start, "meltica-trading-start")
        self.instances = Instances(
            self.trading,
            self.positions,
            self.market,
            self._ids,
            self.accounts.timings,
            self.accounts,
            self._uid,
        )
        self.accounts.start()
        self.instances.restored(gateway.limits.of_instance)
        for fault in self.trading.faults():
            name, text = _fault(fault)
            absent = fault.provider is None or not self.desk.configured.has_provider(fault.provider)
            if absent and fault.kind in ABSENT:
                log.error("%s %s", name, text)
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._cancel_abandoned(), name="meltica-abandoned-orders"),
        ]

    async def stop(self) -> bool:
        """Waits for the last cancels, writes what waits, and ends the threads; returns whether all ended."""
        if self._stopped is None:
            self._stopped = asyncio.ensure_future(self._stop())
        return await asyncio.shield(self._stopped)

    async def _stop(self) -> bool:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if not self.superseded:
            await self._wait_cancelled()
        clean = await call(lambda: self.trading.stop(DRAIN_SECONDS), "meltica-trading-stop")
        return await call(self.accounts.close, "meltica-feeds-stop") and clean

    def _failed(self) -> None:
        """Has trading rebuilt. Called on trading's thread."""
        with contextlib.suppress(RuntimeError):  # the gateway has ended
            self._loop.call_soon_threadsafe(self._gateway.failed, self)

    def faults(self) -> dict[str, str]:
        """Returns the faults of trading and the halts, by name."""
        found: dict[str, str] = {}
        for fault in self.trading.faults():
            name, text = _fault(fault)
            found[name] = f"{found[name]}; {text}" if name in found else text
        with self.desk.lock.reading:
            halts = [
                (state.scope, state.halt)
                for risk in self.risks.values()
                for state in risk.registry.scopes.values()
                if state.halt is not None
            ]
        for scope, halt in halts:
            name = f"orders of {scope}" if halt.mode is None else f"{halt.mode.value} orders of {scope}"
            found[name] = f"are halted by {halt.by}: {halt.reason}"
        return found

    def summary(self) -> tuple[str, ...]:
        """Returns open orders, fills, positions and PnL in one text per mode."""
        desk = self.desk
        with desk.lock.reading:
            texts: list[str] = []
            for mode, risk in self.risks.items():
                orders = sum(each.record.owner.mode is mode for each in desk.open_machines())
                positions = [each for each in self.positions if each.key.owner.mode is mode]
                fills = desk.pending.fills[mode]
                if not (orders or positions or fills):
                    continue
                pnl = value(positions, self.market, risk.registry.currency(GLOBAL), clock.now())
                held = sum(each.quantity != 0 for each in positions)
                texts.append(
                    f"{mode.value}: orders {orders}, fills {fills:,}, positions {held},"
                    f" PnL {pnl.net:+,.2f} {pnl.currency}{' and unvalued' if pnl.unvalued else ''}"
                )
        return tuple(texts)

    def set_lock_held(self, held: bool) -> None:
        """Lets no order leave while the lock is not held; another reason stays in force."""
        gate = self.desk.gate
        with self.desk.lock:
            if gate.blocked in (None, LOCK_NOT_HELD):
                gate.blocked = None if held else LOCK_NOT_HELD
        self.desk.wake()

    @property
    def superseded(self) -> bool:
        """Whether another gateway has traded since trading started."""
        return self._gateway.lock.takeovers != self._takeovers

    def block(self) -> None:
        """Lets no order leave any more: what is in memory is outdated. The writer refuses it by itself."""
        with self.desk.lock:
            self.desk.gate.blocked = SUPERSEDED

    def set_limits(self, limits: "Mapping[str, RiskLimits]") -> None:
        """Applies limits by scope; those of an instance where it trades."""
        with self.desk.lock:
            for text, each in limits.items():
                kind, _, name = text.partition(":")
                scope = Scope(HaltScope(kind), name)
                for risk in self.risks.values():
                    if scope.kind is not HaltScope.INSTANCE or scope in risk.registry.scopes:
                        risk.registry.set_limits(scope, each)

    def _register_limits(self) -> None:
        """Sets all limits, before the state of risk is restored."""
        gateway = self._gateway
        for row in gateway.instances.list():
            mode = Mode.PAPER if row.dry_run else Mode.LIVE
            limits = gateway.limits.of_instance(row.id)
            self.risks[mode].registry.set_instance(Owner(row.id, row.uid, mode), {}, limits)
        self.set_limits(gateway.limits.all())

    def _uid_of(self, instance: str) -> "UUID | None":
        row = self._gateway.instances.find(instance)
        configured = row is not None and (
            row.origin == "dynamic" or instance in self._gateway.settings.lambdas
        )
        return row.uid if row is not None and configured else None

    def _uid(self, instance: str) -> "UUID":
        return self._gateway.instances.get(instance).uid

    @asynccontextmanager
    async def _open_storage(self) -> AsyncGenerator[Storage]:
        """Opens trading's own connections: one for commits, one for everything else."""
        options = PoolOptions(min_size=1, max_size=2)
        async with await Database.open(self._gateway.source, options) as database:
            yield GroupCommitWriter(database, self._gateway.lock), TradingLoader(database)

    async def _cancel_abandoned(self) -> None:
        """Cancels orders of instances that do not run now, and later those of instances that did not open."""
        self.instances.cancel_abandoned(set(self._gateway.running()))
        await asyncio.sleep(ABANDONED_SECONDS)
        self.instances.cancel_abandoned(set())

    async def _wait_cancelled(self) -> None:
        """Waits until the wanted cancels are confirmed, and names those that are not."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CANCEL_SECONDS):
                while self._cancelling():
                    await asyncio.sleep(POLL)
        for id in self._cancelling():
            log.warning("the cancel of order %s is not confirmed: the next start cancels it first", id)

    def _cancelling(self) -> list[str]:
        with self.desk.lock.reading:
            return [
                f"{record.client_order_id} at {record.provider}"
                for record in (each.record for each in self.desk.open_machines())
                if record.cancel_wanted
            ]


def _fault(fault: TradingFault) -> tuple[str, str]:
    """Returns the name of a fault in readiness, and its text."""
    at = f"{fault.provider} ({fault.mode})"
    match fault.kind:
        case FaultKind.NO_ORDERS:
            return "orders", f"do not leave: {fault.detail}"
        case FaultKind.NOT_WRITTEN:
            return "orders", f"are not written: {fault.detail}"
        case FaultKind.LEDGER_FROZEN:
            return f"orders of {fault.subject}", f"do not leave: {fault.detail}; restart the gateway"
        case FaultKind.NOT_RECONCILED:
            return f"account {at}", f"is not reconciled: {fault.detail}"
        case FaultKind.DIFFERENCE:
            return f"balance {fault.subject} of {at}", f"differs by {fault.detail} without an explanation"
        case FaultKind.ORDERS_LOST:
            return f"account {at}", f"has lost orders: {fault.subject}: {fault.detail}"
        case FaultKind.MISPLACED_ORDER:
            return f"account {at}", f"has order {fault.subject}: {fault.detail}"
        case FaultKind.ABSENT_INSTANCE:
            return f"lambda {fault.subject}", f"is not configured: {fault.detail}"
        case FaultKind.ABSENT_PROVIDER:
            return f"provider {fault.provider}", f"is not configured: {fault.detail}"
        case FaultKind.UNREACHABLE_ORDER:
            return f"order {fault.subject} at {at}", f"is out of reach: {fault.detail}"
        case _:
            return f"order {fault.subject} at {at}", f"is {fault.kind.value}: {fault.detail}"
