"""The request gate: hosts, origins, bodies, paths, headers, request ids and error responses."""

import http.client
import json
import logging
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.contextvars import get_contextvars

from meltica.http import request_gate
from tests.integration.test_control_resources import failure
from tests.support.gateway import Running
from tests.support.rest_fuzz import is_stream
from tests.support.rest_schemas import Failure

CHANGE = "/providers/demo/start"
"""A POST that changes nothing: 409, because the provider already runs."""

HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "content-type": "application/json",
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
}


@pytest.fixture(autouse=True)
def running(control: Running) -> None:
    control.until(lambda: control.gateway.providers.get("demo").running)


@pytest.mark.parametrize(
    "name", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.1.2.3:8880", "[::1]:8880", "[::1]"]
)
def test_loopback_hosts_are_allowed(control: Running, name: str) -> None:
    assert control.client.get("/health/live", headers={"host": name}).status_code == 200


@pytest.mark.parametrize(
    "name",
    ["evil.example", "localhost.evil.example:8880", "127.0.0.1.evil.example", "10.0.0.1", "[::2]", "", "a b"],
)
def test_other_hosts_are_refused(control: Running, name: str) -> None:
    answer = control.client.get("/providers", headers={"host": name})
    text = failure(answer, 421, "host_not_allowed")
    assert text.startswith("Host not allowed: expected 127.0.0.1 or localhost, saw ")


@pytest.mark.parametrize("names", [[], ["localhost", "localhost"]])
def test_exactly_one_host_is_required(control: Running, names: list[str]) -> None:
    connection = http.client.HTTPConnection(*control.gateway.api.address, timeout=10)
    connection.putrequest("GET", "/providers", skip_host=True)
    for name in names:
        connection.putheader("Host", name)
    connection.endheaders()
    with connection.getresponse() as answer:
        assert (answer.status, json.load(answer)["code"]) == (400, "bad_request")
    connection.close()


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "http://localhost:3000"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none", "origin": "https://evil.example"},
    ],
)
def test_pages_of_other_origins_are_refused(control: Running, headers: dict[str, str]) -> None:
    text = failure(control.client.post(CHANGE, headers=headers), 403, "cross_origin")
    header = "Origin" if "origin" in headers else "Sec-Fetch-Site"
    assert text.startswith(f"request refused: cross-origin requests are not allowed ({header}: ")


def test_pages_of_this_origin_and_programs_are_allowed(control: Running) -> None:
    own: list[dict[str, str]] = [
        {},
        {"origin": control.url},
        {"origin": control.url.upper()},
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
    ]
    for headers in own:
        failure(control.client.post(CHANGE, headers=headers), 409, "conflict")


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "json"]
)
def test_other_content_types_are_refused(control: Running, kind: str) -> None:
    answer = control.client.post(CHANGE, content=b"{}", headers={"content-type": kind})
    text = failure(answer, 415, "unsupported_media_type")
    assert text.startswith("expected content-type application/json, saw ")
    for good in ("application/json", "Application/JSON; charset=utf-8"):
        answer = control.client.post(CHANGE, content=b"{}", headers={"content-type": good})
        failure(answer, 409, "conflict")


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
def test_a_content_type_without_a_body_is_ignored(control: Running, method: str) -> None:
    path = CHANGE if method == "POST" else "/version"
    with_type = {"content-type": "application/x-www-form-urlencoded"}
    for headers in (with_type, {**with_type, "content-length": "0"}):
        status = control.client.request(method, path, headers=headers).status_code
        assert status == control.client.request(method, path).status_code != 415


@pytest.mark.parametrize("path", [CHANGE, "/strategy/instances/large-trades/start"])
@pytest.mark.parametrize("body", [b"", b"{}", b" {} ", b"null"])
def test_empty_bodies_are_ignored(control: Running, path: str, body: bytes) -> None:
    def parts() -> Iterator[bytes]:
        yield body

    for content in (body, parts()):
        answer = control.client.post(path, content=content, headers={"content-type": "application/json"})
        failure(answer, 409, "conflict")


@pytest.mark.parametrize("body", [b"[]", b"0", b'{"a":1}', b'""', b"false"])
def test_bodies_that_no_handler_takes_are_refused(control: Running, body: bytes) -> None:
    for method, path in (("POST", CHANGE), ("GET", "/version"), ("HEAD", "/version")):
        headers = {"content-type": "application/json"}
        answer = control.client.request(method, path, content=body, headers=headers)
        assert answer.status_code == 400
        if method != "HEAD":
            text = failure(answer, 400, "unexpected_body")
            assert text == f"body not expected: {path} takes none; send no body, or {{}}"


def test_head_answers_as_get_without_a_body(control: Running, config: Path) -> None:
    document = control.client.get("/openapi.json").json()
    reads = {path: item["get"] for path, item in document["paths"].items() if "get" in item}
    paths = [path for path, read in reads.items() if "{" not in path and not is_stream(read)]
    assert "/health/ready" in paths
    for path in (*paths, "/providers/demo", "/providers/nope", "/nope"):
        get, head = control.client.get(path), control.client.head(path)
        assert (head.status_code, head.content) == (get.status_code, b"")
        assert head.headers["content-type"] == get.headers["content-type"]
    answer = control.client.head(CHANGE)
    assert (answer.status_code, answer.headers["allow"]) == (405, "OPTIONS, POST")


