"""The writes of existing clients, with their bodies and headers: every answer is one that they can read."""

import json
from collections.abc import Generator, Mapping
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
import pytest

from tests.integration.test_client_shapes import check
from tests.integration.test_control_modules import EXAMPLE, SECOND
from tests.integration.test_control_resources import failure, ok
from tests.support.gateway import Running
from tests.support.rest_schemas import INSTANCE, MODULE, PROVIDER, ModuleFaults

HEADERS = {
    "content-type": "application/json",
    "x-meltica-client": "web",
    "x-meltica-request-id": "a1",
    "x-meltica-sent-at": "2026-11-30T10:00:00.000Z",
}
MODULES = "/strategies/modules"
UPLOAD = {
    "filename": "grid.js",
    "name": "grid",
    "tag": "1.0.0",
    "aliases": ["Stable", "stable"],
    "promoteLatest": True,
    "source": EXAMPLE,
}
SYMBOLS = {"symbols": ["btc-usdt", "BTC-USDT", " eth-usdt"]}
CREATED: dict[str, Any] = {
    "id": "mine",
    "strategy": {"identifier": "grid", "config": {}, "version": "1.0.0"},
    "scope": {"main": SYMBOLS},
    "providers": ["main"],
    "aggregatedSymbols": ["BTC-USDT", "ETH-USDT"],
    "running": False,
}
LIMITS: dict[str, Any] = {
    "MaxPositionSize": "4",
    "MaxNotionalValue": "900",
    "NotionalCurrency": "USDT",
    "OrderThrottle": 2.5,
    "OrderBurst": 2,
    "MaxConcurrentOrders": 0,
    "PriceBandPercent": 0,
    "AllowedOrderTypes": [],
    "KillSwitchEnabled": False,
    "MaxRiskBreaches": 0,
    "CircuitBreaker": {"Enabled": False, "Threshold": 3, "Cooldown": ""},
}


