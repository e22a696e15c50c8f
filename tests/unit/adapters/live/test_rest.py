"""REST requests to a venue, and the outcome of those that fail."""

import asyncio
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime

import pytest

from meltica.adapters.fake.wire import FakeWire
from meltica.adapters.live.clock import TokenBucket, VenueClock
from meltica.adapters.live.rest import ErrorBody, Request, RestClient, WrongClock
from meltica.errors import (
    MelticaError,
    OrderRefused,
    OutcomeUnknown,
    ProtocolError,
    RateLimited,
    Unauthenticated,
    VenueUnavailable,
)
from tests.support.scripted import CUT, HANG, Http, ReceivedRequest, Reply, error, reply, until


class Signer:
    """Keeps the times of the signatures."""

    def __init__(self) -> None:
        self.times: list[int] = []

    def __call__(self, request: Request, time: int) -> Request:
        self.times.append(time)
        return request._replace(headers={"X-Time": str(time), "X-Target": request.target})


def parse_error(body: object) -> ErrorBody | None:
    match body:
        case {"status": "error", "code": str(code), "error": str(text)}:
            return ErrorBody(code, text)
        case _:
            return None


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    async with Http() as server:
        yield server


def client(
    endpoint: str,
    bucket: TokenBucket | None = None,
    *,
    timeout: float = 10.0,
    clock: VenueClock | None = None,
    sign: Signer | None = None,
) -> RestClient:
    rest = RestClient(
        endpoint,
        clock=clock or VenueClock(),
        bucket=bucket or TokenBucket(0),
        errors=FakeWire.errors,
        parse_error=parse_error,
        sign=sign or Signer(),
        server_time=lambda: server_time(),
        timeout=timeout,
    )

    async def server_time() -> int:
        return (await rest.call("GET", "/time"))["time"]

    return rest


async def test_responses_are_exact_and_the_sent_target_is_signed(http: Http) -> None:
    sign = Signer()
    rest = client(http.endpoint, sign=sign)
    http.replies.append(reply(b'{"price": 0.1, "quantity": "3", "n": 7}'))
    answer = await rest.call("GET", "/v1/x", {"symbol": "BTC-USDT", "odd": "a b&c/\u00e4"}, signed=True)
    assert answer == {"price": Decimal("0.1"), "quantity": "3", "n": 7}
    [request] = http.requests
    assert request.target == request.headers["x-target"] == "/v1/x?symbol=BTC-USDT&odd=a+b%26c%2F%C3%A4"
    http.replies.append(reply({}, status=201))
    await rest.call("POST", "/v1/y", body={"a": "1"}, signed=True, changes=True)
    assert (http.requests[1].method, http.requests[1].body) == ("POST", b'{"a":"1"}')
    assert http.requests[1].headers["content-type"] == "application/json"
    http.replies.extend([reply({}), reply({})])
    await rest.call("GET", "/v1/x")
    await rest.call("POST", "/v1/y", changes=True)
    assert http.connections == 2, "one connection is reused for queries, one for mutating requests"
    await rest.close()


async def test_mutating_requests_do_not_wait_for_queries(http: Http) -> None:
    rest = client(http.endpoint, timeout=60)
    http.answer = lambda request: reply({}) if request.target == "/v1/orders" else HANG
    slow = [asyncio.create_task(rest.call("GET", "/v1/slow")) for _ in range(40)]
    await until(lambda: len(http.requests) == 32, "all connections for queries to be in use")
    async with asyncio.timeout(20):
        await rest.call("POST", "/v1/orders", body={}, changes=True)
    # With its own pool exhausted a mutating request fails fast, and nothing is written.
    slow += [asyncio.create_task(rest.call("POST", "/v1/slow", changes=True)) for _ in range(32)]
    await until(lambda: len(http.requests) == 65, "all others to be in use")
    async with asyncio.timeout(20):
        with pytest.raises(VenueUnavailable):
            await rest.call("POST", "/v1/orders", body={}, changes=True)
    assert len(http.requests) == 65
    for task in slow:
        task.cancel()
    await asyncio.wait(slow)
    await rest.close()


