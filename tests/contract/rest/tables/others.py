"""Health, the outbox, tokens, the audit, events, risk while nothing trades, and backups."""

from typing import Any

from tests.contract.rest.cases import Case, case
from tests.support.trading_history import EVENT, OPEN

WHY = {"reason": "a test"}
ORDER = f"/orders/{OPEN.id}"
NO_ORDER = "/orders/00000000-0000-4000-8000-000000000000"
HALT: dict[str, Any] = {"scope": "provider:main", **WHY}
NOWHERE: dict[str, Any] = {"scope": "provider:nowhere", **WHY}
LIMITS = {"providers": {"main": {"maxOpenOrders": 3}}}

READS: tuple[Case, ...] = (
    case("GET /health/live", 200),
    case("GET /health/serving", 200),
    case("GET /health/ready", 200),
    case("GET /version", 200),
    case("GET /metrics", 200),
    case("GET /openapi.json", 200),
    case("GET /audit", 200),
    case("GET /audit?cursor=x", 400, "invalid_parameter"),
    case("GET /events?kind=order", 200),
    case("GET /events?kind=orders", 400, "invalid_parameter"),
    case("POST /events/tickets", 201),
    case("POST /events/tickets?plan=1", 400, "invalid_parameter"),
    case("GET /refusals", 200),
    case("GET /refusals?since=-1", 400, "invalid_parameter"),
    case("GET /refusals/counts", 200),
    case("GET /refusals/counts?mode=x", 400, "invalid_parameter"),
    case("GET /orders", 200),
    case("GET /orders?limit=0", 400, "invalid_parameter"),
    case(f"GET {ORDER}", 200),
    case(f"GET {NO_ORDER}", 404, "not_found"),
    case(f"GET {ORDER}/trace", 200),
    case(f"GET {NO_ORDER}/trace", 404, "not_found"),
    case("GET /deliveries/slowest", 200),
    case("GET /orders/nine", 404, "unknown_path"),
)

OUTBOX: tuple[Case, ...] = (
    case("GET /outbox", 200),
    case("GET /outbox?aggregateType=x", 200),
    case("GET /outbox/consumers", 200),
    case("GET /outbox/consumers/hook", 200),
    case("GET /outbox/consumers/unknown", 404, "not_found"),
    *(
        each
        for act in ("retry", "drop")
        for each in (
            case(f"POST /outbox/consumers/hook/{act}", 409, "conflict", {**WHY, "events": [EVENT + 1]}),
            case(f"POST /outbox/consumers/hook/{act}", 400, "validation_failed", {**WHY, "events": [0]}),
            case(f"POST /outbox/consumers/hook/{act}", 400, "validation_failed", {"reason": ""}),
            case(f"POST /outbox/consumers/hook/{act}", 200, body=WHY),
            case(f"POST /outbox/consumers/unknown/{act}", 404, "not_found", WHY),
        )
    ),
    case(f"DELETE /outbox/{EVENT}", 200),
    case(f"DELETE /outbox/{EVENT}", 404, "not_found"),
    case("DELETE /outbox/0", 400, "invalid_parameter"),
    case("DELETE /outbox/x", 400, "invalid_parameter"),
    case(f"DELETE /outbox/{2**70}", 400, "invalid_parameter"),
)

SETTINGS: tuple[Case, ...] = (
    case("GET /config/runtime", 200),
    case("PUT /config/runtime", 400, "validation_failed", {"nothing": 1}),
    case("PUT /config/runtime", 409, "conflict", {"database": {"dsn": "x"}}),
    case("PUT /config/runtime", 200, body={"log": {"level": "debug"}}),
    case("DELETE /config/runtime", 200),
)

TOKENS: tuple[Case, ...] = (
    case("GET /tokens", 200),
    case("POST /tokens", 201, body={"name": "a test"}),
    case("POST /tokens", 409, "already_exists", {"name": "a test"}),
    case("POST /tokens", 400, "validation_failed", {"name": ""}),
    case("POST /tokens", 400, "validation_failed", {"name": "x", "scope": "root"}),
    case("DELETE /tokens/$token", 200),
    case("DELETE /tokens/$token", 409, "conflict"),
    case("DELETE /tokens/nothing", 404, "not_found"),
)