class Writer:
    """Sends requests as existing clients do, and checks the responses with their schemas."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def raw(self, method: str, path: str, body: object = None) -> httpx.Response:
        content = None if body is None else json.dumps(body)
        return self._client.request(method, path, content=content, headers=HEADERS)

    def send(self, method: str, template: str, body: object = None, **names: str) -> Any:
        path = template.format(**{name: quote(text, safe="") for name, text in names.items()})
        return check(method, template, self.raw(method, path, body))


@pytest.fixture(name="writer")
def _writer(control: Running) -> Generator[Writer]:
    control.until(lambda: control.gateway.providers.get("main").running)
    yield Writer(control.client)
    for instance in ok(control.client.get("/strategy/instances"))["instances"]:
        if instance["dynamic"]:
            ok(control.client.delete(f"/strategy/instances/{instance['id']}"))
    for module in ok(control.client.get(MODULES))["modules"]:
        assert control.client.delete(f"{MODULES}/{module['name']}").status_code == 204


def test_an_upload_and_the_same_bytes_again(writer: Writer) -> None:
    first = writer.send("POST", MODULES, UPLOAD)
    assert (first["filename"], first["module"]["tag"]) == ("grid.js", "1.0.0")
    assert writer.send("POST", MODULES, UPLOAD) == first
    for selector in ("grid", "grid:1.0.0", "GRID"):
        assert writer.send("PUT", MODULE, UPLOAD, selector=selector) == first
    shown = writer.send("GET", MODULE, selector="grid")
    assert shown["tags"] == ["1.0.0", "latest", "stable"]
    null = dict.fromkeys(("tag", "aliases", "promoteLatest", "name", "filename"))
    assert writer.send("POST", MODULES, {**null, "source": EXAMPLE})["module"] == first["module"]


def test_what_is_wrong_with_an_upload(writer: Writer) -> None:
    writer.send("POST", MODULES, UPLOAD)
    text = failure(writer.raw("POST", MODULES, {**UPLOAD, "source": SECOND}), 409, "already_exists")
    assert "tag" in text
    assert "already exists" in text
    unversioned = {"source": SECOND.replace('    version = "2.0.0"\n', "")}
    assert "metadata version required" in failure(
        writer.raw("POST", MODULES, unversioned), 400, "invalid_body"
    )
    for source in ("x = (", "raise ValueError('no')", "x = 1"):
        answer = writer.raw("POST", MODULES, {"source": source, "filename": "grid.js"})
        assert answer.status_code == 422
        assert msgspec.json.decode(answer.content, type=ModuleFaults).diagnostics


def test_tags_and_refreshes(writer: Writer) -> None:
    writer.send("POST", MODULES, UPLOAD)
    second = writer.send("POST", MODULES, {"source": SECOND})["module"]["hash"]
    tags = "/strategies/modules/{name}/tags/{tag}"
    for body in ({"hash": second}, {"hash": second, "refresh": None}):
        assert writer.send("PUT", tags, body, name="grid", tag="next")["refresh"]
    writer.send("DELETE", tags, name="grid", tag="next")
    nothing: Mapping[str, Any] = {"strategies": None, "hashes": None}
    empty: tuple[Any, ...] = (None, {}, nothing, {"strategies": [], "hashes": []})
    for body in empty:
        assert writer.send("POST", "/strategies/refresh", body)["status"] == "refreshed"
    for body in ({"strategies": ["grid"]}, {"hashes": [second]}):
        assert writer.send("POST", "/strategies/refresh", body)["status"] == "partial_refresh"


def test_a_promotion_and_an_alias(writer: Writer) -> None:
    """Existing clients send the source of a revision again: to promote it, and to give it an alias."""
    first = writer.send("POST", MODULES, UPLOAD)["module"]["hash"]
    newer = {**UPLOAD, "source": SECOND, "tag": "2.0.0", "aliases": [], "promoteLatest": False}
    second = writer.send("PUT", MODULE, newer, selector="grid")["module"]["hash"]
    assert writer.send("GET", MODULE, selector="grid")["tagAliases"]["latest"] == first
    writer.send("PUT", MODULE, {**newer, "promoteLatest": True}, selector="grid:2.0.0")
    writer.send("PUT", MODULE, {**newer, "aliases": ["Next", "stable"]}, selector=f"grid@{second}")
    shown = writer.send("GET", MODULE, selector="grid")
    assert (shown["hash"], shown["tagAliases"]["latest"], shown["tagAliases"]["next"]) == (second,) * 3
    assert shown["tagAliases"]["stable"] == first, "an alias of another revision stays there"
    assert [each["path"] for each in shown["revisions"]] == ["grid/1.0.0/grid.py", "grid/2.0.0/grid.py"]
    for selector in ("grid:2.0.0", "grid"):
        assert writer.raw("DELETE", f"{MODULES}/{quote(selector, safe='')}").status_code == 204


def test_an_instance(writer: Writer) -> None:
    writer.send("POST", MODULES, UPLOAD)
    created = writer.send("POST", "/strategy/instances", CREATED)
    assert (created["scope"], created["running"]) == ({"main": {"symbols": ["BTC-USDT", "ETH-USDT"]}}, False)
    assert writer.send("PUT", INSTANCE, created, id="mine") == created
    config = {"identifier": "grid", "config": {"step": 2}}
    changed = writer.send("PUT", INSTANCE, {**CREATED, "strategy": config}, id="mine")
    assert changed["strategy"]["config"] == {"step": 2}
    scope = {"main": {"symbols": ["BTC-USDT"]}}
    text = failure(
        writer.raw("PUT", "/strategy/instances/mine", {**CREATED, "scope": scope}), 409, "conflict"
    )
    assert "scope assignments are immutable" in text
    assert writer.send("POST", f"{INSTANCE}/start", id="mine")["running"]
    assert "in use" in failure(writer.raw("DELETE", f"{MODULES}/grid"), 409, "conflict")
    assert not writer.send("POST", f"{INSTANCE}/stop", id="mine")["running"]
    writer.send("DELETE", INSTANCE, id="mine")


DRY = """
import meltica

