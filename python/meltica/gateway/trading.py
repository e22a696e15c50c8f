"""`GatewayTrading`: starts trading when it is needed, and stops it so that nothing is lost.

Trading starts when the first instance that trades is opened, or with the gateway when orders or positions of
an earlier run are left. A gateway without either imports nothing of it.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from meltica.adapters import registry
from meltica.errors import ConfigError, StartError
from meltica.gateway.rebuild import Rebuild
from meltica.model.enums import Mode
from meltica.persistence.stores.trading.holdings import holdings
from meltica.runtime.lifecycle import Desired
from meltica.trading.risk.configured import INSTANCE, as_json

if TYPE_CHECKING:
    from meltica._core import Core, Trigger
    from meltica.gateway.trading_runtime import TradingRuntime
    from meltica.lambdas.managed import ManagedInstance
    from meltica.lambdas.manager import InstanceManager
    from meltica.model.trader import Trader, TradingSpec
    from meltica.persistence.database import Database
    from meltica.persistence.lock import GatewayLock
    from meltica.persistence.postgres.embedded import EmbeddedPostgres
    from meltica.persistence.stores.instances import InstanceRow, InstanceStore
    from meltica.persistence.stores.providers import ProviderRow, ProviderStore
    from meltica.providers.manager import ProviderManager
    from meltica.settings.model import Settings
    from meltica.trading.risk.configured import ConfiguredLimits
    from meltica.trading.risk.limits import RiskLimits

log = logging.getLogger("meltica.gateway")

OPEN = "open orders or a position"
LEFT = """
    select exists (select from orders where state in ('PENDING', 'ACK', 'PARTIAL', 'UNKNOWN'))
        or exists (select from positions where quantity <> 0)
