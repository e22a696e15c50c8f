"""`Supervision`: notices instances that failed, became stuck, or recovered."""

import logging
from typing import TYPE_CHECKING, Protocol

from meltica.runtime.lifecycle import InstanceState

if TYPE_CHECKING:
    from meltica._core import Host
    from meltica.lambdas.instances import LambdaInstance
    from meltica.lambdas.launcher import Launcher
    from meltica.lambdas.managed import ManagedInstance

log = logging.getLogger("meltica.lambdas")


class SetState(Protocol):
    """Sets the actual state of an instance, and its error."""

    def __call__(
        self, instance: "ManagedInstance", actual: InstanceState, error: str | None = None, /
    ) -> None:
        """Sets the state."""
        ...


class Supervision:
    """Compares the states of instances with those of their runs."""

    def __init__(self, launcher: "Launcher", stuck_seconds: float, set_state: SetState) -> None:
        """`stuck_seconds` is the duration of one callback from which its instance counts as stuck."""
        self._launcher = launcher
        self._stuck_seconds = stuck_seconds
        self._set = set_state

    def check(self, instance: "ManagedInstance") -> None:
        """Updates the actual state of an instance, and suspends the orders of one that is stuck."""
        run, host = instance.run, instance.host
        supervised = instance.actual in (InstanceState.RUNNING, InstanceState.STUCK)
        if run is None or host is None or not supervised:
            return
        state = run.state
        if state == "failed":
            text = run.stats()["last_error"] or "too many errors"
            log.error("instance %s of %s failed: %s", instance.id, instance.spec.strategy, text)
            self._set(instance, InstanceState.FAILED, text)
            self._launcher.end_failed(instance)
        elif state == "running":
            run.watch_room()
            self._check_stuck(instance, run, host)
        elif state == "stuck" and instance.in_callback_ns == 0:
            # The callback that outlasted the stop has returned.
            log.warning("instance %s stopped after its long-running callback returned", instance.id)
            self._set(instance, InstanceState.STOPPED)
            self._launcher.release(run)

    def _check_stuck(self, instance: "ManagedInstance", run: "LambdaInstance", host: "Host") -> None:
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
            if run.trading is not None:
                run.trading.suspend()
        elif blocking is None and instance.actual is InstanceState.STUCK:
            log.warning("instance %s recovered: the long-running callback returned", instance.id)
            self._set(instance, InstanceState.RUNNING)
            if run.trading is not None:
                run.trading.resume()
