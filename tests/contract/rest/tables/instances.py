"""Strategy instances, and what is read of their orders."""

from typing import Any

from tests.contract.rest.cases import Case, case

ALL = "/strategy/instances"
ONE = f"{ALL}/i"
NO_INSTANCE = f"{ALL}/unknown"
SCOPE = {"main": {"symbols": ["BTC-USDT"]}}


def body(**strategy: Any) -> dict[str, Any]:
    """Returns the body that creates an instance."""
    return {
        "id": "i",
        "strategy": {"identifier": "LargeTrades", "config": {"notional": 1}, **strategy},
        "scope": SCOPE,
    }


def config(notional: object) -> dict[str, Any]:
    """Returns the body that changes its config."""
    return {"strategy": {"config": {"notional": notional}}}


INSTANCES: tuple[Case, ...] = (
    case(f"GET {ALL}", 200),
    case(f"POST {ALL}", 400, "validation_failed", {**body(), "nme": 1}),
    case(f"POST {ALL}", 400, "validation_failed", body(config={"notional": "x"})),
    case(f"POST {ALL}", 404, "not_found", body(identifier="nothing")),
    case(f"POST {ALL}", 404, "not_found", body(tag="nothing")),
    case(f"POST {ALL}", 404, "not_found", body(hash=f"sha256:{'0' * 64}")),
    case(f"POST {ALL}", 404, "not_found", body(selector="grid:nothing", config={})),
    case(f"POST {ALL}", 201, body=body()),
    case(f"POST {ALL}", 409, "already_exists", body()),
    case(f"GET {ONE}", 200),
    case(f"GET {NO_INSTANCE}", 404, "not_found"),
    case(f"PUT {ONE}", 200, body=config(2)),
    case(f"PUT {ONE}", 400, "validation_failed", config("x")),
    case(f"PUT {ONE}", 400, "validation_failed", {"id": "other", **config(2)}),
    case(f"PUT {ONE}", 409, "conflict", {"scope": {"demo": {"symbols": ["BTC-USDT"]}}}),
    case(f"PUT {NO_INSTANCE}", 404, "not_found", config(2)),
    case(f"POST {ONE}/stop", 409, "conflict"),
    case(f"POST {ONE}/start", 200),
    case(f"POST {ONE}/start", 409, "conflict"),
    case(f"PUT {ONE}", 200, body=config(3)),
    case(f"POST {ONE}/restart", 200),
    case(f"POST {ONE}/stop", 200),
    case(f"POST {ONE}/restart?now=1", 400, "invalid_parameter"),
    case(f"POST {ALL}/failing/start", 400, "start_failed"),
    case(f"POST {ALL}/failing/restart", 400, "start_failed"),
    case(f"POST {NO_INSTANCE}/start", 404, "not_found"),
    case(f"POST {NO_INSTANCE}/stop", 404, "not_found"),
    case(f"POST {NO_INSTANCE}/restart", 404, "not_found"),
    case("POST /strategy/start", 200, body={"instances": ["i"]}),
    case("POST /strategy/start", 400, "validation_failed", {"instances": []}),
    case("POST /strategy/start", 404, "not_found", {"instances": ["unknown"]}),
    case("POST /strategy/stop", 200, body={"instances": ["i"]}),
    case("POST /strategy/stop", 400, "validation_failed", {"instances": ["i"], "al": 1}),
    case("POST /strategy/stop", 404, "not_found", {"instances": ["unknown"]}),
    case(f"GET {ONE}/why", 200),
    case(f"GET {NO_INSTANCE}/why", 404, "not_found"),
    case(f"GET {ONE}/logs", 200),
    case(f"GET {ONE}/logs?level=warn", 400, "invalid_parameter"),
    case(f"GET {NO_INSTANCE}/logs", 404, "not_found"),
    case(f"GET {ONE}/orders", 200),
    case(f"GET {ONE}/orders?state=open", 400, "invalid_parameter"),
    case(f"GET {ONE}/executions", 200),
    case(f"GET {ONE}/executions?orderId=1", 400, "invalid_parameter"),
    case(f"GET {ONE}/positions", 200),
    case(f"GET {ONE}/positions?mode=x", 400, "invalid_parameter"),
    case(f"DELETE {ONE}", 200),
    case(f"DELETE {ONE}", 404, "not_found"),
    case(f"DELETE {ALL}/watcher", 409, "conflict"),
)

ABSENT: tuple[Case, ...] = (
    case(f"GET {ALL}/gone", 200),
    case(f"GET {ALL}/gone/why", 409, "conflict"),
    case(f"GET {ALL}/gone/logs", 409, "conflict"),
    *(case(f"POST {ALL}/gone/{action}", 409, "conflict") for action in ("start", "stop", "restart")),
    case("POST /strategy/start", 409, "conflict", {"instances": ["gone"]}),
    case("POST /strategy/stop", 409, "conflict", {"instances": ["gone"]}),
    case("POST /risk/halt", 200, body={"scope": "instance:gone", "reason": "x"}),
    case("POST /risk/resume", 200, body={"scope": "instance:gone", "reason": "x"}),
    case(f"PUT {ALL}/gone", 409, "conflict", {}),
    case(f"DELETE {ALL}/gone", 409, "conflict"),
)
"""An instance that is stored, because it has a position, and is no longer in the config file."""
