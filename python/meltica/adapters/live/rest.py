"""REST requests to a venue: signed, rate-limited, each failure with a definite meaning.

Two facts decide the outcome of a mutating request (`changes=True`): whether its first byte was written, and
whether a complete response in the venue's own format was read.

1. Not written: nothing changed. `VenueUnavailable`, or `RateLimited` by the local limit.
2. Written, without a complete response: `OutcomeUnknown`.
3. An error response of the venue: the meaning in its `ErrorTable`; for other codes, 4xx is `OrderRefused` and
   5xx is `OutcomeUnknown`.
4. A response in another format, for example of a proxy: `OutcomeUnknown`; 429 is `RateLimited`.

A mutating request is never sent twice. It uses a dedicated connection pool and fails fast instead of
queueing, so a slow query does not delay an order.

Queries change nothing, so where the outcome of one is unknown, the error is `VenueUnavailable`. A query that
exceeds the rate limit waits. A query that was refused because of its timestamp is signed and sent once more,
after the venue's clock was measured again.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
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
from meltica.model.account import LastCheck, unchecked

RETRY_AFTER = 1.0
"""Seconds to wait after a rate-limit response without Retry-After."""
MIN_RETRY = 0.05
"""The shortest wait after a rate-limit response, in seconds."""
CONNECTIONS = 32
"""Requests of one kind, mutating or not, that use a connection at the same time."""
POOL_SECONDS = 0.5
"""Seconds that a mutating request waits for a free connection."""
CONNECT_SECONDS = 2.0
"""Seconds that a mutating request waits for a new connection."""

_JSON = msgspec.json.Decoder(float_hook=Decimal)

ErrorTable = Mapping[str, type[VenueError] | type[OrderRefused]]
"""Error codes of a venue -> the exceptions they mean."""


class WrongClock(Unauthenticated):
    """The venue rejects the timestamp of a request. Its clock was measured again, so the next may succeed."""

    terminal = False


class Request(NamedTuple):
    """A request as it is sent."""

    method: str
    target: str
    """Path and query, exactly as they are sent."""
    body: bytes = b""
    headers: Mapping[str, str] = {}


class ErrorBody(NamedTuple):
    """Code and message of a venue's error response."""

    code: str
    message: str


