"""The requests whose responses `test_control_recorded.py` compares with the recorded ones."""

import hashlib
import json
from collections.abc import Callable

from tests.support.gateway import Running
from tests.support.sent import CHANGE, HOST, JSON, Sent, get, post

MAX_BODY = 1 << 20
TOKEN_ID = "00000000000a"
UNKNOWN_TOKEN = f"mk_{'0' * 12}_{'0' * 64}"

PROVIDER = b'{"name":"created","adapter":{"identifier":"test-venue","config":{"depth":5}},"enabled":false}'

PATHS = (
    "/health/live",
    "/health/serving",
    "/health/ready",
    "/version",
    "/metrics",
    "/strategies",
    "/strategies/Watcher",
    "/strategies/modules",
    "/strategies/modules/grid",
    "/strategies/modules/grid/source",
    "/strategies/modules/grid/usage",
    "/strategies/modules/grid/tags/latest",
    "/strategies/registry",
    "/strategies/refresh",
    "/adapters",
    "/adapters/test-venue",
    "/providers",
    "/providers/main",
    "/providers/main/start",
    "/providers/main/stop",
    "/strategy/instances",
    "/strategy/instances/watcher",
    "/strategy/instances/watcher/start",
    "/strategy/instances/watcher/stop",
    "/strategy/instances/watcher/restart",
    "/strategy/instances/watcher/logs",
    "/strategy/instances/watcher/why",
    "/strategy/start",
    "/strategy/stop",
    "/strategy/instances/watcher/orders",
    "/strategy/instances/watcher/executions",
    "/strategy/instances/watcher/positions",
    "/strategy/instances/watcher/positions/release",
    "/providers/main/balances",
    "/refusals",
    "/refusals/counts",
    "/outbox",
    "/outbox/1000",
    "/outbox/consumers",
    "/outbox/consumers/hook",
    "/outbox/consumers/hook/retry",
    "/outbox/consumers/hook/drop",
    "/providers/main/lines",
    "/providers/main/lines/book",
    "/providers/main/ledger",
    "/providers/main/lost-orders/adopt",
    "/providers/main/lost-orders/disown",
    "/risk/limits",
    "/risk/status",
    "/risk/halt",
    "/risk/resume",
    "/risk/flatten",
    "/orders",
    "/orders/cancel",
    "/orders/00000000-0000-0000-0000-000000000001",
    "/orders/00000000-0000-0000-0000-000000000001/cancel",
    "/orders/00000000-0000-0000-0000-000000000001/query",
    "/orders/00000000-0000-0000-0000-000000000001/resolve",
    "/audit",
    "/events",
    "/events/tickets",
    "/tokens",
    "/tokens/000000000000",
    "/config/runtime",
    "/config/backup",
    "/context/backup",
    "/openapi.json",
)
"""One path for each route."""

INSTANCE = "/strategy/instances"
CREATED = (
    b'{"id":"created","strategy":{"identifier":"LargeTrades","config":{"notional":1}},'
    b'"scope":{"main":{"symbols":["BTC-USDT"]}}}'
)
RESTORED = b"""
{"providers":[{"name":"restored","adapter":"test-venue","config":{"api_key":"********"}}],"risk":{}}
"""
SECTIONS = (
    b'{"providers":{"config":null,"runtime":[]},"lambdas":{"instances":[]},'
    b'"runtime":{"eventbus":{"bufferSize":512}}}'
)
SETTINGS = b'{"log":{"level":"debug"},"supervision":{"startTimeout":"20s"},"risk":{"maxOpenOrders":8}}'
CHANGED = b'{"strategy":{"config":{"notional":2}}}'


def _provider(name: str, state: str) -> Callable[[Running], bool]:
    return lambda running: running.gateway.providers.get(name).actual.value == state


def _instance(id: str, state: str) -> Callable[[Running], bool]:
    return lambda running: running.gateway.instances.get(id).actual.value == state


