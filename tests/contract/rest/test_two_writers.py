"""Two writers at once: the resource ends in the state of one of them, and the audit explains it.

Both send at the same moment, from threads of their own, to a real gateway. Memory, database and REST agree
afterwards. With If-Match, exactly one of them succeeds; the other gets a 412, or a 409 while the first is in
progress and a 412 when it repeats its request.
"""

import asyncio
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, cast

import httpx
import psycopg
import pytest
from msgspec.structs import replace

from meltica.control.provider_changes import record_of
from meltica.gateway.dynamic import DynamicProviders
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.persistence.postgres.server import wait_until
from tests.integration.test_control_resources import ok
from tests.support import control_steps, gateway
from tests.support.control_steps import (
    HALTS,
    INSTANCE,
    INSTANCES,
    LIMITS,
    MODULES,
    PROVIDER,
    PROVIDERS,
    SETTINGS,
    TAGS,
    TOKENS,
    View,
    as_text,
    chain_fault,
    get,
    stored,
)
from tests.support.gateway import Running

ROUNDS = 6
PATIENCE = 20.0
REASON = {"reason": "test"}


class Write(NamedTuple):
    """A request, and what the resource is if it was the last one that succeeded."""

    method: str
    path: str
    body: Any
    after: Any


Writes = tuple[Write, Write]


class World:
    """A gateway whose resources two writers change."""

    def __init__(self, running: Running, dsn: str) -> None:
        self.running = running
        self.client = running.client
        self.dsn = dsn
        self.hashes: list[str] = []

    def prepare(self) -> None:
        """Creates what is changed."""
        for source in (control_steps.MODULE, control_steps.SECOND):
            self.hashes.append(ok(self.client.post(MODULES, json={"source": source}), 201)["module"]["hash"])
        ok(self.client.post(PROVIDERS, json={"name": "made", "enabled": False, **settings(1)}), 202)
        body = {"id": "made", "scope": {"made": {"symbols": ["BTC-USDT"]}}, **config(1)}
        ok(self.client.post(INSTANCES, json=body), 201)

    def both(
        self, writes: "tuple[Write, Write]", headers: dict[str, str] | None = None
    ) -> list[httpx.Response]:
        """Sends two requests at the same moment; returns the answers."""
        barrier = threading.Barrier(2)

        def send(write: Write) -> httpx.Response:
            with httpx.Client(
                base_url=self.running.url, headers=self.running.authorization, timeout=20, trust_env=False
            ) as client:
                client.get("/version")
                barrier.wait(PATIENCE)
                return client.request(write.method, write.path, json=write.body, headers=headers)

        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(send, writes))

    def settled(self, view: View) -> Any:
        """Waits until REST and the database agree; returns what they have."""

        def agree() -> bool:
            return bool(view.shown(self.client) == stored(self.dsn, view.stored))

        shown, has = view.shown(self.client), stored(self.dsn, view.stored)
        assert wait_until(agree, PATIENCE), f"REST {as_text(shown)}, database {as_text(has)}"
        return view.shown(self.client)

    def row(self, table: str, key: str) -> dict[str, Any]:
        query = f"select to_jsonb(t) from {table} t where {key} = 'made'"
        return cast(dict[str, Any], stored(self.dsn, query))


def settings(speed: int) -> dict[str, Any]:
    return {"adapter": {"identifier": "replay", "config": {"sample": True, "loop": True, "speed": speed}}}


def config(notional: int) -> dict[str, Any]:
    return {"strategy": {"identifier": "LargeTrades", "config": {"notional": notional}}}


@pytest.fixture(name="world", scope="module")
def _world(config: Path, cluster: EmbeddedPostgres) -> Generator[World]:
    with gateway.database(cluster) as dsn, gateway.running(config, dsn) as running:
        world = World(running, dsn)
        world.prepare()
        yield world


def of_settings(world: World, number: int) -> Writes:
    desired = PROVIDER.shown(world.client)["desired"]
    return (
        Write("PUT", f"{PROVIDERS}/made", settings(number), {"speed": number, "desired": desired}),
        Write("PUT", f"{PROVIDERS}/made", settings(number + 1), {"speed": number + 1, "desired": desired}),
    )


def of_config(world: World, number: int) -> Writes:
    desired = INSTANCE.shown(world.client)["desired"]
    return (
        Write("PUT", f"{INSTANCES}/made", config(number), {"notional": number, "desired": desired}),
        Write("PUT", f"{INSTANCES}/made", config(number + 1), {"notional": number + 1, "desired": desired}),
    )


def of_the_gateway(_: World, number: int) -> Writes:
    def write(size: int) -> Write:
        return Write("PUT", "/config/runtime", {"eventbus": {"bufferSize": size}}, size)

    return write(1000 + number), write(1001 + number)


