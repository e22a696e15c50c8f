"""The gateway: it alone knows every part. It builds them, starts them in order and stops them in reverse.

A start that fails names the part and undoes what had begun. A stop is bounded in time: what has not ended by
then is left behind, with a line in the log.
"""

import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from meltica._core import Core
from meltica.errors import DatabaseUnavailable, MelticaError, MigrationError
from meltica.lambdas.manager import InstanceManager
from meltica.manifest import Drift, reconcile
from meltica.persistence import migrate
from meltica.persistence.database import Database, PoolOptions
from meltica.persistence.embedded import EmbeddedPostgres
from meltica.persistence.instances import InstanceStore
from meltica.persistence.lock import GatewayLock
from meltica.persistence.providers import ProviderStore
from meltica.providers.manager import ProviderManager
from meltica.supervision import Actual, Desired, Notes
from meltica.threads import call

if TYPE_CHECKING:
    from meltica.control.server import ApiServer
    from meltica.settings import Loaded

log = logging.getLogger(__name__)

Step = Callable[[], Awaitable[object]]


class Gateway:
    """One gateway, from `start` to `stop`. The parts are there while it runs."""

    database: Database
    lock: GatewayLock
    core: Core
    providers: ProviderManager
    instances: InstanceManager
    api: "ApiServer"
    drift: "tuple[Drift, ...]" = ()
    """Where what was asked for at run time differs from the configuration file."""

    def __init__(self, loaded: "Loaded") -> None:
        self.loaded = loaded
        self.settings = loaded.settings
        self.started_at = time.time()
        self.stopping = asyncio.Event()
        """Set when the stop begins: whoever streams to a client ends its stream."""
        self.postgres: EmbeddedPostgres | None = None
        self.notes = Notes()
        self.clean = True
        """Whether everything ended when it was asked to."""
        self._undo: list[tuple[str, Step]] = []

    async def start(self) -> None:
        """Starts every part. Raises what the first that cannot start raised; then nothing is left running."""
        steps: tuple[tuple[str, Step], ...] = (
            ("address", self._bind),
            ("database", self._open_database),
            ("schema", self._migrate),
            ("lock", self._take_lock),
            ("stores", self._load),
            ("lambdas", self._begin_instances),
            ("providers", self._begin_providers),
            ("control plane", self._serve),
        )
        for part, step in steps:
            began = time.monotonic()
            try:
                await step()
            except BaseException as error:
                if isinstance(error, MelticaError):
                    error.add_note(part)
                await self.stop()
                raise
            log.debug("%s: ready after %.0f ms", part, (time.monotonic() - began) * 1000)

    async def stop(self) -> None:
        """Stops every part that was started, the last first, within the time that the settings give."""
        self.stopping.set()
        deadline = time.monotonic() + self.settings.shutdown.timeout.total_seconds()
        while self._undo:
            part, undo = self._undo.pop()
            # The parts after this one need their share too.
            left = max(0.2, deadline - time.monotonic() - 0.2 * len(self._undo))
            try:
                await asyncio.wait_for(undo(), left)
            except TimeoutError:
                self.clean = False
                log.error("%s did not stop within %.1f s and is left behind", part, left)
            except Exception:
                self.clean = False
                log.exception("%s could not be stopped", part)

    async def faults(self) -> dict[str, str]:
        """Returns what is not as it should be, by part: empty when the gateway is ready."""
        found: dict[str, str] = {}
        if self.stopping.is_set():
            found["gateway"] = "is stopping"
        if not await self.database.healthy(1.0):
            found["database"] = "does not answer"
        if not self.lock.held:
            found["lock"] = "is not held"
        for provider in self.providers.all():
            if provider.desired is Desired.RUNNING and provider.actual is not Actual.RUNNING:
                found[f"provider {provider.name}"] = _state(provider.actual, provider.last_error)
            elif provider.route_error is not None:
                found[f"provider {provider.name}"] = f"routes failed: {provider.route_error}"
        for instance in self.instances.all():
            if instance.desired is Desired.RUNNING and instance.actual is not Actual.RUNNING:
                found[f"lambda {instance.id}"] = _state(instance.actual, instance.last_error)
        return found

    async def _bind(self) -> None:
        from meltica.control.server import bind

        address = self.settings.api_server
        self._socket = bind(address.host, address.port)

        async def close() -> None:
            self._socket.close()

        self._undo.append(("address", close))

    async def _open_database(self) -> None:
        settings = self.settings.database
        if settings.dsn is None:
            self.postgres = postgres = EmbeddedPostgres(settings.home)
            self._undo.append(
                ("embedded PostgreSQL", lambda: _in_thread(postgres.stop, "meltica-postgres-stop"))
            )
            await call(postgres.start, "meltica-postgres-start")
            watch = asyncio.get_running_loop().create_task(postgres.supervise(), name="meltica-postgres")
            self._undo.append(("watch over PostgreSQL", lambda: _end(watch)))
        options = PoolOptions(
            min_size=settings.min_conns,
            max_size=settings.max_conns,
            max_lifetime=settings.max_conn_lifetime.total_seconds(),
            max_idle=settings.max_conn_idle_time.total_seconds(),
        )
        source = self.postgres or settings.dsn
        assert source is not None
        self.database = await Database.open(
            source if isinstance(source, EmbeddedPostgres) else source.get_secret_value(), options
        )
        self._undo.append(("database", self.database.close))

    async def _migrate(self) -> None:
        if not self.settings.database.run_migrations:
            waiting = [s for s in await migrate.status(self.database.dsn) if s.state != "applied"]
            if waiting:
                raise MigrationError(
                    f"{len(waiting)} migrations wait and database.runMigrations is false; run `meltica db up`"
                )
            return
        for migration in await migrate.up(self.database.dsn):
            log.info("migration %s applied", migration)

    async def _take_lock(self) -> None:
        self.lock = GatewayLock(self.database.dsn)
        await self.lock.acquire()
        self._undo.append(("lock", self.lock.release))

    async def _load(self) -> None:
        providers, instances = ProviderStore(self.database), InstanceStore(self.database)
        await providers.load()
        await instances.load()
        wanted = await reconcile(self.loaded, providers, instances)
        self.drift = wanted.drift
        for drift in self.drift:
            log.warning("%s", drift)
        sys.setswitchinterval(self.settings.interpreter.switch_interval.total_seconds())
        self.core = Core(max_pool_bytes=self.settings.pools.max_bytes)
        self.providers = ProviderManager(self.core, self.settings.supervision, providers, self.notes)
        self.instances = InstanceManager(self.core, instances, self.notes)
        for spec in self.loaded.providers.values():
            self.providers.add(spec, wanted.providers[spec.name])
        for spec in self.loaded.lambdas.values():
            self.instances.add(spec, wanted.instances[spec.id])
        self.notes.start()

        async def close() -> None:
            if not await self.notes.close(2.0):
                raise DatabaseUnavailable("the last states could not be written")

        self._undo.append(("states", close))

    async def _begin_instances(self) -> None:
        async def close() -> None:
            self.clean &= await self.instances.close()
            self.core.close()

        self._undo.append(("lambdas", close))
        await self.instances.begin()

    async def _begin_providers(self) -> None:
        self._undo.append(("providers", self.providers.close))
        self.providers.watch()
        self.providers.begin()

    async def _serve(self) -> None:
        from meltica.control.server import ApiServer

        self.api = ApiServer(self, self._socket)
        self._undo.append(("control plane", self.api.stop))
        await self.api.start()


def _state(actual: Actual, error: str | None) -> str:
    return f"is {actual}: {error}" if error else f"is {actual}"


async def _in_thread(function: Callable[[], object], name: str) -> None:
    await call(function, name)


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
