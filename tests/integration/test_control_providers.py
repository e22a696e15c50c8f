"""Providers that are created, changed and deleted over REST."""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.persistence.secrets import new_key
from meltica.validation.models import MASK, revealed
from tests.integration.test_control_resources import failure, ok
from tests.support.gateway import Running, database, running

PATH = "/providers"
BODY: dict[str, Any] = {
    "name": "made",
    "adapter": {"identifier": "test-venue", "config": {"api_key": "hunter2", "depth": 7}},
}
INSTANCE: dict[str, Any] = {
    "id": "user",
    "strategy": {"identifier": "noop"},
    "scope": {"made": {"symbols": ["BTC-USDT"]}},
}
OPEN = {"auth": "none"}
"""A second gateway of a database has no token of the first one."""
HELD = """
    insert into positions (instance, uid, mode, provider, symbol, quantity, cost, realised, peak, updated_at)
    values ('gone', gen_random_uuid(), 'paper', 'made', 'BTC-USDT', 1, 1, 0, 0, 1767323045678901000)
"""


def create(control: Running, **changes: Any) -> Any:
    return ok(control.client.post(PATH, json={**BODY, **changes}), 202)


def put(control: Running, **body: Any) -> httpx.Response:
    return control.client.put(f"{PATH}/made", json=body)


def with_config(**values: Any) -> dict[str, Any]:
    return {"adapter": {"identifier": "test-venue", "config": values}}


def used(control: Running, name: str = "made") -> Any:
    """Returns the settings that the adapter gets."""
    return revealed(control.gateway.providers.get(name).spec.settings)


def until_running(control: Running, name: str = "made") -> None:
    control.until(lambda: control.gateway.providers.get(name).running)


@pytest.fixture(name="made")
def _made(control: Running) -> Generator[Any]:
    yield create(control)
    if "made" in control.gateway.providers:
        until_idle(control)
        ok(control.client.delete(f"{PATH}/made"))


def until_idle(control: Running) -> None:
    control.until(lambda: not control.gateway.providers.get("made").lock.locked())


def test_a_created_provider_starts_and_hides_its_secrets(control: Running, made: Any) -> None:
    assert made["status"] in ("pending", "starting", "running")
    assert made["settings"] == {"api_key": MASK, "region": "eu", "depth": 7, "refuses": False}
    assert (made["baseline"], made["enabled"], made["drift"]) == (False, True, False)
    until_running(control)
    shown = control.client.get(f"{PATH}/made")
    assert ok(shown)["instrumentCount"] == 2
    assert "hunter2" not in shown.text + control.client.get(PATH).text
    assert used(control)["api_key"] == "hunter2"


def test_creation_answers_where_to_look(control: Running) -> None:
    answer = control.client.post(PATH, json={**BODY, "enabled": False})
    assert (answer.status_code, answer.headers["location"]) == (202, "/providers/made")
    assert answer.json()["status"] == "pending"
    assert answer.headers["etag"] == control.client.get(f"{PATH}/made").headers["etag"]
    ok(control.client.delete(f"{PATH}/made"))


def test_every_fault_of_a_body_is_named_with_its_path(control: Running) -> None:
    answer = control.client.post(PATH, json={"nme": 1, "adapter": {"identifier": "test-venue", "x": 1}})
    failure(answer, 400, "validation_failed")
    assert set(answer.json()["faults"]) == {"nme", "adapter.x"}
    answer = control.client.post(PATH, json={})
    failure(answer, 400, "validation_failed")
    assert set(answer.json()["faults"]) == {"name", "adapter.identifier"}
    wrong = {"name": "made", **with_config(api_key=["hunter2"], depht=1, region=5)}
    answer = control.client.post(PATH, json=wrong)
    failure(answer, 400, "validation_failed")
    paths = {"adapter.config.api_key", "adapter.config.depht", "adapter.config.region"}
    assert set(answer.json()["faults"]) == paths
    assert "hunter2" not in answer.text
    unknown = control.client.post(PATH, json={"name": "made", "adapter": {"identifier": "test-venu"}})
    assert "did you mean" in failure(unknown, 400, "validation_failed")
    failure(control.client.post(PATH, json={**BODY, "name": "meltica"}), 400, "validation_failed")
    assert "made" not in control.gateway.providers