def of_limits(scope: str) -> Any:
    kind, _, name = scope.partition(":")

    def writes(world: World, number: int) -> Writes:
        before = LIMITS.shown(world.client)

        def write(value: int) -> Write:
            # With a second limit, a mix of both writers would be seen.
            limits = {"maxOpenOrders": value, "maxNotionalValue": str(value)}
            body = {"limits": limits} if kind == "global" else {f"{kind}s": {name: limits}}
            return Write("PUT", "/risk/limits", body, {**before, scope: value})

        return write(number), write(number + 1)

    return writes


def of_a_tag(tag: str) -> Any:
    def writes(world: World, _: int) -> Writes:
        before = TAGS.shown(world.client)

        def write(hash: str) -> Write:
            after = {**before, "tags": {**before["tags"], tag: hash}}
            return Write("PUT", f"{MODULES}/grid/tags/{tag}", {"hash": hash}, after)

        return write(world.hashes[0]), write(world.hashes[1])

    return writes


def of_runs(view: View, path: str) -> Any:
    def writes(world: World, _: int) -> Writes:
        before = view.shown(world.client)
        return (
            Write("POST", f"{path}/start", None, {**before, "desired": "running"}),
            Write("POST", f"{path}/stop", None, {**before, "desired": "stopped"}),
        )

    return writes


def of_halts(_: World, __: int) -> Writes:
    return Write("POST", "/risk/halt", REASON, ["global"]), Write("POST", "/risk/resume", REASON, [])


VERSIONED = {
    "settings of a provider": (PROVIDER, of_settings, f"{PROVIDERS}/made"),
    "config of an instance": (INSTANCE, of_config, f"{INSTANCES}/made"),
    "settings of the gateway": (SETTINGS, of_the_gateway, "/config/runtime"),
    "global limits": (LIMITS, of_limits("global"), "/risk/limits"),
    "limits of a provider": (LIMITS, of_limits("provider:made"), "/risk/limits"),
    "limits of an instance": (LIMITS, of_limits("instance:made"), "/risk/limits"),
}
OTHERS = {
    "latest": (TAGS, of_a_tag("latest"), ""),
    "another tag": (TAGS, of_a_tag("stable"), ""),
    "runs of a provider": (PROVIDER, of_runs(PROVIDER, f"{PROVIDERS}/made"), ""),
    "runs of an instance": (INSTANCE, of_runs(INSTANCE, f"{INSTANCES}/made"), ""),
    "halts": (HALTS, of_halts, ""),
}


@pytest.mark.parametrize("kind", {**VERSIONED, **OTHERS})
def test_the_state_is_that_of_one_of_two_writers(world: World, kind: str) -> None:
    view, make, _ = {**VERSIONED, **OTHERS}[kind]
    for number in range(ROUNDS):
        before = view.shown(world.client)
        writes = make(world, 10 + 2 * number)
        answers = world.both(writes)
        statuses = [each.status_code for each in answers]
        assert set(statuses) <= {200, 202, 409}, [each.text for each in answers]
        final = world.settled(view)
        succeeded = [write.after for write, status in zip(writes, statuses, strict=True) if status < 300]
        assert final in (succeeded or [before]), (final, writes, statuses)
        agree_in_memory(world)
    explained(world)


@pytest.mark.parametrize("kind", VERSIONED)
def test_of_two_writers_with_one_version_one_succeeds(world: World, kind: str) -> None:
    view, make, path = VERSIONED[kind]
    for number in range(ROUNDS):
        writes = make(world, 100 + 2 * number)
        condition = {"if-match": world.client.get(path).headers["etag"]}
        answers = world.both(writes, condition)
        statuses = [each.status_code for each in answers]
        assert sorted(statuses) in ([200, 409], [200, 412]), [each.text for each in answers]
        winner = statuses.index(200)
        assert world.settled(view) == writes[winner].after
        loser = writes[1 - winner]
        again = world.client.request(loser.method, loser.path, json=loser.body, headers=condition)
        assert (again.status_code, again.json()["code"]) == (412, "precondition_failed")
        assert world.settled(view) == writes[winner].after
        agree_in_memory(world)
    explained(world)


def test_one_of_two_writers_creates(world: World) -> None:
    for number in range(ROUNDS):
        tag = f"tag{number}"
        names = (f"p{number}", f"i{number}")
        sources = [f"{control_steps.MODULE}# {tag} {each}\n" for each in range(2)]
        made = {"id": names[1], "scope": {"made": {"symbols": ["A-B"]}}}
        bodies: list[tuple[str, list[Any]]] = [
            (PROVIDERS, [{"name": names[0], "enabled": False, **settings(each)} for each in (1, 2)]),
            (INSTANCES, [{**made, **config(each)} for each in (1, 2)]),
            (MODULES, [{"source": source, "tag": tag} for source in sources]),
        ]
        for path, pair in bodies:
            first, second = (Write("POST", path, body, None) for body in pair)
            answers = world.both((first, second))
            statuses = sorted(each.status_code for each in answers)
            assert statuses in ([201, 409], [202, 409]), [each.text for each in answers]
        assert get(world.client, f"{PROVIDERS}/{names[0]}")["settings"]["speed"] in (1, 2)
        assert get(world.client, f"{INSTANCES}/{names[1]}")["strategy"]["config"]["notional"] in (1, 2)
        for path in (f"{INSTANCES}/{names[1]}", f"{PROVIDERS}/{names[0]}", f"{MODULES}/grid:{tag}"):
            first = second = Write("DELETE", path, None, None)
            statuses = sorted(each.status_code for each in world.both((first, second)))
            assert statuses in ([200, 404], [200, 409], [204, 404]), (path, statuses)
    explained(world)


