"""Requests while the database is unavailable, so that the gateway has lost its lock.

What is in memory is answered, and what stops something acts. Everything else changes nothing.
"""

from tests.contract.rest.cases import Case, case
from tests.contract.rest.tables import instances, modules, others, providers, trading
from tests.contract.rest.tables.others import WHY
from tests.integration.test_control_modules import EXAMPLE

ALL = instances.ALL
IN_MEMORY = (
    *("/adapters", "/adapters/test-venue", "/health/live", "/health/serving", "/metrics", "/openapi.json"),
    *(
        "/version",
        "/config/runtime",
        "/deliveries/slowest",
        "/risk/limits",
        "/providers",
        "/providers/main",
        "/providers/main/lines",
    ),
    *(ALL, f"{ALL}/watcher", f"{ALL}/watcher/logs", f"{ALL}/watcher/why"),
)
READ = (
    *(
        "/audit",
        "/context/backup",
        "/config/backup",
        "/events?kind=order",
        "/orders",
        others.ORDER,
        f"{others.ORDER}/trace",
        "/outbox",
    ),
    *("/outbox/consumers", "/outbox/consumers/hook", "/refusals", "/refusals/counts", "/risk/status"),
    *("/providers/main/balances", "/providers/main/ledger", "/tokens"),
    *(f"{ALL}/watcher/{path}" for path in ("orders", "executions", "positions")),
    *("/strategies/modules", "/strategies/modules/grid", "/strategies/modules/grid/source"),
    *("/strategies/modules/grid/usage", "/strategies/registry"),
    *("/strategies", "/strategies/noop"),
)

MANY = 8 * (
    *(case(f"GET {path}", 503, "database_unavailable") for path in ("/orders", "/refusals", "/audit")),
    *(case(f"GET {path}", 503, "database_unavailable") for path in ("/outbox", "/tokens", "/orders?limit=1")),
    case("POST /outbox/consumers/hook/retry", 503, "database_unavailable", WHY),
    case("POST /outbox/consumers/hook/drop", 503, "database_unavailable", WHY),
)
"""More requests at once than the pool has connections."""
BEFORE: tuple[Case, ...] = (
    case("PUT /config/runtime", 200, body={"eventbus": {"bufferSize": 4096}}),
    case("POST /providers", 202, body={**providers.BODY, "name": "away"}),
    case(f"POST {ALL}", 201, body={**instances.body(), "id": "away"}),
)
AWAY: tuple[Case, ...] = (
    *(case(f"GET {path}", 200) for path in IN_MEMORY),
    *(case(f"GET {path}", 503, "database_unavailable") for path in READ),
    *(case(f"GET /events?kind={kinds}", 200) for kinds in ("trade&symbol=BTC-USDT", "provider,instance")),
    *(
        case(f"GET /events{query}", 503, "database_unavailable")
        for query in ("", "?kind=trade,order&symbol=BTC-USDT", "?kind=provider&kind=risk")
    ),
    case("GET /health/ready", 503, "not_ready"),
    case("POST /events/tickets", 201),
    case("POST /providers/demo/stop", 202),
    case("POST /providers/refusing/start", 503, "lock_not_held"),
    case("POST /providers", 503, "lock_not_held", providers.BODY),
    case(f"POST {ALL}/watcher/stop", 202),
    case(f"POST {ALL}/unloaded/start", 503, "lock_not_held"),
    case(f"POST {ALL}/slow/restart", 503, "lock_not_held"),
    case(f"POST {ALL}", 503, "lock_not_held", instances.body()),
    case("POST /strategy/start", 200, body={"instances": ["failing"]}),  # so it has here
    case("POST /strategy/stop", 202, body={"instances": ["slowly"]}),
    case("POST /strategies/modules", 503, "database_unavailable", {"source": modules.SOURCE}),
    case("POST /strategies/refresh", 200),  # each instance has its error
    case("PUT /strategies/modules/grid/tags/x", 503, "database_unavailable", {"hash": modules.HASH}),
    case("DELETE /strategies/modules/grid/tags/odd", 503, "database_unavailable"),
    case("PUT /risk/limits", 503, "lock_not_held", {"maxOpenOrders": 4}),
    case("POST /risk/halt", 503, "database_unavailable", others.HALT),
    case("POST /risk/resume", 503, "database_unavailable", others.HALT),
    case("PUT /config/runtime", 503, "lock_not_held", {"log": {"level": "debug"}}),
    case("DELETE /config/runtime", 503, "lock_not_held"),
    case("POST /tokens", 503, "database_unavailable", {"name": "x"}),
    case("DELETE /tokens/x", 503, "database_unavailable"),
    case("POST /outbox/consumers/hook/retry", 503, "database_unavailable", WHY),
    case("POST /outbox/consumers/hook/drop", 503, "database_unavailable", WHY),
    case("DELETE /outbox/1", 503, "database_unavailable"),
    case("POST /context/backup", 503, "database_unavailable", others.NOTHING),
    case("DELETE /providers/away", 503, "database_unavailable"),
    case(f"DELETE {ALL}/away", 503, "database_unavailable"),
    case("PUT /strategies/modules/grid", 503, "database_unavailable", {"source": EXAMPLE}),
    case("DELETE /strategies/modules/grid", 503, "database_unavailable"),
    # Nothing trades here; `trading.AWAY` has these while something does.
    case("POST /orders/cancel", 409, "conflict", {"scope": "global", **WHY}),
    case(f"POST {others.ORDER}/cancel", 409, "conflict", WHY),
    case(f"POST {others.ORDER}/query", 409, "conflict", WHY),
    case(f"POST {others.ORDER}/resolve", 409, "conflict", trading.RESOLVE),
    case("POST /risk/flatten", 409, "conflict", others.HALT),
    case("POST /providers/main/lines/book", 409, "conflict", trading.BOOK),
    case("POST /providers/main/lost-orders/adopt", 409, "conflict", {**trading.LOST, "instance": "watcher"}),
    case("POST /providers/main/lost-orders/disown", 409, "conflict", trading.LOST),
    case(f"POST {ALL}/watcher/positions/release", 409, "conflict", trading.LIVE),
)
AWAY_TOO: tuple[Case, ...] = (
    case("POST /config/backup", 503, "database_unavailable", others.NOTHING),
    case("PUT /providers/away", 503, "database_unavailable", {"settings": {"depth": 6}}),
    case(f"PUT {ALL}/away", 503, "lock_not_held", instances.config(2)),
)
"""What conflicts with the others at the same time."""
