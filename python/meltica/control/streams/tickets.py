"""Tickets: what a browser opens a stream with, as it can send no header and a token does not belong in a URL.

A ticket is valid once, within LIFETIME seconds, for the client that requested it, while its token is valid.
"""

import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import parse_qs

from litestar.types import HTTPScope

from meltica.control.access import Principal, unauthenticated
from meltica.http.errors import HttpError

LIFETIME: Final = 30.0
MAX_TICKETS: Final = 1024
MAX_OF_CLIENT: Final = 128
"""How many may wait for one token, so that no client takes those of the others."""
PATH: Final = "/events"

Authenticate = Callable[[HTTPScope], Awaitable[Principal]]


class StreamTickets:
    """Authenticates streams by their tickets, and every other request as before."""

    def __init__(
        self,
        authenticate: Authenticate,
        ended: Callable[[Principal], str | None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`ended` returns why the token of a client can no longer be used; None if it can."""
        self._authenticate = authenticate
        self._ended = ended
        self._clock = clock
        self._tickets: dict[str, tuple[Principal, float]] = {}

    async def __call__(self, scope: HTTPScope) -> Principal:
        """Returns the client of a request. Raises HttpError."""
        if scope["path"] == PATH and scope["method"] == "GET":
            given = parse_qs(scope["query_string"].decode("latin-1")).get("ticket")
            if given is not None:
                return self._redeem(given[-1])
        return await self._authenticate(scope)

    def issue(self, principal: Principal) -> str:
        """Returns a ticket for a client. Raises HttpError while too many wait to be used."""
        now = self._clock()
        self._tickets = {text: found for text, found in self._tickets.items() if found[1] > now}
        own = sum(found.token == principal.token for found, _ in self._tickets.values())
        if len(self._tickets) >= MAX_TICKETS or own >= MAX_OF_CLIENT:
            text = f"ticket not issued: {own} of this token wait to be used; retry later"
            raise HttpError(429, "too_many_tickets", text, headers={"retry-after": f"{LIFETIME:.0f}"})
        ticket = secrets.token_urlsafe(32)
        self._tickets[ticket] = principal, now + LIFETIME
        return ticket

    def _redeem(self, ticket: str) -> Principal:
        principal, until = self._tickets.pop(ticket, (None, 0.0))
        if principal is None or until <= self._clock():
            text = "the ticket was used, or is not valid; `POST /events/tickets` returns another"
            raise unauthenticated(f"stream not opened: {text}")
        if (why := self._ended(principal)) is not None:
            raise unauthenticated(f"stream not opened: the token of its ticket {why}")
        return principal