@pytest.mark.parametrize(
    "body",
    [b"{", b"{}{}", b"nul", b"\xff", b'"\xff"', b" ", b'{"a":NaN}', b"[" * 200_000, b'{"a":' * 200_000],
)
def test_bad_json(control: Running, body: bytes) -> None:
    answer = control.client.post(CHANGE, content=body, headers={"content-type": "application/json"})
    assert failure(answer, 400, "bad_json").startswith("body is not valid JSON: ")


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/risk/halt", '{"scope":"provider:demo","sc\\u006fpe":"global","reason":"x"}', "bad_json"),
        ("/strategy/stop", '{"a":[{"b":1,"b":2}]}', "bad_json"),
        ("/risk/halt?plan=0&plan=1", '{"scope":"global","reason":"x"}', "invalid_parameter"),
    ],
)
def test_what_is_given_twice_is_refused(control: Running, path: str, body: str, code: str) -> None:
    """Which of the two counts is a guess."""
    answer = control.client.post(path, content=body, headers={"content-type": "application/json"})
    failure(answer, 400, code)
    assert control.client.get("/risk/status").json()["halts"] == []


def test_a_number_of_thousands_of_digits_is_no_server_error(control: Running) -> None:
    body = '{"scope":"provider:nope","reason":"x","ignored":1' + "0" * 5000 + "}"
    answer = control.client.post("/risk/halt", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 404), answer.text


@pytest.mark.parametrize("levels", [70, 330, 495, 990])
@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("POST", "/context/backup", '{"risk":%s}', "backup_damaged"),
        ("POST", "/context/backup", '{"providers":[%s]}', "backup_damaged"),
        ("POST", "/providers", '{"name":"n","adapter":{"identifier":"fake","config":%s}}', "bad_json"),
        ("PUT", "/providers/demo", '{"settings":%s}', "bad_json"),
        ("PUT", "/strategy/instances/watcher", '{"strategy":{"config":%s}}', "bad_json"),
        ("PUT", "/risk/limits", '{"text":"\\"{[","x":%s}', "bad_json"),
    ],
)
def test_json_that_is_nested_too_deeply_is_refused(
    control: Running, method: str, path: str, body: str, code: str, levels: int
) -> None:
    """Code that walks through it would exhaust the stack."""
    nested = '{"a":[' * (levels // 2) + "1" + "]}" * (levels // 2)
    headers = {"content-type": "application/json"}
    answer = control.client.request(method, path, content=body % nested, headers=headers)
    assert "nested too deeply" in failure(answer, 400, code)


@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_above_a_mebibyte_are_refused(control: Running, chunked: bool) -> None:
    def send(size: int) -> httpx.Response:
        body = b'"' + b"a" * (size - 2) + b'"'

        def parts() -> Iterator[bytes]:
            for start in range(0, size, 1 << 16):
                yield body[start : start + (1 << 16)]

        headers = {"content-type": "application/json"}
        return control.client.post(CHANGE, content=parts() if chunked else body, headers=headers)

    failure(send(request_gate.MAX_BODY), 400, "unexpected_body")
    text = failure(send(request_gate.MAX_BODY + 1), 413, "body_too_large")
    assert text == "body too large: expected at most 1048576 bytes"
    # The rest of the body is discarded, and the connection stays usable.
    failure(send(4 * request_gate.MAX_BODY), 413, "body_too_large")
    assert control.client.get("/health/live").status_code == 200


def test_a_body_that_stalls_times_out(control: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_gate, "BODY_SECONDS", 0.1)
    connection = http.client.HTTPConnection(*control.gateway.api.address, timeout=10)
    connection.putrequest("POST", CHANGE)
    connection.putheader("Authorization", control.authorization["authorization"])
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", "10")
    connection.endheaders(b"{")
    with connection.getresponse() as answer:
        assert (answer.status, json.load(answer)["code"]) == (408, "body_timeout")
        assert answer.headers["connection"] == "close"
    connection.close()


def test_unknown_paths(control: Running) -> None:
    for path in (
        "/",
        "/nope",
        "/providers/a/b/c",
        "/strategies/x/y",
        "/schema",
        "/schema/openapi.json",
        "/docs",
    ):
        text = failure(control.client.get(path), 404, "unknown_path")
        assert text == f"path {path} does not exist; see /openapi.json"


def test_a_trailing_slash_is_ignored(control: Running) -> None:
    assert control.client.get("/health/live/").status_code == 200
    failure(control.client.get("/providers/a%2Fb"), 404, "unknown_path")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "POST", "TRACE"])
def test_methods_that_are_not_allowed(control: Running, method: str) -> None:
    answer = control.client.request(method, "/adapters")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"
    assert (
        failure(answer, 405, "method_not_allowed")
        == f"method {method} is not allowed for /adapters; expected GET, HEAD, OPTIONS"
    )