async def test_the_last_check_comes_after_the_wait_for_a_connection(http: Http) -> None:
    rest = client(http.endpoint, timeout=60)
    http.answer = lambda request: HANG if request.target == "/v1/slow" else reply({})
    slow = [asyncio.create_task(rest.call("POST", "/v1/slow", changes=True)) for _ in range(32)]
    await until(lambda: len(http.requests) == 32, "all connections to be in use")
    checks: list[int] = []

    def refuse() -> None:
        checks.append(len(http.requests))
        raise OrderRefused("too_late")

    waiting = asyncio.create_task(rest.call("POST", "/v1/orders", changes=True, last_check=refuse))
    await asyncio.sleep(0)
    assert checks == []
    slow.pop().cancel()
    with pytest.raises(OrderRefused, match="too_late"):
        await waiting
    assert (checks, len(http.requests)) == ([32], 32)
    # Another request takes the place, so nothing of the refused one was written.
    slow.pop().cancel()
    await rest.call("POST", "/v1/orders", changes=True, last_check=lambda: checks.append(0))
    assert [request.target for request in http.requests[32:]] == ["/v1/orders"]
    assert checks == [32, 0]
    for task in slow:
        task.cancel()
    await asyncio.wait(slow)
    await rest.close()


async def test_no_body_is_written_after_a_halt_since_the_last_check(http: Http) -> None:
    rest = client(http.endpoint)
    http.answer = lambda _: reply({})
    halted = False

    def check() -> None:
        if halted:
            raise OrderRefused("halted")
        # The loop runs once more between the head and the body.
        asyncio.get_running_loop().call_soon(halt)

    def halt() -> None:
        nonlocal halted
        halted = True

    for _ in range(3):
        halted = False
        with pytest.raises(OutcomeUnknown, match="stopped before its body: halted"):
            await rest.call("POST", "/v1/orders", body={"id": 1}, changes=True, last_check=check)
    assert await rest.call("POST", "/v1/orders", body={"id": 2}, changes=True) == {}
    assert [request.body for request in http.requests] == [b'{"id":2}']
    await rest.close()


async def test_a_proxy_does_not_take_the_last_check_for_its_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    checks: list[int] = []
    async with Http() as proxy:
        proxy.replies.append(reply({}, 403))
        monkeypatch.setenv("HTTPS_PROXY", proxy.endpoint)
        rest = client("https://venue.test")
        with pytest.raises(VenueUnavailable, match="403"):
            await rest.call("POST", "/v1/orders", changes=True, last_check=lambda: checks.append(1))
        assert [request.method for request in proxy.requests] == ["CONNECT"]
        assert checks == []
        await rest.close()


