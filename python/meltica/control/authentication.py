"""Authenticates requests by their tokens.

1. A token is looked up among those that were last read from the database. They are read every
   REFRESH_SECONDS, so a token that a command revokes beside the gateway ends within that time.
2. One that is not among them causes another read, unless its address has sent too many invalid tokens: then
   the response is a 429 without a look-up. Valid tokens of that address are still accepted.
3. While the database is unavailable, the tokens that were read last remain valid until they expire, because
   an operator must be able to stop and halt without it. After ADMIN_SECONDS the scope admin is refused, as
   the token may have been revoked meanwhile. An unknown token is refused with a 503.
4. A request without a token is refused before its body is read if it has a body or a NUL character, or if it
   can change something. `public_client` admits reads of public routes, whatever their token is.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from ipaddress import IPv6Address, ip_address
from typing import Final

from litestar.types import HTTPScope

from meltica.control.access import UNAUTHENTICATED, WITHOUT_TOKEN, Principal, unauthenticated
from meltica.control.sessions import Sessions
from meltica.errors import DatabaseError
from meltica.http.errors import HttpError
from meltica.persistence.stores.tokens import TokenRow, TokenStore, now, split

REFRESH_SECONDS: Final = 5.0
LOOKUP_SECONDS: Final = 2.0
"""How long a request waits for the database to look up its token."""
ADMIN_SECONDS: Final = 30.0
RECORD_SECONDS: Final = 60.0
"""How often the last uses of tokens are written."""
FAILURES: Final = 20
"""How many invalid tokens an address may send within FAILURE_SECONDS."""
FAILURE_SECONDS: Final = 60.0
ADDRESSES: Final = 4096
"""How many addresses with failures are kept; beyond them, the one whose failure is oldest is forgotten."""

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
log = logging.getLogger("meltica.access")


class FailureLimit:
    """Counts failed authentications by address."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._windows: OrderedDict[str, tuple[float, int]] = OrderedDict()
        """Address -> begin of its window, and the failures since."""

    def wait(self, address: str) -> float:
        """Returns for how many seconds an address is refused; 0 if it is not."""
        began, failures = self._windows.get(address, (0.0, 0))
        remaining = began + FAILURE_SECONDS - self._clock()
        return remaining if failures >= FAILURES and remaining > 0 else 0.0

    def failed(self, address: str) -> None:
        """Counts a failure."""
        time = self._clock()
        began, failures = self._windows.pop(address, (time, 0))
        if time - began >= FAILURE_SECONDS:
            began, failures = time, 0
        self._windows[address] = began, failures + 1
        if len(self._windows) > ADDRESSES:
            self._windows.popitem(last=False)