def test_no_response_permits_another_origin(control: Running) -> None:
    preflight = {
        "origin": "http://localhost:3000",
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type,x-meltica-client",
    }
    for method, path, status in (
        ("OPTIONS", CHANGE, 204),
        ("GET", "/providers", 200),
        ("OPTIONS", "/no", 404),
    ):
        answer = control.client.request(method, path, headers=preflight)
        assert answer.status_code == status
        assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_headers(control: Running) -> None:
    for path, status in (("/health/live", 200), ("/nope", 404)):
        answer = control.client.get(path)
        assert answer.status_code == status
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
        assert "server" not in answer.headers
    refused = control.client.get("/providers", headers={"host": "evil.example"})
    assert {name: refused.headers[name] for name in HEADERS} == HEADERS


def test_a_request_id_is_echoed_or_generated(control: Running) -> None:
    def id_of(headers: dict[str, str]) -> str:
        return control.client.get("/version", headers=headers).headers["x-meltica-request-id"]

    assert id_of({"x-meltica-request-id": "a-1.b_2:c"}) == "a-1.b_2:c"
    generated = [
        id_of({}),
        id_of({}),
        id_of({"x-meltica-request-id": "x" * 65}),
        id_of({"x-meltica-request-id": "a b"}),
    ]
    assert all(re.fullmatch("[0-9a-f]{32}", id) for id in generated)
    assert len(set(generated)) == len(generated)


@contextmanager
def logged() -> Generator[list[tuple[str, object]]]:
    """Yields the log lines of the gateway, each with its request id."""
    lines: list[tuple[str, object]] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append((record.getMessage(), get_contextvars().get("request_id")))

    handler, logger = Handler(), logging.getLogger("meltica")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


def test_changes_are_logged_with_their_request_id_and_later_work_is_not(control: Running) -> None:
    spare = control.gateway.providers.get("spare")
    with logged() as lines:
        for action in ("start", "stop"):
            control.client.post(f"/providers/spare/{action}", headers={"x-meltica-request-id": "id-1"})
            control.until(lambda action=action: spare.running is (action == "start"))
        control.client.post("/providers/a%0Ab/start")
        # A request is logged after its response has been sent.
        refused = "POST /providers/a%0Ab/start: 404 after "
        control.until(lambda: any(text.startswith(refused) for text, _ in lines))
    own = [text for text, id in lines if id == "id-1"]
    assert [re.sub(r"\d+\.\d", "N", text) for text in own] == [
        "POST /providers/spare/start: 202 after N ms",
        "POST /providers/spare/stop: 200 after N ms",
    ]
    assert ("provider spare is running", None) in lines


def test_an_unexpected_error_exposes_nothing(
    control: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> object:
        raise KeyError("hunter2")

    monkeypatch.setattr(control.gateway.providers, "all", broken)
    answer = control.client.get("/providers")
    assert (
        failure(answer, 500, "internal_error") == "unexpected error inside Meltica; the log has the details"
    )
    record = next(record for record in caplog.records if record.getMessage() == "GET /providers failed")
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], KeyError)


_METHODS = st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
_ROOTS = st.sampled_from(
    ["", "/providers", "/strategies", "/adapters", "/strategy/instances", "/health", "/metrics"]
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=_METHODS,
    root=_ROOTS,
    rest=st.lists(st.text(max_size=8), max_size=3),
    query=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
    body=st.none() | st.binary(max_size=20),
)
def test_every_failure_has_the_error_envelope(
    control: Running, method: str, root: str, rest: list[str], query: dict[str, str], body: bytes | None
) -> None:
    path = root + "".join(f"/{quote(part, safe='')}" for part in rest)
    headers = {} if body is None else {"content-type": "application/json"}
    answer = control.client.request(method, path or "/", params=query, content=body, headers=headers)
    assert answer.status_code < 500 or answer.json()["code"] == "not_ready"
    if answer.status_code >= 400:
        msgspec.json.decode(answer.content, type=Failure)


@pytest.mark.parametrize(
    "text", ["/health%2flive", "/health%2Fserving", "/providers/a%2fb", "/providers%2Fmain"]
)
def test_an_encoded_slash_separates_nothing(control: Running, text: str) -> None:
    assert "no slash" in failure(control.client.get(text), 404, "unknown_path")


@pytest.mark.parametrize(
    "name", ["%5c", "a%5Cb", "%2e", "%2E%2e", "%2e%2e%2fproviders", ".%2e%5cmain", "a%5c..%5Cmain"]
)
def test_names_that_proxies_would_read_as_other_paths_are_unknown(control: Running, name: str) -> None:
    url = httpx.URL(control.url).copy_with(raw_path=f"/providers/{name}".encode())
    failure(control.client.get(url), 404, "unknown_path")


@pytest.mark.parametrize("path", ["/providers/a%00b", "/orders?symbol=%00", "/nope%00"])
def test_a_request_with_a_nul_is_authenticated_first(control: Running, path: str) -> None:
    with httpx.Client(base_url=control.url, trust_env=False) as client:
        failure(client.get(path), 401, "unauthenticated")
    assert "NUL" in failure(control.client.get(path), 400, "bad_request")
