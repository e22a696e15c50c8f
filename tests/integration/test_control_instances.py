"""Instances that are created, changed and deleted over REST."""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from meltica.persistence.postgres.embedded import EmbeddedPostgres
from tests.integration.test_control_resources import failure, ok
from tests.support.gateway import Running, database, running

PATH = "/strategy/instances"
BODY: dict[str, Any] = {
    "id": "made",
    "strategy": {"identifier": "LargeTrades", "config": {"notional": 5}},
    "scope": {"main": {"symbols": [" btc-usdt", "BTC-USDT", "ETH-USDT"]}},
}
OPEN = {"auth": "none"}
"""A second gateway of a database has no token of the first one."""
HELD = """
    insert into positions (instance, uid, mode, provider, symbol, quantity, cost, realised, peak, updated_at)
    values ('idle', %(uid)s, 'paper', 'main', 'BTC-USDT', 1, 1, 0, 0, 1767323045678901000)
"""


def create(control: Running, **changes: Any) -> Any:
    return ok(control.client.post(PATH, json={**BODY, **changes}), 201)


def etag(control: Running, id: str = "made") -> str:
    return control.client.get(f"{PATH}/{id}").headers["etag"]


@pytest.fixture(name="made")
def _made(control: Running) -> Generator[Any]:
    yield create(control)
    if "made" in control.gateway.instances:
        ok(control.client.delete(f"{PATH}/made"))


def test_a_created_instance_is_stopped_and_has_what_was_given(made: Any) -> None:
    assert made["status"] == "pending"
    assert made["strategy"]["config"] == {"notional": 5}
    assert made["scope"] == {"main": {"symbols": ["BTC-USDT", "ETH-USDT"]}}
    assert (made["dynamic"], made["drift"], made["dryRun"]) == (True, False, True)


def test_every_fault_of_a_body_is_named_with_its_path(control: Running) -> None:
    body = {
        "id": "made",
        "nme": 1,
        "strategy": {"identifier": "LargeTrades", "config": {"notional": "x", "other": 1, "apiKey": "k"}},
        "scope": {"mian": {"symbols": ["BTC"]}},
        "host": "proces",
    }
    answer = control.client.post(PATH, json=body)
    failure(answer, 400, "validation_failed")
    assert set(answer.json()["faults"]) == {"nme", "host"}
    body = {key: value for key, value in body.items() if key not in ("nme", "host")}
    answer = control.client.post(PATH, json=body)
    failure(answer, 400, "validation_failed")
    paths = {"scope.mian", "strategy.config.notional", "strategy.config.other", "strategy.config.apiKey"}
    assert paths <= set(answer.json()["faults"])
    assert any(path.startswith("scope.mian[") for path in answer.json()["faults"])
    assert "made" not in control.gateway.instances


@pytest.mark.parametrize("id", ["watcher", "large-trades", "made"])
def test_sending_back_what_get_answers_changes_nothing(control: Running, made: Any, id: str) -> None:
    before = control.client.get(f"{PATH}/{id}")
    stored = control.gateway.instances.stored(id)
    answer = control.client.put(f"{PATH}/{id}", json=before.json())
    assert ok(answer)["strategy"] == before.json()["strategy"]
    assert answer.headers["etag"] == before.headers["etag"]
    assert control.gateway.instances.stored(id).config == stored.config
    assert control.gateway.instances.stored(id).updated_at == stored.updated_at


def test_only_the_config_changes(control: Running, made: Any) -> None:
    def put(**body: Any) -> httpx.Response:
        return control.client.put(f"{PATH}/made", json={"id": "made", **body})

    changed = ok(put(strategy={"identifier": "largetrades", "config": {"notional": 7}}))
    assert changed["strategy"]["config"] == {"notional": 7}
    text = failure(put(scope={"main": {"symbols": ["BTC-USDT"]}}), 409, "conflict")
    assert "scope assignments are immutable" in text
    failure(put(strategy={"identifier": "noop"}), 409, "conflict")
    failure(put(host="shared"), 409, "conflict")
    assert "mismatch" in failure(
        control.client.put(f"{PATH}/made", json={"id": "x"}), 400, "validation_failed"
    )
    failure(control.client.put(f"{PATH}/zzz", json={"id": "zzz"}), 404, "not_found")
    text = failure(
        control.client.put(f"{PATH}/watcher", json={"strategy": {"config": {"threshold": 9}}}),
        409,
        "conflict",
    )
    assert "config file" in text


@pytest.mark.parametrize("id", ["watcher", "made"])
def test_a_change_does_not_pass_for_a_stop(control: Running, made: Any, id: str) -> None:
    """An instance that trades on after `enabled: false` was answered with a 200 would surprise."""
    enabled = ok(control.client.get(f"{PATH}/{id}"))["enabled"]
    answer = control.client.put(f"{PATH}/{id}", json={"enabled": not enabled})
    verb = "stop" if enabled else "start"
    assert f"POST {PATH}/{id}/{verb}" in failure(answer, 409, "conflict")
    ok(control.client.put(f"{PATH}/{id}", json={"enabled": enabled}))


def test_a_running_instance_is_restarted_with_its_new_config(control: Running, made: Any) -> None:
    ok(control.client.post(f"{PATH}/made/start"))
    changed = ok(control.client.put(f"{PATH}/made", json={"strategy": {"config": {"notional": 8}}}))
    assert (changed["status"], changed["strategy"]["config"]) == ("running", {"notional": 8})
    run = control.gateway.instances.get("made").run
    assert run is not None
    assert ok(control.client.delete(f"{PATH}/made")) == {"status": "removed", "id": "made"}
    assert run.state == "stopped"
    failure(control.client.get(f"{PATH}/made"), 404, "not_found")
    create(control)


