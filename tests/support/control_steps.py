"""Changes over REST, one of each kind of route, each with what it changes in REST and in the database."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, cast

import httpx
import psycopg
from psycopg.rows import dict_row

from meltica.persistence.database import connect
from meltica.persistence.stores.audit import verify_audit
from tests.support.paths import ROOT

MODULE = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "modules.md").read_text(), re.M | re.S)[0]
SECOND = MODULE.replace('"1.0.0"', '"2.0.0"')
MODULES, PROVIDERS, INSTANCES = "/strategies/modules", "/providers", "/strategy/instances"
WHY = {"reason": "test"}
Shown = Callable[[httpx.Client], Any]


class View(NamedTuple):
    """A resource as REST shows it, and as the database has it."""

    shown: Shown
    stored: str
    """A query that returns one JSON value."""


class Step(NamedTuple):
    """A change."""

    name: str
    method: str
    path: str
    body: Any
    view: View
    after: Any
    """What the resource is after the change."""

    def send(self, client: httpx.Client, **headers: str) -> httpx.Response:
        """Sends the request."""
        return client.request(self.method, self.path, json=self.body, headers=headers)


def get(client: httpx.Client, path: str) -> Any:
    """Returns the body of a response, None if the resource does not exist."""
    answer = client.get(path)
    if answer.status_code == 404:
        return None
    assert answer.status_code == 200, answer.text
    return answer.json()


def _tags(client: httpx.Client) -> dict[str, Any]:
    registered = get(client, "/strategies/registry")["registry"].get("grid", {})
    return {"tags": registered.get("tags", {}), "revisions": sorted(registered.get("hashes", {}))}


def _provider(client: httpx.Client) -> Any:
    found = get(client, f"{PROVIDERS}/made")
    return found and {"speed": found["settings"]["speed"], "desired": found["desired"]}


def _instance(client: httpx.Client) -> Any:
    found = get(client, f"{INSTANCES}/made")
    return found and {"notional": found["strategy"]["config"]["notional"], "desired": found["desired"]}


def _limits(client: httpx.Client) -> Any:
    found = get(client, "/risk/limits")
    scopes = {
        "global": found["limits"],
        "provider:made": found["providers"].get("made", {}),
        "instance:made": found["instances"].get("made", {}),
    }
    return {scope: limits["maxOpenOrders"] for scope, limits in scopes.items() if "maxOpenOrders" in limits}


def _halts(client: httpx.Client) -> Any:
    return sorted(halt["scope"] for halt in get(client, "/risk/status")["halts"])


def _settings_of_gateway(client: httpx.Client) -> Any:
    found = get(client, "/config/runtime")
    is_set = found["sources"].get("eventbus.bufferSize") == "set over REST"
    return found["config"]["eventbus"]["bufferSize"] if is_set else None


def _tokens(client: httpx.Client) -> Any:
    tokens = [token for token in get(client, "/tokens")["tokens"] if token["name"] == "made"]
    return sorted("revokedAt" in token for token in tokens)


TAGS = View(
    _tags,
    "select jsonb_build_object("
    "'tags', (select coalesce(jsonb_object_agg(tag, hash), '{}') from module_tags where name = 'grid'),"
    " 'revisions', (select coalesce(jsonb_agg(hash order by hash collate \"C\"), '[]')"
    " from module_revisions where name = 'grid'))",
)
PROVIDER = View(
    _provider,
    "select jsonb_build_object('speed', settings->'speed', 'desired', desired)"
    " from providers where name = 'made'",
)
INSTANCE = View(
    _instance,
    "select jsonb_build_object('notional', config->'notional', 'desired', desired)"
    " from instances where id = 'made'",
)
LIMITS = View(
    _limits,
    "select coalesce(jsonb_object_agg(key, value->'maxOpenOrders'), '{}') from risk_limits,"
    " jsonb_each(limits) where value->'maxOpenOrders' <> 'null'",
)
SETTINGS = View(
    _settings_of_gateway,
    "select settings->'eventbus.bufferSize' from runtime_configuration",
)
HALTS = View(
    _halts,
    "select coalesce(jsonb_agg(scope order by scope), '[]') from halts where cleared_at is null",
)
TOKENS = View(
    _tokens,
    "select coalesce(jsonb_agg(revoked_at is not null order by revoked_at is not null), '[]')"
    " from tokens where name = 'made'",
)


def _oldest(client: httpx.Client) -> int:
    return get(client, "/outbox?delivered=true&limit=1")["events"][0]["id"]


def event_of(id: int) -> View:
    """Returns whether an event, the oldest one, exists."""

    def shown(client: httpx.Client) -> bool:
        return _oldest(client) == id

    return View(shown, f"select to_jsonb(count(*) = 1) from outbox where id = {id}")


def stored(dsn: str, query: str) -> Any:
    """Returns the JSON value of a query; None without a row."""
    with psycopg.connect(dsn, options="-c search_path=meltica") as connection:
        row = connection.execute(query.encode()).fetchone()
    return None if row is None else row[0]


def audited(dsn: str, actor: str) -> list[dict[str, Any]]:
    """Returns the rows of the audit that a client caused, the oldest first."""
    query = "select * from audit where actor = %s order by id"
    with psycopg.connect(dsn, options="-c search_path=meltica") as connection:
        return connection.cursor(row_factory=dict_row).execute(query, [actor]).fetchall()


def chain_fault(dsn: str) -> str | None:
    """Returns the first fault of the chain of the audit."""

    async def verify() -> str | None:
        async with await connect(dsn) as connection:
            return (await verify_audit(connection)).fault

    return asyncio.run(verify())


def steps(client: httpx.Client) -> Iterator[Step]:
    """Yields changes, each of which needs those before; at the end everything is as it was."""
    backup = get(client, "/context/backup")
    limits = LIMITS.shown(client)
    yield from _of_modules(client)
    yield from _of_a_provider()
    yield from _of_an_instance(limits)
    yield Step("halt", "POST", "/risk/halt", WHY, HALTS, ["global"])
    yield Step("resume", "POST", "/risk/resume", WHY, HALTS, [])
    yield from _of_tokens(client)
    event = _oldest(client)
    yield Step("deletion of an event", "DELETE", f"/outbox/{event}", None, event_of(event), False)
    set_to = {"eventbus": {"bufferSize": 2048}}
    yield Step("settings", "PUT", "/config/runtime", set_to, SETTINGS, 2048)
    yield Step("revert of settings", "DELETE", "/config/runtime", None, SETTINGS, None)
    body = {"limits": {"maxOpenOrders": 9}}
    yield Step("global limits", "PUT", "/risk/limits", body, LIMITS, {**limits, "global": 9})
    yield Step("restore", "POST", "/context/backup", backup, LIMITS, limits)


def _of_modules(client: httpx.Client) -> Iterator[Step]:
    yield Step("upload", "POST", MODULES, {"source": MODULE}, TAGS, _Tags("1.0.0 latest", 1))
    first = _tags(client)["tags"]["1.0.0"]
    body = {"source": SECOND, "promoteLatest": False}
    yield Step("upload of a revision", "PUT", f"{MODULES}/grid", body, TAGS, _Tags("1.0.0 2.0.0 latest", 2))
    second = _tags(client)["tags"]["2.0.0"]
    path = f"{MODULES}/grid/tags"
    tags = {"1.0.0": first, "2.0.0": second, "latest": second}
    both = sorted((first, second))
    promoted = {"tags": tags, "revisions": both}
    yield Step("promote", "PUT", f"{path}/latest", {"hash": second}, TAGS, promoted)
    tagged = {"tags": {**tags, "stable": first}, "revisions": both}
    yield Step("tag", "PUT", f"{path}/stable", {"hash": first}, TAGS, tagged)
    yield Step("untag", "DELETE", f"{path}/stable", None, TAGS, promoted)
    left = {"tags": {"2.0.0": second, "latest": second}, "revisions": [second]}
    yield Step("deletion of a revision", "DELETE", f"{MODULES}/grid:1.0.0", None, TAGS, left)
    gone: dict[str, Any] = {"tags": {}, "revisions": []}
    yield Step("deletion of a module", "DELETE", f"{MODULES}/grid", None, TAGS, gone)


class _Tags:
    """Equals modules with these tags."""

    def __init__(self, tags: str, revisions: int) -> None:
        self._tags = set(tags.split())
        self._revisions = revisions

    def __eq__(self, other: object) -> bool:
        found = cast(Mapping[str, Any], other)
        return set(found["tags"]) == self._tags and len(found["revisions"]) == self._revisions


def _of_a_provider() -> Iterator[Step]:
    path = f"{PROVIDERS}/made"

    def after(speed: int, desired: str) -> dict[str, Any]:
        return {"speed": speed, "desired": desired}

    made = {"name": "made", "enabled": False, **_settings(1)}
    yield Step("creation of a provider", "POST", PROVIDERS, made, PROVIDER, after(1, "stopped"))
    yield Step("change of a provider", "PUT", path, _settings(2), PROVIDER, after(2, "stopped"))
    yield Step("start of a provider", "POST", f"{path}/start", None, PROVIDER, after(2, "running"))
    yield Step("change while it runs", "PUT", path, _settings(3), PROVIDER, after(3, "running"))
    yield Step("stop of a provider", "POST", f"{path}/stop", None, PROVIDER, after(3, "stopped"))


def _settings(speed: int) -> dict[str, Any]:
    return {"adapter": {"identifier": "replay", "config": {"sample": True, "loop": True, "speed": speed}}}


def _of_an_instance(limits: dict[str, Any]) -> Iterator[Step]:
    path = f"{INSTANCES}/made"

    def strategy(notional: int) -> dict[str, Any]:
        return {"strategy": {"identifier": "LargeTrades", "config": {"notional": notional}}}

    def after(notional: int, desired: str) -> dict[str, Any]:
        return {"notional": notional, "desired": desired}

    made = {"id": "made", "scope": {"made": {"symbols": ["BTC-USDT"]}}, **strategy(1)}
    yield Step("creation of an instance", "POST", INSTANCES, made, INSTANCE, after(1, "stopped"))
    yield Step("change of an instance", "PUT", path, strategy(2), INSTANCE, after(2, "stopped"))
    yield Step("start of an instance", "POST", f"{path}/start", None, INSTANCE, after(2, "running"))
    yield Step("change while it runs", "PUT", path, strategy(3), INSTANCE, after(3, "running"))
    yield Step("stop of an instance", "POST", f"{path}/stop", None, INSTANCE, after(3, "stopped"))
    ids = {"instances": ["made"]}
    yield Step("start of several", "POST", "/strategy/start", ids, INSTANCE, after(3, "running"))
    yield Step("restart", "POST", f"{path}/restart", None, INSTANCE, after(3, "running"))
    yield Step("stop of several", "POST", "/strategy/stop", ids, INSTANCE, after(3, "stopped"))
    of_both = {"providers": {"made": {"maxOpenOrders": 5}}, "instances": {"made": {"maxOpenOrders": 6}}}
    both = {**limits, "provider:made": 5, "instance:made": 6}
    yield Step("limits of two scopes", "PUT", "/risk/limits", of_both, LIMITS, both)
    none = {"providers": {"made": {"maxOpenOrders": None}}, "instances": {"made": {"maxOpenOrders": None}}}
    yield Step("limits of none", "PUT", "/risk/limits", none, LIMITS, limits)
    yield Step("deletion of an instance", "DELETE", path, None, INSTANCE, None)
    yield Step("deletion of a provider", "DELETE", f"{PROVIDERS}/made", None, PROVIDER, None)


def _of_tokens(client: httpx.Client) -> Iterator[Step]:
    before = _tokens(client)
    token = {"name": "made"}
    yield Step("token", "POST", "/tokens", token, TOKENS, sorted([False, *before]))
    ids = [each["id"] for each in get(client, "/tokens")["tokens"] if each["name"] == "made"]
    revoked = [True] * len(ids)
    yield Step("revocation", "DELETE", f"/tokens/{ids[-1]}", None, TOKENS, revoked)


def as_text(value: Any) -> str:
    """Returns a value for messages."""
    return json.dumps(value, default=repr)[:300]
