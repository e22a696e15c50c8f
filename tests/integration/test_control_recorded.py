"""A table of requests to a gateway, whose responses are the recorded ones byte for byte.

The record is `recorded/control.http`, and `recorded/openapi.json` for the OpenAPI document. What varies from
run to run is masked by MASKS. After an intended change of a response, run this file with MELTICA_RECORD=1
and review the difference.
"""

import json
import os
import re
import socket
from collections.abc import Generator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from threading import Event

import psycopg
import pytest

from meltica.adapters.base import AdapterSettings
from meltica.control import changes
from meltica.http import request_gate
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from tests.integration import control_requests as table
from tests.integration.control_trading_requests import TRADING
from tests.integration.test_control_health import hanging
from tests.support import gateway, venue
from tests.support.gateway import Running
from tests.support.sent import CHANGE, JSON, Sent, get, post
from tests.support.trading_history import write_history

FOLDER = Path(__file__).parent / "recorded"
RECORDING = os.environ.get("MELTICA_RECORD") == "1"

CONFIG = """
environment: ci
supervision:
  backoff: {min: 10ms, max: 20ms}
  budget: {restarts: 1}
providers:
  main:
    adapter: test-venue
    settings: {api_key: hunter2, region: "${TEST_REGION}", depth: 5}
  refusing:
    adapter: test-venue
    enabled: false
    settings: {refuses: true}
  spare:
    adapter: test-venue
    enabled: false
lambdas:
  - id: watcher
    strategy: strategies.py:Watcher
    config: {token: hunter2, threshold: 3}
    scope: {main: [BTC-USDT, ETH-USDT], spare: [BTC-USDT]}
    host: shared
  - id: everything
    strategy: strategies.py:Unloaded
    scope: {main: "*"}
  - id: unloaded
    strategy: strategies.py:Unloaded
    scope: {main: [BTC-USDT]}
    enabled: false
  - id: slow
    strategy: strategies.py:Slow
    scope: {main: [BTC-USDT]}
    enabled: false
  - id: failing
    strategy: strategies.py:Failing
    scope: {main: [BTC-USDT]}
    enabled: false
  - id: unset
    strategy: strategies.py:Broken
    scope: {spare: [BTC-USDT]}
    enabled: false
"""

STRATEGIES = '''
import meltica
from tests.support import venue


class Watcher(meltica.Lambda):
    """Watches trades."""

    version = "1.2.0"

    class Config(meltica.LambdaConfig):
        threshold: int
        """From when it matters."""
        token: str = "none"
        note: str | None = None

    def on_trade(self, trade):
        pass


class Unloaded(meltica.Lambda):
    def on_trade(self, trade):
        pass


class Slow(meltica.Lambda):
    def on_start(self):
        venue.GATE.wait(30)

    def on_trade(self, trade):
        pass


class Failing(meltica.Lambda):
    def on_start(self):
        raise RuntimeError("no luck")

    def on_trade(self, trade):
        pass


class Broken(meltica.Lambda):
    class Config(meltica.LambdaConfig):
        threshold: int

    def on_trade(self, trade):
        pass
'''

MASKS = (
    # The folder of the test, in `source` and in error texts.
    (r'(?<=")/[^" ]*/(?=strategies\.py)', "FOLDER/"),
    # Revisions: the contents of shipped strategies may change.
    (r"sha256:[0-9a-f]{64}", "sha256:HASH"),
    # The build, and the start of this run.
    (r'"version":"[^"]*","build":"[^"]*","target":"[^"]*","python":"[^"]*"', '"version":"V","build":"B"'),
    (r'"generatedAt":"[^"]*"', '"generatedAt":"T"'),
    (r'"startedAt":\d+', '"startedAt":0'),
    (r'"(createdAt|availableAt|persistedAt)":"[^"]*"', r'"\1":"TIME"'),
    (r'"oldestAt":\d+', '"oldestAt":0'),
    # When rows were written.
    (r'"(created|updated)At":\d+', r'"\1At":0'),
    # Tokens.
    (r"mk_[0-9a-f]{12}_[0-9a-f]{64}", "mk_ID_SECRET"),
    (r'(?<="id":")[0-9a-f]{12}(?=")', "ID"),
    (r"token [0-9a-f]{12}", "token ID"),
    (r'"(lastUsed|revoked)At":\d+', r'"\1At":0'),
    (r'"ticket":"[^"]{43}","expiresAt":\d+', '"ticket":"TICKET","expiresAt":0'),
    # The audit.
    (r'"id":\d+,"actedAt":\d+', '"id":1,"actedAt":0'),
    (r'"hash":"[0-9a-f]{64}"', '"hash":"HASH"'),
    # How long a callback has been running.
    (r'"inCallbackNs":[1-9]\d*', '"inCallbackNs":1'),
)
"""Pattern in a body -> what is recorded in its place."""