def closed_endpoint() -> str:
    """An endpoint without a listener."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{closed.getsockname()[1]}"


@pytest.mark.parametrize("changes", [False, True])
async def test_a_request_that_was_not_written_changed_nothing(changes: bool) -> None:
    rest = client(closed_endpoint())
    with pytest.raises(VenueUnavailable) as failed:
        await rest.call("POST", "/v1/orders", changes=changes)
    assert failed.value.code == "connection"
    await rest.close()


async def test_a_connection_that_does_not_open_changed_nothing() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        # The backlog is full: further connections are neither accepted nor refused.
        held = [socket.socket() for _ in range(4)]
        for each in held:
            each.setblocking(False)
            each.connect_ex(deaf.getsockname())
        rest = client(f"http://127.0.0.1:{deaf.getsockname()[1]}", timeout=0.2)
        with pytest.raises(VenueUnavailable) as failed:
            await rest.call("POST", "/v1/orders", changes=True)
        assert failed.value.code == "timeout"
        await rest.close()
        for each in held:
            each.close()


HALF = Reply(b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{", "close")
HALF_A_REFUSAL = Reply(b'HTTP/1.1 422 No\r\nContent-Length: 100\r\n\r\n{"status":"error"', "close")
NO_HTTP = Reply(b"good day\r\n\r\n", "close")


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (CUT, "connection"),
        (HALF, "connection"),
        (HALF_A_REFUSAL, "connection"),
        (NO_HTTP, "connection"),
        (HANG, "timeout"),
        (reply(b"<html>fine</html>", 200), "unreadable_answer"),
        (reply(b"<html>bad gateway</html>", 502), "http_502"),
        (reply(b"<html>forbidden</html>", 403), "http_403"),
        (reply(b"", 302, "Location: /elsewhere\r\n"), "http_302"),
        (reply({"message": "of a proxy"}, 400), "http_400"),
        (error(504, "timeout"), "timeout"),
        (error(500, "never_heard_of"), "never_heard_of"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_the_outcome_of_a_request_without_a_complete_response_is_unknown(
    http: Http, answer: Reply, code: str
) -> None:
    rest = client(http.endpoint, timeout=0.3 if answer is HANG else 10)
    http.replies.append(answer)
    with pytest.raises(OutcomeUnknown) as failed:
        await rest.call("POST", "/v1/orders", body={}, changes=True)
    assert failed.value.code == code
    assert len(http.requests) == 1, "an order is never sent twice"
    http.replies.append(answer)
    # The same for a query, which changes nothing.
    with pytest.raises((VenueUnavailable, ProtocolError)):
        await rest.call("GET", "/v1/orders")
    assert len(http.requests) == 2
    await rest.close()


@pytest.mark.parametrize(
    ("answer", "kind", "of_a_query"),
    [
        (error(503, "unavailable"), VenueUnavailable, VenueUnavailable),
        (error(401, "unknown_key"), Unauthenticated, Unauthenticated),
        (error(401, "bad_signature"), Unauthenticated, Unauthenticated),
        (error(422, "insufficient_funds"), OrderRefused, ProtocolError),
        (error(409, "duplicate_client_id"), OrderRefused, ProtocolError),
        (error(400, "bad_request"), OrderRefused, ProtocolError),
        (error(404, "unknown_order"), OrderRefused, OrderRefused),
    ],
    ids=["503", "key", "signature", "422", "409", "400", "404"],
)
async def test_error_codes_map_to_exceptions(
    http: Http, answer: Reply, kind: type[MelticaError], of_a_query: type[MelticaError]
) -> None:
    rest = client(http.endpoint)
    http.replies.extend([answer, answer])
    with pytest.raises(kind) as failed:
        await rest.call("POST", "/v1/orders", body={}, changes=True)
    assert type(failed.value) is kind
    with pytest.raises(of_a_query) as failed:
        await rest.call("GET", "/v1/orders")
    assert type(failed.value) is of_a_query
    await rest.close()


@pytest.mark.parametrize("body", [b"<html>slow down</html>", None])
async def test_a_rate_limit_refuses_orders_until_retry_after(http: Http, body: bytes | None) -> None:
    now = 100.0
    rest = client(http.endpoint, TokenBucket(0, clock=lambda: now))
    limited = error(429, "rate_limited", "Retry-After: 7\r\n")
    http.replies.append(limited if body is None else reply(body, 429, "Retry-After: 7\r\n"))
    with pytest.raises(RateLimited) as failed:
        await rest.call("POST", "/v1/orders", body={}, changes=True)
    assert failed.value.retry_after == 7
    assert body is not None or failed.value.message == "it is rate_limited"
    now = 106.0
    async with asyncio.timeout(5):
        with pytest.raises(RateLimited) as failed:
            await rest.call("POST", "/v1/orders", body={}, changes=True)
    assert failed.value.retry_after == 1
    assert len(http.requests) == 1, "no request is sent before that"
    now = 107.0
    http.replies.append(reply({}))
    await rest.call("POST", "/v1/orders", body={}, changes=True)
    await rest.close()


async def test_a_query_waits_for_retry_after(http: Http) -> None:
    rest = client(http.endpoint)
    http.replies.extend([error(429, "rate_limited", "Retry-After: 0\r\n"), reply([1])])
    assert await rest.call("GET", "/v1/orders") == [1]
    later = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    http.replies.append(error(429, "rate_limited", f"Retry-After: {later}\r\n"))
    with pytest.raises(RateLimited) as failed:
        await rest.call("GET", "/v1/orders")
    assert 3500 < failed.value.retry_after <= 3600
    await rest.close()


async def test_a_query_with_a_wrong_clock_is_signed_again(http: Http) -> None:
    sign, wall = Signer(), 1_000_000
    clock = VenueClock(lambda: wall)
    rest = client(http.endpoint, clock=clock, sign=sign)
    times = [reply({"time": 1_090_000})] * 3
    http.replies.extend([error(401, "bad_time"), *times, reply([])])
    assert await rest.call("GET", "/v1/orders", signed=True) == []
    assert sign.times == [1_000_000, 1_090_000]
    # The same error right after it: the clock is not the cause, so the query fails.
    http.replies.extend([error(401, "bad_time"), *times, error(401, "bad_time"), *times])
    with pytest.raises(WrongClock):
        await rest.call("GET", "/v1/orders", signed=True)
    assert not http.replies
    await rest.close()


async def test_an_order_with_a_wrong_clock_is_not_sent_again(http: Http) -> None:
    sign = Signer()
    rest = client(http.endpoint, clock=VenueClock(lambda: 0), sign=sign)
    http.replies.extend([error(401, "bad_time"), *[reply({"time": 5_000})] * 3])
    with pytest.raises(Unauthenticated) as failed:
        await rest.call("POST", "/v1/orders", body={}, signed=True, changes=True)
    assert not failed.value.terminal, "the next order is signed with the corrected clock"
    http.replies.append(reply({}))
    await rest.call("POST", "/v1/orders", body={}, signed=True, changes=True)
    assert sign.times == [0, 5_000]
    assert [request.method for request in http.requests] == ["POST", "GET", "GET", "GET", "POST"]
    await rest.close()


async def test_concurrent_queries_measure_the_clock_once(http: Http) -> None:
    sign = Signer()
    rest = client(http.endpoint, clock=VenueClock(lambda: 0), sign=sign)

    def answer(request: ReceivedRequest) -> Reply:
        if request.target == "/time":
            return reply({"time": 5_000})
        return reply([]) if request.headers["x-time"] == "5000" else error(401, "bad_time")

    http.answer = answer
    await asyncio.gather(*(rest.call("GET", "/v1/orders", signed=True) for _ in range(5)))
    assert sum(request.target == "/time" for request in http.requests) == 3
    await rest.close()


@pytest.mark.parametrize("changes", [True, False])
async def test_a_stop_reports_the_outcome_of_a_request_in_flight(http: Http, changes: bool) -> None:
    rest = client(http.endpoint)
    http.replies.append(HANG)
    task = asyncio.create_task(rest.call("POST", "/v1/orders", body={}, changes=changes))
    await http.arrived.wait()
    rest.stop()
    task.cancel()
    if changes:
        with pytest.raises(OutcomeUnknown) as failed:
            await task
        assert failed.value.code == "stopped"
    else:
        # A query is cancelled like any other task.
        with pytest.raises(asyncio.CancelledError):
            await task
    with pytest.raises(VenueUnavailable):
        await rest.call("POST", "/v1/orders", body={}, changes=True)
    assert len(http.requests) == 1
    await rest.close()


async def test_a_cancellation_is_not_a_venue_error(http: Http) -> None:
    rest = client(http.endpoint)
    http.replies.append(HANG)
    task = asyncio.create_task(rest.call("POST", "/v1/orders", body={}, changes=True))
    await http.arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await rest.close()


def test_a_bucket_reserves_tokens_for_urgent_requests() -> None:
    now = 0.0
    bucket = TokenBucket(10, 10, reserved=0.2, clock=lambda: now)
    assert [bucket.take() for _ in range(8)] == [0.0] * 8
    assert bucket.take() == pytest.approx(0.1)
    assert bucket.take(urgent=True) == 0
    assert bucket.take(urgent=True) == 0
    assert bucket.take(urgent=True) == pytest.approx(0.1)
    assert bucket.take() == pytest.approx(0.3)
    now = 0.1
    assert bucket.take(urgent=True) == 0
    now = 1000.0
    assert [bucket.take(urgent=True) for _ in range(10)] == [0.0] * 10
    assert bucket.take(urgent=True) > 0, "tokens do not accumulate beyond the burst"


def test_a_request_above_the_burst_needs_a_full_bucket() -> None:
    now = 0.0
    bucket = TokenBucket(10, 10, clock=lambda: now)
    assert bucket.take(50) == 0
    now = 1.0
    assert bucket.take(urgent=True) > 0, "the debt is paid later"
    now = 4.2
    assert bucket.take(urgent=True) == 0


async def test_the_clock_uses_the_fastest_response() -> None:
    wall = 0
    # (ms to the venue, ms back); the venue is 1,000 ms ahead.
    trips = iter([(500, 10), (5, 5), (10, 300)])

    async def fetch_time() -> int:
        nonlocal wall
        out, back = next(trips)
        wall += out
        venue_time = wall + 1_000
        wall += back
        return venue_time

    clock = VenueClock(lambda: wall)
    await clock.measure(fetch_time)
    assert clock.offset == 1_000
    assert clock.now() == wall + 1_000