"""


class GatewayTrading:
    """Trading of one gateway; implements the port `TradingPort`."""

    def __init__(
        self,
        settings: "Settings",
        core: "Core",
        source: "str | EmbeddedPostgres",
        database: "Database",
        lock: "GatewayLock",
        providers: "ProviderManager",
        instances: "InstanceStore",
        provider_rows: "ProviderStore",
        limits: "ConfiguredLimits",
        manager: "Callable[[], InstanceManager]",
    ) -> None:
        """Creates trading, not started. `source` is the database."""
        self.settings = settings
        self.core = core
        self.source = source
        self.database = database
        self.lock = lock
        self.providers = providers
        self.instances = instances
        self._provider_rows = provider_rows
        self.limits = limits
        self._manager = manager
        self.runtime: TradingRuntime | None = None
        """Trading; None while it is not needed."""
        self._loop = asyncio.get_running_loop()
        self._starting = asyncio.Lock()
        self._to_restart: list[ManagedInstance] = []
        self._rebuild = Rebuild(self)
        self._replacing = asyncio.Lock()
        self._stopping = False

    async def begin(self) -> None:
        """Starts trading if orders or positions of an earlier run are left. Raises DatabaseError."""
        async with self.database.connection() as connection:
            row = await (await connection.execute(LEFT)).fetchone()
        if row is not None and row[0]:
            await self.started()

    async def started(self) -> "TradingRuntime":
        """Returns trading, and starts it first if it does not run. Raises DatabaseError, StartError."""
        async with self._starting:
            if self._stopping:
                raise StartError("trading not started: the gateway is stopping")
            while self.runtime is None:
                from meltica.gateway.trading_runtime import TradingRuntime

                runtime = await TradingRuntime.start(self, cancel=self._rebuild.running)
                if runtime.superseded:
                    await runtime.stop()
                else:
                    self.runtime = runtime
                    # They may have changed during the start.
                    runtime.set_limits(self.limits.all())
            return self.runtime

    def set_limits(self, limits: "Mapping[str, RiskLimits]") -> None:
        """Applies limits by scope, at once."""
        if self.runtime is not None:
            self.runtime.set_limits(limits)

    async def stop(self) -> bool:
        """Waits for the last cancels, writes what waits, ends trading; returns whether it ended in time."""
        self._stopping = True
        await self._rebuild.stop()
        async with self._starting:
            return self.runtime is None or await self.runtime.stop()

    def running(self) -> list[str]:
        """Returns the ids of the instances that run or will."""
        return [each.id for each in self._manager().all() if each.desired is Desired.RUNNING]

    def discard_unrecorded(self) -> list[str]:
        """Lets no order leave any more: another gateway has traded meanwhile."""
        if self.runtime is not None:
            self.runtime.block()
        return []

    async def adopt(self) -> None:
        """Starts trading again from the database if another gateway has traded meanwhile."""
        old = self.runtime
        if old is not None and old.superseded:
            log.warning("trading restarts: another gateway has traded meanwhile")
            await self.replace(old)
        elif self._to_restart and not self._rebuild.running:
            await self.replace(None)

    async def replace(self, old: "TradingRuntime | None") -> None:
        """Stops trading and its instances, and starts them again from the database.

        Raises DatabaseError, after which it is called again with None.
        """
        async with self._replacing:
            if self._stopping:
                return
            if old is not None and old is self.runtime:
                self._to_restart += await self._manager().stop_trading()
                async with self._starting:
                    if not await old.stop():
                        log.error("the threads of the earlier trading did not end in time")
                    self.runtime = None
            if self._to_restart or self._rebuild.running:
                await self.started()
                self._manager().start_trading(self._to_restart)
                self._to_restart = []

    def failed(self, runtime: "TradingRuntime") -> None:
        """Rebuilds trading after an unexpected exception."""
        if runtime is self.runtime and not self._stopping:
            self._rebuild.begin(runtime)

    @property
    def volatile(self) -> frozenset[str]:
        """The providers whose accounts end with a gateway, also those that are no longer configured."""
        rows = self._provider_rows.list()
        return frozenset(row.name for row in rows if ends_with_process(row))

    async def held_by(self, row: "InstanceRow") -> str | None:
        """Returns what an instance has at its providers, in the database or in memory; None for nothing.

        Raises DatabaseError.
        """
        held = row.uid in (await holdings(self.database)).instances
        if self.runtime is not None and not held:
            desk = self.runtime.desk
            with desk.lock.reading:
                held = any(each.record.owner.uid == row.uid for each in desk.open_machines()) or any(
                    each.quantity and each.key.owner.uid == row.uid for each in desk.positions
                )
        return OPEN if held else None

    async def held_at(self, provider: str, *, live: bool = False) -> str | None:
        """Returns what instances have at a provider, in the database or in memory; None for nothing.

        With `live`, only what they have on its account. Raises DatabaseError.
        """
        stored = await holdings(self.database)
        held = provider in (stored.live if live else stored.providers)
        if self.runtime is not None and not held:
            desk, modes = self.runtime.desk, {Mode.LIVE} if live else {*Mode}
            with desk.lock.reading:
                held = any(
                    each.record.provider == provider and each.record.owner.mode in modes
                    for each in desk.open_machines()
                ) or any(
                    each.quantity and each.key.provider == provider and each.key.owner.mode in modes
                    for each in desk.positions
                )
        return OPEN if held else None

    def faults(self) -> dict[str, str]:
        """Returns what an operator has to look at, by name, as readiness shows it."""
        found = {} if self.runtime is None else self.runtime.faults()
        if self._rebuild.fault is not None:
            found["orders"] = self._rebuild.fault
        return found

    def summary(self) -> tuple[str, ...]:
        """Returns open orders, fills, positions and PnL in one text per mode in which instances trade."""
        return () if self.runtime is None else self.runtime.summary()

    def lock_changed(self, held: bool) -> None:
        """Lets no order leave while the lock of the gateway is not held."""
        if self.runtime is not None:
            self.runtime.set_lock_held(held)

    # The port

    def open(
        self,
        spec: "TradingSpec",
        deliver: Callable[[Callable[[], None]], object],
        trigger: "Callable[[], Trigger | None]",
    ) -> "Trader":
        """Registers an instance and returns its trader. Called on a thread, not on the gateway's loop."""
        runtime = asyncio.run_coroutine_threadsafe(self.started(), self._loop).result()
        limits = as_json(self.limits.of_instance(spec.instance))
        trader = runtime.instances.open(replace(spec, risk=limits), deliver, trigger)
        # They may have changed since they were read.
        runtime.set_limits({f"{INSTANCE}{spec.instance}": self.limits.of_instance(spec.instance)})
        return trader

    async def ready(self, trader: "Trader") -> None:
        """Waits until each provider of the scope is reconciled and orders of an earlier run are handled."""
        await self._running.instances.ready(trader)

    def waits_for(self, trader: "Trader") -> str | None:
        """Returns what `ready` waits for."""
        return self._running.instances.waits_for(trader)

    def checkpoint(self, trader: "Trader") -> bytes | None:
        """Returns the state that was saved last, as JSON."""
        return self._running.instances.checkpoint(trader)

    def replay_missed(self, trader: "Trader") -> None:
        """Delivers the fills and ends of orders since the report that the checkpoint names."""
        self._running.instances.replay_missed(trader)

    def save(self, trader: "Trader", state: bytes) -> None:
        """Keeps a checkpoint."""
        self._running.instances.save(trader, state)

    def stop_orders(self, trader: "Trader") -> None:
        """Refuses orders of the instance from now on."""
        self._running.instances.stop_orders(trader)

    def suspend(self, trader: "Trader") -> None:
        """Refuses orders until `resume`, and handles the open ones as `on_stop` says."""
        self._running.instances.suspend(trader)

    def resume(self, trader: "Trader") -> None:
        """Ends `suspend`."""
        self._running.instances.resume(trader)

    async def close(self, trader: "Trader", *, failed: bool = False) -> None:
        """Handles the open orders as `on_stop` says, and ends the callbacks."""
        await self._running.instances.close(trader, failed=failed)

    @property
    def _running(self) -> "TradingRuntime":
        assert self.runtime is not None, "a trader exists, so trading was started"
        return self.runtime


def ends_with_process(row: "ProviderRow") -> bool:
    """Returns whether the account of a provider ends with the gateway, and what is open there too."""
    try:
        return registry.adapter(row.adapter).ends_with_process(row.settings)
    except ConfigError:  # the adapter is no longer installed
        return False