READS: tuple[Sent, ...] = (
    get("live", "/health/live"),
    get("serving", "/health/serving"),
    get("ready", "/health/ready"),
    get("version", "/version"),
    get("metrics", "/metrics"),
    get("metrics as OpenMetrics", "/metrics", (("accept", "application/openmetrics-text; version=1.0.0"),)),
    get("strategies", "/strategies"),
    get("a strategy", "/strategies/Watcher"),
    get("a strategy in other case", "/strategies/wATCHER"),
    get("a strategy by the name of its file", "/strategies/large-trades"),
    get("a strategy that nearly exists", "/strategies/Watchr"),
    get("a strategy that does not exist", "/strategies/zzzzzz"),
    get("adapters", "/adapters"),
    get("an adapter", "/adapters/test-venue"),
    get("an adapter in other case", "/adapters/Replay"),
    get("an adapter that does not exist", "/adapters/zzzzzz"),
    get("providers", "/providers"),
    get("a provider", "/providers/main"),
    get("a provider that never ran", "/providers/spare"),
    get("a provider that nearly exists", "/providers/mian"),
    get("a provider that does not exist", "/providers/zzzzzz"),
    get("instances", INSTANCE),
    get("an instance", f"{INSTANCE}/watcher"),
    get("an instance in a thread of its own", f"{INSTANCE}/everything"),
    get("an instance that never ran", f"{INSTANCE}/unloaded"),
    get("the log of an instance", f"{INSTANCE}/unloaded/logs"),
    get("the log of an instance in a level that does not exist", f"{INSTANCE}/unloaded/logs?level=warn"),
    get("the log of an instance that does not exist", f"{INSTANCE}/zzzzzz/logs"),
    get("why an instance does nothing", f"{INSTANCE}/unloaded/why"),
    get("why an instance does nothing that does not exist", f"{INSTANCE}/zzzzzz/why"),
    get("an instance that nearly exists", f"{INSTANCE}/wotcher"),
    get("an instance that does not exist", f"{INSTANCE}/zzzzzz"),
)

ACCESS: tuple[Sent, ...] = (
    Sent("no token", "GET", "/providers", authorized=False),
    Sent("no token for what needs none", "GET", "/health/live", authorized=False),
    Sent("no token with a body", "GET", "/health/live", (JSON,), b"{}", authorized=False),
    Sent("no token for a change", "POST", CHANGE, authorized=False),
    Sent("no token for a path that does not exist", "GET", "/nope", authorized=False),
    Sent("no bearer", "GET", "/providers", (("Authorization", "Basic bWs6eA=="),), authorized=False),
    Sent("a token that is not one", "GET", "/providers", (("Authorization", "Bearer x"),), authorized=False),
    Sent(
        "a token that is not valid",
        "GET",
        "/providers",
        (("Authorization", f"Bearer {UNKNOWN_TOKEN}"),),
        authorized=False,
    ),
    Sent("a token in the URL", "GET", f"/providers?token={UNKNOWN_TOKEN}", authorized=False),
    get("tokens", "/tokens"),
    post("a new token", "/tokens", (JSON,), b'{"name": "a dashboard", "expiresAt": 4102444800000}'),
    post("a new token with an unknown scope", "/tokens", (JSON,), b'{"name": "x", "scope": "root"}'),
    post("a new token without a name", "/tokens", (JSON,), b'{"name": ""}'),
    post("a new token that has expired", "/tokens", (JSON,), b'{"name": "x", "expiresAt": 1}'),
    post("a new token with a key that does not exist", "/tokens", (JSON,), b'{"name": "x", "secret": "y"}'),
    Sent("revocation of a token", "DELETE", f"/tokens/{TOKEN_ID}"),
    Sent("revocation of a token that was revoked", "DELETE", f"/tokens/{TOKEN_ID}"),
    Sent("revocation of a token that does not exist", "DELETE", "/tokens/000000000000"),
)

MODULE = (
    b"import meltica\nclass Grid(meltica.Lambda):\n    version = '1'\n    def on_trade(self, trade): pass\n"
)


def _source(text: bytes, **more: object) -> bytes:
    return json.dumps({"source": text.decode(), **more}).encode()


