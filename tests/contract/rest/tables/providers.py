"""Providers, adapters and what belongs to an account."""

from tests.contract.rest.cases import Case, case, provider

BODY = {"name": "p", "adapter": {"identifier": "test-venue", "config": {"depth": 5}}, "enabled": False}
USER = {
    "id": "user",
    "strategy": {"identifier": "LargeTrades", "config": {"notional": 1}},
    "scope": {"p": {"symbols": ["BTC-USDT"]}},
}
P = "/providers/p"
NOWHERE = "/providers/nowhere"

PROVIDERS: tuple[Case, ...] = (
    case("GET /adapters", 200),
    case("GET /adapters/test-venue", 200),
    case("GET /adapters/nowhere", 404, "not_found"),
    case("GET /providers", 200),
    case("POST /providers", 400, "validation_failed", {"name": "p", "nme": 1}),
    case("POST /providers", 400, "validation_failed", {**BODY, "adapter": "nowhere"}),
    case("POST /providers", 400, "invalid_parameter"),
    case("POST /providers", 202, body=BODY),
    case("POST /providers", 409, "already_exists", BODY),
    case(f"GET {P}", 200),
    case(f"GET {NOWHERE}", 404, "not_found"),
    case(f"PUT {P}", 200, body={"settings": {"depth": 6}}),
    case(f"PUT {P}", 400, "validation_failed", {"settings": {"depth": "x"}}),
    case(f"PUT {P}", 409, "conflict", {"adapter": "fake"}),
    case(f"PUT {NOWHERE}", 404, "not_found", {"settings": {}}),
    case("PUT /providers/main", 409, "conflict", {"settings": {"depth": 6}}),
    case(f"POST {P}/stop", 409, "conflict"),
    case(f"POST {P}/start", 202, then=provider("p", "running")),
    case(f"POST {P}/start", 409, "conflict"),
    case(f"POST {P}/start?now=1", 400, "invalid_parameter"),
    case(f"POST {P}/stop", 200),
    case(f"POST {P}/stop", 400, "unexpected_body", {"now": True}),
    case(f"POST {NOWHERE}/start", 404, "not_found"),
    case(f"POST {NOWHERE}/stop", 404, "not_found"),
    case("POST /strategy/instances", 201, body=USER),
    case(f"DELETE {P}", 409, "conflict"),
    case("DELETE /strategy/instances/user", 200),
    case(f"DELETE {P}", 200),
    case(f"DELETE {P}", 404, "not_found"),
    case("DELETE /providers/main", 409, "conflict"),
    case("GET /providers/main/balances", 200),
    case("GET /providers/main/balances?limit=0", 400, "invalid_parameter"),
    case("GET /providers/main/ledger", 200),
    case("GET /providers/main/ledger?cursor=x", 400, "invalid_parameter"),
    case("GET /providers/main/lines", 200),
    case(f"GET {NOWHERE}/lines", 404, "not_found"),
)
