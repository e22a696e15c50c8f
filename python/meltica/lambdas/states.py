"""`ActualStates`: sets the actual states of instances, and persists them in the background."""

import logging
from typing import TYPE_CHECKING

from meltica.errors import plain
from meltica.lambdas.loader import revision_of
from meltica.runtime.lifecycle import InstanceState
from meltica.runtime.state_writer import StateWriter

if TYPE_CHECKING:
    from meltica.lambdas.managed import ManagedInstance
    from meltica.persistence.stores.instances import InstanceStore

log = logging.getLogger("meltica.lambdas")


class ActualStates:
    """The actual states of a manager's instances."""

    def __init__(self, store: "InstanceStore", writer: StateWriter) -> None:
        self._store = store
        self._writer = writer

    def set(self, instance: "ManagedInstance", actual: InstanceState, error: str | None = None) -> None:
        """Sets a state and its error; the error of the last run is kept until the next start."""
        if actual in (InstanceState.STARTING, InstanceState.RUNNING) or error is not None:
            instance.last_error = None if error is None else plain(error)
        instance.actual = actual
        self.persist(instance)

    def persist(self, instance: "ManagedInstance") -> None:
        """Schedules the write of a state."""
        id, actual, error = instance.id, instance.actual, instance.last_error or ""
        self._writer.put("instance", id, lambda: self._store.set_actual(id, actual, error))

    def persist_revision(self, instance: "ManagedInstance") -> None:
        """Schedules the write of the running revision: a file may have changed since the gateway started."""
        if instance.spec.module is not None:
            return  # the row has the pin, which only a declaration changes
        loaded = None if instance.strategy is None else revision_of(instance.strategy)
        self._writer.discard("revision", instance.id)
        if loaded != self._store.get(instance.id).revision:
            log.info("instance %s runs a new revision: %s", instance.id, loaded)
            self._writer.put("revision", instance.id, lambda: self._store.set_revision(instance.id, loaded))

    def forget(self, id: str) -> None:
        """Drops what is scheduled for an instance that was deleted."""
        for kind in ("instance", "revision"):
            self._writer.discard(kind, id)