@pytest.mark.parametrize("name", ["demo", "main", "refusing", "made"])
def test_sending_back_what_get_answers_changes_nothing(control: Running, made: Any, name: str) -> None:
    before = control.client.get(f"{PATH}/{name}")
    stored = control.gateway.providers.stored(name)
    answer = control.client.put(f"{PATH}/{name}", json=before.json())
    assert ok(answer)["settings"] == before.json()["settings"]
    assert answer.headers["etag"] == before.headers["etag"]
    after = control.gateway.providers.stored(name)
    assert (after.settings, after.secrets, after.key_id) == (stored.settings, stored.secrets, stored.key_id)
    assert (after.desired, after.updated_at) == (stored.desired, stored.updated_at)


def test_a_mask_keeps_a_secret_and_null_deletes_it(control: Running, made: Any) -> None:
    ok(put(control, **with_config(api_key=MASK, depth=8)))
    assert (used(control)["api_key"], used(control)["depth"]) == ("hunter2", 8)
    ok(put(control, **with_config(depth=9)))
    assert (used(control)["api_key"], used(control)["depth"]) == ("hunter2", 9)
    ok(put(control, **with_config(api_key="hunter3")))
    assert (used(control)["api_key"], used(control)["depth"]) == ("hunter3", None)
    changed = ok(put(control, **with_config(api_key=None)))
    assert "api_key" not in changed["settings"]
    assert used(control)["api_key"] is None
    until_running(control)


def test_a_change_of_a_running_provider_restarts_it(control: Running, made: Any) -> None:
    until_running(control)
    refusing = put(control, **with_config(refuses=True))
    assert ok(refusing)["desired"] == "running"
    control.until(lambda: control.gateway.providers.get("made").actual == "failed")
    assert "the venue refuses" in ok(control.client.get(f"{PATH}/made"))["startupError"]
    ok(put(control, **with_config(refuses=False)))
    until_running(control)
    assert ok(put(control, enabled=False))["desired"] == "stopped"
    assert not control.gateway.providers.get("made").running
    assert ok(put(control, **with_config(region="us")))["status"] == "stopped"
    assert ok(put(control, enabled=True))["desired"] == "running"
    until_running(control)


def test_what_is_immutable(control: Running, made: Any) -> None:
    failure(put(control, adapter={"identifier": "fake"}), 409, "conflict")
    text = failure(put(control, name="other"), 400, "validation_failed")
    assert "provider name mismatch" in text
    ok(put(control, name="MADE"))
    failure(control.client.put(f"{PATH}/zzz", json={}), 404, "not_found")
    for body in ({"enabled": True}, with_config(refuses=False)):
        text = failure(control.client.put(f"{PATH}/refusing", json=body), 409, "conflict")
        assert "config file" in text


def test_a_plan_and_another_version_change_nothing(control: Running, made: Any) -> None:
    version = control.client.get(f"{PATH}/made").headers["etag"]
    body = with_config(api_key="hunter3", depth=1)
    plan = control.client.put(f"{PATH}/made?plan=1", json={**body, "enabled": False})
    changes = ok(plan)["changes"]
    assert set(changes) == {"settings", "secrets", "enabled"}
    assert "hunter" not in plan.text
    assert ok(control.client.post(f"{PATH}?plan=1", json={**BODY, "name": "other"}))["effect"] == "create"
    assert ok(control.client.delete(f"{PATH}/made?plan=1"))["effect"] == "delete"
    assert "other" not in control.gateway.providers
    old = {"if-match": '"0"'}
    failure(control.client.put(f"{PATH}/made", json=body, headers=old), 412, "precondition_failed")
    failure(control.client.delete(f"{PATH}/made", headers=old), 412, "precondition_failed")
    assert control.client.get(f"{PATH}/made").headers["etag"] == version
    changed = control.client.put(f"{PATH}/made", json=body, headers={"if-match": version})
    assert ok(changed)["settings"]["depth"] == 1
    assert changed.headers["etag"] != version


def test_refusals(control: Running, made: Any) -> None:
    failure(control.client.post(PATH, json=BODY), 409, "already_exists")
    failure(control.client.post(PATH, json={**BODY, "name": "Made"}), 409, "already_exists")
    assert "in use" in failure(control.client.delete(f"{PATH}/spare"), 409, "conflict")
    failure(control.client.delete(f"{PATH}/zzz"), 404, "not_found")
    answer = control.client.put(f"{PATH}/made?pln=1", json={})
    assert "`pln` is unknown" in failure(answer, 400, "invalid_parameter")