class Authenticator:
    """Returns the principal of each request: `RequestGate(app, ..., authenticate=Authenticator(store))`."""

    def __init__(self, store: TokenStore, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._tokens: dict[str, TokenRow] = {}
        self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None
        self._used: dict[str, datetime] = {}
        self._limit = FailureLimit(clock)
        self._tasks: list[asyncio.Task[None]] = []
        self.sessions = Sessions()
        """What ends with its token: at once if it is revoked over REST, else within seconds."""

    async def __call__(self, scope: HTTPScope) -> Principal:
        """Returns the client of a request. Raises HttpError."""
        values = [text for name, text in scope["headers"] if name.lower() == b"authorization"]
        if not values:
            if scope["method"] not in _SAFE or _has_body(scope) or _has_nul(scope):
                raise unauthenticated(WITHOUT_TOKEN)
            return UNAUTHENTICATED
        kind, _, text = values[0].decode("latin-1").strip().partition(" ")
        if len(values) > 1 or kind.lower() != "bearer":
            raise unauthenticated(
                "request not authenticated: expected one header `Authorization: Bearer TOKEN`, saw"
                f" {'several' if len(values) > 1 else 'another kind'}"
            )
        return await self._principal(split(text.strip()), _address(scope))

    def ended(self, client: Principal) -> str | None:
        """Returns why the token of a client can no longer be used; None if it can."""
        if client.token is None:
            return None
        row = self._tokens.get(client.token)
        return "was deleted" if row is None else row.ended(now())

    def start(self) -> None:
        """Starts to read the tokens again and again, and to write their uses."""
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._refresh(), name="meltica-tokens"),
            loop.create_task(self._record(), name="meltica-token-uses"),
        ]

    async def stop(self) -> None:
        """Stops the background tasks and writes the last uses, if the database responds."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._record_once()

    async def read(self) -> None:
        """Reads the tokens; requests at the same time share one read. Raises DatabaseError."""
        reading = self._reading
        if reading is None or reading.done():
            reading = asyncio.get_running_loop().create_task(self._read(), name="meltica-token-read")
            reading.add_done_callback(_retrieve)
            self._reading = reading
        # Not cancelled after the time-out: psycopg takes seconds to cancel when the server hangs.
        done, _ = await asyncio.wait({reading}, timeout=LOOKUP_SECONDS)
        if not done:
            raise DatabaseError(f"the database did not respond within {LOOKUP_SECONDS:g} s")
        reading.result()

    async def read_again(self) -> None:
        """Reads the tokens after a change, also if a read is in progress. Raises DatabaseError."""
        if self._reading is not None and not self._reading.done():
            await asyncio.wait({self._reading}, timeout=LOOKUP_SECONDS)
        await self.read()

    async def _principal(self, parts: tuple[str, str] | None, address: str) -> Principal:
        if parts is not None and (row := self._accepted(*parts)) is not None:
            return self._admit(row)
        wait = self._limit.wait(address)
        if wait:
            raise HttpError(
                429,
                "too_many_failures",
                f"too many invalid tokens from {address}: retry after {wait:.0f} s",
                headers={"retry-after": f"{wait:.0f}"},
            )
        if parts is not None:
            try:
                await self.read()
            except DatabaseError as error:
                raise HttpError(
                    503, "database_unavailable", "token not checked: the database is unavailable; retry later"
                ) from error
            if (row := self._accepted(*parts)) is not None:
                return self._admit(row)
        self._limit.failed(address)
        log.warning("invalid token from %s", address)
        raise unauthenticated(
            "request not authenticated: the token is not valid; `meltica tokens list --offline` shows the"
            " tokens, `meltica tokens create --offline` creates one"
        )

    def _accepted(self, id: str, secret: str) -> TokenRow | None:
        row = self._tokens.get(id)
        return row if row is not None and row.accepts(secret) else None

    def _admit(self, row: TokenRow) -> Principal:
        """Returns the principal of a token with the right secret. Raises HttpError if it has ended."""
        time = now()
        ended = row.ended(time)
        if ended is not None:
            raise unauthenticated(
                f"request not authenticated: token `{row.id}` {ended}; `meltica tokens create --offline`"
                " creates another one"
            )
        self._used[row.id] = time
        return Principal(
            actor=f"{row.name} (token {row.id})",
            scope=row.scope,
            confirmed=self._clock() - self._read_at <= ADMIN_SECONDS,
            expires_at=row.expires_at,
            token=row.id,
        )

    async def _read(self) -> None:
        began = self._clock()
        rows = await self._store.all()
        self._tokens = {row.id: row for row in rows}
        self._read_at = began
        self.sessions.check(self._tokens)

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await self.read()
            except DatabaseError as error:
                log.debug("tokens not read, retrying: %s", error)
            except Exception:
                log.exception("tokens not read, retrying")

    async def _record(self) -> None:
        while True:
            await asyncio.sleep(RECORD_SECONDS)
            await self._record_once()

    async def _record_once(self) -> None:
        uses, self._used = self._used, {}
        if not uses:
            return
        try:
            await self._store.record_uses(uses)
        except Exception as error:
            log.debug("uses of tokens not recorded, retrying: %s", error)
            self._used = {**uses, **self._used}


def public_client(scope: HTTPScope) -> Principal:
    """Returns the client of a public route, without a look at its token. Raises HttpError for a body."""
    if _has_body(scope):
        text = f"body not expected: {scope['path']} takes none; send no body"
        raise HttpError(400, "unexpected_body", text)
    return UNAUTHENTICATED


def _has_body(scope: HTTPScope) -> bool:
    lengths = [value for name, value in scope["headers"] if name.lower() == b"content-length"]
    chunked = any(name.lower() == b"transfer-encoding" for name, _ in scope["headers"])
    return chunked or any(value.strip() != b"0" for value in lengths)


def _has_nul(scope: HTTPScope) -> bool:
    return "\0" in scope["path"] or b"%00" in scope["query_string"]


def _address(scope: HTTPScope) -> str:
    """Returns the address of a client; of IPv6, the network that one client usually has."""
    client = scope["client"]
    if client is None:
        return "unknown"
    try:
        address = ip_address(client[0])
    except ValueError:
        return client[0]
    if isinstance(address, IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped) if mapped else f"{IPv6Address(int(address) >> 64 << 64)}/64"
    return str(address)


def _retrieve(task: "asyncio.Task[None]") -> None:
    """Marks an exception as retrieved: those who still wait for the read get it."""
    if not task.cancelled():
        task.exception()
