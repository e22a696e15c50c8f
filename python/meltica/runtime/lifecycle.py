"""Life-cycle states of supervised components: the only definition; SQL checks and docs follow."""

import asyncio
from enum import StrEnum

from meltica.errors import Conflict


class Desired(StrEnum):
    """What somebody wants a part to be."""

    RUNNING = "running"
    STOPPED = "stopped"


class Actual(StrEnum):
    """What a part is. Providers know neither `stopping` nor `stuck`."""

    PENDING = "pending"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"
    STUCK = "stuck"

    @property
    def after_restart(self) -> "Actual":
        """What a part is that was like this when the gateway ended, and has not been touched since."""
        return self if self in (Actual.PENDING, Actual.FAILED) else Actual.STOPPED


def idle_lock(lock: asyncio.Lock, component: str, actual: Actual) -> asyncio.Lock:
    """Returns the lock of a component that is not being changed. Raises Conflict for one that is."""
    if lock.locked():
        raise Conflict(f"{component} is {actual} and being changed; wait until that is done")
    return lock
