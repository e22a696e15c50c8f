"""Web pages of other origins, names of the gateway, and clients behind a proxy, on a real gateway."""

from collections.abc import Generator
from pathlib import Path

import httpx
import pytest

from meltica.control.authentication import FAILURES
from meltica.http.clients import ClientRules
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from tests.support import gateway
from tests.support.gateway import Running

CONSOLE = "https://console.example"
HOSTILE = "https://evil.example"
CHANGE = "/providers/spare/stop"
"""A POST that changes nothing: 409, because the provider does not run."""
SETTINGS = {
    "hosts": ["gateway.example"],
    "cors": {"origins": [CONSOLE]},
    "trustedProxies": ["127.0.0.1"],
}


@pytest.fixture(scope="module", name="control")
def _control(config: Path, cluster: EmbeddedPostgres) -> Generator[Running]:
    with gateway.database(cluster) as dsn, gateway.running(config, dsn, apiServer=SETTINGS) as running:
        yield running


@pytest.fixture(scope="module", name="page")
def _page(control: Running) -> Generator[httpx.Client]:
    """A client without a token."""
    with httpx.Client(base_url=control.url, timeout=20) as client:
        yield client


def cors(answer: httpx.Response) -> dict[str, str]:
    return {name: text for name, text in answer.headers.items() if name.startswith("access-control-")}


def preflight(origin: str, **more: str) -> dict[str, str]:
    headers = {"origin": origin, "access-control-request-method": "POST", "sec-fetch-site": "cross-site"}
    return {**headers, "access-control-request-headers": "authorization,content-type", **more}


@pytest.mark.parametrize("path", [CHANGE, "/providers", "/nope"])
def test_a_preflight_of_a_configured_origin_is_answered_without_a_token(
    page: httpx.Client, path: str
) -> None:
    answer = page.options(path, headers=preflight(CONSOLE))
    assert (answer.status_code, answer.content) == (204, b"")
    assert cors(answer) == {
        "access-control-allow-origin": CONSOLE,
        "access-control-allow-methods": "GET, POST, PUT, DELETE, OPTIONS",
        "access-control-allow-headers": (
            "Authorization, Content-Type, If-Match, Last-Event-ID, X-Meltica-Client,"
            " X-Meltica-Request-Id, X-Meltica-Sent-At"
        ),
        "access-control-expose-headers": "ETag, Location, Retry-After, X-Meltica-Request-Id",
        "access-control-max-age": "600",
    }
    assert answer.headers["vary"] == "Origin"
    private = preflight(CONSOLE, **{"access-control-request-private-network": "true"})
    assert cors(page.options(path, headers=private))["access-control-allow-private-network"] == "true"


@pytest.mark.parametrize("origin", [HOSTILE, "null", f"{CONSOLE}.evil.example", "http://console.example", ""])
def test_other_origins_are_permitted_nothing(control: Running, page: httpx.Client, origin: str) -> None:
    before = control.gateway.providers.get("spare").desired
    for method, path in (("OPTIONS", CHANGE), ("GET", "/health/live"), ("GET", "/providers"), ("GET", "/no")):
        answer = page.request(method, path, headers=preflight(origin))
        assert not cors(answer)
        assert answer.headers["vary"] == "Origin"
    for headers in ({"origin": origin}, preflight(origin), {"sec-fetch-site": "cross-site"}):
        refused = control.client.post(CHANGE, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (403, "cross_origin")
    # Two headers are not an origin of the configuration, whichever comes first.
    for both in ((CONSOLE, origin), (origin, CONSOLE)):
        refused = control.client.post(CHANGE, headers=[("origin", each) for each in both])
        assert (refused.status_code, refused.json()["code"]) == (403, "cross_origin")
        assert not cors(refused)
    assert control.gateway.providers.get("spare").desired == before


def test_a_configured_origin_needs_a_token_and_reads_every_answer(
    control: Running, page: httpx.Client
) -> None:
    headers = {"origin": CONSOLE.upper(), "sec-fetch-site": "cross-site"}
    for client, method, path, status in (
        (page, "GET", "/health/live", 200),
        (page, "GET", "/providers", 401),
        (page, "POST", CHANGE, 401),
        (page, "GET", "/nope", 404),
        (control.client, "GET", "/providers", 200),
        (control.client, "POST", CHANGE, 409),
        (control.client, "PATCH", "/providers", 405),
    ):
        answer = client.request(method, path, headers=headers)
        assert answer.status_code == status
        assert cors(answer) == {
            "access-control-allow-origin": headers["origin"],
            "access-control-expose-headers": "ETag, Location, Retry-After, X-Meltica-Request-Id",
        }
        assert answer.headers["vary"] == "Origin"
    # The name of the gateway is checked first.
    answer = page.options(CHANGE, headers={**preflight(CONSOLE), "host": "evil.example"})
    assert (answer.status_code, answer.json()["code"]) == (421, "host_not_allowed")


@pytest.mark.parametrize("host", ["gateway.example", "GATEWAY.example:443", "127.0.0.1", "localhost:1"])
def test_configured_hosts_are_accepted(control: Running, host: str) -> None:
    assert control.client.get("/providers", headers={"host": host}).status_code == 200
    own = control.client.post(CHANGE, headers={"host": host, "origin": f"https://{host}"})
    assert own.status_code == 409


@pytest.mark.parametrize("host", ["a.gateway.example", "gateway.example.evil", "evil.example", "10.0.0.1"])
def test_other_hosts_are_refused(control: Running, host: str) -> None:
    answer = control.client.get("/providers", headers={"host": host, "x-forwarded-host": "gateway.example"})
    assert (answer.status_code, answer.json()["code"]) == (421, "host_not_allowed")


def test_failures_are_counted_by_the_client_behind_the_proxy(page: httpx.Client) -> None:
    def status(address: str, *claimed: str) -> int:
        forwarded = ", ".join([*claimed, address])
        headers = {"authorization": f"Bearer mk_{'0' * 12}_{'0' * 64}", "x-forwarded-for": forwarded}
        return page.get("/providers", headers=headers).status_code

    # What a client claims does not help it.
    assert {status("198.51.100.1", f"203.0.113.{n}") for n in range(FAILURES)} == {401}
    assert status("198.51.100.1", "203.0.113.99") == 429
    assert status("198.51.100.2", "198.51.100.1") == 401


def test_without_trusted_proxies_a_client_has_the_address_of_its_connection(
    config: Path, cluster: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")  # of uvicorn

    def statuses(url: str) -> list[int]:
        token = {"authorization": f"Bearer mk_{'0' * 12}_{'0' * 64}"}
        claims = ({"x-forwarded-for": f"203.0.113.{n}", "x-forwarded-proto": "https"} for n in range(22))
        with httpx.Client(base_url=url, timeout=20, headers=token) as client:
            return [client.get("/providers", headers=each).status_code for each in claims]

    with gateway.database(cluster) as dsn, gateway.running(config, dsn) as running:
        assert statuses(running.url) == [401] * FAILURES + [429] * (22 - FAILURES)


def test_without_configuration_no_header_of_a_client_counts() -> None:
    headers = {b"x-forwarded-for": [b"198.51.100.1"], b"origin": [b"null"], b"host": [b"x"]}
    rules = ClientRules()
    assert rules.client_address("127.0.0.1", headers) == "127.0.0.1"
    assert not rules.accepts_origin(headers)
    assert rules.cors_headers(headers) == []
