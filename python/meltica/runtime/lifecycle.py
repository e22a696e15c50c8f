"""Life-cycle states of supervised components.

This is their only definition; the SQL checks and the docs follow it.
"""

import asyncio
from enum import StrEnum

from meltica.errors import Conflict


class Desired(StrEnum):
    """The state that the operator asked for."""

    RUNNING = "running"
    STOPPED = "stopped"


class ProviderState(StrEnum):
    """The actual state of a provider."""

    PENDING = "pending"
    STARTING = "starting"
    RUNNING = "running"
    STOPPED = "stopped"
    FAILED = "failed"

    @property
    def after_restart(self) -> "ProviderState":
        """The state after a restart of the gateway, before anything changed it."""
        return self if self in (ProviderState.PENDING, ProviderState.FAILED) else ProviderState.STOPPED


class InstanceState(StrEnum):
    """The actual state of an instance."""

    PENDING = "pending"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"
    STUCK = "stuck"

    @property
    def after_restart(self) -> "InstanceState":
        """The state after a restart of the gateway, before anything changed it."""
        return self if self in (InstanceState.PENDING, InstanceState.FAILED) else InstanceState.STOPPED


def idle_lock(lock: asyncio.Lock, component: str, actual: ProviderState | InstanceState) -> asyncio.Lock:
    """Returns the lock of a component that is not being changed. Raises Conflict for one that is."""
    if lock.locked():
        raise Conflict(f"{component} is {actual}, and another change is in progress; retry when it is done")
    return lock
