"""`TradingChanges`: tells instances when orders begin or cease to go out at a provider.

Halts, stops, lost locks and accounts that reconnect change it, some of them without an event of their own. So
each tick of trading compares the state with the last one. The caller holds the lock of trading.
"""

from collections.abc import Callable, Mapping

from meltica.trading.order import Owner

Notify = Callable[[str, bool, str | None], None]
"""Receives a provider, whether orders go out there now, and why not; must not wait."""

Obstacle = Callable[[Owner, Mapping[str, object]], str | None]
"""Returns why no order of an owner with a scope goes out; None if orders go out."""


class TradingChanges:
    """The instances that are notified, and what each was notified of last."""

    def __init__(self) -> None:
        self._watched: dict[Owner, tuple[Mapping[str, object], Notify]] = {}
        self._last: dict[Owner, str | None] = {}

    def watch(self, owner: Owner, scope: Mapping[str, object], notify: Notify) -> None:
        """Notifies an owner of changes from now on; the first is that orders begin to go out."""
        self._watched[owner] = (scope, notify)
        self._last[owner] = "not_started"

    def forget(self, owner: Owner) -> None:
        """Notifies an owner no more."""
        self._watched.pop(owner, None)
        self._last.pop(owner, None)

    def check(self, obstacle: Obstacle) -> None:
        """Notifies the owners whose state has changed: for each provider, as orders wait for all of them."""
        for owner, (scope, notify) in self._watched.items():
            why, before = obstacle(owner, scope), self._last[owner]
            if (why is None) == (before is None):
                continue
            self._last[owner] = why
            for provider in scope:
                notify(provider, why is None, why)
