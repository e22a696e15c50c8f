"""Instances of strategies: started, watched, stopped; each by one command at a time.

An instance has a *desired* state, which is written to the database before anything is done about it, and
an *actual* one, which is noted afterwards. An instance that fails stays so until somebody starts it: its
strategy would fail the same way again.
"""

import asyncio
import contextlib
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from meltica.errors import Conflict, MelticaError, NotFound, StartError, suggestion
from meltica.lambdas.instances import LambdaInstance, add_instance
from meltica.lambdas.loader import load
from meltica.supervision import Actual, Desired, Notes
from meltica.threads import call, within

if TYPE_CHECKING:
    from meltica._core import Core, Host
    from meltica.lambdas.base import Lambda
    from meltica.persistence.instances import Instance as Row
    from meltica.persistence.instances import InstanceState, InstanceStore
    from meltica.settings.manifest import LambdaSpec

log = logging.getLogger(__name__)

WATCH_SECONDS = 0.2
"""How often the manager looks whether instances failed or are stuck."""
START_SECONDS = 30.0
"""How long loading a strategy and its `on_start` may take."""


class ManagedInstance:
    """One instance and its life. Belongs to the loop's thread."""

    def __init__(self, spec: "LambdaSpec", desired: Desired) -> None:
        self.spec = spec
        self.desired = desired
        self.actual = Actual.PENDING
        self.last_error: str | None = None
        self.lock = asyncio.Lock()
        self.strategy: type[Lambda] | None = None
        """The class that was run last."""
        self.run: LambdaInstance | None = None
        """The present run, or the last one."""
        self.host: Host | None = None

    @property
    def id(self) -> str:
        """The instance's id."""
        return self.spec.id

    @property
    def running(self) -> bool:
        """Whether it gets events; a stuck one would, if its callback ended."""
        return self.actual in (Actual.RUNNING, Actual.STUCK)

    def stats(self) -> dict[str, Any] | None:
        """Returns the counters of the present or last run, None before the first."""
        return None if self.run is None else self.run.stats()


