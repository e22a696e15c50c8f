"""Settings in backups, and `/config/backup`: the same backups in another form."""

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from meltica.persistence.postgres.embedded import EmbeddedPostgres
from tests.integration.test_control_backup import HEADER, fill, last_audit, used
from tests.integration.test_control_configuration import query
from tests.integration.test_control_resources import failure, ok
from tests.support import rest_schemas
from tests.support.gateway import Running, database, running

PATH, CONTEXT, SETTINGS = "/config/backup", "/context/backup", "/config/runtime"
JSON = {"content-type": "application/json"}
CHANGED = {"log": {"level": "warning"}, "eventbus": {"bufferSize": 700}}


@pytest.fixture(name="home", scope="module")
def _home(config: Path, cluster: EmbeddedPostgres) -> Generator[Running]:
    """A gateway with resources and settings that were made over REST."""
    with database(cluster) as dsn, running(config, dsn) as started:
        fill(started)
        ok(started.client.put(SETTINGS, json=CHANGED))
        yield started


def get(home: Running, path: str = PATH, **headers: str) -> Any:
    return ok(home.client.get(path, headers=headers))


def post(home: Running, document: Any, path: str = PATH, **headers: str) -> httpx.Response:
    return home.client.post(path, content=json.dumps(document), headers={**JSON, **headers})


def edited(document: Any, **changes: Any) -> Any:
    return {key: value for key, value in {**document, **changes}.items() if key != "checksum"}


def test_both_forms_have_the_same_contents(home: Running) -> None:
    sections, lists = get(home), get(home, CONTEXT)
    msgspec.convert(sections, rest_schemas.ConfigBackup)
    assert sections["providers"] == {"config": {}, "runtime": lists["providers"]}
    assert sections["lambdas"] == {"instances": lists["lambdas"]}
    assert (sections["runtime"], lists["runtime"]) == (CHANGED, CHANGED)
    assert (sections["version"], lists["version"]) == ("1", 1)
    same = {"environment", "risk", "limits", "modules", "runtime"}
    assert {key: sections[key] for key in same} == {key: lists[key] for key in same}
    tags = {home.client.get(path).headers["etag"] for path in (PATH, CONTEXT)}
    assert len(tags) == 1


@pytest.mark.parametrize("source", [PATH, CONTEXT])
@pytest.mark.parametrize("target", [PATH, CONTEXT])
def test_what_get_answers_changes_nothing(home: Running, source: str, target: str) -> None:
    document, last = get(home, source, **HEADER), last_audit(home)
    answer = post(home, document, target, **HEADER)
    assert ok(answer)["changes"] == {}
    if target == PATH:
        msgspec.convert(answer.json(), rest_schemas.ConfigRestored)
        assert (answer.json()["providers"], answer.json()["lambdas"]) == (1, 1)
    assert last_audit(home) == last


def test_a_second_home_gets_the_settings_with_everything_else(
    home: Running, config: Path, cluster: EmbeddedPostgres
) -> None:
    document = get(home, **HEADER)
    with database(cluster) as dsn, running(config, dsn, environ={"MELTICA_LOG__LEVEL": "error"}) as other:
        ok(other.client.put(SETTINGS, json={"shutdown": {"timeout": "9s"}}))
        plan = ok(post(other, document, f"{PATH}?plan=1", **HEADER))
        assert plan["changes"]["setting:eventbus.bufferSize"] == {"after": 700}
        result = ok(post(other, document, **HEADER))
        assert (result["status"], result["providers"], result["lambdas"]) == ("restored", 1, 1)
        kinds = {"setting:eventbus.bufferSize": "created", "setting:shutdown.timeout": "deleted"}
        assert result["changes"] | kinds == result["changes"]
        assert result["skipped"] == ["setting:log.level"]
        shown = ok(other.client.get(SETTINGS))
        assert shown["restartRequired"] == ["eventbus.bufferSize"]
        assert shown["config"]["log"]["level"] == "error"
        assert used(other)["api_key"] == "hunter2"
        empty: dict[str, Any] = {"providers": {"config": None, "runtime": []}, "lambdas": {"instances": []}}
        assert last_audit(other)[3]["setting:eventbus.bufferSize"] == 700
        assert ok(post(other, {**empty, "risk": {}}))["providers"] == 0
        assert ok(other.client.get(SETTINGS)) == shown, "without their key, settings are kept"


def test_settings_are_restored_with_the_rest_or_not_at_all(home: Running) -> None:
    document, before = edited(get(home), runtime={"hosts": {"spin": "9us"}}, limits={"global": {}}), get(home)
    create = "create function public.deny() returns trigger language plpgsql as"
    query(home, f"{create} $$ begin raise 'no'; end $$")
    deny = "create trigger deny before insert or update on meltica.runtime_configuration for each row "
    query(home, f"{deny}execute function public.deny()")
    failure(post(home, document), 503, "database_refused")
    query(home, "drop trigger deny on meltica.runtime_configuration; drop function public.deny")
    after = get(home)
    assert {**after, "generatedAt": 0, "checksum": 0} == {**before, "generatedAt": 0, "checksum": 0}


@pytest.mark.parametrize(
    ("changes", "faulty"),
    [
        (
            {"providers": {"runtime": [{"nme": 1}]}, "lambdas": {"instances": []}},
            {"providers.runtime[0].nme"},
        ),
        ({"lambdas": {"instances": [{"id": "x", "zz": 1}]}}, {"lambdas.instances[0].zz"}),
        ({"providers": {"zz": 1}}, {"providers.zz"}),
        ({"runtime": 5}, {"runtime"}),
        ({"runtime": {"log": {"zz": 1}, "zz": 2}}, {"runtime.log.zz", "runtime.zz"}),
        ({"runtime": {"log": {"level": "loud"}, "hosts": 4}}, {"runtime.log.level", "runtime.hosts"}),
        ({"runtime": {"database": {"maxConns": 3}}}, {"runtime.database.maxConns"}),
        ({"runtime": {"risk": {"maxOpenOrders": 3}}}, {"runtime.risk"}),
        ({"runtime": {"log": {"level": None}}}, {"runtime.log.level"}),
    ],
)
def test_every_fault_is_named_with_its_path(home: Running, changes: Any, faulty: set[str]) -> None:
    last = last_audit(home)
    answer = post(home, edited(get(home), **changes))
    failure(answer, 400, "validation_failed")
    assert set(answer.json()["faults"]) == faulty
    assert last_audit(home) == last
