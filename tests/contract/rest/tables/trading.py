"""What acts on trading. The world has an instance `a` that trades at the provider `p`."""

from typing import Any

from tests.contract.rest.cases import Case, case, conditional

WHY = {"reason": "a test"}
SCOPE: dict[str, Any] = {"scope": "instance:a", **WHY}
NOWHERE: dict[str, Any] = {"scope": "provider:nowhere", **WHY}
NO_ORDER = "/orders/00000000-0000-4000-8000-000000000000"
RESOLVE = {**WHY, "state": "REJECTED"}
LIVE: dict[str, Any] = {**WHY, "mode": "live"}
BOOK = {**LIVE, "currency": "USDT", "amount": "1"}
LOST = {**LIVE, "clientOrderId": "x"}
RELEASE = "/strategy/instances/a/positions/release"

TRADING = conditional(
    case("GET /risk/status", 200),
    case("GET /providers/p/lines", 200),
    case("GET /providers/nowhere/lines", 404, "not_found"),
    case("POST /risk/halt", 200, body=SCOPE),
    case("POST /risk/halt", 404, "not_found", NOWHERE),
    case("POST /risk/resume", 200, body=SCOPE),
    case("POST /risk/resume", 404, "not_found", NOWHERE),
    case("POST /risk/flatten", 200, body=SCOPE),
    case("POST /risk/flatten", 400, "validation_failed", {**SCOPE, "scope": "all"}),
    case("POST /risk/flatten", 404, "not_found", NOWHERE),
    case("POST /risk/resume", 200, body=SCOPE),
    case("POST /orders/cancel", 200, body=SCOPE),
    case("POST /orders/cancel", 400, "validation_failed", {**SCOPE, "symbols": []}),
    case("POST /orders/cancel", 404, "not_found", NOWHERE),
    case(f"POST {NO_ORDER}/cancel", 404, "not_found", WHY),
    case(f"POST {NO_ORDER}/cancel", 400, "validation_failed", {"reason": ""}),
    case(f"POST {NO_ORDER}/query", 404, "not_found", WHY),
    case(f"POST {NO_ORDER}/query", 400, "validation_failed", {}),
    case(f"POST {NO_ORDER}/resolve", 404, "not_found", RESOLVE),
    case(f"POST {NO_ORDER}/resolve", 400, "validation_failed", {**WHY, "state": "GONE"}),
    case("POST /providers/p/lines/book", 400, "validation_failed", {**BOOK, "amount": "x"}),
    case("POST /providers/p/lines/book", 404, "not_found", {**BOOK, "mode": "paper"}),
    case("POST /providers/nowhere/lines/book", 404, "not_found", BOOK),
    case("POST /providers/p/lines/book", 409, "conflict", BOOK),
    case("POST /providers/p/lost-orders/adopt", 404, "not_found", {**LOST, "instance": "a"}),
    case("POST /providers/p/lost-orders/adopt", 404, "not_found", {**LOST, "instance": "unknown"}),
    case("POST /providers/p/lost-orders/adopt", 409, "conflict", {**LOST, "instance": "paper"}),
    case("POST /providers/p/lost-orders/adopt", 400, "validation_failed", LOST),
    case("POST /providers/p/lost-orders/disown", 404, "not_found", LOST),
    case("POST /providers/p/lost-orders/disown", 400, "validation_failed", {**LOST, "id": 1}),
    case(f"POST {RELEASE}", 404, "not_found", LIVE),
    case(f"POST {RELEASE}", 400, "validation_failed", {**LIVE, "uid": "x"}),
)

PREPARED = conditional(
    case(f"POST {RELEASE}", 409, "conflict", LIVE),
    case("POST /orders/$ack/query", 200, body=WHY),
    case("POST /orders/$ack/resolve", 409, "conflict", RESOLVE),
    case("POST /orders/$ack/cancel", 200, body=WHY),
    case("POST /orders/$unknown/resolve", 200, body=RESOLVE),
    case("POST /orders/$unknown/cancel", 409, "conflict", WHY),
    case("GET /orders/$unknown", 200),
    case("POST /providers/p/lines/book", 200, body={**BOOK, "amount": "2"}),
    case(
        "POST /providers/p/lost-orders/adopt", 200, body={**LOST, "clientOrderId": "$first", "instance": "a"}
    ),
    case("POST /providers/p/lost-orders/disown", 200, body={**LOST, "clientOrderId": "$second"}),
)
"""`$ack` rests at the venue, `$unknown` may, `$first` and `$second` are lost; a difference is a fault."""

AT_ONCE: tuple[Case, ...] = (
    case("POST /orders/$ack/query", 202, body=WHY),
    case("POST /orders/$ack/cancel", 202, body=WHY),
    case("POST /orders/$unknown/resolve", 202, body=RESOLVE),
    case("POST /orders/cancel", 202, body={**SCOPE, "symbol": "BTC-USDT"}),
    case("POST /providers/p/lines/book", 202, body={**BOOK, "amount": "2"}),
    case(
        "POST /providers/p/lost-orders/adopt", 202, body={**LOST, "clientOrderId": "$first", "instance": "a"}
    ),
    case("POST /providers/p/lost-orders/disown", 202, body={**LOST, "clientOrderId": "$second"}),
)
"""Answered before they end."""
RELEASED = conditional(
    case(f"POST {RELEASE}", 200, body=LIVE),
)
RELEASED_AT_ONCE: tuple[Case, ...] = (
    case(f"POST {RELEASE}", 202, body=LIVE),
    case("POST /risk/halt", 202, body=SCOPE),
    case("POST /risk/resume", 503, "outcome_unknown", SCOPE),  # it is recorded first
    case("POST /risk/flatten", 202, body=SCOPE),
)

VENUE_FAILS: tuple[Case, ...] = (
    case(
        "POST /providers/p/lost-orders/adopt",
        502,
        "venue_failed",
        {**LOST, "clientOrderId": "$first", "instance": "a"},
    ),
    case("POST /providers/p/lost-orders/disown", 502, "venue_failed", {**LOST, "clientOrderId": "$first"}),
)
AWAY: tuple[Case, ...] = (
    case("GET /risk/status", 200),
    case("GET /providers/p/lines", 200),
    case("GET /strategy/instances/a/positions", 200),
    case("POST /orders/$ack/query", 503, "database_unavailable", WHY),
    case("POST /orders/$ack/resolve", 503, "database_unavailable", RESOLVE),
    case("POST /providers/p/lines/book", 503, "database_unavailable", BOOK),
    case("POST /providers/p/lost-orders/adopt", 503, "database_unavailable", {**LOST, "instance": "a"}),
    case("POST /providers/p/lost-orders/disown", 503, "database_unavailable", LOST),
    case(f"POST {RELEASE}", 503, "database_unavailable", LIVE),
    case("POST /orders/$ack/cancel", 202, body=WHY),
    case("POST /orders/cancel", 202, body=SCOPE),
    case("POST /risk/halt", 202, body=SCOPE),
    case("POST /risk/resume", 503, "database_unavailable", SCOPE),
    case("POST /risk/flatten", 503, "outcome_unknown", SCOPE),
)
"""While the database is unavailable: what stops something acts."""
ALL = (*AWAY, *TRADING, *PREPARED, *AT_ONCE, *RELEASED, *RELEASED_AT_ONCE, *VENUE_FAILS)