def test_a_provider_in_use_is_not_deleted(control: Running, made: Any) -> None:
    ok(control.client.post("/strategy/instances", json=INSTANCE), 201)
    text = failure(control.client.delete(f"{PATH}/made"), 409, "conflict")
    assert "in use by user" in text
    ok(control.client.delete("/strategy/instances/user"))
    assert ok(control.client.delete(f"{PATH}/made")) == {"status": "removed", "name": "made"}
    failure(control.client.get(f"{PATH}/made"), 404, "not_found")


def test_an_instance_and_the_deletion_of_its_provider_at_once(control: Running) -> None:
    for _ in range(5):
        create(control)
        with ThreadPoolExecutor(2) as pool:
            deletion = pool.submit(control.client.delete, f"{PATH}/made")
            creation = pool.submit(control.client.post, "/strategy/instances", json=INSTANCE)
        if creation.result().status_code == 201:
            assert "made" in control.gateway.providers
            failure(deletion.result(), 409, "conflict")
            ok(control.client.delete("/strategy/instances/user"))
            until_idle(control)
            ok(control.client.delete(f"{PATH}/made"))
        else:
            ok(deletion.result())
            assert creation.result().status_code in (400, 404, 409)
            assert "user" not in control.gateway.instances


def test_of_two_writers_at_once_one_state_remains(control: Running, made: Any) -> None:
    def change(depth: int) -> httpx.Response:
        return put(control, **with_config(depth=depth))

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(change, [101, 202]))
    assert {each.status_code for each in answers} <= {200, 409}
    won = [depth for depth, answer in zip([101, 202], answers, strict=True) if answer.status_code == 200]
    assert control.gateway.providers.stored("made").settings["depth"] in won
    assert used(control)["depth"] == control.gateway.providers.stored("made").settings["depth"]


def test_a_created_provider_runs_again_after_a_restart(config: Path, cluster: EmbeddedPostgres) -> None:
    key = {"MELTICA_SECRET_KEY": new_key()}
    with database(cluster) as dsn:
        with running(config, dsn, apiServer=OPEN, environ=key) as first:
            create(first)
            create(first, name="idle", enabled=False)
            until_running(first)
            ok(first.client.post("/strategy/instances", json=INSTANCE), 201)
            ok(first.client.post("/strategy/instances/user/start"))
            version = first.client.get(f"{PATH}/made").headers["etag"]
            with psycopg.connect(dsn) as connection:
                rows = str(connection.execute("select * from providers").fetchall())
                audit = str(connection.execute("select * from audit").fetchall())
            assert "hunter2" not in rows + audit
        with running(config, dsn, apiServer=OPEN, environ=key) as second:
            until_running(second)
            second.until(lambda: second.gateway.instances.get("user").running)
            assert second.client.get(f"{PATH}/made").headers["etag"] == version
            assert used(second)["api_key"] == "hunter2"
            assert ok(second.client.get(f"{PATH}/idle"))["status"] == "pending"
            ok(second.client.delete(f"{PATH}/idle"))
        # A lost key is a state of the provider.
        with running(config, dsn, apiServer=OPEN, environ={"MELTICA_SECRET_KEY": new_key()}) as third:
            third.until(lambda: third.gateway.providers.get("made").actual == "failed")
            shown = ok(third.client.get(f"{PATH}/made"))
            assert "master key" in shown["startupError"]
            assert shown["settings"] == {"api_key": MASK, "depth": 7}
            assert third.gateway.providers.get("made").restarts <= 1
            ready = third.client.get("/health/ready").json()["faults"]
            assert "master key" in ready["provider made"]
            sent_back = third.client.put(f"{PATH}/made", json=shown)
            assert sent_back.headers["etag"] == version
            failure(put(third, **with_config(depth=8)), 400, "validation_failed")
            ok(put(third, **with_config(depth=8, api_key="hunter4")))
            until_running(third)
            assert used(third)["api_key"] == "hunter4"
            ok(third.client.delete("/strategy/instances/user"))
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute(HELD)
            text = failure(third.client.delete(f"{PATH}/made"), 409, "conflict")
            assert "a position" in text
