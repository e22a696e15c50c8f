"""`Readers`: instances of the core that read events for Meltica itself, one per key, all on one thread."""

import threading
from collections.abc import Callable, Collection, Hashable
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from meltica._core import Core, Host, Instance

Key = TypeVar("Key", bound=Hashable)


class Readers(Generic[Key]):
    """The readers of one feed. They may be changed from any thread but their own."""

    def __init__(self, core: "Core", add: Callable[["Host", Key], "Instance"]) -> None:
        """Creates a feed without readers. `add` adds the instance of a key to the host."""
        self._host = core.host("shared")
        self._add = add
        self._lock = threading.Lock()
        self._running: dict[Key, Instance] = {}

    def watch(self, keys: Collection[Key]) -> tuple[set[Key], set[Key]]:
        """Sets the keys in place of the previous ones; returns those that were added, and those removed.

        Raises CapacityError when the core has no room for a reader. The readers before it run.
        """
        with self._lock:
            removed = self._running.keys() - keys
            for key in removed:
                self._running.pop(key).stop()
            added = set[Key]()
            for key in keys:
                if key not in self._running:
                    self._start(key)
                    added.add(key)
            return added, removed

    def replace(self, key: Key) -> bool:
        """Replaces a reader that has ended; returns False if it was removed or replaced meanwhile."""
        with self._lock:
            instance = self._running.get(key)
            if instance is None or instance.state == "running":
                return False
            self._start(key)
            return True

    def is_watched(self, key: Key) -> bool:
        """Returns whether a reader of a key should run. Called from any thread."""
        return key in self._running

    def close(self) -> bool:
        """Stops the readers and their thread; returns whether all ended in time."""
        self.watch(())
        return self._host.stop()

    def _start(self, key: Key) -> None:
        instance = self._add(self._host, key)
        instance.start()
        self._running[key] = instance
