"""Starts, supervises and stops instances of strategies; one operation per instance at a time.

The *desired* state of an instance is committed to the database before it is acted on; the *actual* state is
persisted afterwards. A failed instance is not restarted automatically, because its strategy would fail in
the same way again.
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
from meltica.persistence.stores.desired import DesiredStates
from meltica.runtime.lifecycle import Desired, InstanceState, idle_lock
from meltica.runtime.state_writer import StateWriter
from meltica.runtime.threads import call, within

if TYPE_CHECKING:
    from meltica._core import Core, Host, Watch
    from meltica.lambdas.base import Lambda
    from meltica.lambdas.spec import LambdaSpec
    from meltica.persistence.stores.instances import InstanceRow, InstanceStore

log = logging.getLogger("meltica.lambdas")

T = TypeVar("T")

ABORTED_START_SECONDS = 2.5
"""How long a shutdown waits for starts that it aborted."""


class ManagedInstance:
    """An instance and its life cycle. Only the loop's thread uses it."""

    def __init__(self, spec: "LambdaSpec") -> None:
        self.spec = spec
        self.desired = Desired.STOPPED
        self.actual = InstanceState.PENDING
        self.last_error: str | None = None
        self.lock = asyncio.Lock()
        self.strategy: type[Lambda] | None = None
        """The class of the current or last run."""
        self.run: LambdaInstance | None = None
        """The current run, or the last one."""
        self.host: Host | None = None
        self.attempt: object = None
        """Token of the latest start; a start whose token is outdated was abandoned and must undo itself."""

    @property
    def id(self) -> str:
        """The instance's id."""
        return self.spec.id

    @property
    def running(self) -> bool:
        """Whether events are delivered to it, now or once its long-running callback returns."""
        stuck = self.actual is InstanceState.STUCK and self.run is not None and self.run.state == "running"
        return stuck or self.actual is InstanceState.RUNNING

    @property
    def abandoned(self) -> bool:
        """Whether its run was abandoned because a callback outlasted the stop."""
        return self.run is not None and self.run.state == "stuck"

    @property
    def in_callback_ns(self) -> int:
        """How long the current callback, which may be `on_start`, has been running."""
        return 0 if self.run is None else self.run.core.in_callback_ns

    def stats(self) -> dict[str, Any] | None:
        """Returns the counters of the current or last run, None before the first."""
        return None if self.run is None else self.run.stats()