HEADERS = ("date",)
"""Headers that are not recorded."""


STARTS = Event()
"""Providers wait for it when they start, so that the response to a start always comes first."""


@pytest.fixture(autouse=True)
def _starts_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    make = venue.Venue.__init__

    def wait_and_make(self: venue.Venue, settings: AdapterSettings) -> None:
        assert STARTS.wait(30)
        make(self, settings)

    STARTS.set()
    monkeypatch.setattr(venue.Venue, "__init__", wait_and_make)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    """A config file whose gateway receives no events, so that every counter is the same in each run."""
    folder = tmp_path_factory.mktemp("recorded")
    (folder / "meltica.yaml").write_text(CONFIG)
    (folder / "strategies.py").write_text(STRATEGIES)
    with venue.installed(folder):
        yield folder / "meltica.yaml"


def test_responses_are_the_recorded_ones(
    config: Path, cluster: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    responses = list[str]()
    with gateway.database(cluster) as dsn, gateway.running(config, dsn) as running:
        running.until(lambda: running.gateway.providers.get("main").running)
        write_history(running)
        _create_token(dsn)
        for group in (
            table.READS,
            TRADING,
            table.ACCESS,
            table.MODULES,
            table.METHODS,
            table.UNKNOWN,
            table.HOSTS,
            table.ORIGINS,
            table.BODIES,
            table.IDS,
            table.CHANGES,
        ):
            responses += [_exchange(running, sent) for sent in group]
        responses += _slow(running, monkeypatch)
        responses += _failing(running, monkeypatch)
        responses += _database_away(running, cluster, monkeypatch)
        responses.append(_stopping(running))
    _compare(FOLDER / "control.http", "\n".join(responses))


def test_the_openapi_document_is_the_recorded_one(control: Running) -> None:
    answer = control.client.get("/openapi.json")
    headers = {
        name: text for name, text in answer.headers.items() if name not in (*HEADERS, "content-length")
    }
    headers["x-meltica-request-id"] = "REQUEST-ID"
    document = answer.json()
    document["info"]["version"] = "VERSION"
    # The order of keys is kept: it is what a client gets.
    recorded = {"headers": dict(sorted(headers.items())), "document": document}
    _compare(FOLDER / "openapi.json", json.dumps(recorded, indent=1, ensure_ascii=False) + "\n")


def _create_token(dsn: str) -> None:
    """Creates a token with an id that requests name."""
    with psycopg.connect(dsn, options="-c search_path=meltica") as connection:
        connection.execute(
            "insert into tokens (id, name, scope, hash, created_by)"
            " values (%s, 'old laptop', 'operator', decode(repeat('00', 32), 'hex'), 'first start')",
            (table.TOKEN_ID,),
        )


def _slow(running: Running, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Returns the responses to a change that takes longer than its request."""
    with monkeypatch.context() as patch:
        patch.setattr(changes, "PATIENCE", 1.0)
        venue.GATE.clear()
        try:
            responses = [_exchange(running, sent) for sent in table.SLOW]
        finally:
            venue.GATE.set()
    running.until(lambda: table.slow_runs(running))
    return responses + [_exchange(running, sent) for sent in table.AFTERWARDS]


def _failing(running: Running, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Returns the responses to a body that stalls, to text that is not HTTP, and to an internal error."""

    def broken() -> object:
        raise KeyError("hunter2")

    with monkeypatch.context() as patch:
        patch.setattr(request_gate, "BODY_SECONDS", 0.1)
        late = Sent("a body that does not come", "POST", CHANGE, (JSON, ("Content-Length", "10")))
        responses = [_exchange(running, late)]
    with socket.create_connection(running.gateway.api.address) as raw:
        raw.sendall(b"GARBAGE\r\n\r\n")
        parts = list[bytes]()
        while part := raw.recv(1 << 16):
            parts.append(part)
        lines = [line for line in b"".join(parts).decode().splitlines() if not line.startswith("date:")]
        responses.append("\n".join(["### not HTTP", *lines, ""]))
    with monkeypatch.context() as patch:
        patch.setattr(running.gateway.providers, "all", broken)
        responses.append(_exchange(running, get("an error of the gateway's own", "/providers")))
    return responses


def _database_away(running: Running, cluster: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Returns the responses while the database hangs."""
    with monkeypatch.context() as patch:
        patch.setattr(changes, "PATIENCE", 0.5)
        with hanging(cluster):
            responses = [
                _exchange(running, sent)
                for sent in (
                    get("not ready, as the database hangs", "/health/ready"),
                    get("serving while the database hangs", "/health/serving"),
                    post("stop of a provider while the database hangs", "/providers/main/stop"),
                    get("a provider that was not stopped", "/providers/main"),
                )
            ]
    running.until(lambda: not running.gateway.providers.get("main").running)
    return responses


def _stopping(running: Running) -> str:
    """Returns the response to a request whose body has not arrived when the gateway stops."""
    headers = (JSON, ("Content-Length", "10"), ("Expect", "100-continue"))
    sent = Sent("stopping", "POST", CHANGE, headers)
    connection = _send(running, sent)
    # Comes when the request gate waits for the body.
    assert connection.sock.recv(12, socket.MSG_PEEK) == b"HTTP/1.1 100"
    stop = running.submit(running.gateway.stop())
    text = _as_text(sent, connection.getresponse())
    connection.close()
    stop.result(20)
    return text


def _exchange(running: Running, sent: Sent) -> str:
    """Sends a request on a connection of its own; returns the request and its response as text."""
    if sent.then is not None:
        STARTS.clear()
    connection = _send(running, sent)
    text = _as_text(sent, connection.getresponse())
    connection.close()
    if sent.then is not None:
        STARTS.set()
        then = sent.then
        running.until(lambda: then(running))
    return text


def _send(running: Running, sent: Sent) -> HTTPConnection:
    connection = HTTPConnection(*running.gateway.api.address, timeout=20)
    connection.putrequest(sent.method, sent.path, skip_host=True, skip_accept_encoding=True)
    if sent.host is not None:
        connection.putheader("Host", sent.host)
    if sent.authorized:
        connection.putheader("Authorization", running.authorization["authorization"])
    for name, text in sent.headers:
        connection.putheader(name, text)
    if sent.chunked:
        connection.putheader("Transfer-Encoding", "chunked")
    elif sent.body:
        connection.putheader("Content-Length", str(len(sent.body)))
    connection.endheaders(sent.body or None, encode_chunked=sent.chunked)
    return connection


def _as_text(sent: Sent, response: HTTPResponse) -> str:
    """Returns a request and its response as text.

    Leaves out a `content-length` that fits the body, and that of HEAD, whose body differs in each run.
    """
    raw = response.read()
    headers = sorted(
        # The version of an instance contains its uid.
        (name, "VERSION" if name == "etag" else text)
        for name, text in response.getheaders()
        if name not in HEADERS
    )
    length = ("content-length", response.getheader("content-length", ""))
    if length in headers and (sent.method == "HEAD" or length[1] == str(len(raw))):
        headers.remove(length)
    own = [text for name, text in sent.headers if name.lower() == "x-meltica-request-id"]
    masked = [
        (name, text if name != "x-meltica-request-id" or text in own else _fresh(text))
        for name, text in headers
    ]
    lines = [
        f"### {sent.name}",
        *(f"> {name}: {text}" for name, text in (("host", sent.host), *sent.headers) if text is not None),
        f"> {sent.method} {sent.path}",
        f"{response.status} {response.reason}",
        *(f"{name}: {text}" for name, text in masked),
        "",
        _body(sent, raw.decode()),
        "",
    ]
    return "\n".join(lines)


def _fresh(id: str) -> str:
    assert re.fullmatch("[0-9a-f]{32}", id)
    return "REQUEST-ID"


def _body(sent: Sent, text: str) -> str:
    if sent.path == "/metrics" and text.startswith("# HELP"):
        # Samples differ in each run; the families do not.
        return "\n".join(sorted(line for line in text.splitlines() if line.startswith("# TYPE")))
    if sent.path == "/openapi.json" and text.startswith('{"info"'):
        return "(the document is in openapi.json)"
    for pattern, mask in MASKS:
        text = re.sub(pattern, mask, text)
    return text


def _compare(path: Path, text: str) -> None:
    if RECORDING:
        path.write_text(text)
    assert text == path.read_text()