class RestClient:
    """A client of a venue's REST API. Belongs to the event loop of its adapter."""

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
        """`parse_error` reads an error response; `sign` takes the venue's time, in milliseconds."""
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
        # `asyncio.timeout` covers the whole request. httpx does not reuse a connection that the venue has
        # closed, so a long keep-alive is safe and saves orders a handshake.
        # Connections are counted here: httpx goes on counting those of some cancelled requests, until none
        # is left.
        limits = httpx.Limits(keepalive_expiry=60.0)
        trust = not on_loopback(endpoint)
        self._queries = httpx.AsyncClient(timeout=None, limits=limits, trust_env=trust)
        self._query_slots = asyncio.Semaphore(CONNECTIONS)
        # Mutating requests have their own pool with short time-outs: they fail fast instead of queueing.
        fail_fast = httpx.Timeout(None, connect=CONNECT_SECONDS)
        self._changes = httpx.AsyncClient(timeout=fail_fast, limits=limits, trust_env=trust)
        self._change_slots = asyncio.Semaphore(CONNECTIONS)

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
        last_check: LastCheck = unchecked,
    ) -> Any:
        """Sends a request and returns the response parsed from JSON, with decimals as Decimal.

        `last_check` is called immediately before the first byte is written; what it raises is raised, and
        nothing is sent. It is called again before the body; if it raises then, the outcome is unknown. The
        module's docstring lists the other exceptions.
        """
        body_bytes = await self.fetch(
            method, path, params, body, signed=signed, changes=changes, weight=weight, last_check=last_check
        )
        try:
            return _JSON.decode(body_bytes)
        except msgspec.DecodeError as error:
            text = f"{method} {path}: expected JSON, saw {body_bytes[:80]!r}"
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
        last_check: LastCheck = unchecked,
    ) -> bytes:
        """Sends a request and returns the response body, as `call` does."""
        target = f"{path}?{urlencode(params)}" if params else path
        # The signature covers the encoded target, as it is sent.
        target = self._base.join(target).raw_path.decode("ascii")
        content = b"" if body is None else msgspec.json.encode(body)
        request = Request(method, target, content)
        deadline = asyncio.get_running_loop().time() + self._timeout
        signed_again = False
        while True:
            await self._admit(weight, deadline, urgent=changes)
            measured = self._measured
            try:
                return await self._send(request, last_check, signed=signed, changes=changes)
            except WrongClock:
                await self._measure_clock(measured, ignore_errors=changes or signed_again)
                if changes or signed_again:
                    raise
                signed_again = True
            except RateLimited:
                # A query waits as the venue demands, within its time-out.
                if changes:
                    raise

    def stop(self) -> None:
        """Refuses new requests. A mutating request that is cancelled from now on raises its outcome."""
        self._closing = True

    async def close(self) -> None:
        """Closes the connections."""
        self.stop()
        await self._changes.aclose()
        await self._queries.aclose()

    async def _admit(self, weight: float, deadline: float, *, urgent: bool) -> None:
        """Waits until the rate limit admits a request. An urgent request is refused instead."""
        loop = asyncio.get_running_loop()
        while wait := self._bucket.take(weight, urgent=urgent):
            if urgent or loop.time() + wait > deadline:
                raise self._bucket.refusal(wait)
            await asyncio.sleep(wait)

    async def _measure_clock(self, measured: int, *, ignore_errors: bool) -> None:
        """Measures the venue's clock, unless another request did so since measurement `measured`."""
        if self._server_time is None:
            return
        async with self._measuring:
            if self._measured != measured:
                return
            try:
                await self._clock.measure(self._server_time)
            except VenueError:
                if not ignore_errors:
                    raise
            else:
                self._measured += 1

    async def _send(self, request: Request, last_check: LastCheck, *, signed: bool, changes: bool) -> bytes:
        label = f"{request.method} {request.target.partition('?')[0]}"
        if self._closing:
            raise VenueUnavailable("stopped", f"{label}: not sent: the provider was stopped")
        if signed:
            if self._sign is None:
                raise Unauthenticated(
                    "no_key", f"{label}: not sent: expected a key in the settings, saw none"
                )
            request = self._sign(request, self._clock.now())
        written = False

        def lost(code: str, why: str) -> VenueError:
            text = f"{label}: {why}"
            return OutcomeUnknown(code, text) if written and changes else VenueUnavailable(code, text)

        async def trace(event: str, info: Mapping[str, Any]) -> None:
            nonlocal written
            if event.endswith(".send_request_headers.started"):
                # The request that opens a tunnel through a proxy is not the one to the venue.
                if not written and info["request"].method != b"CONNECT":
                    last_check()
                    written = True
            elif event.endswith(".send_request_body.started") and written and request.body:
                # Between the head and the body, other tasks have run.
                try:
                    last_check()
                except (OrderRefused, VenueError) as error:
                    raise lost("stopped", f"stopped before its body: {one_line(error)}") from error

        headers = dict(request.headers)
        if request.body:
            headers.setdefault("Content-Type", "application/json")
        try:
            async with asyncio.timeout(self._timeout), self._connections(label, changes=changes) as http:
                response = await http.request(
                    request.method,
                    self._base.join(request.target),
                    content=request.body or None,
                    headers=headers,
                    extensions={"trace": trace},
                )
        except TimeoutError as error:
            raise lost("timeout", f"no response within {self._timeout:g} s") from error
        except httpx.HTTPError as error:
            raise lost("connection", one_line(error)) from error
        except asyncio.CancelledError as error:
            # A cancelled query changed nothing, and its caller was cancelled too.
            if not (self._closing and changes):
                raise
            raise lost("stopped", "the provider was stopped before the response arrived") from error
        if response.is_success:
            return response.content
        raise self._error(label, response, changes=changes)

    @asynccontextmanager
    async def _connections(self, label: str, *, changes: bool) -> AsyncGenerator[httpx.AsyncClient]:
        """Yields the client of a request once it may use a connection. Raises VenueUnavailable."""
        http = self._changes if changes else self._queries
        slots = self._change_slots if changes else self._query_slots
        try:
            async with asyncio.timeout(POOL_SECONDS if changes else None):
                await slots.acquire()
        except TimeoutError:
            text = f"{label}: not sent: all {CONNECTIONS} connections are in use"
            raise VenueUnavailable("connection", text) from None
        try:
            yield http
        finally:
            slots.release()

    def _error(self, label: str, response: httpx.Response, *, changes: bool) -> VenueError | OrderRefused:
        status = response.status_code
        try:
            failure = self._parse_error(_JSON.decode(response.content))
        except msgspec.DecodeError:
            failure = None
        if failure is None:
            text = f"{label}: expected a response in the venue's format, saw {status} {response.text[:80]!r}"
            kind = OutcomeUnknown if changes or status >= 500 else ProtocolError
            code, kind = f"http_{status}", RateLimited if status == 429 else kind
        else:
            code, text = failure
            other = OutcomeUnknown if status >= 500 else OrderRefused if changes else ProtocolError
            kind = self._errors.get(code, RateLimited if status == 429 else other)
        if issubclass(kind, RateLimited):
            seconds = max(MIN_RETRY, _retry_after(response.headers.get("Retry-After")))
            self._bucket.pause(seconds)
            return kind(code, text, seconds)
        if kind is OutcomeUnknown and not changes:
            kind = VenueUnavailable
        return kind(code, text)


def _retry_after(text: str | None) -> float:
    """Returns the seconds of a Retry-After header, which holds a number or a date."""
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