def test_a_plan_and_another_version_change_nothing(control: Running, made: Any) -> None:
    version = etag(control)
    body = {"strategy": {"config": {"notional": 9}}}
    plan = control.client.put(f"{PATH}/made?plan=1", json=body)
    expected = {"config": {"before": {"notional": 5}, "after": {"notional": 9}}}
    assert (ok(plan)["effect"], ok(plan)["changes"]) == ("update", expected)
    assert ok(control.client.post(f"{PATH}?plan=1", json={**BODY, "id": "other"}))["effect"] == "create"
    assert ok(control.client.delete(f"{PATH}/made?plan=1"))["effect"] == "delete"
    assert "other" not in control.gateway.instances
    assert etag(control) == version
    old = {"if-match": '"0"'}
    failure(control.client.put(f"{PATH}/made", json=body, headers=old), 412, "precondition_failed")
    failure(control.client.delete(f"{PATH}/made", headers=old), 412, "precondition_failed")
    changed = control.client.put(f"{PATH}/made", json=body, headers={"if-match": version})
    assert ok(changed)["strategy"]["config"] == {"notional": 9}
    assert changed.headers["etag"] == plan.headers["etag"] != version
    failure(
        control.client.put(f"{PATH}/made", json=body, headers={"if-match": version}),
        412,
        "precondition_failed",
    )


@pytest.mark.parametrize(
    ("method", "path"), [("POST", PATH), ("PUT", f"{PATH}/made"), ("POST", f"{PATH}/watcher/start")]
)
def test_a_change_takes_no_unknown_query_parameter(control: Running, method: str, path: str) -> None:
    answer = control.client.request(method, f"{path}?pln=1", json={} if path.endswith("start") else BODY)
    assert "`pln` is unknown" in failure(answer, 400, "invalid_parameter")


def test_refusals(control: Running, made: Any) -> None:
    failure(control.client.post(PATH, json=BODY), 409, "already_exists")
    unknown = {**BODY, "id": "b", "strategy": {"identifier": "noop", "tag": "v1"}}
    failure(control.client.post(PATH, json=unknown), 404, "not_found")
    unknown["strategy"] = {"selector": "noop@sha256:0"}
    failure(control.client.post(PATH, json=unknown), 404, "not_found")
    unknown["strategy"] = {"identifier": "nop"}
    assert "did you mean `noop`" in failure(control.client.post(PATH, json=unknown), 404, "not_found")
    assert "in use" in failure(control.client.delete(f"{PATH}/watcher"), 409, "conflict")


def test_of_two_writers_at_once_one_state_remains(control: Running, made: Any) -> None:
    def put(notional: int) -> httpx.Response:
        return control.client.put(f"{PATH}/made", json={"strategy": {"config": {"notional": notional}}})

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(put, [101, 202]))
    assert {each.status_code for each in answers} <= {200, 409}
    left = control.gateway.instances.stored("made").config["notional"]
    won = [value for value, answer in zip([101, 202], answers, strict=True) if answer.status_code == 200]
    assert left in won
    assert control.gateway.instances.get("made").spec.config["notional"] == left

    def post(id: str) -> httpx.Response:
        return control.client.post(PATH, json={**BODY, "id": id})

    with ThreadPoolExecutor(2) as pool:
        created = list(pool.map(post, ["twice", "twice"]))
    assert sorted(each.status_code for each in created) == [201, 409]
    ok(control.client.delete(f"{PATH}/twice"))


def test_a_symbol_from_which_nothing_comes_is_named(control: Running) -> None:
    scope = {"main": {"symbols": ["ZZZ-USDT"]}, "spare": {"symbols": ["BTC-USDT"]}}
    made = create(control, id="nowhere", scope=scope)
    assert made["scopeFaults"] == {
        "main ZZZ-USDT": "provider `main` does not list the symbol",
        "spare BTC-USDT": "provider `spare` unavailable: it is pending",
    }
    ok(control.client.post(f"{PATH}/nowhere/start"))
    faults = control.submit(control.gateway.readiness.faults()).result()
    assert "ZZZ-USDT" in faults["scope of lambda nowhere"]
    ok(control.client.delete(f"{PATH}/nowhere"))


def test_a_created_instance_runs_again_after_a_restart(config: Path, cluster: EmbeddedPostgres) -> None:
    with database(cluster) as dsn:
        with running(config, dsn, apiServer=OPEN) as first:
            create(first)
            create(first, id="idle")
            ok(first.client.post(f"{PATH}/made/start"))
            version, uid = etag(first), first.gateway.instances.stored("made").uid
        with running(config, dsn, apiServer=OPEN) as second:
            second.until(lambda: second.gateway.instances.get("made").running)
            assert (etag(second), second.gateway.instances.stored("made").uid) == (version, uid)
            assert ok(second.client.get(f"{PATH}/idle"))["status"] == "pending"
            ok(second.client.delete(f"{PATH}/made"))
        with running(config, dsn, apiServer=OPEN) as third:
            assert "made" not in third.gateway.instances
            # An instance with a position is not deleted.
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute(HELD, {"uid": third.gateway.instances.stored("idle").uid})
            text = failure(third.client.delete(f"{PATH}/idle"), 409, "conflict")
            assert "in use" in text
            assert "idle" in third.gateway.instances