class InstanceManager:
    """The instances of a gateway."""

    def __init__(
        self,
        core: "Core",
        watch: "Watch",
        store: "InstanceStore",
        state_writer: StateWriter,
        *,
        stuck_after: timedelta = timedelta(seconds=10),
        start_timeout: timedelta = timedelta(seconds=30),
        nonblocking: Collection[str] = (),
        spin: timedelta = timedelta(),
    ) -> None:
        """Creates a manager without instances.

        - `watch`: reports failed and stuck instances from `begin` to `close`.
        - `stuck_after`: duration of one callback from which its instance counts as stuck.
        - `start_timeout`: time limit for loading a strategy and running its `on_start`.
        - `nonblocking`: providers that must not wait for an instance's queue.
        - `spin`: how long the thread of a host waits for events before it sleeps.

        """
        self._nonblocking = frozenset(nonblocking)
        self._spin_ns = spin // timedelta(microseconds=1) * 1000
        self._core = core
        self._watch = watch
        self._store = store
        self._state_writer = state_writer
        self._desired = DesiredStates(store, state_writer, "instance")
        self._stuck_seconds = stuck_after.total_seconds()
        self._start_seconds = start_timeout.total_seconds()
        self._instances: dict[str, ManagedInstance] = {}
        self._shared: list[Host] = []
        """Shared hosts: new instances use the last; the threads of the others are held by a callback."""
        self._background: list[asyncio.Task[None]] = []
        self._starts: set[asyncio.Task[Any]] = set()
        self._closing = False
        self._pending_calls: set[asyncio.Future[Any]] = set()
        """Calls into strategies that have not returned."""

    def add(self, spec: "LambdaSpec") -> ManagedInstance:
        """Adds an instance that has a row in the store; does not start it."""
        instance = ManagedInstance(spec)
        row = self._store.get(spec.id)
        instance.desired, instance.last_error = row.desired, row.last_error
        self._instances[spec.id] = instance
        self._set(instance, row.actual.after_restart)
        return instance

    def all(self) -> list[ManagedInstance]:
        """Returns the instances, sorted by id."""
        return [self._instances[id] for id in sorted(self._instances)]

    def get(self, id: str) -> ManagedInstance:
        """Returns an instance. Raises NotFound with the nearest id."""
        try:
            return self._instances[id]
        except KeyError:
            raise NotFound(f"instance `{id}` does not exist{suggestion(id, self._instances)}") from None

    def stored(self, id: str) -> "InstanceRow":
        """Returns an instance's row. Raises NotFound."""
        return self._store.get(id)

    def dependents(self, provider: str) -> list[ManagedInstance]:
        """Returns the instances whose scope contains a provider, running or not."""
        return [instance for instance in self.all() if provider in instance.spec.scope]

    async def begin(self, patience: float = 2.0) -> None:
        """Starts every instance whose desired state is running; a failure does not affect the others.

        Waits at most `patience` seconds for the starts, so that instances receive the first events.
        """
        loop = asyncio.get_running_loop()
        desired = [instance for instance in self.all() if instance.desired is Desired.RUNNING]
        self._background = [loop.create_task(self._begin(instance)) for instance in desired]
        self._watch.supervise(self._stuck_seconds)
        loop.add_reader(self._watch.fileno(), self.check)
        if self._background:
            await asyncio.wait(self._background, timeout=patience)

    async def start(self, id: str) -> ManagedInstance:
        """Starts an instance.

        Raises NotFound, Conflict when it is running or being changed, StartError, DatabaseUnavailable.
        """
        instance = self.get(id)
        async with idle_lock(instance.lock, f"instance `{id}`", instance.actual):
            if self._closing:
                raise Conflict("the gateway is stopping")
            if instance.running:
                raise Conflict(f"instance `{id}` is already {instance.actual}")
            await self._desired.record_start(id)
            instance.desired = Desired.RUNNING
            await self._start(instance)
        return instance

    async def stop(self, id: str) -> ManagedInstance:
        """Stops an instance; a failed one then stays stopped when the gateway restarts.

        Raises NotFound, Conflict when it is stopped already or being changed, DatabaseUnavailable.
        """
        instance = self.get(id)
        if self._desired.withdraw_start(id):
            # It waits for the database, and a stop must not wait for that.
            instance.desired = Desired.STOPPED
            return instance
        async with idle_lock(instance.lock, f"instance `{id}`", instance.actual):
            # In doubt, the database may have a start.
            idle = not instance.running and instance.desired is Desired.STOPPED
            if idle and not self._desired.in_doubt:
                raise Conflict(f"instance `{id}` is not running: its status is {instance.actual}")
            # In memory first: a stop must not wait for the database.
            instance.desired = Desired.STOPPED
            self._desired.record_stop(id)
            await self._stop(instance)
            await self._desired.wait_recorded(id)
        return instance

    def starting(self, id: str) -> bool:
        """Returns whether the database has not confirmed the start of an instance yet."""
        return self._desired.is_starting(id)

    def recorded(self, id: str) -> bool:
        """Returns whether the database has the desired state of an instance."""
        return self._desired.is_recorded(id)

    def unrecorded(self) -> list[str]:
        """Returns the instances whose stop is not recorded yet."""
        return [id for id in sorted(self._instances) if self._desired.is_pending(id)]

    def discard_unrecorded(self) -> list[str]:
        """Drops the stops that are not recorded: another gateway has changed the database since."""
        return self._desired.discard_unrecorded()

    async def adopt(self) -> None:
        """Applies the desired states of the database and persists the actual ones again."""
        await asyncio.gather(*(self._adopt(instance) for instance in self.all()))
        for instance in self.all():
            self._persist(instance)

    async def _adopt(self, instance: ManagedInstance) -> None:
        async with instance.lock:
            desired, start = self._desired.adopted(instance.id, instance.desired)
            if self._closing or (desired is instance.desired and not start):
                return
            if desired is not instance.desired:
                log.warning("instance %s: desired state changed to %s by the database", instance.id, desired)
            instance.desired = desired
            if desired is Desired.STOPPED:
                await self._stop(instance)
            elif not instance.running:
                with contextlib.suppress(StartError):  # recorded and logged where it was raised
                    await self._start(instance)

    async def close(self) -> bool:
        """Stops all instances concurrently without changing desired states.

        Returns False when a callback is still running and its thread was abandoned.
        """
        self._closing = True
        asyncio.get_running_loop().remove_reader(self._watch.fileno())
        for task in (*self._background, *self._starts):
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await asyncio.gather(*(self._close(instance) for instance in self.all()))
        for host in self._shared:
            await self._call(lambda host=host: host.stop(1.0), "meltica-host-stop")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ABORTED_START_SECONDS):
                # A start that completes now adds a call that undoes it.
                while self._pending_calls:
                    await asyncio.wait(set(self._pending_calls))
        return not self._pending_calls and not any(instance.abandoned for instance in self.all())

    async def _close(self, instance: ManagedInstance) -> None:
        async with instance.lock:
            if instance.running:
                await self._stop(instance)

    async def _begin(self, instance: ManagedInstance) -> None:
        async with instance.lock:
            if instance.running or instance.desired is Desired.STOPPED:
                return  # the database said so meanwhile
            with contextlib.suppress(StartError):  # _start has recorded and logged it
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
            unexpected = not isinstance(error, MelticaError | Overdue)
            log.error("instance %s could not start: %s", instance.id, text, exc_info=unexpected)
            self._set(instance, InstanceState.FAILED, text)
            raise StartError(f"instance `{instance.id}` could not start: {text}") from error
        log.info("instance %s is running", instance.id)
        self._set(instance, InstanceState.RUNNING)
        self._persist_revision(instance)
        # What the watch reported before the state was set had no effect.
        self._check(instance)

    def _persist_revision(self, instance: ManagedInstance) -> None:
        """Persists the running revision: the file may have changed since the gateway started."""
        loaded = None if instance.strategy is None else revision_of(instance.strategy)
        if loaded != self._store.get(instance.id).revision:
            log.info("instance %s runs a new revision: %s", instance.id, loaded)
            self._state_writer.put(
                "revision", instance.id, lambda: self._store.set_revision(instance.id, loaded)
            )

    async def _launch(self, instance: ManagedInstance) -> None:
        host = instance.host = self._host(instance.spec.host)
        attempt = instance.attempt = object()
        starting = self._call(lambda: self._run(instance, host, attempt), f"{instance.id}-start")
        task = asyncio.current_task()
        assert task is not None
        self._starts.add(task)
        try:
            await within(self._start_seconds, starting, late=lambda run: self._abandon(instance, run))
        except (Overdue, asyncio.CancelledError) as error:
            instance.attempt = None
            if instance.run is not None:
                self._abandon(instance, instance.run)
            if isinstance(error, asyncio.CancelledError):
                raise
            if instance.spec.host == "shared" and instance.in_callback_ns == 0 and instance.run is not None:
                raise Overdue("a callback of another instance blocks the shared thread") from None
            raise Overdue(f"loading and on_start exceeded {self._start_seconds:g} s") from None
        finally:
            self._starts.discard(task)

    def _abandon(self, instance: ManagedInstance, run: LambdaInstance) -> None:
        """Prevents a run from starting late, or stops it if it has started."""
        self._call(lambda: run.stop(1.0), f"{instance.id}-stop")

    def _run(self, instance: ManagedInstance, host: "Host", attempt: object) -> LambdaInstance:
        """Loads the strategy, creates the instance and runs `on_start`. Blocks, so it has its own thread."""
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
                nonblocking=self._nonblocking,
            )
            if instance.attempt is not attempt:
                run.stop(0.0)
                raise Overdue("the start was abandoned")
            instance.strategy, instance.run = cls, run
            run.start()
        except BaseException:
            if spec.host != "shared":
                host.stop(0.0)
            raise
        return run

    def _host(self, mode: str) -> "Host":
        if mode != "shared":
            return self._core.host("thread", spin_ns=self._spin_ns)
        # When a callback blocks the current shared thread, new instances get a new one; the others keep it.
        if not self._shared or self._is_blocked(self._shared[-1]):
            self._shared.append(self._core.host("shared", spin_ns=self._spin_ns))
        return self._shared[-1]

    def _is_blocked(self, host: "Host") -> bool:
        running = host.running
        return running is not None and running[1] > min(1.0, self._stuck_seconds) * 1e9

    async def _stop(self, instance: ManagedInstance) -> None:
        await self._end_run(instance)
        # What the watch reported before the state was set had no effect.
        self._check(instance)

    async def _end_run(self, instance: ManagedInstance) -> None:
        run, host = instance.run, instance.host
        if run is None or host is None or not instance.running:
            self._set(instance, InstanceState.STUCK if instance.abandoned else InstanceState.STOPPED)
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
            text = "on_stop was not run: a callback of another instance blocks the shared thread"
            log.error("instance %s stopped: %s", instance.id, text)
            self._set(instance, InstanceState.STOPPED, text)
        else:
            text = f"a callback was still running {seconds:g} s after the stop"
            log.error("instance %s is stuck: %s", instance.id, text)
            self._set(instance, InstanceState.STUCK, text)

    def check(self) -> None:
        """Updates the actual states of instances that failed, became stuck, or recovered."""
        self._watch.clear()
        for instance in self.all():
            self._check(instance)

    def _check(self, instance: ManagedInstance) -> None:
        run, host = instance.run, instance.host
        supervised = instance.actual in (InstanceState.RUNNING, InstanceState.STUCK)
        if run is None or host is None or not supervised:
            return
        state = run.state
        if state == "failed":
            text = run.stats()["last_error"] or "too many errors"
            log.error("instance %s failed: %s", instance.id, text)
            self._set(instance, InstanceState.FAILED, text)
            if instance.spec.host != "shared":
                self._call(lambda: host.stop(1.0), f"{instance.id}-stop")
        elif state == "running":
            run.watch_room()
            self._check_stuck(instance, host)
        elif state == "stuck" and instance.in_callback_ns == 0:
            # The callback that outlasted the stop has returned.
            log.warning("instance %s stopped after its long-running callback returned", instance.id)
            self._set(instance, InstanceState.STOPPED)

    def _check_stuck(self, instance: ManagedInstance, host: "Host") -> None:
        blocking = host.blocked
        if blocking is not None and instance.actual is InstanceState.RUNNING:
            callback = (
                "a callback"
                if blocking == instance.id
                else f"a callback of {blocking}, on the same shared thread,"
            )
            text = f"{callback} has been running for more than {self._stuck_seconds:g} s"
            log.error("instance %s is stuck: %s", instance.id, text)
            self._set(instance, InstanceState.STUCK, text)
        elif blocking is None and instance.actual is InstanceState.STUCK:
            log.warning("instance %s recovered: the long-running callback returned", instance.id)
            self._set(instance, InstanceState.RUNNING)

    def _call(self, function: Callable[[], T], name: str) -> "asyncio.Future[T]":
        future = call(function, name)
        self._pending_calls.add(future)
        future.add_done_callback(self._pending_calls.discard)
        return future

    def _set(self, instance: ManagedInstance, actual: InstanceState, error: str | None = None) -> None:
        if actual in (InstanceState.STARTING, InstanceState.RUNNING) or error is not None:
            instance.last_error = error
        instance.actual = actual
        self._persist(instance)

    def _persist(self, instance: ManagedInstance) -> None:
        id, actual, error = instance.id, instance.actual, instance.last_error or ""
        self._state_writer.put("instance", id, lambda: self._store.set_actual(id, actual, error))