IDLE: tuple[Case, ...] = (
    case("GET /risk/limits", 200),
    case("PUT /risk/limits", 200, body=LIMITS),
    case("PUT /risk/limits", 400, "validation_failed", {"providers": {"nowhere": {}}}),
    case("PUT /risk/limits", 400, "validation_failed", {"maxOpenOrders": "x"}),
    case("GET /risk/status", 200),
    case("POST /risk/halt", 200, body=HALT),
    case("POST /risk/halt", 400, "validation_failed", {**HALT, "scope": "all"}),
    case("POST /risk/halt", 400, "validation_failed", {"scope": "global"}),
    case("POST /risk/halt", 404, "not_found", NOWHERE),
    case("POST /risk/resume", 200, body=HALT),
    case("POST /risk/resume", 400, "validation_failed", {**HALT, "reason": " "}),
    case("POST /risk/resume", 404, "not_found", NOWHERE),
    case("POST /risk/flatten", 409, "conflict", HALT),
    case("POST /orders/cancel", 409, "conflict", HALT),
    case(f"POST {ORDER}/cancel", 409, "conflict", WHY),
    case(f"POST {ORDER}/query", 409, "conflict", WHY),
    case(f"POST {ORDER}/resolve", 409, "conflict", {**WHY, "state": "REJECTED"}),
    case(
        "POST /providers/main/lines/book",
        409,
        "conflict",
        {**WHY, "mode": "live", "currency": "BTC", "amount": "1"},
    ),
    case(
        "POST /providers/main/lost-orders/adopt",
        409,
        "conflict",
        {**WHY, "mode": "live", "clientOrderId": "x", "instance": "i"},
    ),
    case(
        "POST /providers/main/lost-orders/disown",
        409,
        "conflict",
        {**WHY, "mode": "live", "clientOrderId": "x"},
    ),
    case("POST /strategy/instances/watcher/positions/release", 409, "conflict", {**WHY, "mode": "live"}),
)
"""What acts on trading while nothing trades."""

RAN = {
    "id": "ran",
    "strategy": {"identifier": "LargeTrades", "config": {"notional": 1}},
    "scope": {"main": {"symbols": ["BTC-USDT"]}},
    "wasRunning": True,
}
NOTHING: dict[str, Any] = {"risk": {}, "providers": [], "lambdas": []}
ARRANGED: dict[str, Any] = {"providers": {"runtime": []}, "lambdas": {"instances": []}}
BACKUP: tuple[Case, ...] = (
    case("GET /context/backup", 200),
    case("GET /context/backup", 400, "passphrase_refused", x_meltica_passphrase="short"),
    case("GET /context/backup?passphrase=x", 400, "invalid_parameter"),
    case("POST /context/backup", 400, "backup_damaged"),
    case("POST /context/backup", 400, "backup_version", {"version": 9}),
    case("POST /context/backup", 400, "validation_failed", {"risk": {}, "nme": 1}),
    case("POST /context/backup?start=x", 400, "invalid_parameter", {"risk": {}}),
    case("POST /context/backup?start=1", 409, "accounts_not_named", {**NOTHING, "lambdas": [RAN]}),
    case("POST /context/backup", 200, body=NOTHING),
    case("GET /config/backup", 200),
    case("GET /config/backup", 400, "passphrase_refused", x_meltica_passphrase="short"),
    case("POST /config/backup", 400, "backup_damaged"),
    case("POST /config/backup", 400, "backup_version", {"version": "9"}),
    case("POST /config/backup", 400, "validation_failed", {"runtime": {"risk": {}}, "nme": 1}),
    case("POST /config/backup?start=1", 409, "accounts_not_named", {"lambdas": {"instances": [RAN]}}),
    case("POST /config/backup", 200, body=ARRANGED),
)