MODULES: tuple[Sent, ...] = (
    post("upload of a module", "/strategies/modules", (JSON,), _source(MODULE)),
    post("upload of a module with a fault", "/strategies/modules", (JSON,), _source(b"x = (")),
    post("upload of other content with one tag", "/strategies/modules", (JSON,), _source(MODULE + b"#")),
    post("upload with an unknown key", "/strategies/modules", (JSON,), _source(MODULE, promote=True)),
    Sent(
        "upload of another revision",
        "PUT",
        "/strategies/modules/grid:2",
        (JSON,),
        _source(MODULE + b"#", promoteLatest=False),
    ),
    get("modules", "/strategies/modules"),
    get("a module", "/strategies/modules/grid"),
    get("a module that does not exist", "/strategies/modules/gird"),
    get("the source of a revision", "/strategies/modules/grid:1/source"),
    get("the use of a revision", "/strategies/modules/grid:1/usage"),
    get("the registry", "/strategies/registry"),
    Sent(
        "a tag",
        "PUT",
        "/strategies/modules/grid/tags/stable",
        (JSON,),
        json.dumps({"hash": f"sha256:{hashlib.sha256(MODULE).hexdigest()}"}).encode(),
    ),
    post("a refresh", "/strategies/refresh"),
    post("a refresh of some", "/strategies/refresh", (JSON,), b'{"strategies": ["gird"]}'),
    post("a refresh with an unknown key", "/strategies/refresh", (JSON,), b'{"strategy": []}'),
    Sent("deletion of a tag", "DELETE", "/strategies/modules/grid/tags/stable"),
    Sent("deletion of a module", "DELETE", "/strategies/modules/grid"),
)

METHODS: tuple[Sent, ...] = tuple(
    Sent(f"{method} of {path}", method, path)
    for path in PATHS
    for method in (
        "OPTIONS",
        "HEAD",
        "PUT",
        "POST" if path.split("/")[-1] not in ("start", "stop", "restart") else "GET",
    )
) + tuple(
    Sent(f"{method} of a provider", method, "/providers/main")
    for method in ("DELETE", "PATCH", "TRACE", "PROPFIND")
)

UNKNOWN: tuple[Sent, ...] = (
    *tuple(
        get(f"path {path[:40]}", path)
        for path in (
            "/",
            "/nope",
            "/schema",
            "/schema/openapi.json",
            "/docs",
            "/providers/main/",
            "/providers//main",
            "/providers/a/b/c",
            "/providers/a%2Fb",
            "/providers/%E2%82%AC",
            "/providers/%FF",
            "/providers/a%0Ab",
            "/providers/..%2Fmain",
            "/providers/" + "x" * 300,
            "/health/live/",
            "/Health/Live",
            "/strategies/a/b",
            f"{INSTANCE}/watcher/pause",
            "/providers?limit=1&unknown=x",
            "/providers/main?limit=a",
            f"{INSTANCE}?states=running&states=stopped",
            "/health/live?",
        )
    ),
    post("POST of a path that does not exist", "/providers/main/pause"),
    post("POST of an action of an instance that does not exist", f"{INSTANCE}/watcher/pause"),
    Sent("OPTIONS of a path that does not exist", "OPTIONS", "/nope"),
    Sent("OPTIONS of everything", "OPTIONS", "*"),
)

HOSTS: tuple[Sent, ...] = (
    *tuple(
        get(f"host {host!r}", "/providers/mian", host=host)
        for host in (
            "localhost",
            "LOCALHOST:1",
            "127.1.2.3:8880",
            "[::1]:8880",
            "evil.example",
            "localhost.evil.example:8880",
            "10.0.0.1",
            "[::2]",
            "",
            "a b",
            "x" * 300,
        )
    ),
    get("no host", "/providers", host=None),
    get("two hosts", "/providers", (("Host", HOST),)),
    Sent("a host that is not allowed, with a body", "POST", CHANGE, (JSON,), b"{", host="evil.example"),
)

ORIGINS: tuple[Sent, ...] = (
    *tuple(
        post(f"from {', '.join(f'{name} {value}' for name, value in headers)}", CHANGE, headers)
        for headers in (
            (("origin", f"http://{HOST}"),),
            (("origin", f"HTTPS://{HOST}"),),
            (("sec-fetch-site", "same-origin"),),
            (("sec-fetch-site", "none"),),
            (("origin", "https://evil.example"),),
            (("origin", "http://localhost:3000"),),
            (("origin", "null"),),
            (("sec-fetch-site", "cross-site"),),
            (("sec-fetch-site", "same-site"),),
            (("sec-fetch-site", "none"), ("origin", "https://evil.example")),
            (("origin", f"http://{HOST}"), ("origin", "https://evil.example")),
        )
    ),
    get(
        "GET of another origin",
        "/version",
        (("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")),
    ),
    Sent(
        "preflight",
        "OPTIONS",
        CHANGE,
        (
            ("origin", "http://localhost:3000"),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "content-type,x-meltica-client"),
        ),
    ),
)

