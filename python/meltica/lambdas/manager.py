"""Instances of strategies: started, watched, stopped; each by one command at a time.

An instance has a *desired* state, which is written to the database before anything is done about it, and
an *actual* one, which is noted afterwards. An instance that fails stays so until somebody starts it: its
strategy would fail the same way again.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from meltica.errors import Conflict, MelticaError, NotFound, Overdue, StartError, one_line, suggestion
from meltica.lambdas.instances import LambdaInstance, add_instance
from meltica.lambdas.loader import load, revision_of
from meltica.runtime.lifecycle import Desired, InstanceState, idle_lock
from meltica.runtime.state_writer import StateWriter
from meltica.runtime.threads import call, within

if TYPE_CHECKING:
    from meltica._core import Core, Host
    from meltica.lambdas.base import Lambda
    from meltica.lambdas.spec import LambdaSpec
    from meltica.persistence.stores.instances import Instance as Row
    from meltica.persistence.stores.instances import InstanceState, InstanceStore

log = logging.getLogger("meltica.lambdas")

T = TypeVar("T")

BROKEN_OFF_SECONDS = 2.5
"""How long the end of the gateway waits for starts that it broke off."""
WATCH_SECONDS = 0.2
"""How often the manager looks whether instances failed or are stuck."""


class ManagedInstance:
    """One instance and its life. Belongs to the loop's thread."""

    def __init__(self, spec: "LambdaSpec") -> None:
        self.spec = spec
        self.desired = Desired.STOPPED
        self.actual = InstanceState.PENDING
        self.last_error: str | None = None
        self.lock = asyncio.Lock()
        self.strategy: type[Lambda] | None = None
        """The class that was run last."""
        self.run: LambdaInstance | None = None
        """The present run, or the last one."""
        self.host: Host | None = None
        self.attempt: object = None
        """The latest start; an earlier one that was given up changes nothing any more."""

    @property
    def id(self) -> str:
        """The instance's id."""
        return self.spec.id

    @property
    def running(self) -> bool:
        """Whether it gets events; a stuck one would, if its callback ended."""
        stuck = self.actual is InstanceState.STUCK and self.run is not None and self.run.state == "running"
        return stuck or self.actual is InstanceState.RUNNING

    @property
    def given_up(self) -> bool:
        """Whether its run was cut off, because a callback outlived the stop."""
        return self.run is not None and self.run.state == "stuck"

    @property
    def in_callback_ns(self) -> int:
        """How long its present callback, `on_start` included, has been running."""
        return 0 if self.run is None else self.run.core.in_callback_ns

    def stats(self) -> dict[str, Any] | None:
        """Returns the counters of the present or last run, None before the first."""
        return None if self.run is None else self.run.stats()


