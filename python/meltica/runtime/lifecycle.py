"""Life-cycle states of supervised components.

This is their only definition; the SQL checks and the docs follow it.
"""

import asyncio
from enum import StrEnum

from meltica.errors import Conflict


class Desired(StrEnum):
    """The state that the operator wants a component to be in."""

    RUNNING = "running"
    STOPPED = "stopped"


class Actual(StrEnum):
    """The state that a component is in. Providers do not use `stopping` and `stuck`."""

    PENDING = "pending"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"
    STUCK = "stuck"

    @property
    def after_restart(self) -> "Actual":
        """The initial state of a component whose stored state is this one when the gateway starts."""
        return self if self in (Actual.PENDING, Actual.FAILED) else Actual.STOPPED


def idle_lock(lock: asyncio.Lock, component: str, actual: Actual) -> asyncio.Lock:
    """Returns the lock of a component that is not being changed. Raises Conflict for one that is."""
    if lock.locked():
        raise Conflict(f"{component} is {actual}, and another change is in progress; retry when it is done")
    return lock
