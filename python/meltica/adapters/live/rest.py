"""Requests to a venue: signed, paced, and an honest word about each that failed.

What became of a request that `changes` something at the venue is decided by two facts alone: whether the
first byte was written, and whether a whole answer of the venue's own was read.

1. Not written: nothing changed. `VenueUnavailable`, or `RateLimited` by our own count.
2. Written, and no whole answer: `OutcomeUnknown`.
3. An answer of the venue's: what its table of errors says; else 4xx is `OrderRefused`, 5xx `OutcomeUnknown`.
4. An answer that is not the venue's: `OutcomeUnknown`; but 429 is `RateLimited`, whoever stands between.

No request that changes something is ever sent twice, and none waits for its turn: it goes out at once or is
refused, over connections of its own, behind no query. Queries change nothing, so where their outcome is
unknown the venue is just unavailable; one that comes too soon waits as long as it is told, and one that was
refused for its time is signed again, once, by a clock that was set anew.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import urlencode

import httpx
import msgspec

from meltica.adapters.live.clock import TokenBucket, VenueClock, on_loopback
from meltica.errors import (
    OrderRefused,
    OutcomeUnknown,
    ProtocolError,
    RateLimited,
    Unauthenticated,
    VenueError,
    VenueUnavailable,
    one_line,
)

RETRY_AFTER = 1.0
"""Seconds to wait where a venue refuses for its limit and does not say how long."""
LEAST_RETRY = 0.05
"""Seconds to wait where it says so little that asking again would be no better."""
POOL_SECONDS = 0.5
"""Seconds that a request which changes something waits for a connection, where all are in use."""
CONNECT_SECONDS = 2.0
"""Seconds that a new connection may take for it."""

_JSON = msgspec.json.Decoder(float_hook=Decimal)

ErrorTable = Mapping[str, type[VenueError] | type[OrderRefused]]
"""A venue's error codes -> what they mean here."""


class WrongClock(Unauthenticated):
    """The venue does not accept the time of a request. It was measured anew, so the next may pass."""

    terminal = False


class Request(NamedTuple):
    """A request as it goes out."""

    method: str
    target: str
    """Path and query, as they are written."""
    body: bytes = b""
    headers: Mapping[str, str] = {}


class ErrorBody(NamedTuple):
    """What a venue's error answer says."""

    code: str
    message: str


