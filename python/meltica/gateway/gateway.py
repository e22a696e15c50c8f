"""Builds the components of a gateway, starts them in order and stops them in reverse.

A failed start names the component and stops those that had started. A stop has a deadline: components that
miss it are abandoned and logged.
"""

import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import TYPE_CHECKING

from meltica._core import Core, Metrics, Watch
from meltica.gateway.access import GatewayAccess
from meltica.gateway.baseline import Drift, apply_baseline
from meltica.gateway.dynamic import DynamicInstances, DynamicProviders, NonblockingProviders
from meltica.gateway.limits import load_limits
from meltica.gateway.metrics import gateway_metrics
from meltica.gateway.notifications import begin_notifications
from meltica.gateway.otlp import Telemetry
from meltica.gateway.processors import default_spin, processors
from meltica.gateway.readiness import Readiness
from meltica.gateway.recovery import StateRecovery
from meltica.gateway.resource_metrics import resource_metrics
from meltica.gateway.resources import ResourceWatch
from meltica.gateway.retention import Retention
from meltica.gateway.steps import ShutdownStep, run_shutdown
from meltica.gateway.trading import GatewayTrading
from meltica.gateway.trading_metrics import trading_metrics
from meltica.http.address import bind
from meltica.http.tls import Certificate
from meltica.lambdas.manager import InstanceManager
from meltica.lambdas.metrics import lambda_metrics
from meltica.lambdas.modules.catalogue import ModuleCatalogue
from meltica.lambdas.modules.directory import ModuleDirectory
from meltica.lambdas.modules.pins import pinned
from meltica.lambdas.modules.refresh import StrategyRefresh
from meltica.persistence import migrate, upgrade
from meltica.persistence.database import Database, PoolOptions
from meltica.persistence.lock import GatewayLock
from meltica.persistence.metrics import database_metrics
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.persistence.secrets import SecretKeySource
from meltica.persistence.stores.configuration import ConfigurationStore
from meltica.persistence.stores.context import ContextStore
from meltica.persistence.stores.instances import InstanceStore
from meltica.persistence.stores.modules import ModuleStore
from meltica.persistence.stores.providers import ProviderStore
from meltica.providers.manager import ProviderManager
from meltica.providers.metrics import provider_metrics
from meltica.runtime.state_writer import StateWriter
from meltica.runtime.threads import call
from meltica.settings.declarations import Declarations
from meltica.settings.provider_declarations import ProviderDeclarations
from meltica.settings.runtime import RuntimeConfiguration
from meltica.telemetry.logs import set_level
from meltica.telemetry.registry import MetricRegistry

if TYPE_CHECKING:
    from meltica.control.streams.market import MarketTap
    from meltica.http.server import HttpServer
    from meltica.settings import Loaded, Settings
    from meltica.trading.risk.configured import ConfiguredLimits

log = logging.getLogger("meltica.gateway")