class InstanceManager:
    """All instances of a gateway."""

    def __init__(
        self,
        core: "Core",
        store: "InstanceStore",
        notes: Notes,
        *,
        stuck_after: timedelta = timedelta(seconds=10),
    ) -> None:
        self._core = core
        self._store = store
        self._notes = notes
        self._stuck_ns = round(stuck_after.total_seconds() * 1e9)
        self._instances: dict[str, ManagedInstance] = {}
        self._shared: Host | None = None
        self._watching: asyncio.Task[None] | None = None

    def add(self, spec: "LambdaSpec", desired: Desired) -> ManagedInstance:
        """Takes an instance in; nothing starts."""
        instance = ManagedInstance(spec, desired)
        self._instances[spec.id] = instance
        return instance

    def all(self) -> list[ManagedInstance]:
        """Returns the instances by id."""
        return [self._instances[id] for id in sorted(self._instances)]

    def get(self, id: str) -> ManagedInstance:
        """Returns an instance. Raises NotFound with the nearest id."""
        try:
            return self._instances[id]
        except KeyError:
            raise NotFound(f"instance `{id}` does not exist{suggestion(id, self._instances)}") from None

    def stored(self, id: str) -> "Row":
        """Returns an instance's row. Raises NotFound."""
        return self._store.get(id)

    def dependents(self, provider: str) -> list[ManagedInstance]:
        """Returns the instances whose scope names a provider, running or not."""
        return [instance for instance in self.all() if provider in instance.spec.scope]

    async def begin(self) -> None:
        """Starts every instance that should run; one that cannot start is `failed` and hinders nobody."""
        self._watching = asyncio.get_running_loop().create_task(self._watch(), name="meltica-instances")
        wanted = [instance for instance in self.all() if instance.desired is Desired.RUNNING]
        await asyncio.gather(*(self._begin(instance) for instance in wanted))

    async def start(self, id: str) -> ManagedInstance:
        """Starts an instance. Raises NotFound, Conflict when it runs, StartError, DatabaseUnavailable."""
        instance = self.get(id)
        async with instance.lock:
            if instance.running:
                raise Conflict(f"instance `{id}` is {instance.actual} already")
            await self._store.set_desired(id, "running")
            instance.desired = Desired.RUNNING
            await self._start(instance)
        return instance

    async def stop(self, id: str) -> ManagedInstance:
        """Stops an instance. Raises NotFound, Conflict when it does not run, DatabaseUnavailable."""
        instance = self.get(id)
        async with instance.lock:
            if not instance.running:
                raise Conflict(f"instance `{id}` is not running, it is {instance.actual}")
            await self._store.set_desired(id, "stopped")
            instance.desired = Desired.STOPPED
            await self._stop(instance)
        return instance

    async def close(self) -> bool:
        """Stops all instances at once and leaves what is desired as it is; False when one is stuck."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        running = [instance for instance in self.all() if instance.running]
        await asyncio.gather(*(self._close(instance) for instance in running))
        if self._shared is not None:
            await call(lambda host=self._shared: host.stop(1.0), "meltica-host-stop")
        return all(instance.actual is not Actual.STUCK for instance in running)

    async def _close(self, instance: ManagedInstance) -> None:
        async with instance.lock:
            if instance.running:
                await self._stop(instance)

    async def _begin(self, instance: ManagedInstance) -> None:
        async with instance.lock:
            with contextlib.suppress(StartError):  # noted and logged where it happened
                await self._start(instance)

    async def _start(self, instance: ManagedInstance) -> None:
        self._set(instance, Actual.STARTING)
        try:
            starting = call(lambda: self._make(instance), f"{instance.id}-start")
            run = await within(START_SECONDS, starting, late=self._too_late)
        except Exception as error:
            text = _told(error)
            log.error("instance %s could not start: %s", instance.id, text)
            self._set(instance, Actual.FAILED, text)
            raise StartError(f"instance `{instance.id}` could not start: {text}") from error
        instance.run = run
        log.info("instance %s runs", instance.id)
        self._set(instance, Actual.RUNNING)

    def _too_late(self, run: LambdaInstance) -> None:
        """Ends a run whose start was given up."""
        call(lambda: run.stop(1.0), f"{run.id}-stop")

    def _make(self, instance: ManagedInstance) -> LambdaInstance:
        """Loads the strategy, makes the instance and runs `on_start`. Blocks; on a thread of its own."""
        spec = instance.spec
        cls = load(spec.strategy)
        host = self._host(spec.host)
        run = add_instance(
            host,
            cls,
            id=spec.id,
            scope=spec.scope,
            config=spec.config,
            policies=spec.policies,
            capacity=spec.buffer_size,
            max_errors=spec.max_errors,
            slow_ns=round(spec.slow_callback.total_seconds() * 1e9),
        )
        instance.strategy, instance.host = cls, host
        try:
            run.start()
        except BaseException:
            if spec.host != "shared":
                host.stop(0.0)
            raise
        return run

    def _host(self, mode: str) -> "Host":
        if mode != "shared":
            return self._core.host("thread")
        if self._shared is None:
            self._shared = self._core.host("shared")
        return self._shared

    async def _stop(self, instance: ManagedInstance) -> None:
        run, host = instance.run, instance.host
        if run is None or host is None:
            self._set(instance, Actual.STOPPED)
            return
        self._set(instance, Actual.STOPPING)
        seconds = instance.spec.stop_timeout.total_seconds()

        def end() -> bool:
            clean = run.stop(seconds)
            if clean and instance.spec.host != "shared":
                host.stop(1.0)
            return clean

        if await call(end, f"{instance.id}-stop"):
            self._set(instance, Actual.STOPPED)
            log.info("instance %s stopped", instance.id)
            return
        if instance.spec.host == "shared" and self._shared is host:
            # Its thread is lost with the callback that does not end; who starts later gets another.
            self._shared = None
        text = f"a callback did not end within {seconds:g} s of the stop"
        log.error("instance %s is stuck: %s", instance.id, text)
        self._set(instance, Actual.STUCK, text)

    async def _watch(self) -> None:
        """Notices what becomes of instances by themselves: failed, stuck, and out of it again."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            for instance in self.all():
                if not instance.running or instance.lock.locked() or instance.run is None:
                    continue
                state = instance.run.state
                if state == "failed":
                    text = instance.run.stats()["last_error"] or "too many errors"
                    log.error("instance %s failed: %s", instance.id, text)
                    self._set(instance, Actual.FAILED, text)
                    continue
                overdue = instance.run.core.in_callback_ns > self._stuck_ns
                if overdue and instance.actual is Actual.RUNNING:
                    text = f"a callback has been running for over {self._stuck_ns / 1e9:g} s"
                    log.error("instance %s is stuck: %s", instance.id, text)
                    self._set(instance, Actual.STUCK, text)
                elif not overdue and instance.actual is Actual.STUCK and state == "running":
                    log.warning("instance %s goes on", instance.id)
                    self._set(instance, Actual.RUNNING)

    def _set(self, instance: ManagedInstance, actual: Actual, error: str | None = None) -> None:
        if actual in (Actual.STARTING, Actual.RUNNING) or error is not None:
            instance.last_error = error
        instance.actual = actual
        id, error = instance.id, instance.last_error or ""
        state: InstanceState = actual.value
        self._notes.put("instance", id, lambda: self._store.set_actual(id, state, error))


def _told(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"loading it and its on_start took over {START_SECONDS:g} s"
    if isinstance(error, MelticaError):
        return str(error)
    return f"{type(error).__name__}: {error}"