BODIES: tuple[Sent, ...] = (
    *(
        post(f"content type {kind!r}", CHANGE, (("content-type", kind),), b"{}")
        for kind in (
            "application/json",
            "Application/JSON; charset=utf-8",
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "json",
            "",
        )
    ),
    post("a body without a content type", CHANGE, (), b"{}"),
    post("a form without a body", CHANGE, (("content-type", "application/x-www-form-urlencoded"),)),
    *(
        post(f"body {body[:20]!r}", CHANGE, (JSON,), body)
        for body in (
            *(b"{}", b" {\n} ", b"null", b"[]", b"1", b'{"a":1}'),
            *(b"{", b"{}{}", b"nul", b"\xff", b'"\xff"', b" ", b'{"a":NaN}', b"[" * 200_000, b"[1,]"),
        )
    ),
    post("the longest body", CHANGE, (JSON,), b'"' + b"a" * (MAX_BODY - 2) + b'"'),
    post("a body that is too long", CHANGE, (JSON,), b'"' + b"a" * (MAX_BODY - 1) + b'"'),
    Sent("chunks that are too long", "POST", CHANGE, (JSON,), b"a" * (MAX_BODY + 1), chunked=True),
    Sent("a body in chunks", "POST", CHANGE, (JSON,), b"{}", chunked=True),
    Sent("no body in chunks", "POST", CHANGE, (), b"", chunked=True),
    Sent("a GET with a content type", "GET", "/health/live", (("content-type", "text/plain"),)),
    Sent("a DELETE with a content type", "DELETE", "/health/live", (("content-type", "text/plain"),)),
    Sent("a GET with a body", "GET", "/health/live", (JSON,), b"{}"),
    Sent("a GET with a body that it does not take", "GET", "/health/live", (JSON,), b"[]"),
    Sent("a GET with a bad body", "GET", "/health/live", (JSON,), b"{"),
    Sent("a GET with a body without a content type", "GET", "/health/live", (), b"{}"),
    Sent("a PUT with a body to a path that does not exist", "PUT", "/nope", (JSON,), b"{}"),
)

IDS: tuple[Sent, ...] = (
    *tuple(
        get(f"request id {id[:20]!r}", "/health/live", (("X-Meltica-Request-Id", id),))
        for id in ("a-1.b_2:c", "x" * 64, "x" * 65, "a b", "")
    ),
    get(
        "two request ids",
        "/health/live",
        (("X-Meltica-Request-Id", "a b"), ("X-Meltica-Request-Id", "second")),
    ),
    get("a request id of a failure", "/nope", (("X-Meltica-Request-Id", "mine"),)),
    get(
        "headers of clients", "/health/live", (JSON, ("x-meltica-client", "web"), ("x-meltica-sent-at", "1"))
    ),
    get("a websocket", "/health/live", (("Connection", "Upgrade"), ("Upgrade", "websocket"))),
)