class RestClient:
    """A venue's REST. Belongs to the loop of its adapter."""

    def __init__(
        self,
        endpoint: str,
        *,
        clock: VenueClock,
        bucket: TokenBucket,
        errors: ErrorTable,
        parse_error: Callable[[object], ErrorBody | None],
        sign: Callable[[Request, int], Request] | None = None,
        server_time: Callable[[], Awaitable[int]] | None = None,
        timeout: float = 10.0,
    ) -> None:
        """`parse_error` reads an error answer; `sign` gets the venue's time, ms."""
        self._clock = clock
        self._bucket = bucket
        self._errors = errors
        self._parse_error = parse_error
        self._sign = sign
        self._server_time = server_time
        self._timeout = timeout
        self._closing = False
        self._measured = 0
        self._measuring = asyncio.Lock()
        self._base = httpx.URL(endpoint)
        # A time-out of its own covers the whole of a request. A connection that the venue has closed is not
        # used again, so a long life costs nothing and saves orders a handshake.
        limits = httpx.Limits(max_connections=32, keepalive_expiry=60.0)
        trust = not on_loopback(endpoint)
        self._queries = httpx.AsyncClient(timeout=None, limits=limits, trust_env=trust)
        # What changes something has connections of its own, so that no slow query holds it up, and goes out
        # soon or not at all.
        soon = httpx.Timeout(None, pool=POOL_SECONDS, connect=CONNECT_SECONDS)
        self._changes = httpx.AsyncClient(timeout=soon, limits=limits, trust_env=trust)

    async def call(
        self,
        method: str,
        path: str,
        params: Mapping[str, str | int] | None = None,
        body: object = None,
        *,
        signed: bool = False,
        changes: bool = False,
        weight: float = 1.0,
    ) -> Any:
        """Returns a request's answer out of JSON; numbers with a point are Decimal. Raises as the module
        says.
        """
        answer = await self.fetch(method, path, params, body, signed=signed, changes=changes, weight=weight)
        try:
            return _JSON.decode(answer)
        except msgspec.DecodeError as error:
            text = f"{method} {path}: expected JSON, saw {answer[:80]!r}"
            raise (OutcomeUnknown if changes else ProtocolError)("unreadable_answer", text) from error

    async def fetch(
        self,
        method: str,
        path: str,
        params: Mapping[str, str | int] | None = None,
        body: object = None,
        *,
        signed: bool = False,
        changes: bool = False,
        weight: float = 1.0,
    ) -> bytes:
        """Returns a request's answer as it came. Raises as the module says."""
        target = f"{path}?{urlencode(params)}" if params else path
        # What is signed is what is written.
        target = self._base.join(target).raw_path.decode("ascii")
        content = b"" if body is None else msgspec.json.encode(body)
        request = Request(method, target, content)
        deadline = asyncio.get_running_loop().time() + self._timeout
        signed_again = False
        while True:
            await self._admit(weight, deadline, urgent=changes)
            measured = self._measured
            try:
                return await self._once(request, signed=signed, changes=changes)
            except WrongClock:
                await self._set_clock(measured, quietly=changes or signed_again)
                if changes or signed_again:
                    raise
                signed_again = True
            except RateLimited:
                # A query waits for as long as the venue says, within its time.
                if changes:
                    raise

    def stop(self) -> None:
        """Lets no new request out. One under way that changes something, and is cancelled from now on, tells
        what is known of it.
        """
        self._closing = True

    async def close(self) -> None:
        """Closes the connections."""
        self.stop()
        await self._changes.aclose()
        await self._queries.aclose()

    async def _admit(self, weight: float, deadline: float, *, urgent: bool) -> None:
        """Waits for the pace that the venue allows. What is urgent does not wait: it is refused."""
        loop = asyncio.get_running_loop()
        while wait := self._bucket.take(weight, urgent=urgent):
            if urgent or loop.time() + wait > deadline:
                raise self._bucket.refuse(wait)
            await asyncio.sleep(wait)

    async def _set_clock(self, measured: int, *, quietly: bool) -> None:
        """Measures the venue's clock, unless somebody did so since `measured`."""
        if self._server_time is None:
            return
        async with self._measuring:
            if self._measured != measured:
                return
            try:
                await self._clock.measure(self._server_time)
            except VenueError:
                if not quietly:
                    raise
            else:
                self._measured += 1

    async def _once(self, request: Request, *, signed: bool, changes: bool) -> bytes:
        what = f"{request.method} {request.target.partition('?')[0]}"
        if self._closing:
            raise VenueUnavailable("stopped", f"{what}: the provider was stopped")
        if signed:
            if self._sign is None:
                raise Unauthenticated("no_key", f"{what}: expected a key in the settings, saw none")
            request = self._sign(request, self._clock.now())
        written = False

        async def trace(event: str, _: object) -> None:
            nonlocal written
            written = written or event.endswith(".send_request_headers.started")

        def lost(code: str, why: str) -> VenueError:
            text = f"{what}: {why}"
            return OutcomeUnknown(code, text) if written and changes else VenueUnavailable(code, text)

        headers = dict(request.headers)
        if request.body:
            headers.setdefault("Content-Type", "application/json")
        http = self._changes if changes else self._queries
        try:
            async with asyncio.timeout(self._timeout):
                response = await http.request(
                    request.method,
                    self._base.join(request.target),
                    content=request.body or None,
                    headers=headers,
                    extensions={"trace": trace},
                )
        except TimeoutError as error:
            raise lost("timeout", f"no answer within {self._timeout:g} s") from error
        except httpx.HTTPError as error:
            raise lost("connection", one_line(error)) from error
        except asyncio.CancelledError as error:
            # A query changed nothing, and whoever asks ends with it.
            if not (self._closing and changes):
                raise
            raise lost("stopped", "the provider was stopped before the answer came") from error
        if response.is_success:
            return response.content
        raise self._refused(what, response, changes=changes)

    def _refused(self, what: str, response: httpx.Response, *, changes: bool) -> VenueError | OrderRefused:
        status = response.status_code
        try:
            failure = self._parse_error(_JSON.decode(response.content))
        except msgspec.DecodeError:
            failure = None
        if failure is None:
            text = f"{what}: expected an answer of the venue's, saw {status} {response.text[:80]!r}"
            kind = OutcomeUnknown if changes or status >= 500 else ProtocolError
            code, kind = f"http_{status}", RateLimited if status == 429 else kind
        else:
            code, text = failure
            other = OutcomeUnknown if status >= 500 else OrderRefused if changes else ProtocolError
            kind = self._errors.get(code, RateLimited if status == 429 else other)
        if issubclass(kind, RateLimited):
            seconds = max(LEAST_RETRY, _retry_after(response.headers.get("Retry-After")))
            self._bucket.close(seconds)
            return kind(code, text, seconds)
        if kind is OutcomeUnknown and not changes:
            kind = VenueUnavailable
        return kind(code, text)


def _retry_after(text: str | None) -> float:
    """Returns the seconds that a Retry-After header says, as a number or as a date."""
    if text is None:
        return RETRY_AFTER
    if text.strip().isdecimal():
        return float(text)
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return RETRY_AFTER
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max(0.0, (until - datetime.now(UTC)).total_seconds())