def test_a_token_is_revoked_once(world: World) -> None:
    for number in range(ROUNDS):
        id = ok(world.client.post("/tokens", json={"name": f"made {number}"}), 201)["token"]["id"]
        first = second = Write("DELETE", f"/tokens/{id}", None, None)
        statuses = sorted(each.status_code for each in world.both((first, second)))
        assert statuses == [200, 409]
        assert all(world.settled(TOKENS))
        subject = [row["action"] for row in rows(world) if row["subject"] == id]
        assert subject == ["token.create", "token.revoke"]


def test_two_admins_cannot_revoke_each_other(world: World) -> None:
    """The last one with the scope admin remains."""
    admins = [{"name": name, "scope": "admin"} for name in ("one admin", "another admin")]
    tokens = [ok(world.client.post("/tokens", json=admin), 201) for admin in admins]
    own = world.running.actor.split()[-1].rstrip(")")
    with psycopg.connect(world.dsn, options="-c search_path=meltica") as connection:
        ids = [each["token"]["id"] for each in tokens]
        connection.execute("update tokens set scope = 'viewer' where id = %s", [own])
    first, second = (Write("DELETE", f"/tokens/{id}", None, None) for id in ids)
    world.running.authorization = {"authorization": f"Bearer {tokens[0]['secret']}"}
    statuses = sorted(each.status_code for each in world.both((first, second)))
    with psycopg.connect(world.dsn, options="-c search_path=meltica") as connection:
        connection.execute("update tokens set scope = 'admin' where id = %s", [own])
    assert statuses[0] == 200
    assert statuses[1] in (401, 409)


def test_a_recovery_does_not_undo_a_change(world: World) -> None:
    """The rows are read again while a change holds the lock of a provider: what it has written remains."""
    running = world.running.gateway
    managers = running.recovery._managers  # pyright: ignore[reportPrivateUsage]
    dynamic = next(each for each in managers if isinstance(each, DynamicProviders))
    store = dynamic._store  # pyright: ignore[reportPrivateUsage]
    provider = running.providers.get("made")

    async def change() -> None:
        async with provider.lock:
            adopting = asyncio.create_task(dynamic.adopt())
            await asyncio.sleep(0)
            row = store.get("made")
            await store.update(record_of(replace(row, settings={**row.settings, "speed": 77})))
            provider.spec = dynamic._declarations.spec(store.get("made"))  # pyright: ignore[reportPrivateUsage]
        await adopting

    world.running.submit(change()).result(PATIENCE)
    agree_in_memory(world)


def agree_in_memory(world: World) -> None:
    """Asserts that what the gateway runs is what the database has."""
    running = world.running.gateway
    row, instance = world.row("instances", "id"), running.instances.get("made")
    assert dict(instance.spec.config)["notional"] == row["config"]["notional"]
    assert instance.desired == row["desired"]
    row, provider = world.row("providers", "name"), running.providers.get("made")
    assert dict(provider.spec.settings)["speed"] == row["settings"]["speed"]
    assert provider.desired == row["desired"]


def rows(world: World) -> list[dict[str, Any]]:
    return control_steps.audited(world.dsn, world.running.actor)


def explained(world: World) -> None:
    """Asserts that the audit leads from each change to the next one, and to what the database has."""
    assert chain_fault(world.dsn) is None
    states: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows(world):
        kind = row["action"].partition(".")[0]
        name = row["subject"].partition(":")[0] if kind == "module" else row["subject"]
        state = states.setdefault((kind, name), {})
        before: dict[str, Any] = row["before"] or {}
        after: dict[str, Any] = row["after"] or {}
        assert all(state.get(key, value) == value for key, value in before.items()), row
        for key in before.keys() - after.keys():
            state.pop(key, None)
        state |= after
    for kind, table, key in (("instance", "instances", "id"), ("provider", "providers", "name")):
        stored_row = world.row(table, key)
        state = states[kind, "made"]
        same = {name: stored_row[name] for name in state if name != "secrets"}
        assert {name: state[name] for name in same} == same
    tags = TAGS.shown(world.client)["tags"]
    assert {key: value for key, value in states["module", "grid"].items() if key.startswith("tag:")} == {
        f"tag:{tag}": hash for tag, hash in tags.items()
    }
    limits = {
        scope: each["maxOpenOrders"]
        for scope, each in states.get(("risk limit", "limits"), {}).items()
        if each["maxOpenOrders"] is not None
    }
    assert limits == LIMITS.shown(world.client)
