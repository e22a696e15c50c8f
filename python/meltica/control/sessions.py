"""Sessions: long responses, which end together with the token that they began with."""

import asyncio
import logging
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from meltica.persistence.stores.tokens import TokenRow, now

if TYPE_CHECKING:
    from meltica.control.access import Principal

log = logging.getLogger("meltica.access")


class _Session(NamedTuple):
    principal: "Principal"
    end: Callable[[str], None]


class Sessions:
    """The long responses of all clients: `with sessions.opened(request.user, end): ...`."""

    def __init__(self) -> None:
        self._open: dict[object, _Session] = {}

    @contextmanager
    def opened(self, principal: "Principal", end: Callable[[str], None]) -> Generator[None]:
        """Calls `end` with the reason once the token of a client expires or is revoked within the block."""
        key = object()
        self._open[key] = _Session(principal, end)
        timer = None
        if principal.expires_at is not None:
            loop = asyncio.get_running_loop()
            timer = loop.call_later(_seconds(principal.expires_at), end, "its token has expired")
        try:
            yield
        finally:
            del self._open[key]
            if timer is not None:
                timer.cancel()

    def count(self, principal: "Principal") -> int:
        """Returns how many sessions a client has."""
        return sum(each.principal.actor == principal.actor for each in self._open.values())

    def check(self, tokens: Mapping[str, TokenRow]) -> None:
        """Ends the sessions whose token has ended, or does not exist any more."""
        time = now()
        for principal, end in list(self._open.values()):
            if principal.token is None:
                continue
            row = tokens.get(principal.token)
            ended = "was deleted" if row is None else row.ended(time)
            if ended is not None:
                log.info("a stream of %s ends: its token %s", principal.actor, ended)
                end(f"its token {ended}")


def _seconds(until: datetime) -> float:
    # The event loop does not take arbitrarily late times.
    return min(max(0.0, (until - now()).total_seconds()), 365 * 86400.0)
