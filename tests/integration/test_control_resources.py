"""Strategies, adapters, providers and instances of a running gateway over REST."""

from typing import Any

import httpx
import msgspec
import pytest

from meltica.control import changes
from tests.support import venue
from tests.support.gateway import Running
from tests.support.rest_schemas import Failure


def ok(answer: httpx.Response, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


def failure(answer: httpx.Response, status: int, code: str) -> str:
    assert answer.status_code == status, answer.text
    body = msgspec.json.decode(answer.content, type=Failure)
    assert body.code == code
    return body.error


def test_strategies_include_those_that_never_ran(control: Running) -> None:
    listed = ok(control.client.get("/strategies"))["strategies"]
    assert [one["name"] for one in listed] == [
        "Books",
        "Failing",
        "LargeTrades",
        "MarketMaking",
        "Momentum",
        "Noop",
        "Slow",
        "Slowly",
        "Unloaded",
        "Watcher",
    ]
    watcher = ok(control.client.get("/strategies/wATCHER"))
    assert watcher == {
        "name": "Watcher",
        "displayName": "Watcher",
        "description": "Watches trades.",
        "version": "1.2.0",
        "config": [
            {"name": "threshold", "type": "int", "description": "From when it matters.", "required": True},
            {"name": "token", "type": "string", "description": "", "required": False},
            {"name": "note", "type": "string", "description": "", "required": False},
        ],
        "events": ["Trade"],
    }
    text = failure(control.client.get("/strategies/Watchr"), 404, "not_found")
    assert text == "strategy `Watchr` does not exist; did you mean `Watcher`?"


def test_adapters(control: Running) -> None:
    listed = ok(control.client.get("/adapters"))["adapters"]
    assert [one["identifier"] for one in listed] == ["fake", "replay", venue.NAME]
    assert ok(control.client.get(f"/adapters/{venue.NAME}")) == {
        "identifier": venue.NAME,
        "displayName": "Test venue",
        "venue": "TEST",
        "capabilities": ["TRADE"],
        "settingsSchema": [
            {"name": "api_key", "type": "string", "required": False},
            {"name": "region", "type": "string", "default": "eu", "required": False},
            {"name": "depth", "type": "int", "required": False},
            {"name": "refuses", "type": "bool", "default": False, "required": False},
        ],
    }
    text = failure(control.client.get("/adapters/Replay"), 404, "not_found")
    assert text == "adapter `Replay` does not exist; did you mean `replay`?"


def test_providers(control: Running) -> None:
    control.until(lambda: control.gateway.providers.get("main").running)
    listed = ok(control.client.get("/providers"))["providers"]
    assert [one["name"] for one in listed] == ["demo", "main", "refusing", "spare"]
    detail = ok(control.client.get("/providers/main"))
    # A secret by its type; what came from a variable is hidden as well.
    assert detail["settings"] == {"api_key": "********", "region": "********", "refuses": False}
    assert detail["adapter"]["identifier"] == detail["identifier"] == venue.NAME
    assert (detail["status"], detail["running"], detail["desired"]) == ("running", True, "running")
    assert detail["instrumentCount"] == 2
    assert detail["instruments"][0] == {
        **venue.INSTRUMENTS[0],
        "baseAsset": "BTC",
        "quoteAsset": "USDT",
    }
    assert detail["dependentInstances"] == ["failing", "slow", "slowly", "unloaded", "watcher"]
    assert detail["dependentInstanceCount"] == 5
    spare = listed[3]
    assert spare["status"] in ("pending", "stopped")
    assert (spare["desired"], spare["enabled"]) == ("stopped", False)
    assert "dependentInstances" not in listed[2]
    assert "startupError" not in spare
    text = failure(control.client.get("/providers/mian"), 404, "not_found")
    assert text == "provider `mian` does not exist; did you mean `main`?"


def test_counters_of_a_provider_equal_the_stats_of_the_core(control: Running) -> None:
    control.until(lambda: control.gateway.providers.get("demo").running)
    control.until(lambda: control.gateway.core.stats()["providers"]["demo"]["frames"] > 0)
    before = ok(control.client.get("/providers/demo"))["counters"]
    now = control.gateway.core.stats()["providers"]["demo"]
    assert 0 < before["frames"] <= now["frames"]
    assert 0 < before["bytes"] <= now["bytes"]
    assert set(before["events"]) <= {"Trade", "Ticker"}


def test_a_provider_starts_and_stops_with_drift(control: Running) -> None:
    client = control.client
    started = client.post("/providers/spare/start")
    detail = ok(started, 202)
    assert started.headers["location"] == "/providers/spare"
    assert detail["status"] in ("starting", "running")
    assert (detail["desired"], detail["enabled"], detail["drift"]) == ("running", False, True)
    control.until(lambda: control.gateway.providers.get("spare").running)
    text = failure(client.post("/providers/spare/start"), 409, "conflict")
    assert text == "provider `spare` is already running"
    assert ok(client.get("/providers/spare"))["running"] is True
    stopped = ok(client.post("/providers/spare/stop"))
    assert (stopped["status"], stopped["running"], stopped["drift"]) == ("stopped", False, False)
    text = failure(client.post("/providers/spare/stop"), 409, "conflict")
    assert text == "provider `spare` is not running: its status is stopped"
    for action in ("start", "stop"):
        failure(client.post(f"/providers/nope/{action}"), 404, "not_found")


def test_a_provider_that_cannot_start_has_the_cause(control: Running) -> None:
    ok(control.client.post("/providers/refusing/start"), 202)
    control.until(lambda: control.gateway.providers.get("refusing").actual.value == "failed")
    detail = ok(control.client.get("/providers/refusing"))
    assert (detail["status"], detail["running"], detail["restarts"]) == ("failed", False, 1)
    assert "the venue refuses" in detail["startupError"]


def test_instances(control: Running) -> None:
    listed = ok(control.client.get("/strategy/instances"))["instances"]
    assert [one["id"] for one in listed] == [
        "failing",
        "large-trades",
        "slow",
        "slowly",
        "unloaded",
        "watcher",
    ]
    watcher = listed[5]
    assert watcher["strategyIdentifier"] == "Watcher"
    assert watcher["strategyVersion"] == "1.2.0"
    assert watcher["strategyHash"].startswith("sha256:")
    assert watcher["providers"] == ["main", "spare"]
    assert watcher["aggregatedSymbols"] == ["BTC-USDT", "ETH-USDT"]
    assert (watcher["running"], watcher["status"], watcher["host"]) == (True, "running", "shared")
    assert (watcher["baseline"], watcher["dynamic"]) == (True, False)
    assert watcher["source"].endswith("strategies.py:Watcher")
    detail = ok(control.client.get("/strategy/instances/watcher"))
    assert detail["strategy"] == {
        "identifier": "Watcher",
        # A secret by what its key is called.
        "config": {"token": "********", "threshold": 3},
        "version": "1.2.0",
        "hash": watcher["strategyHash"],
    }
    assert detail["scope"] == {
        "main": {"symbols": ["BTC-USDT", "ETH-USDT"]},
        "spare": {"symbols": ["BTC-USDT"]},
    }
    unloaded = ok(control.client.get("/strategy/instances/unloaded"))
    assert (unloaded["strategy"]["identifier"], unloaded["status"]) == ("Unloaded", "pending")
    assert "counters" not in unloaded
    assert ok(control.client.get("/strategy/instances/large-trades"))["scope"] == {"demo": {"symbols": ["*"]}}
    text = failure(control.client.get("/strategy/instances/wotcher"), 404, "not_found")
    assert text == "instance `wotcher` does not exist; did you mean `watcher`?"


def test_counters_of_an_instance_equal_the_stats_of_the_core(control: Running) -> None:
    control.until(lambda: control.gateway.providers.get("main").running)
    producer = venue.Venue.producers["main"]
    before = ok(control.client.get("/strategy/instances/watcher"))["counters"]
    for price in ("1", "5"):
        producer.publish("Trade", "BTC-USDT", {"tradeId": price, "price": price, "quantity": "1"})
    assert producer.drain(10)
    after = ok(control.client.get("/strategy/instances/watcher"))["counters"]
    assert after["delivered"]["Trade"] - before["delivered"].get("Trade", 0) == 2
    assert after["errors"] - before["errors"] == 1
    assert after["emitted"] - before["emitted"] == 1
    assert after["latencyNs"]["count"] - before["latencyNs"]["count"] == 2
    assert after["callbackNs"]["max"] >= after["callbackNs"]["p50"] > 0


def test_an_instance_stops_and_starts_with_drift(control: Running) -> None:
    client, path = control.client, "/strategy/instances/watcher"
    text = failure(client.post(f"{path}/start"), 409, "conflict")
    assert text == "instance `watcher` is already running"
    stopped = ok(client.post(f"{path}/stop"))
    assert (stopped["running"], stopped["status"], stopped["drift"]) == (False, "stopped", True)
    text = failure(client.post(f"{path}/stop"), 409, "conflict")
    assert text == "instance `watcher` is not running: its status is stopped"
    assert ok(client.get("/strategy/instances"))["instances"][5]["drift"] is True
    started = ok(client.post(f"{path}/start"))
    assert (started["running"], started["status"], started["drift"]) == (True, "running", False)
    for action in ("start", "stop"):
        failure(client.post(f"/strategy/instances/nope/{action}"), 404, "not_found")


def test_an_instance_that_cannot_start_has_the_cause(control: Running) -> None:
    text = failure(control.client.post("/strategy/instances/failing/start"), 400, "start_failed")
    assert text == "instance `failing` could not start: RuntimeError: no luck"
    detail = ok(control.client.get("/strategy/instances/failing"))
    assert (detail["status"], detail["running"]) == ("failed", False)
    assert detail["lastError"] == "RuntimeError: no luck"


def test_a_slow_change_continues_after_the_response(
    control: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    venue.GATE.clear()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(changes, "PATIENCE", 1.0)
            detail = ok(control.client.post("/strategy/instances/slow/start"), 202)
        assert (detail["status"], detail["running"], detail["desired"]) == ("starting", False, "running")
        for action in ("start", "stop"):
            text = failure(control.client.post(f"/strategy/instances/slow/{action}"), 409, "conflict")
            assert (
                text
                == "instance `slow` is starting, and another change is in progress; retry when it is done"
            )
    finally:
        venue.GATE.set()
    control.until(lambda: control.gateway.instances.get("slow").running)
    ok(control.client.post("/strategy/instances/slow/stop"))


def test_unknown_actions(control: Running) -> None:
    for path in ("/providers/main/pause", "/strategy/instances/watcher/pause"):
        failure(control.client.post(path), 404, "unknown_path")
    for path in ("/providers/main/start", "/strategy/instances/watcher/stop"):
        answer = control.client.get(path)
        failure(answer, 405, "method_not_allowed")
        assert answer.headers["allow"] == "OPTIONS, POST"