class Dry(meltica.Lambda):
    version = "1"

    class Config(meltica.LambdaConfig):
        dry_run: str = "perhaps"

    def on_trade(self, trade): pass
"""


@pytest.mark.parametrize("identifier", ["noop", "grid"])
def test_a_dry_run_in_a_config(writer: Writer, identifier: str) -> None:
    def body(**config: Any) -> dict[str, Any]:
        return {**CREATED, "strategy": {"identifier": identifier, "config": config}}

    writer.send("POST", MODULES, UPLOAD)
    path, mine = "/strategy/instances", "/strategy/instances/mine"
    created = writer.send("POST", path, body(dry_run=True))
    assert (created["dryRun"], created["strategy"]["config"]) == (True, {})
    assert writer.send("PUT", INSTANCE, body(dry_run=True), id="mine") == created
    assert "immutable" in failure(writer.raw("PUT", mine, body(dry_run=False)), 409, "conflict")
    assert "unknown" in failure(writer.raw("PUT", mine, body(dry=True)), 400, "validation_failed")
    writer.send("DELETE", INSTANCE, id="mine")
    # Orders to a venue: the same rules as for `dryRun`.
    text = failure(writer.raw("POST", path, body(dry_run=False)), 400, "validation_failed")
    assert "provider `main`" in text
    wrong: tuple[Any, ...] = ("true", 1, {})
    for value in wrong:
        text = failure(writer.raw("POST", path, body(dry_run=value)), 400, "validation_failed")
        assert "`strategy.config.dry_run`" in text
    both = {**body(dry_run=True), "dryRun": False}
    assert "another value" in failure(writer.raw("POST", path, both), 400, "validation_failed")
    assert writer.send("POST", path, body(dry_run=None))["dryRun"]
    assert writer.send("PUT", INSTANCE, body(dry_run=None), id="mine") == created
    writer.send("DELETE", INSTANCE, id="mine")
    old: dict[str, Any] = {"providers": [], "lambdas": [body(dry_run=True)], "risk": {}}
    assert writer.send("POST", "/context/backup", old)["changes"]["instance:mine"] == "created"
    assert writer.send("GET", INSTANCE, id="mine")["dryRun"]


def test_a_setting_of_that_name_belongs_to_its_strategy(writer: Writer) -> None:
    writer.send("POST", MODULES, {"source": DRY})
    body: dict[str, Any] = {**CREATED, "strategy": {"identifier": "dry", "config": {"dry_run": "no"}}}
    assert writer.send("POST", "/strategy/instances", body)["strategy"]["config"] == {"dry_run": "no"}
    for value in ("yes", "no"):
        body["strategy"]["config"]["dry_run"] = value
        changed = writer.send("PUT", INSTANCE, body, id="mine")
        assert (changed["strategy"]["config"], changed["dryRun"]) == ({"dry_run": value}, True)


def test_a_provider(writer: Writer, control: Running) -> None:
    adapter = {"identifier": "Test-Venue", "config": {"api_key": "hunter2", "region": "", "depth": None}}
    body = {"name": "added", "adapter": adapter, "enabled": False}
    created = writer.send("POST", "/providers", body)
    assert created["settings"]["api_key"] == "********"
    shown = {"identifier": "test-venue", "config": {**created["settings"], "depth": "3"}}
    changed = writer.send("PUT", PROVIDER, {**body, "name": "ADDED", "adapter": shown}, name="added")
    assert changed["settings"] == {**created["settings"], "depth": 3}
    assert writer.send("POST", f"{PROVIDER}/start", name="added")["status"] in ("starting", "running")
    control.until(lambda: control.gateway.providers.get("added").running)
    scope = {"added": {"symbols": ["BTC-USDT"]}}
    instance = {**CREATED, "id": "user", "strategy": {"identifier": "noop"}, "scope": scope}
    writer.send("POST", "/strategy/instances", instance)
    assert "in use" in failure(writer.raw("DELETE", "/providers/added"), 409, "conflict")
    assert writer.send("POST", f"{PROVIDER}/stop", name="added")["status"] == "stopped"
    faults = " ".join(writer.send("GET", INSTANCE, id="user")["scopeFaults"].values())
    assert "provider" in faults
    assert "unavailable" in faults
    writer.send("DELETE", INSTANCE, id="user")
    writer.send("DELETE", PROVIDER, name="added")


def test_what_a_form_sends_of_its_defaults(writer: Writer) -> None:
    """A form shows the default of each setting, and sends all of them."""
    for adapter in writer.send("GET", "/adapters")["adapters"]:
        given = {each["name"]: each["default"] for each in adapter["settingsSchema"] if "default" in each}
        if adapter["identifier"] == "replay":  # which has no default for what it replays
            given["sample"] = True
        body = {"name": "formed", "adapter": {"identifier": adapter["identifier"], "config": given}}
        created = writer.send("POST", "/providers", {**body, "enabled": False})
        assert created["settings"].items() >= given.items()
        writer.send("DELETE", PROVIDER, name="formed")
    writer.send("POST", MODULES, UPLOAD)
    for strategy in writer.send("GET", "/strategies")["strategies"]:
        required = [each["name"] for each in strategy["config"] if each["required"]]
        if required or ":" in strategy["name"]:
            continue
        given = {each["name"]: each["default"] for each in strategy["config"] if "default" in each}
        body = {**CREATED, "id": "formed", "strategy": {"identifier": strategy["name"], "config": given}}
        answer = writer.raw("POST", "/strategy/instances", body)
        if answer.status_code == 404:  # a strategy of a file, which only the config file may use
            continue
        assert check("POST", "/strategy/instances", answer)["strategy"]["config"] == given
        writer.send("DELETE", INSTANCE, id="formed")


def test_what_a_form_sends_after_one_edit(writer: Writer) -> None:
    """A form shows what GET answers, defaults of nested settings too, and sends all of it with one change."""
    config = {"endpoint": "http://127.0.0.1:1"}
    body: dict[str, Any] = {"name": "formed", "adapter": {"identifier": "fake", "config": config}}
    shown = writer.send("POST", "/providers", {**body, "enabled": False})["settings"]
    assert any(isinstance(each, list | dict) for each in shown.values())
    body["adapter"]["config"] = {**shown, "key": "k", "secret": "s"}
    changed = writer.send("PUT", PROVIDER, body, name="formed")["settings"]
    assert changed == {**shown, "key": "k", "secret": "********"}
    body["adapter"]["config"] = {**changed, "endpoint": "http://127.0.0.1:2"}
    assert writer.send("PUT", PROVIDER, body, name="formed")["settings"] == body["adapter"]["config"]
    writer.send("DELETE", PROVIDER, name="formed")


def test_limits_in_any_case(writer: Writer) -> None:
    before = writer.send("GET", "/risk/limits")["limits"]
    assert writer.send("PUT", "/risk/limits", {"maxOpenOrders": 7})["status"] == "updated"
    after = writer.send("PUT", "/risk/limits", LIMITS)["limits"]
    # A limit that they do not have stays, and a breaker that is off keeps its cooldown.
    assert (after["maxOpenOrders"], after["orderThrottle"], after["maxConcurrentOrders"]) == (7, 2.5, 0)
    cooldown = before["circuitBreaker"]["cooldown"]
    assert after["circuitBreaker"] == {"enabled": False, "threshold": 3, "cooldown": cooldown}
    least = {"OrderBurst": 0, "MaxRiskBreaches": -1, "AllowedOrderTypes": [" limit ", "LIMIT", "Market"]}
    off = {"CircuitBreaker": {"Enabled": False, "Threshold": -1, "Cooldown": "0s"}}
    after = writer.send("PUT", "/risk/limits", {**LIMITS, **least, **off})["limits"]
    assert (after["orderBurst"], after["maxRiskBreaches"]) == (1, 0)
    assert after["allowedOrderTypes"] == ["Limit", "Market"]
    assert after["circuitBreaker"] == {"enabled": False, "threshold": 3, "cooldown": cooldown}
    for value in (True, "0", [0]):
        failure(writer.raw("PUT", "/risk/limits", {"OrderBurst": value}), 400, "validation_failed")
    for wrong in ({"Threshold": 0}, {"Threshold": -1}, {"Cooldown": "soon"}):
        enabled: Any = {"circuitBreaker": {"Enabled": True, "Cooldown": "90s", **wrong}}
        failure(writer.raw("PUT", "/risk/limits", enabled), 400, "validation_failed")
    enabled = {"circuitBreaker": {"Enabled": True, "Cooldown": ""}}
    assert "cooldown" in failure(writer.raw("PUT", "/risk/limits", enabled), 400, "validation_failed")
    for spelled in (str.upper, str.lower):
        body = {spelled(key): value for key, value in before.items()}
        assert writer.send("PUT", "/risk/limits", body)["limits"] == {**before, "maxOpenOrders": 7}
    assert "maxOpenOrders" not in writer.send("PUT", "/risk/limits", {"maxOpenOrders": None})["limits"]


def test_settings_of_theirs(writer: Writer) -> None:
    before = writer.send("GET", "/config/runtime")["config"]
    sent: dict[str, Any] = {
        "eventbus": {"bufferSize": 8192, "fanoutWorkers": "auto"},
        "pools": {name: {"size": 8192, "waitQueueSize": 0} for name in ("event", "orderRequest")},
        "risk": LIMITS | {"CircuitBreaker": {"Enabled": True, "Threshold": 4, "Cooldown": "1m30s"}},
        "apiServer": {"addr": before["apiServer"]["addr"]},
        "telemetry": {"otlpEndpoint": "", "serviceName": "x", "otlpInsecure": True, "enableMetrics": False},
    }
    for body in (
        sent,
        {"config": sent, "source": "file", "filePath": "/x", "metadata": {}},
        {"runtime": sent},
    ):
        shown = writer.send("PUT", "/config/runtime", body)["config"]
        for name in ("eventbus", "pools", "telemetry"):
            assert shown[name].items() >= {k: v for k, v in sent[name].items() if name != "pools"}.items()
        assert (shown["risk"]["maxPositionSize"], shown["pools"]["event"]) == ("4", sent["pools"]["event"])
        assert writer.send("DELETE", "/config/runtime")["config"] == before


def test_a_backup_of_theirs(writer: Writer) -> None:
    config = {"identifier": "test-venue", "provider_name": "old", "config": {"region": "us"}}
    instance = {"id": "old", "strategy": {"identifier": "noop"}, "scope": {"old": SYMBOLS}}
    theirs: dict[str, Any] = {
        "providers": [{"Name": "old", "Adapter": "test-venue", "Config": config}],
        "lambdas": [instance],
        "risk": {"MaxPositionSize": "5", "MaxNotionalValue": "500", "NotionalCurrency": "USDT"},
    }
    assert writer.send("POST", "/context/backup", theirs)["status"] == "restored"
    ours = writer.send("GET", "/context/backup")
    assert [each["id"] for each in ours["lambdas"]] == ["old"]
    assert writer.send("GET", PROVIDER, name="old")["settings"]["region"] == "us"
    assert writer.send("POST", "/context/backup", ours)["changes"] == {}
    answered = {**ours, "lambdas": [writer.send("GET", INSTANCE, id="old")]}
    answered.pop("checksum")
    assert writer.send("POST", "/context/backup", answered)["changes"] == {}
    assert writer.send("POST", "/context/backup", {"providers": [], "lambdas": [], "risk": {}})["status"] == (
        "restored"
    )


def test_a_configuration_backup(writer: Writer) -> None:
    writer.send("POST", MODULES, UPLOAD)
    writer.send("POST", "/strategy/instances", CREATED)
    ours = writer.send("GET", "/config/backup")
    assert [each["id"] for each in ours["lambdas"]["instances"]] == ["mine"]
    again = writer.send("POST", "/config/backup", ours)
    assert (again["changes"], again["lambdas"]) == ({}, 1)
    config = {"identifier": "test-venue", "provider_name": "old", "config": {"region": "us"}}
    theirs: dict[str, Any] = {
        "version": "2025-11",
        "generatedAt": "2025-11-07T10:00:00Z",
        "environment": "dev",
        "meta": {"name": "meltica", "version": "1", "description": ""},
        "runtime": {},
        "providers": {
            "config": None,
            "runtime": [{"Name": "old", "Adapter": "test-venue", "Config": config}],
        },
        "lambdas": {
            "instances": [{"id": "new", "strategy": {"identifier": "noop"}, "scope": {"old": SYMBOLS}}]
        },
    }
    text = failure(writer.raw("POST", "/config/backup", theirs), 400, "backup_version")
    assert "version" in text
    restored = writer.send("POST", "/config/backup", {**theirs, "version": "1"})
    assert (restored["status"], restored["lambdas"]) == ("restored", 1)
    assert writer.send("GET", INSTANCE, id="new")["scope"] == {"old": {"symbols": ["BTC-USDT", "ETH-USDT"]}}
    nothing: Any = {"providers": {"config": None, "runtime": []}, "lambdas": {"instances": []}, "runtime": {}}
    assert writer.send("POST", "/config/backup", nothing)["lambdas"] == 0


def test_settings_of_a_backup_in_any_case(writer: Writer) -> None:
    runtime: dict[str, Any] = {
        "Eventbus": {"BufferSize": 901, "fanoutworkers": 8},
        "pools": {"Event": {"size": 8192, "WaitQueueSize": 8192}},
        "Risk": {**LIMITS, "MaxPositionSize": "6"},
        "telemetry": {"ServiceName": "theirs", "OtlpInsecure": True},
    }
    for path in ("/context/backup", "/config/backup"):
        writer.send("DELETE", "/config/runtime")
        assert writer.send("POST", path, {"runtime": runtime})["status"] == "restored"
        config = writer.send("GET", "/config/runtime")["config"]
        assert (config["eventbus"]["bufferSize"], config["risk"]["maxPositionSize"]) == (901, "6")
        assert config["telemetry"]["serviceName"] == "theirs"
    both = {"runtime": runtime, "risk": {"maxPositionSize": "7"}}
    assert "keep one" in failure(writer.raw("POST", "/context/backup", both), 400, "validation_failed")
    for key in ("MAXPOSITIONSIZE", "unknown"):
        wrong: dict[str, Any] = {"runtime": {"risk": {"maxPositionSize": "6", key: "6"}}}
        assert key in failure(writer.raw("POST", "/context/backup", wrong), 400, "validation_failed")
    failure(writer.raw("POST", "/context/backup", {"runtime": {"risk": 5}}), 400, "validation_failed")
    writer.send("DELETE", "/config/runtime")


def test_an_event(writer: Writer, control: Running) -> None:
    control.settle()
    listed = writer.send("GET", "/outbox")["events"]
    if not listed:
        listed = writer.raw("GET", "/outbox?delivered=true&limit=1").json()["events"]
    id = listed[0]["id"]
    assert writer.send("DELETE", "/outbox/{id}", id=str(id)) == {"id": id, "status": "deleted"}
