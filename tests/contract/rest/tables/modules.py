"""Strategies and uploaded modules."""

import hashlib
from typing import Any

from tests.contract.rest.cases import Case, case

SOURCE = (
    "import meltica\n\n\nclass Contract(meltica.Lambda):\n    version = '1'\n\n"
    "    def on_trade(self, trade): pass\n"
)
SECOND = SOURCE + "#\n"
HASH, OTHER = (f"sha256:{hashlib.sha256(text.encode()).hexdigest()}" for text in (SOURCE, SECOND))
NONE = f"sha256:{'0' * 64}"
ALL = "/strategies/modules"
M = f"{ALL}/contract"
USER: dict[str, Any] = {
    "id": "user",
    "strategy": {"selector": "contract"},
    "scope": {"main": {"symbols": ["BTC-USDT"]}},
}

MODULES: tuple[Case, ...] = (
    case("GET /strategies", 200),
    case("GET /strategies/noop", 200),
    case("GET /strategies/nothing", 404, "not_found"),
    case(f"POST {ALL}", 201, body={"source": SOURCE, "filename": "contract.js"}),
    case(f"POST {ALL}", 201, body={"source": SOURCE}),
    case(f"POST {ALL}", 409, "already_exists", {"source": SECOND}),
    case(f"POST {ALL}", 422, "strategy_validation_failed", {"source": "x = ("}),
    case(f"POST {ALL}", 400, "invalid_body", {"source": " "}),
    case(f"POST {ALL}", 400, "invalid_body", {"source": SOURCE, "tag": "../x"}),
    case(f"POST {ALL}", 400, "validation_failed", {"source": SOURCE, "promote": True}),
    case(f"PUT {M}:2", 200, body={"source": SECOND, "promoteLatest": False}),
    case(f"PUT {M}:2", 409, "already_exists", {"source": SOURCE + "##\n"}),
    case(f"PUT {ALL}/other", 422, "strategy_validation_failed", {"source": SOURCE}),
    case(f"PUT {ALL}/a:b:c", 400, "invalid_parameter", {"source": SOURCE}),
    case(f"GET {ALL}", 200),
    case(f"GET {ALL}?limit=-1", 400, "invalid_parameter"),
    case(f"GET {M}", 200),
    *(
        each
        for path in ("", "/source", "/usage")
        for each in (
            case(f"GET {M}:1{path}", 200),
            case(f"GET {M}:nothing{path}", 404, "not_found"),
            case(f"GET {M}@{NONE}{path}", 404, "not_found"),
            case(f"GET {ALL}/nothing{path}", 404, "not_found"),
            case(f"GET {ALL}/a:b:c{path}", 400, "invalid_parameter"),
        )
    ),
    case("GET /strategies/registry", 200),
    case(f"PUT {M}/tags/stable", 200, body={"hash": OTHER}),
    case(f"PUT {M}/tags/stable", 400, "invalid_body", {"hash": "x"}),
    case(f"PUT {M}/tags/stable", 404, "not_found", {"hash": NONE}),
    case(f"PUT {ALL}/nothing/tags/stable", 404, "not_found", {"hash": OTHER}),
    case(f"DELETE {M}/tags/stable", 200),
    case(f"DELETE {M}/tags/stable", 404, "not_found"),
    case(f"DELETE {M}/tags/latest", 409, "conflict"),
    case(f"DELETE {M}/tags/2", 409, "conflict"),
    case(f"DELETE {M}/tags/2?orphan=1", 400, "invalid_parameter"),
    case("POST /strategy/instances", 201, body=USER),
    case("POST /strategies/refresh", 200),
    case("POST /strategies/refresh", 400, "validation_failed", {"strategy": []}),
    case(f"DELETE {M}", 409, "conflict"),
    case("DELETE /strategy/instances/user", 200),
    case(f"DELETE {M}:nothing", 404, "not_found"),
    case(f"DELETE {M}", 204),
    case(f"DELETE {M}", 404, "not_found"),
)