class InstanceManager:
    """All instances of a gateway."""

    def __init__(
        self,
        core: "Core",
        store: "InstanceStore",
        notes: StateWriter,
        *,
        stuck_after: timedelta = timedelta(seconds=10),
        start_timeout: timedelta = timedelta(seconds=30),
        impatient: Collection[str] = (),
    ) -> None:
        """`stuck_after` is for one callback, `start_timeout` for loading a strategy and its `on_start`.

        `impatient` are the providers that must not wait for an instance.
        """
        self._impatient = frozenset(impatient)
        self._core = core
        self._store = store
        self._notes = notes
        self._stuck_seconds = stuck_after.total_seconds()
        self._start_seconds = start_timeout.total_seconds()
        self._instances: dict[str, ManagedInstance] = {}
        self._shared: list[Host] = []
        """The last is in use; a callback held those before it."""
        self._begun: list[asyncio.Task[None]] = []
        self._starts: set[asyncio.Task[Any]] = set()
        self._closing = False
        self._blocked: set[asyncio.Future[Any]] = set()
        """Calls into strategies that have not returned."""

    def add(self, spec: "LambdaSpec") -> ManagedInstance:
        """Takes in an instance that is stored already; nothing starts."""
        instance = ManagedInstance(spec)
        row = self._store.get(spec.id)
        instance.desired, instance.last_error = Desired(row.desired), row.last_error
        self._instances[spec.id] = instance
        self._set(instance, InstanceState(row.actual).after_restart)
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

    async def begin(self, patience: float = 2.0) -> None:
        """Starts every instance that should run; one that cannot start is `failed` and hinders nobody.

        Waits for them, so that they get the first events, but not longer than `patience` seconds.
        """
        loop = asyncio.get_running_loop()
        wanted = [instance for instance in self.all() if instance.desired is Desired.RUNNING]
        starting = [loop.create_task(self._begin(instance)) for instance in wanted]
        self._begun = [loop.create_task(self._watch(), name="meltica-instances"), *starting]
        if starting:
            await asyncio.wait(starting, timeout=patience)

    async def start(self, id: str) -> ManagedInstance:
        """Starts an instance.

        Raises NotFound, Conflict when it runs or is being changed, StartError, DatabaseUnavailable.
        """
        instance = self.get(id)
        async with idle_lock(instance.lock, f"instance `{id}`", instance.actual):
            if self._closing:
                raise Conflict("the gateway is stopping")
            if instance.running:
                raise Conflict(f"instance `{id}` is already {instance.actual}")
            await self._store.set_desired(id, Desired.RUNNING)
            instance.desired = Desired.RUNNING
            await self._start(instance)
        return instance

    async def stop(self, id: str) -> ManagedInstance:
        """Stops an instance; one that failed is not started again after a restart of the gateway either.

        Raises NotFound, Conflict when it was stopped already or is being changed, DatabaseUnavailable.
        """
        instance = self.get(id)
        async with idle_lock(instance.lock, f"instance `{id}`", instance.actual):
            if not instance.running and instance.desired is Desired.STOPPED:
                raise Conflict(f"instance `{id}` is not running: its status is {instance.actual}")
            await self._store.set_desired(id, Desired.STOPPED)
            instance.desired = Desired.STOPPED
            await self._stop(instance)
        return instance

    async def close(self) -> bool:
        """Stops all instances at once and leaves what is desired as it is; False when one is left behind."""
        self._closing = True
        for task in (*self._begun, *self._starts):
            task.cancel()
        await asyncio.gather(*self._begun, return_exceptions=True)
        await asyncio.gather(*(self._close(instance) for instance in self.all()))
        for host in self._shared:
            await self._call(lambda host=host: host.stop(1.0), "meltica-host-stop")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BROKEN_OFF_SECONDS):
                # A start that ends now is undone by another call.
                while self._blocked:
                    await asyncio.wait(set(self._blocked))
        return not self._blocked and not any(instance.given_up for instance in self.all())

    async def _close(self, instance: ManagedInstance) -> None:
        async with instance.lock:
            if instance.running:
                await self._stop(instance)

    async def _begin(self, instance: ManagedInstance) -> None:
        async with instance.lock:
            with contextlib.suppress(StartError):  # noted and logged where it happened
                await self._start(instance)

    async def _start(self, instance: ManagedInstance) -> None:
        self._set(instance, InstanceState.STARTING)
        instance.run = None
        try:
            await self._launch(instance)
        except asyncio.CancelledError:
            self._set(instance, InstanceState.STOPPED)
            raise
        except Exception as error:
            text = one_line(error)
            unforeseen = not isinstance(error, MelticaError | Overdue)
            log.error("instance %s could not start: %s", instance.id, text, exc_info=unforeseen)
            self._set(instance, InstanceState.FAILED, text)
            raise StartError(f"instance `{instance.id}` could not start: {text}") from error
        log.info("instance %s runs", instance.id)
        self._set(instance, InstanceState.RUNNING)
        self._note_revision(instance)

    def _note_revision(self, instance: ManagedInstance) -> None:
        """Writes down which revision runs: the file may have changed since the gateway started."""
        loaded = None if instance.strategy is None else revision_of(instance.strategy)
        if loaded != self._store.get(instance.id).revision:
            log.info("instance %s runs another revision than before: %s", instance.id, loaded)
            self._notes.put("revision", instance.id, lambda: self._store.set_revision(instance.id, loaded))

    async def _launch(self, instance: ManagedInstance) -> None:
        host = instance.host = self._host(instance.spec.host)
        attempt = instance.attempt = object()
        starting = self._call(lambda: self._make(instance, host, attempt), f"{instance.id}-start")
        task = asyncio.current_task()
        assert task is not None
        self._starts.add(task)
        try:
            await within(self._start_seconds, starting, late=lambda run: self._give_up(instance, run))
        except (Overdue, asyncio.CancelledError) as error:
            instance.attempt = None
            if instance.run is not None:
                self._give_up(instance, instance.run)
            if isinstance(error, asyncio.CancelledError):
                raise
            if instance.spec.host == "shared" and instance.in_callback_ns == 0 and instance.run is not None:
                raise Overdue("a callback of another instance holds the thread they share") from None
            raise Overdue(f"loading it and its on_start took over {self._start_seconds:g} s") from None
        finally:
            self._starts.discard(task)

    def _give_up(self, instance: ManagedInstance, run: LambdaInstance) -> None:
        """Keeps a run from starting late, or ends it if it has."""
        self._call(lambda: run.stop(1.0), f"{instance.id}-stop")

    def _make(self, instance: ManagedInstance, host: "Host", attempt: object) -> LambdaInstance:
        """Loads the strategy, makes the instance and runs `on_start`. Blocks; on a thread of its own."""
        spec = instance.spec
        cls = load(spec.strategy)
        try:
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
                max_payload=spec.extension_payload_cap,
                impatient=self._impatient,
            )
            if instance.attempt is not attempt:
                run.stop(0.0)
                raise Overdue("the start was given up")
            instance.strategy, instance.run = cls, run
            run.start()
        except BaseException:
            if spec.host != "shared":
                host.stop(0.0)
            raise
        return run

    def _host(self, mode: str) -> "Host":
        if mode != "shared":
            return self._core.host("thread")
        # A thread that a callback holds is left to those who sit on it; who starts now gets another.
        if not self._shared or self._holder(self._shared[-1], min(1.0, self._stuck_seconds)) is not None:
            self._shared.append(self._core.host("shared"))
        return self._shared[-1]

    def _holder(self, host: "Host", seconds: float) -> ManagedInstance | None:
        """Returns the instance whose callback has held a host's thread for longer than that."""
        sharing = (instance for instance in self._instances.values() if instance.host is host)
        return next((instance for instance in sharing if instance.in_callback_ns > seconds * 1e9), None)

    async def _stop(self, instance: ManagedInstance) -> None:
        run, host = instance.run, instance.host
        if run is None or host is None or not instance.running:
            self._set(instance, InstanceState.STUCK if instance.given_up else InstanceState.STOPPED)
            return
        self._set(instance, InstanceState.STOPPING)
        seconds = instance.spec.stop_timeout.total_seconds()

        def end() -> bool:
            clean = run.stop(seconds)
            if clean and instance.spec.host != "shared":
                host.stop(1.0)
            return clean

        if await self._call(end, f"{instance.id}-stop"):
            self._set(instance, InstanceState.STOPPED)
            log.info("instance %s stopped", instance.id)
        elif instance.in_callback_ns == 0:
            text = "the thread it shares is held by a callback of another: its on_stop was not run"
            log.error("instance %s stopped: %s", instance.id, text)
            self._set(instance, InstanceState.STOPPED, text)
        else:
            text = f"a callback did not end within {seconds:g} s of the stop"
            log.error("instance %s is stuck: %s", instance.id, text)
            self._set(instance, InstanceState.STUCK, text)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            self.look()

    def look(self) -> None:
        """Notices what becomes of instances by themselves: failed, stuck, and out of it again."""
        for instance in self.all():
            if instance.actual in (InstanceState.RUNNING, InstanceState.STUCK) and not instance.lock.locked():
                self._look(instance)

    def _look(self, instance: ManagedInstance) -> None:
        run, host = instance.run, instance.host
        if run is None or host is None:
            return
        state = run.state
        if state == "failed":
            text = run.stats()["last_error"] or "too many errors"
            log.error("instance %s failed: %s", instance.id, text)
            self._set(instance, InstanceState.FAILED, text)
            if instance.spec.host != "shared":
                self._call(lambda: host.stop(1.0), f"{instance.id}-stop")
        elif state == "running":
            self._look_for_holder(instance, host)
        elif instance.in_callback_ns == 0:
            # What had outlived its stop has ended.
            log.warning("instance %s stopped at last", instance.id)
            self._set(instance, InstanceState.STOPPED)

    def _look_for_holder(self, instance: ManagedInstance, host: "Host") -> None:
        holder = self._holder(host, self._stuck_seconds)
        if holder is not None and instance.actual is InstanceState.RUNNING:
            whose = (
                "a callback" if holder is instance else f"a callback of {holder.id}, whose thread it shares,"
            )
            text = f"{whose} has been running for over {self._stuck_seconds:g} s"
            log.error("instance %s is stuck: %s", instance.id, text)
            self._set(instance, InstanceState.STUCK, text)
        elif holder is None and instance.actual is InstanceState.STUCK:
            log.warning("instance %s goes on", instance.id)
            self._set(instance, InstanceState.RUNNING)

    def _call(self, function: Callable[[], T], name: str) -> "asyncio.Future[T]":
        future = call(function, name)
        self._blocked.add(future)
        future.add_done_callback(self._blocked.discard)
        return future

    def _set(self, instance: ManagedInstance, actual: InstanceState, error: str | None = None) -> None:
        if actual in (InstanceState.STARTING, InstanceState.RUNNING) or error is not None:
            instance.last_error = error
        instance.actual = actual
        id, error = instance.id, instance.last_error or ""
        self._notes.put("instance", id, lambda: self._store.set_actual(id, actual, error))