class Gateway:
    """One gateway, from `start` to `stop`. Its components exist while it runs."""

    database: Database
    lock: GatewayLock
    core: Core
    providers: ProviderManager
    instances: InstanceManager
    limits: "ConfiguredLimits"
    readiness: Readiness
    recovery: StateRecovery
    resources: ResourceWatch
    configuration: RuntimeConfiguration
    access: GatewayAccess
    market: "MarketTap"
    api: "HttpServer"
    url: str
    """Where the control plane is served."""
    drift: tuple[Drift, ...] = ()
    """Desired states that differ from the config file."""

    def __init__(self, loaded: "Loaded", guard: Callable[[Watch], object] = lambda _: None) -> None:
        """`guard` is called with the watch of the interpreter before the first lambda starts."""
        self.loaded = loaded
        self._guard = guard
        self.settings = loaded.settings
        self.started_at = time.time()
        self._started = time.monotonic()
        self.stopping = asyncio.Event()
        """Set when the stop begins; streams to clients end then."""
        self.postgres: EmbeddedPostgres | None = None
        self.state_writer = StateWriter()
        self.metrics = MetricRegistry()
        self.trading: GatewayTrading | None = None
        """None before the stores are loaded."""
        self.telemetry: Telemetry | None = None
        self.left_behind: list[str] = []
        """Components that did not stop in time."""
        self.failed_part: str | None = None
        """The component that could not start."""
        self._certificate: Certificate | None = None
        self._shutdown: list[ShutdownStep] = []

    @property
    def uptime(self) -> float:
        """Seconds since the gateway began to start, independent of the wall clock."""
        return time.monotonic() - self._started

    async def start(self) -> None:
        """Starts all components. If one fails, stops the others and raises its error."""
        steps: tuple[tuple[str, Callable[[], Awaitable[None]]], ...] = (
            ("address", self._bind),
            ("database", self._open_database),
            ("lock", self._take_lock),
            ("schema", self._migrate),
            ("configuration", self._configure),
            ("stores", self._load),
            ("tokens", lambda: self.access.prepare()),
            ("lambdas", self._begin_instances),
            ("providers", self._begin_providers),
            ("control plane", self._serve),
        )
        for part, step in steps:
            started_at = time.monotonic()
            try:
                await step()
            except BaseException:
                self.failed_part = part
                await self.stop()
                raise
            log.debug("%s: ready after %.0f ms", part, (time.monotonic() - started_at) * 1000)

    async def stop(self) -> None:
        """Stops the started components in reverse order, within `shutdown.timeout`."""
        self.stopping.set()
        timeout = self.settings.shutdown.timeout.total_seconds()
        self.left_behind += await run_shutdown(self._shutdown, timeout)

    async def _bind(self) -> None:
        # The modules of the web server are imported while the database starts.
        self._importing = call(lambda: import_module("meltica.control.app"), "meltica-import")
        address = self.settings.api_server
        if address.tls.certificate is not None and address.tls.key is not None:
            self._certificate = Certificate(address.tls.certificate, address.tls.key)
        self._socket = bind(address.host, address.port)

        async def close() -> None:
            self._socket.close()

        self._shutdown.append(ShutdownStep("address", close, 0.1))

    async def _open_database(self) -> None:
        settings = self.settings.database
        options = PoolOptions(
            min_size=settings.min_conns,
            max_size=settings.max_conns,
            max_lifetime=settings.max_conn_lifetime.total_seconds(),
            max_idle=settings.max_conn_idle_time.total_seconds(),
        )
        if settings.dsn is not None:
            self.database = await Database.open(settings.dsn.get_secret_value(), options)
        else:
            await self._start_postgres(EmbeddedPostgres(settings.home))
            assert self.postgres is not None
            self.database = await Database.open(self.postgres, options)
        self._shutdown.append(ShutdownStep("database", self.database.close, 1.0))

    async def _start_postgres(self, postgres: EmbeddedPostgres) -> None:
        self.postgres = postgres

        async def stop() -> None:
            await call(postgres.stop, "meltica-postgres-stop")

        self._shutdown.append(ShutdownStep("embedded PostgreSQL", stop, 3.0))
        await call(postgres.start, "meltica-postgres-start")
        watch = asyncio.get_running_loop().create_task(_supervise(postgres), name="meltica-postgres")

        async def end() -> None:
            watch.cancel()
            await asyncio.wait({watch})

        self._shutdown.append(ShutdownStep("supervision of PostgreSQL", end))

    async def _take_lock(self) -> None:
        # Before the migrations: they must not change the schema of a running gateway.
        self.lock = GatewayLock(self.database.dsn, on_change=self._lock_changed)
        await self.lock.acquire()
        self._shutdown.append(ShutdownStep("lock", self.lock.release))

    def _lock_changed(self, held: bool) -> None:
        if self.trading is not None:
            self.trading.lock_changed(held)

    async def _migrate(self) -> None:
        dsn, postgres = self.database.dsn, self.postgres
        if not self.settings.database.run_migrations:
            states = await migrate.status(dsn)
            upgrade.refuse_newer(states, dsn, postgres)
            upgrade.refuse_pending(states, dsn)
            return
        for migration in await upgrade.up(dsn, postgres):
            log.info("migration %s applied", migration)

    async def _configure(self) -> None:
        """Lets what was set over REST replace the settings of the file, as far as it is not in use yet."""
        await self.lock.claim()
        store = ConfigurationStore(self.database, self.lock)
        await store.load()
        self.configuration = RuntimeConfiguration(self.loaded, store)
        self.configuration.on_change = self._apply_settings
        address = self.settings.api_server.addr
        await self.configuration.load()
        self.loaded = self.configuration.loaded
        if self.settings.api_server.addr != address:
            self._socket.close()
            self._socket = bind(self.settings.api_server.host, self.settings.api_server.port)
        database, file = self.settings.database, self.settings.log.file
        data = EmbeddedPostgres(database.home).home if database.dsn is None else None
        switch_interval = self.settings.interpreter.switch_interval.total_seconds()
        sys.setswitchinterval(switch_interval)
        self.resources = ResourceWatch(self.settings.resources, data, file and file.parent, switch_interval)

    def _apply_settings(self, settings: "Settings") -> None:
        """Applies settings that need no restart; the parts read the others when they start."""
        self.settings = settings
        set_level(settings.log.level)
        if self.telemetry is not None:
            self.telemetry.apply(settings)

    async def _load(self) -> None:
        providers = ProviderStore(self.database, self.lock)
        instances = InstanceStore(self.database, self.lock)
        await providers.load()
        await instances.load()
        directory = await self._open_modules()
        self.drift = await apply_baseline(self.loaded, providers, instances, self.database)
        self.limits = await load_limits(self.settings, self.database, self.lock)
        for drift in self.drift:
            log.warning("%s", drift)
        self.core = Core(max_pool_bytes=self.settings.pools.max_bytes)
        watch = self._start_watch()
        self.providers = ProviderManager(
            self.core, self.settings.supervision.policy(), providers, self.state_writer
        )
        trading = self.trading = GatewayTrading(
            self.settings,
            self.core,
            self.postgres or self.database.dsn,
            self.database,
            self.lock,
            self.providers,
            instances,
            providers,
            self.limits,
            lambda: self.instances,
        )
        self.limits.on_change = trading.set_limits
        spin = self.settings.hosts.spin
        self.instances = InstanceManager(
            self.core,
            watch,
            instances,
            self.state_writer,
            nonblocking=NonblockingProviders(self.providers),
            spin=default_spin(processors()) if spin is None else spin,
            trading=trading,
        )
        self.refresh = StrategyRefresh(self.instances, self.modules, directory)
        dynamic = await self._declare(providers, instances)
        self._prepare_recovery(providers, instances, trading, dynamic)
        self.readiness = Readiness(
            self.database,
            self.lock,
            self.providers,
            self.instances,
            self.state_writer,
            self.recovery,
            self.resources,
            trading,
            self.configuration,
            self.stopping,
            self._certificate,
        )
        await self._register_metrics(trading)
        await self._watch_resources()
        self._start_writing()

    def _prepare_recovery(
        self,
        providers: ProviderStore,
        instances: InstanceStore,
        trading: GatewayTrading,
        dynamic: tuple[DynamicProviders, DynamicInstances],
    ) -> None:
        """Builds what writes, and what reads again, everything that is stored of the configuration."""
        settings = self.configuration.store
        self.context = ContextStore(
            self.database, self.lock, providers, instances, self.limits.store, settings
        )
        self.recovery = StateRecovery(
            [providers, instances, self.limits.store, settings],
            [
                self.configuration,
                self.limits,
                trading,
                dynamic[0],
                self.providers,
                dynamic[1],
                self.instances,
            ],
            lambda: apply_baseline(self.loaded, providers, instances, self.database),
        )
        self.lock.on_regain = self.recovery.regained

    async def _open_modules(self) -> ModuleDirectory | None:
        """Opens the stored modules; reads and returns the folder of strategies if one is configured."""
        self.modules = ModuleCatalogue(ModuleStore(self.database, self.lock))
        # The default folder is only where the paths of the config file start.
        if "strategies.directory" not in self.loaded.sources:
            return None
        directory = ModuleDirectory(self.settings.strategies.directory, self.modules)
        await directory.read()
        return directory

    async def _declare(
        self, providers: ProviderStore, instances: InstanceStore
    ) -> tuple[DynamicProviders, DynamicInstances]:
        """Adds all providers and instances to their managers; returns what adds those of the database."""
        for spec in self.loaded.providers.values():
            self.providers.add(spec)
        for id, spec in self.loaded.lambdas.items():
            self.instances.add(await pinned(spec, instances.get(id), self.modules))
        self.access = GatewayAccess(self.settings, self.database)
        keys = SecretKeySource(self.loaded.environment, self.access.folder)
        self.provider_declarations = ProviderDeclarations(self.loaded.base, keys)
        dynamic_providers = DynamicProviders(self.providers, providers, self.provider_declarations)
        dynamic_providers.add()
        self.declarations = Declarations(self.loaded)
        dynamic_instances = DynamicInstances(self.instances, instances, self.declarations, self.modules)
        await dynamic_instances.add()
        return dynamic_providers, dynamic_instances

    def _start_writing(self) -> None:
        """Starts what persists desired and actual states."""
        self.state_writer.start()
        self.recovery.start()

        async def close() -> bool:
            written = await self.state_writer.close(2.0)
            if not written:
                log.error("the last states were not written: the database does not accept them")
                for name in (*self.providers.unrecorded(), *self.instances.unrecorded()):
                    log.error("stop of %s not recorded: the next start of the gateway starts it again", name)
            return written

        self._shutdown.append(ShutdownStep("states", close, 2.0))
        self._shutdown.append(ShutdownStep("recovery", self.recovery.stop, 0.1))

    def _start_watch(self) -> Watch:
        watch = Watch(self.core)

        async def close() -> None:
            watch.close()

        self._shutdown.append(ShutdownStep("watch", close, 0.1))
        self._guard(watch)
        return watch

    async def _watch_resources(self) -> None:
        # The first sample may wait for a disk.
        await call(self.resources.start, "meltica-resources-start")

        async def stop() -> None:
            self.resources.stop()

        self._shutdown.append(ShutdownStep("resources", stop))

    async def _register_metrics(self, trading: GatewayTrading) -> None:
        self.metrics.register(resource_metrics(self.resources, lambda: self._socket.refused))
        self.metrics.register(gateway_metrics(self))
        self.metrics.register(lambda: lambda: (Metrics.of_core(self.core),))
        self.metrics.register(provider_metrics(self.providers))
        self.metrics.register(lambda_metrics(self.instances))
        self.metrics.register(database_metrics(self.database))
        retention = Retention(self.database, self.settings.retention)
        self.metrics.register(retention.metrics)
        self._shutdown.append(ShutdownStep("retention", retention.stop, 0.1))
        await retention.start()
        self.metrics.register(trading_metrics(trading))
        self.telemetry = Telemetry(self.database, self.metrics, self.loaded.environment)
        self.metrics.register(self.telemetry.counts.source)
        self._shutdown.append(ShutdownStep("telemetry", self.telemetry.stop, 1.0))
        await self.telemetry.begin(self.settings)

    async def _begin_instances(self) -> None:
        trading = self.trading
        assert trading is not None

        async def close() -> None:
            self.core.close()

        # Cancels of orders must reach the venues, so the providers stop after trading.
        self._shutdown.append(ShutdownStep("events", close, 0.1))
        self._shutdown.append(ShutdownStep("providers", self.providers.close, 1.0))
        self._shutdown.append(ShutdownStep("trading", trading.stop, 1.5))
        self._shutdown.append(ShutdownStep("lambdas", self.instances.close, 3.0))
        await trading.begin()
        await self.instances.begin()

    async def _begin_providers(self) -> None:
        self.providers.watch()
        self.providers.begin()

    async def _serve(self) -> None:
        await self._importing
        from meltica.control.app import create_app
        from meltica.control.streams.market import MarketTap
        from meltica.gateway.control_services import control_services
        from meltica.http.server import HttpServer

        self.market = MarketTap(self.core, self.providers)
        self._shutdown.append(ShutdownStep("market data of streams", self.market.close))
        self._shutdown.append(ShutdownStep("tokens", self.access.stop, 0.1))
        authenticator = await self.access.start()
        app = create_app(control_services(self, authenticator), self.settings.api_server.client_rules)
        self.api = HttpServer(app, self._socket, certificate=self._certificate)
        self._shutdown.append(ShutdownStep("control plane", self.api.stop, 1.0))
        await self.api.start()
        self.url = self.settings.api_server.url(*self.api.address)
        self.access.serve_at(self.url)
        settings, faults = self.settings.notifications, self.readiness.faults
        self._shutdown += begin_notifications(settings, self.database, self.metrics, faults)


async def _supervise(postgres: EmbeddedPostgres) -> None:
    while True:
        try:
            await postgres.supervise()
        except Exception:
            log.exception("supervision of PostgreSQL failed; restarting it")
            await asyncio.sleep(1.0)