CHANGES: tuple[Sent, ...] = (
    post("stop of a provider that never ran", "/providers/spare/stop"),
    post("start of a provider", "/providers/spare/start", then=_provider("spare", "running")),
    get("a provider that was started", "/providers/spare"),
    post("start of a provider that runs", "/providers/spare/start"),
    post("stop of a provider", "/providers/spare/stop", (JSON,), b"{}"),
    post("stop of a provider that was stopped", "/providers/spare/stop"),
    post("start of a provider that does not exist", "/providers/nope/start"),
    post("stop of a provider that does not exist", "/providers/nope/stop"),
    post("start of a provider that fails", "/providers/refusing/start", then=_provider("refusing", "failed")),
    get("a provider that failed", "/providers/refusing"),
    post("start of an instance that runs", f"{INSTANCE}/watcher/start"),
    post("stop of an instance", f"{INSTANCE}/watcher/stop"),
    post("stop of an instance that was stopped", f"{INSTANCE}/watcher/stop"),
    get("an instance that was stopped", f"{INSTANCE}/watcher"),
    post("start of an instance", f"{INSTANCE}/watcher/start"),
    post("restart of an instance", f"{INSTANCE}/watcher/restart"),
    post("start of several instances", "/strategy/start", (JSON,), b'{"instances":["watcher","failing"]}'),
    post("stop of several instances", "/strategy/stop", (JSON,), b'{"instances":["unloaded"]}'),
    post("start of an instance that does not exist", f"{INSTANCE}/nope/start"),
    post("stop of an instance that does not exist", f"{INSTANCE}/nope/stop"),
    post("start of an instance that fails", f"{INSTANCE}/failing/start"),
    get("an instance that failed", f"{INSTANCE}/failing"),
    post("start of an instance whose config is not complete", f"{INSTANCE}/unset/start"),
    get("an instance whose config is not complete", f"{INSTANCE}/unset"),
    post("creation of an instance", INSTANCE, (JSON,), CREATED),
    post("creation of an instance that exists", INSTANCE, (JSON,), CREATED),
    post("creation of an instance with faults", INSTANCE, (JSON,), b'{"id":"-","nme":1}'),
    Sent("change of an instance", "PUT", f"{INSTANCE}/created", (JSON,), CHANGED),
    Sent("change of the scope", "PUT", f"{INSTANCE}/created", (JSON,), b'{"scope":{}}'),
    Sent("deletion of an instance", "DELETE", f"{INSTANCE}/created"),
    Sent("deletion of an instance of the config file", "DELETE", f"{INSTANCE}/watcher"),
    post("creation of a provider", "/providers", (JSON,), PROVIDER),
    post("creation of a provider that exists", "/providers", (JSON,), PROVIDER),
    post("creation of a provider with faults", "/providers", (JSON,), b'{"name":"-","nme":1}'),
    Sent("change of a provider", "PUT", "/providers/created", (JSON,), b'{"settings":{"depth":6}}'),
    Sent("change of its adapter", "PUT", "/providers/created", (JSON,), b'{"adapter":"fake"}'),
    Sent("deletion of a provider", "DELETE", "/providers/created"),
    Sent("deletion of a provider of the config file", "DELETE", "/providers/main"),
    post("restore of a backup", "/context/backup", (JSON,), RESTORED),
    get("a backup", "/context/backup"),
    post("plan of a restore", "/context/backup?plan=1", (JSON,), b'{"providers":[]}'),
    post("restore of a damaged backup", "/context/backup", (JSON,), b'{"version":1,"checksum":"x"}'),
    post("restore with faults", "/context/backup", (JSON,), b'{"providers":[{"nme":1}],"risk":{}}'),
    post("restore without the provider", "/context/backup", (JSON,), b'{"providers":[]}'),
    Sent("change of limits", "PUT", "/risk/limits", (JSON,), b'{"MaxRiskBreaches":4,"maxOpenOrders":9}'),
    Sent("change of limits with faults", "PUT", "/risk/limits", (JSON,), b'{"MaxPositionSize":"0"}'),
    get("a backup in sections", "/config/backup"),
    post("plan of a restore of sections", "/config/backup?plan=1", (JSON,), SECTIONS),
    post("restore of sections", "/config/backup", (JSON,), SECTIONS),
    get("settings", "/config/runtime"),
    Sent("plan of settings", "PUT", "/config/runtime?plan=1", (JSON,), SETTINGS),
    Sent("change of settings", "PUT", "/config/runtime", (JSON,), SETTINGS),
    Sent("change of settings with faults", "PUT", "/config/runtime", (JSON,), b'{"log":{"level":"loud"}}'),
    Sent(
        "change of a setting of the file", "PUT", "/config/runtime", (JSON,), b'{"database":{"maxConns":2}}'
    ),
    Sent("reversion of settings", "DELETE", "/config/runtime"),
    get("not ready", "/health/ready"),
    get("drift", "/providers"),
    get("drift of instances", INSTANCE),
)

SLOW: tuple[Sent, ...] = (
    post("start of an instance that takes long", f"{INSTANCE}/slow/start"),
    post("start while it starts", f"{INSTANCE}/slow/start"),
    post("stop while it starts", f"{INSTANCE}/slow/stop"),
    get("an instance that starts", f"{INSTANCE}/slow"),
)
"""Sent while the gate of `venue` is closed and changes are waited for only briefly."""

AFTERWARDS: tuple[Sent, ...] = (post("stop of an instance that took long", f"{INSTANCE}/slow/stop"),)
slow_runs = _instance("slow", "running")
