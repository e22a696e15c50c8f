"""Starts, supervises and stops instances of strategies; one operation per instance at a time.

The *desired* state of an instance is committed to the database before it is acted on; the *actual* state is
persisted afterwards. A failed instance is not restarted automatically, because its strategy would fail in
the same way again.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Container, Coroutine, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from meltica.errors import Conflict, NotFound, StartError, one_line, suggestion
from meltica.lambdas.failures import is_explained
from meltica.lambdas.launcher import Launcher, StartWithdrawn
from meltica.lambdas.log_ring import InstanceLogs
from meltica.lambdas.managed import ManagedInstance
from meltica.lambdas.states import ActualStates
from meltica.lambdas.supervision import Supervision
from meltica.persistence.stores.desired import DesiredStates
from meltica.persistence.stores.instances import declaration
from meltica.runtime.lifecycle import Desired, InstanceState, idle_lock
from meltica.runtime.state_writer import StateWriter

if TYPE_CHECKING:
    from meltica._core import Core, Watch
    from meltica.lambdas.spec import LambdaSpec
    from meltica.model.trader import TradingPort
    from meltica.persistence.stores.instances import InstanceRecord, InstanceRow, InstanceStore

log = logging.getLogger("meltica.lambdas")

START_PATIENCE = 2.0
"""How long the gateway waits for starts that go on in the background."""


class InstanceManager:
    """The instances of a gateway."""

    def __init__(
        self,
        core: "Core",
        watch: "Watch",
        store: "InstanceStore",
        state_writer: StateWriter,
        *,
        trading: "TradingPort | None" = None,
        stuck_after: timedelta = timedelta(seconds=10),
        start_timeout: timedelta = timedelta(seconds=30),
        nonblocking: Container[str] = (),
        spin: timedelta = timedelta(),
    ) -> None:
        """Creates a manager without instances.

        - `watch`: reports failed and stuck instances from `begin` to `close`.
        - `trading`: what instances trade through; without it, those that place orders do not start.
        - `stuck_after`: duration of one callback from which its instance counts as stuck.
        - `start_timeout`: time limit for loading a strategy and running its `on_start`; when an operator
          starts it, also for reconciling its accounts.
        - `nonblocking`: providers that must not wait for an instance's queue.
        - `spin`: how long the thread of a host waits for events before it sleeps.
        """
        self._launcher = Launcher(
            core,
            trading,
            stuck_after=stuck_after,
            start_timeout=start_timeout,
            nonblocking=nonblocking,
            spin=spin,
        )
        self._watch = watch
        self._store = store
        self._desired = DesiredStates(store, state_writer, "instance")
        self._stuck_seconds = stuck_after.total_seconds()
        self._states = ActualStates(store, state_writer)
        self._supervision = Supervision(self._launcher, self._stuck_seconds, self._states.set)
        self._instances: dict[str, ManagedInstance] = {}
        self.logs = InstanceLogs(self._instances)
        """The last log lines of each instance, from `begin` to `close`."""
        self._background: set[asyncio.Task[None]] = set()
        self._closing = False

    def add(self, spec: "LambdaSpec") -> ManagedInstance:
        """Adds an instance that has a row in the store; does not start it."""
        instance = ManagedInstance(spec, row := self._store.get(spec.id))
        instance.desired, instance.last_error = row.desired, row.last_error
        self._instances[spec.id] = instance
        self._states.set(instance, row.actual.after_restart)
        return instance

    def all(self) -> list[ManagedInstance]:
        """Returns the instances, sorted by id."""
        return [self._instances[id] for id in sorted(self._instances)]

    def get(self, id: str) -> ManagedInstance:
        """Returns an instance. Raises NotFound with the nearest id, and Conflict for an absent one."""
        try:
            return self._instances[id]
        except KeyError:
            if self._store.find(id) is not None:
                text = "it is stored, but not configured; put it back into the configuration"
                raise Conflict(f"instance `{id}` is not available: {text}") from None
            raise NotFound(f"instance `{id}` does not exist{suggestion(id, self._instances)}") from None

    def absent(self) -> "list[InstanceRow]":
        """Returns the instances that are stored but not configured, by id."""
        return sorted((row for row in self._store.list() if row.id not in self), key=lambda row: row.id)

    def __contains__(self, id: object) -> bool:
        return id in self._instances

    def stored(self, id: str) -> "InstanceRow":
        """Returns the row of an instance; of one that a restore deleted, the last one. Raises NotFound."""
        instance = self._instances.get(id)
        return self._store.get(id) if instance is None else instance.latest(self._store.find(id))

    async def create(self, spec: "LambdaSpec", record: "InstanceRecord") -> ManagedInstance:
        """Creates an instance, stopped. Raises AlreadyExists, Conflict, DatabaseUnavailable."""
        self._refuse_stopping()
        await self._store.add(record)
        return self.add(spec)

    async def change(
        self,
        id: str,
        declare: "Callable[[InstanceRow], tuple[LambdaSpec, InstanceRecord] | None]",
        *,
        roll_back: bool = False,
    ) -> ManagedInstance:
        """Replaces the declaration of an instance, and restarts it if it runs.

        `declare` returns the new declaration, or None if nothing changes. It is called while no other change
        of the instance is in progress, so what it checks holds until the change is complete. With
        `roll_back`, the earlier declaration runs on if the new one does not start.
        Raises NotFound, Conflict, StartError, DatabaseUnavailable, and what `declare` raises.
        """
        instance = self.get(id)
        async with idle_lock(instance.lock, f"instance `{id}`", instance.actual):
            self._refuse_stopping()
            declared = declare(row := self._store.get(id))
            if declared is None:
                return instance
            spec, record = declared
            await self._store.update(record)
            earlier, instance.spec = instance.spec, spec
            if instance.running:
                await self._stop(instance)
                if not instance.abandoned:
                    start = self._start(instance, patient=False)
                    await (self._or_earlier(instance, start, row, earlier) if roll_back else start)
        return instance

    async def _or_earlier(
        self, instance: ManagedInstance, start: Awaitable[None], row: "InstanceRow", earlier: "LambdaSpec"
    ) -> None:
        """Awaits a start; if it fails, starts the earlier declaration and raises StartError."""
        try:
            await start
        except StartError as error:
            await self._launcher.ended(instance)
            instance.spec = earlier
            try:
                await self._start(instance, patient=False)
            except StartError as other:
                raise StartError(f"{error}; nor did the earlier declaration start: {other}") from error
            finally:
                await self._store.update(declaration(row))
            raise StartError(f"{error}; the earlier declaration runs on") from error

    async def remove(self, id: str, check: "Callable[[InstanceRow], Awaitable[object]]") -> ManagedInstance:
        """Stops an instance and deletes it. `check` raises if it may not be deleted, also after the stop.

        Raises NotFound, Conflict, DatabaseUnavailable, and what `check` raises.
        """
        instance = self.get(id)
        async with idle_lock(instance.lock, f"instance `{id}`", instance.actual):
            row = self._store.get(id)
            await check(row)
            if instance.running:
                instance.desired = Desired.STOPPED
                self._desired.record_stop(id)
                await self._stop(instance)
                await self._desired.wait_recorded(id)
                await check(row)
            if instance.abandoned:
                raise Conflict(
                    f"instance `{id}` not deleted: it is in use by a callback that does not return"
                )
            await self._store.delete(id)
            self._desired.forget(id)
            self._states.forget(id)
            self._launcher.forget(self._instances.pop(id))
            self.logs.forget(id)
        return instance

    def _refuse_stopping(self) -> None:
        if self._closing:
            raise Conflict("the gateway is stopping")

    def dependents(self, provider: str) -> list[str]:
        """Returns the ids of the instances whose scope contains a provider, running or not."""
        return [instance.id for instance in self.all() if provider in instance.spec.scope]

    async def begin(self, patience: float = START_PATIENCE) -> None:
        """Starts every instance whose desired state is running; a failure does not affect the others.

        Waits at most `patience` seconds for the starts, so that instances receive the first events; not for
        those that wait for the accounts of providers.
        """
        loop = asyncio.get_running_loop()
        self.logs.start()
        desired = [instance for instance in self.all() if instance.desired is Desired.RUNNING]
        for instance in desired:
            self._run_in_background(self._begin(instance))
        await asyncio.sleep(0)
        self._watch.supervise(self._stuck_seconds)
        loop.add_reader(self._watch.fileno(), self.check)
        deadline = loop.time() + patience
        while any(each.actual is InstanceState.STARTING and each.waiting is None for each in desired):
            if not self._background or loop.time() >= deadline:
                return
            await asyncio.wait(set(self._background), timeout=0.02, return_when=asyncio.FIRST_COMPLETED)

    def _run_in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def start(self, id: str) -> ManagedInstance:
        """Starts an instance.

        Raises NotFound, Conflict when it is running or being changed, StartError, DatabaseUnavailable.
        """
        instance = self.get(id)
        async with idle_lock(instance.lock, f"instance `{id}`", instance.actual):
            self._refuse_stopping()
            if instance.running:
                raise Conflict(f"instance `{id}` is already {instance.actual}")
            await self._desired.record_start(id)
            instance.desired = Desired.RUNNING
            await self._start(instance, patient=False)
        return instance

    async def restart(self, id: str) -> ManagedInstance:
        """Stops an instance if it runs, and starts it. The callback of one that is stuck is abandoned.

        Raises NotFound, Conflict while it is being changed, StartError, DatabaseUnavailable.
        """
        instance = self.get(id)
        async with idle_lock(instance.lock, f"instance `{id}`", instance.actual):
            self._refuse_stopping()
            await self._desired.record_start(id)
            instance.desired = Desired.RUNNING
            if instance.running:
                stuck = instance.actual is InstanceState.STUCK
                await self._stop(instance)
                if instance.abandoned and not stuck:
                    raise StartError(
                        f"instance `{id}` not restarted: {instance.last_error}; a start abandons the callback"
                    )
            await self._start(instance, patient=False)
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
        if instance.waiting is not None:
            await self._withdraw(instance, instance.waiting)
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

    async def _withdraw(self, instance: ManagedInstance, waiting: "asyncio.Future[None]") -> None:
        """Stops an instance whose start waits for its accounts."""
        instance.desired = Desired.STOPPED
        self._desired.record_stop(instance.id)
        waiting.cancel()
        async with instance.lock:
            await self._desired.wait_recorded(instance.id)

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
        for instance in [each for each in self.all() if each.id not in self._store]:
            # Another gateway has deleted it, or the answer to a deletion was lost.
            await self._close(instance)
            self._launcher.forget(self._instances.pop(instance.id))
        await asyncio.gather(*(self._adopt(instance) for instance in self.all()))
        if self._background:
            await asyncio.wait(set(self._background), timeout=START_PATIENCE)
        for instance in self.all():
            self._states.persist(instance)

    async def _adopt(self, instance: ManagedInstance) -> None:
        if instance.waiting is not None:
            # Its start holds the lock until its accounts are reconciled.
            instance.desired, _ = self._desired.adopted(instance.id, instance.desired)
            if instance.desired is Desired.STOPPED:
                instance.waiting.cancel()
            return
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
                self._run_in_background(self._begin(instance))

    async def stop_trading(self) -> list[ManagedInstance]:
        """Stops the instances that trade, without changing desired states; returns them."""
        trading = [
            each
            for each in self.all()
            if each.run is not None and each.run.trading is not None and (each.running or each.waiting)
        ]
        for each in trading:
            if each.waiting is not None:
                each.waiting.cancel()
        await asyncio.gather(*(self._close(each) for each in trading))
        return trading

    def start_trading(self, instances: Iterable[ManagedInstance]) -> None:
        """Starts instances in the background, unless they should not run any more."""
        for instance in instances:
            if not self._closing:
                self._run_in_background(self._begin(instance))

    async def close(self) -> bool:
        """Stops all instances concurrently without changing desired states.

        Returns False when a callback is still running and its thread was abandoned.
        """
        self._closing = True
        asyncio.get_running_loop().remove_reader(self._watch.fileno())
        for task in self._background:
            task.cancel()
        self._launcher.abort_starts()
        await asyncio.gather(*self._background, return_exceptions=True)
        await asyncio.gather(*(self._close(instance) for instance in self.all()))
        returned = await self._launcher.close()
        self.logs.stop()
        return returned and not any(instance.abandoned for instance in self.all())

    async def _close(self, instance: ManagedInstance) -> None:
        async with instance.lock:
            if instance.running:
                await self._stop(instance)

    async def _begin(self, instance: ManagedInstance) -> None:
        async with instance.lock:
            if instance.running or instance.desired is Desired.STOPPED:
                return  # the database said so meanwhile
            with contextlib.suppress(StartError, StartWithdrawn):  # _start has recorded and logged it
                await self._start(instance, patient=True)

    async def _start(self, instance: ManagedInstance, *, patient: bool) -> None:
        self._states.set(instance, InstanceState.STARTING)
        self._launcher.forget(instance)

        def waits(text: str) -> None:
            if text != instance.last_error:
                log.info("instance %s %s", instance.id, text)
                self._states.set(instance, InstanceState.STARTING, text)

        try:
            await self._launcher.start(instance, patient=patient, on_wait=waits)
        except (asyncio.CancelledError, StartWithdrawn):
            self._states.set(instance, InstanceState.STOPPED)
            raise
        except Exception as error:
            text = instance.spec.without_folder(one_line(error))
            place, traced = instance.spec.strategy, not is_explained(error)
            log.error("instance %s of %s could not start: %s", instance.id, place, text, exc_info=traced)
            self._states.set(instance, InstanceState.FAILED, text)
            raise StartError(f"instance `{instance.id}` could not start: {text}") from error
        log.info("instance %s is running", instance.id)
        self._states.set(instance, InstanceState.RUNNING)
        self._states.persist_revision(instance)
        # What the watch reported before the state was set had no effect.
        self._supervision.check(instance)

    async def _stop(self, instance: ManagedInstance) -> None:
        await self._end_run(instance)
        # What the watch reported before the state was set had no effect.
        self._supervision.check(instance)

    async def _end_run(self, instance: ManagedInstance) -> None:
        run, host = instance.run, instance.host
        if run is None or host is None or not instance.running:
            self._states.set(instance, InstanceState.STUCK if instance.abandoned else InstanceState.STOPPED)
            return
        self._states.set(instance, InstanceState.STOPPING)
        if await self._launcher.end(instance):
            self._states.set(instance, InstanceState.STOPPED)
            log.info("instance %s stopped", instance.id)
        elif instance.in_callback_ns == 0:
            text = "on_stop was not run: a callback of another instance blocks the shared thread"
            log.error("instance %s stopped: %s", instance.id, text)
            self._states.set(instance, InstanceState.STOPPED, text)
        else:
            seconds = instance.spec.stop_timeout.total_seconds()
            text = f"a callback was still running {seconds:g} s after the stop"
            log.error("instance %s is stuck: %s", instance.id, text)
            self._states.set(instance, InstanceState.STUCK, text)

    def check(self) -> None:
        """Updates the actual states of instances that failed, became stuck, or recovered."""
        self._watch.clear()
        for instance in self.all():
            self._supervision.check(instance)
