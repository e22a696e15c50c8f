"""`Launcher`: starts and ends the runs of instances: their hosts, their strategies and their trading.

An instance that trades starts in three steps, of which the second can take any time:

1. The strategy is loaded, and its trading opened.
2. Its accounts are reconciled. A start of the gateway waits for that without a limit, an operator's start
   within its time-out.
3. The checkpoint is loaded, and `on_load` and `on_start` run.

Trading is closed at the end of each run for which it was opened, also of one that failed, that is stuck, or
whose start failed.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Container
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from meltica.errors import ConfigError, Conflict, Overdue
from meltica.lambdas.disposal import Disposal
from meltica.lambdas.failures import described
from meltica.lambdas.instances import LambdaInstance, add_instance
from meltica.model.trader import TradingSpec
from meltica.runtime.threads import call, within

if TYPE_CHECKING:
    from meltica._core import Core, Host
    from meltica.lambdas.managed import ManagedInstance
    from meltica.lambdas.spec import LambdaSpec
    from meltica.lambdas.trading_side import TradingSide
    from meltica.model.trader import TradingPort

log = logging.getLogger("meltica.lambdas")

T = TypeVar("T")

ABORTED_START_SECONDS = 2.5
"""How long a shutdown waits for starts that it aborted."""
ABORTED_RUN_SECONDS = 0.5
"""How long the run of such a start may take to stop. A callback that is interrupted may take it twice."""
SILENT_SECONDS = 0.2
"""How long a start waits for accounts before it says so."""
REPORT_SECONDS = 1.0
"""Seconds between two looks at what a start waits for."""


class StartWithdrawn(Conflict):
    """A stop ended a start that waited for its accounts."""


class Launcher:
    """The runs of a manager's instances. Only the loop's thread uses it."""

    def __init__(
        self,
        core: "Core",
        trading: "TradingPort | None",
        *,
        stuck_after: timedelta,
        start_timeout: timedelta,
        nonblocking: Container[str],
        spin: timedelta,
    ) -> None:
        """Creates a launcher without runs; see `InstanceManager` for the options."""
        self._core = core
        self._trading = trading
        self._stuck_seconds = stuck_after.total_seconds()
        self._start_seconds = start_timeout.total_seconds()
        self._nonblocking = nonblocking
        self._spin_ns = spin // timedelta(microseconds=1) * 1000
        self._shared: list[Host] = []
        """Shared hosts: new instances use the last; the threads of the others are held by a callback."""
        self._starts: set[asyncio.Task[Any]] = set()
        self._pending_calls: set[asyncio.Future[Any]] = set()
        """Calls into strategies that have not returned."""
        self._closings: set[asyncio.Task[None]] = set()
        """Ends of trading in progress."""
        self._disposal = Disposal(self.call)

    async def start(
        self, instance: "ManagedInstance", *, patient: bool, on_wait: Callable[[str], object]
    ) -> None:
        """Starts a run of an instance; returns when it runs.

        - `patient`: waits for the accounts without a limit.
        - `on_wait`: receives what the start waits for.

        Raises what the strategy raises, Overdue, ConfigError, and StartWithdrawn when a stop ended it.
        """
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        host = instance.host = self._host(instance.spec.host)
        attempt = instance.attempt = object()
        self._starts.add(task)
        deadline = loop.time() + self._start_seconds
        try:
            await self._within(instance, deadline, lambda: self._prepare(instance, host, attempt))
            run = instance.run
            assert run is not None
            if run.trading is not None:
                before = loop.time()
                await self._wait_ready(instance, run.trading, None if patient else deadline, on_wait)
                deadline += loop.time() - before if patient else 0.0
                await self._within(instance, deadline, lambda: self._begin(instance, run, attempt))
        except BaseException as error:
            instance.attempt = None
            if instance.run is not None:
                failed = isinstance(error, Exception) and not isinstance(error, StartWithdrawn)
                self._abandon(instance, instance.run, failed=failed)
            raise
        finally:
            self._starts.discard(task)

    async def _within(
        self, instance: "ManagedInstance", deadline: float, function: Callable[[], LambdaInstance]
    ) -> None:
        """Runs a step of a start on a thread. Raises Overdue at the deadline."""
        overdue = False
        left = max(0.0, deadline - asyncio.get_running_loop().time())
        step = self.call(lambda: described(function), f"{instance.id}-start")
        try:
            await within(left, step, late=lambda run: self._abandon(instance, run, failed=overdue))
        except Overdue:
            overdue = True
            # Until here the step could still change the instance.
            instance.attempt = None
            if instance.spec.host == "shared" and instance.in_callback_ns == 0 and instance.run is not None:
                raise Overdue("a callback of another instance blocks the shared thread") from None
            raise Overdue(f"loading and on_start exceeded {self._start_seconds:g} s") from None

    def _prepare(self, instance: "ManagedInstance", host: "Host", attempt: object) -> LambdaInstance:
        """Loads the strategy and creates its run; starts it unless it trades. Blocks, so it has a thread."""
        spec = instance.spec
        cls = spec.load()
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
            if run.trading is None:
                run.start()
            elif self._trading is None:
                raise ConfigError(f"lambda `{spec.id}`", ["it places orders, and nothing trades here"])
            else:
                run.trading.open(self._trading, trading_spec(spec))
        except BaseException:
            if spec.host != "shared":
                host.stop(0.0)
            raise
        return run

    def _begin(self, instance: "ManagedInstance", run: LambdaInstance, attempt: object) -> LambdaInstance:
        """Loads the checkpoint and starts a run that trades. Blocks, so it has a thread."""
        assert run.trading is not None
        run.trading.load()
        if instance.attempt is not attempt:
            raise Overdue("the start was abandoned")
        run.start()
        return run

    async def _wait_ready(
        self,
        instance: "ManagedInstance",
        side: "TradingSide",
        deadline: float | None,
        on_wait: Callable[[str], object],
    ) -> None:
        """Waits until orders can go out. Raises Overdue at the deadline."""
        loop = asyncio.get_running_loop()
        waiting = instance.waiting = asyncio.ensure_future(side.ready())
        patience = SILENT_SECONDS
        try:
            while not (await asyncio.wait([waiting], timeout=patience))[0]:
                reason = side.waits_for or "its accounts are not reconciled"
                if deadline is not None and loop.time() >= deadline:
                    raise Overdue(f"orders cannot go out after {self._start_seconds:g} s: {reason}")
                on_wait(f"waits to trade: {reason}")
                patience = REPORT_SECONDS if deadline is None else min(REPORT_SECONDS, deadline - loop.time())
        finally:
            instance.waiting = None
            waiting.cancel()
        if waiting.cancelled():
            raise StartWithdrawn(f"instance `{instance.id}` was stopped while it waited to trade")
        waiting.result()

    def _abandon(self, instance: "ManagedInstance", run: LambdaInstance, *, failed: bool) -> None:
        """Prevents a run from starting late, or stops it if it has started."""
        if run.trading is not None:
            run.trading.stop_orders()
        host = instance.host

        def end() -> None:
            if not run.stop(ABORTED_RUN_SECONDS):
                text = (
                    "instance %s is stuck: its start was stopped, but a callback on its host does not return"
                )
                log.error(text, instance.id)
            elif run.trading is not None and instance.spec.host != "shared":
                assert host is not None
                host.stop(1.0)

        self.call(end, f"{instance.id}-stop").add_done_callback(lambda _: self.release(run))
        self._close_trading(run, failed=failed)

    async def end(self, instance: "ManagedInstance") -> bool:
        """Ends the run of an instance; returns False when a callback outlasts the stop."""
        run, host = instance.run, instance.host
        assert run is not None
        assert host is not None
        if run.trading is not None:
            run.trading.stop_orders()
        seconds = instance.spec.stop_timeout.total_seconds()

        def end() -> bool:
            clean = run.stop(seconds)
            if clean and instance.spec.host != "shared":
                host.stop(1.0)
            return clean

        clean = await self.call(end, f"{instance.id}-stop")
        await asyncio.shield(self._close_trading(run, failed=False))
        if clean:
            self.release(run)
        return clean

    async def ended(self, instance: "ManagedInstance") -> None:
        """Waits until the trading of a run whose start failed has ended."""
        if instance.run is not None and instance.run.trading is not None:
            await instance.run.trading.close(failed=True)

    def end_failed(self, instance: "ManagedInstance") -> None:
        """Ends, in the background, what is left of a run that failed."""
        run, host = instance.run, instance.host
        assert run is not None
        assert host is not None
        if instance.spec.host != "shared":
            self.call(lambda: host.stop(1.0), f"{instance.id}-stop")
        self._close_trading(run, failed=True)
        self.release(run)

    def forget(self, instance: "ManagedInstance") -> None:
        """Drops the last run of an instance, which has ended or whose callback does not return."""
        run, instance.run = instance.run, None
        if run is not None:
            self.release(run)

    def release(self, run: LambdaInstance) -> None:
        """Drops the strategy of a run that has ended, in the background."""
        self._disposal.add(run)

    def _close_trading(self, run: LambdaInstance, *, failed: bool) -> "asyncio.Task[None]":
        closing = asyncio.get_running_loop().create_task(_closed(run, failed=failed))
        self._closings.add(closing)
        closing.add_done_callback(self._closings.discard)
        return closing

    def abort_starts(self) -> None:
        """Cancels the starts in progress."""
        for task in self._starts:
            task.cancel()

    async def close(self) -> bool:
        """Ends the shared hosts; returns whether all calls into strategies have returned."""
        for host in self._shared:
            await self.call(lambda host=host: host.stop(1.0), "meltica-host-stop")
        while self._closings:
            await asyncio.wait(set(self._closings))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ABORTED_START_SECONDS):
                # A start that completes now adds a call that undoes it.
                while self._pending_calls:
                    await asyncio.wait(set(self._pending_calls))
        return not self._pending_calls

    def call(self, function: Callable[[], T], name: str) -> "asyncio.Future[T]":
        """Runs a function on a thread of its own; `close` waits for it."""
        future = call(function, name)
        self._pending_calls.add(future)
        future.add_done_callback(self._pending_calls.discard)
        return future

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


async def _closed(run: LambdaInstance, *, failed: bool) -> None:
    try:
        if run.trading is not None:
            await run.trading.close(failed=failed)
    except Exception:
        log.exception("instance %s: its orders may still be open: trading failed to end", run.id)


def trading_spec(spec: "LambdaSpec") -> TradingSpec:
    """Returns how an instance trades."""
    return TradingSpec(
        instance=spec.id,
        scope=spec.scope,
        dry_run=spec.dry_run,
        on_stop=spec.on_stop,
        risk=spec.risk,
        inventory=spec.inventory,
    )
