"""Changes that take longer than their request, or that the database does not record."""

import hashlib
from typing import Any

from tests.contract.rest.cases import Case, case, instance, is_restored, provider
from tests.contract.rest.tables.instances import ALL as INSTANCES
from tests.contract.rest.tables.instances import SCOPE

SOURCE = """
import meltica


class Gated(meltica.Lambda):
    version = "1"

    class Config(meltica.LambdaConfig):
        number: int = 1

    def on_start(self):
        self.wait()

    def on_stop(self):
        self.wait()

    def wait(self):
        from tests.support import venue

        assert venue.GATE.wait(30)

    def on_trade(self, trade):
        pass
"""
"""A strategy that starts and stops when the gate of the test venue is open."""
WHY = {"reason": "a test"}
HALT: dict[str, Any] = {"scope": "provider:demo", **WHY}
MODULES = ("moved", "refreshed")
FIRST, NEXT = ({name: SOURCE.replace("Gated", name.title()) + end for name in MODULES} for end in ("", "#\n"))
NEXT_HASH = f"sha256:{hashlib.sha256(NEXT['moved'].encode()).hexdigest()}"
LIMITS = {"providers": {"demo": {"maxOpenOrders": 3}}}
IDS = ("starts", "restarts", "stops", "changes", "goes", "starts-too", "stops-too")
RUN = ("restarts", "stops", "changes", "goes", "stops-too")
PROVIDERS = ("p-stops", "p-changes", "p-goes")
ARRANGED: dict[str, Any] = {"providers": {"runtime": []}, "lambdas": {"instances": []}}
NOTHING: dict[str, Any] = {"risk": {}, "providers": [], "lambdas": []}


def _provider(name: str) -> dict[str, Any]:
    return {"name": name, "adapter": {"identifier": "test-venue", "config": {"depth": 5}}}


BEFORE: tuple[Case, ...] = (
    case("POST /strategies/modules", 201, body={"source": SOURCE}),
    *(
        case(f"POST {INSTANCES}", 201, body={"id": id, "strategy": {"selector": "gated"}, "scope": SCOPE})
        for id in IDS
    ),
    *(case("POST /strategies/modules", 201, body={"source": FIRST[name]}) for name in MODULES),
    *(
        case(f"POST {INSTANCES}", 201, body={"id": name, "strategy": {"selector": name}, "scope": SCOPE})
        for name in MODULES
    ),
    case("POST /strategies/modules", 201, body={"source": NEXT["moved"], "tag": "2", "promoteLatest": False}),
    case("POST /strategies/modules", 201, body={"source": NEXT["refreshed"], "tag": "2"}),
    *(case(f"POST {INSTANCES}/{id}/start", 200) for id in (*RUN, *MODULES)),
    *(
        case("POST /providers", 202, body=_provider(name), then=provider(name, "running"))
        for name in PROVIDERS
    ),
)
SLOW: tuple[Case, ...] = (
    case(f"POST {INSTANCES}/starts/start", 202),
    case(f"POST {INSTANCES}/restarts/restart", 202),
    case(f"POST {INSTANCES}/stops/stop", 202),
    case(f"PUT {INSTANCES}/changes", 202, body={"strategy": {"config": {"number": 2}}}),
    case(f"DELETE {INSTANCES}/goes", 202),
    case("POST /strategy/start", 202, body={"instances": ["starts-too"]}),
    case("POST /strategy/stop", 202, body={"instances": ["stops-too"]}),
    case("PUT /strategies/modules/moved/tags/latest", 202, body={"hash": NEXT_HASH}),
    case("POST /strategies/refresh", 202, body={"strategies": ["refreshed"]}),
    case("POST /providers/p-stops/stop", 202),
    case("PUT /providers/p-changes", 202, body={"settings": {"depth": 6}}),
    case("DELETE /providers/p-goes", 202),
)
"""Sent together while the gate is closed."""
MEANWHILE: tuple[Case, ...] = (
    *(case(f"POST {INSTANCES}/{id}/restart", 409, "conflict") for id in ("starts", "stops", "goes")),
    case(f"PUT {INSTANCES}/changes", 409, "conflict", {"strategy": {"config": {"number": 3}}}),
    case("POST /providers/p-goes/stop", 409, "conflict"),
    case("PUT /providers/p-changes", 409, "conflict", {"settings": {"depth": 7}}),
    case("DELETE /providers/p-goes", 409, "conflict"),
)
"""Sent while these changes go on."""
AFTERWARDS: tuple[Case, ...] = (
    case(f"GET {INSTANCES}/starts", 200, then=instance("starts", "running")),
    *(case(f"GET {INSTANCES}/{id}", 200, then=instance(id, "running")) for id in MODULES),
    case(f"GET {INSTANCES}/changes", 200, then=instance("changes", "running")),
    case(f"GET {INSTANCES}/stops", 200, then=instance("stops", "stopped")),
    case(f"GET {INSTANCES}/stops-too", 200, then=instance("stops-too", "stopped")),
    case(f"GET {INSTANCES}/restarts", 200, then=instance("restarts", "running")),
    case(f"GET {INSTANCES}/starts-too", 200, then=instance("starts-too", "running")),
    case("GET /providers/p-stops", 200, then=provider("p-stops", "stopped")),
    case("GET /providers/p-changes", 200, then=provider("p-changes", "running")),
    *(case(f"DELETE {INSTANCES}/{id}", 200) for id in (*IDS, *MODULES) if id != "goes"),
    *(case(f"DELETE /providers/{name}", 200) for name in PROVIDERS if name != "p-goes"),
    case(f"GET {INSTANCES}/goes", 404, "not_found"),
    case("GET /providers/p-goes", 404, "not_found"),
    case("DELETE /strategies/modules/gated", 204),
    *(case(f"DELETE /strategies/modules/{name}", 204) for name in MODULES),
)

LOCKED: tuple[Case, ...] = (
    case("POST /providers/main/stop", 202),
    case("POST /providers/spare/start", 503, "outcome_unknown"),
    case(f"POST {INSTANCES}/large-trades/stop", 202),
    case("PUT /risk/limits", 503, "outcome_unknown", LIMITS),
    case("PUT /risk/limits", 409, "conflict", LIMITS),
    case("PUT /config/runtime", 409, "conflict", {"risk": {"maxOpenOrders": 3}}),
    case("DELETE /config/runtime", 409, "conflict"),
    # Nothing trades, so neither acts without the database.
    case("POST /risk/halt", 503, "outcome_unknown", HALT),
    case("POST /risk/resume", 503, "outcome_unknown", HALT),
)
"""Sent while rows cannot be written."""

AT_ONCE: tuple[Case, ...] = (
    case("POST /context/backup", 202, body=NOTHING, then=is_restored),
    case("POST /config/backup", 202, body=ARRANGED, then=is_restored),
)
"""Answered before it ends."""
TOO_LARGE: tuple[Case, ...] = (
    case("GET /context/backup", 409, "backup_too_large"),
    case("GET /config/backup", 409, "backup_too_large"),
)
NOT_STORED: tuple[Case, ...] = (
    case("POST /context/backup", 507, "body_not_stored", NOTHING),
    case("POST /config/backup", 507, "body_not_stored", ARRANGED),
)
ALL = (*BEFORE, *SLOW, *MEANWHILE, *AFTERWARDS, *LOCKED, *AT_ONCE, *TOO_LARGE, *NOT_STORED)
