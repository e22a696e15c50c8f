"""`/config/runtime` of a running gateway: what applies at once, what waits, what is refused."""

import json
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath
from typing import Any, cast

import httpx
import psycopg
import pytest
from pydantic import BaseModel

from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.settings.model import Settings
from meltica.settings.runtime import FIXED, PATHS
from meltica.trading.order import Owner
from meltica.validation.models import MASK, alternatives, keys, model_of
from tests.integration.test_control_resources import failure, ok
from tests.support.gateway import Running, database, running

PATH = "/config/runtime"
OPEN = {"auth": "none"}
"""A second gateway of a database has no token of the first one."""
CONTRACT = {
    "eventbus": {"bufferSize": int, "fanoutWorkers": (int, str)},
    "pools": {
        "event": {"size": int, "waitQueueSize": int},
        "orderRequest": {"size": int, "waitQueueSize": int},
    },
    "risk": {"maxPositionSize": str, "circuitBreaker": {"cooldown": str}},
    "apiServer": {"addr": str},
    "telemetry": {
        "otlpEndpoint": str,
        "serviceName": str,
        "otlpInsecure": bool,
        "enableMetrics": bool,
    },
}
"""What existing clients read, and the type of each."""


def get(control: Running) -> Any:
    return ok(control.client.get(PATH))


def put(control: Running, body: Any, **headers: str) -> httpx.Response:
    return control.client.put(PATH, json=body, headers=headers)


def query(control: Running, text: str) -> list[Any]:
    with psycopg.connect(control.gateway.database.dsn, autocommit=True) as connection:
        cursor = connection.execute(text.encode())
        return cursor.fetchall() if cursor.description else []


def audited(control: Running) -> list[Any]:
    """Returns the last rows of the audit, the latest first."""
    return query(control, "select action, actor, before, after from meltica.audit order by id desc limit 3")


@pytest.fixture(autouse=True)
def _reverted(request: pytest.FixtureRequest) -> Generator[None]:
    yield
    if "control" in request.fixturenames:
        ok(request.getfixturevalue("control").client.delete(PATH))


def has(value: Any, expected: Any) -> bool:
    if isinstance(expected, dict):
        items = cast(dict[str, Any], expected)
        return isinstance(value, dict) and all(has(value[key], each) for key, each in items.items())
    return isinstance(value, expected)


def test_existing_clients_can_read_the_answer(control: Running) -> None:
    shown = get(control)
    assert has(shown["config"], CONTRACT)
    assert (shown["source"], shown["restartRequired"], shown["warnings"]) == ("file", [], [])
    assert "persistedAt" not in shown
    assert "null" not in json.dumps(shown)


def paths(model: type[BaseModel], under: str = "") -> Generator[str]:
    """Yields the keys whose values are paths."""
    for key, field in keys(model).items():
        inner = model_of(field.annotation)
        if inner is not None:
            yield from paths(inner, f"{under}{key}.")
        elif any(
            isinstance(each, type) and issubclass(each, PurePath) for each in alternatives(field.annotation)
        ):
            yield f"{under}{key}"


def test_neither_secrets_nor_paths_of_the_machine_are_shown(control: Running) -> None:
    assert set(paths(Settings)) == PATHS
    assert all(any(path == each or path.startswith(f"{each}.") for each in FIXED) for path in PATHS)
    answer = control.client.get(PATH)
    assert get(control)["config"]["database"]["dsn"] == MASK
    dsn = control.gateway.settings.database.dsn
    assert dsn is not None
    assert dsn.get_secret_value() not in answer.text
    assert str(control.gateway.loaded.base) not in answer.text
    assert "/tmp" not in answer.text


@pytest.mark.parametrize("wrapper", ["config", "runtime", None])
def test_what_get_answers_changes_nothing(control: Running, wrapper: str | None) -> None:
    ok(put(control, {"eventbus": {"bufferSize": 77}, "risk": {"maxOpenOrders": 3}}))
    before, last = control.client.get(PATH), audited(control)[0]
    shown = before.json()
    config = shown.pop("config")
    answer = put(control, config if wrapper is None else {wrapper: config, **shown})
    assert ok(answer) == before.json()
    assert answer.headers["etag"] == before.headers["etag"]
    assert audited(control)[0] == last


def test_an_old_client_keeps_newer_settings(control: Running) -> None:
    ok(put(control, {"log": {"level": "warning"}, "risk": {"maxOpenOrders": 9}}))
    config = get(control)["config"]
    five = {key: config[key] for key in ("eventbus", "pools", "apiServer", "telemetry")}
    old = {**five, "risk": {"MaxPositionSize": "12", "CircuitBreaker": {"Threshold": 9}}}
    shown = ok(put(control, old))["config"]
    assert shown["log"]["level"] == "warning"
    assert (shown["risk"]["maxOpenOrders"], shown["risk"]["maxPositionSize"]) == (9, "12")
    assert shown["risk"]["circuitBreaker"]["threshold"] == 9


def test_telemetry_applies_at_once(control: Running) -> None:
    shown = ok(put(control, {"telemetry": {"serviceName": "desk-7"}, "log": {"level": "error"}}))
    assert (shown["source"], shown["restartRequired"]) == ("runtime", [])
    assert shown["sources"] | {"telemetry.serviceName": "set over REST"} == shown["sources"]
    assert ok(control.client.get("/version"))["serviceName"] == "desk-7"
    assert 'service_name="desk-7"' in control.client.get("/metrics").text
    assert control.gateway.settings.log.level == "error"


def test_limits_apply_to_trading_at_once(control: Running) -> None:
    def change(number: int) -> None:
        body = {"risk": {"maxOpenOrders": number}, "telemetry": {"serviceName": f"desk-{number}"}}
        assert ok(put(control, body))["restartRequired"] == []

    change(81)
    trading = control.gateway.trading
    assert trading is not None
    runtime = control.submit(trading.started()).result()
    uid = control.gateway.instances.stored("watcher").uid
    lanes = [
        risk.registry.lane(Owner("watcher", uid, mode), "main", "BTC-USDT")
        for mode, risk in runtime.risks.items()
    ]
    change(82)
    assert [lane.scopes[0].max_open for lane in lanes] == [82, 82]
    assert ok(control.client.get("/risk/limits"))["limits"]["maxOpenOrders"] == 82
    ok(control.client.put("/risk/limits", json={"maxOpenOrders": 83}))
    assert get(control)["config"]["risk"]["maxOpenOrders"] == 83


def test_a_change_and_its_audit_are_one_transaction(control: Running) -> None:
    ok(put(control, {"log": {"level": "warning"}, "risk": {"maxOpenOrders": 4}}))
    after, before, _ = audited(control)
    assert [(each[0], each[1]) for each in (after, before)] == [
        ("risk limit.set", control.actor),
        ("configuration.set", control.actor),
    ]
    assert after[3]["global"]["maxOpenOrders"] == 4
    assert before[3] == {"log.level": "warning"}
    state = get(control)
    query(
        control,
        "create function public.fail() returns trigger language plpgsql as $$ begin raise 'no'; end $$",
    )
    fail = "create trigger fail before insert or update on meltica.{} for each row "
    fail += "execute function public.fail()"
    for table in ("risk_limits", "audit", "runtime_configuration"):
        query(control, fail.format(table))
        answer = put(control, {"log": {"level": "debug"}, "risk": {"maxOpenOrders": 5}})
        query(control, f"drop trigger fail on meltica.{table}")
        assert "nothing changed" in failure(answer, 503, "database_refused")
        assert (get(control), control.gateway.settings.log.level) == (state, "warning"), table
    query(control, "drop function public.fail")


@pytest.mark.parametrize(
    ("body", "faulty"),
    [
        ({"zz": 1}, {"zz"}),
        ({"log.level": "debug"}, {"log.level"}),
        ({"config": {"zz": 1}, "yy": 1, "runtime": {}}, {"config.zz", "yy", "runtime"}),
        ({"config": 5}, {"config"}),
        ({"log": {"level": "loud", "colour": 1}, "hosts": 7}, {"log.level", "log.colour", "hosts"}),
        (
            {"eventbus": {"bufferSize": 0}, "risk": {"maxOpenOrders": -1}},
            {"eventbus.bufferSize", "risk.maxOpenOrders"},
        ),
        ({"supervision": {"backoff": {"min": "2m"}}}, {"supervision.backoff.max"}),
        ({"zz": None, "log": {"zz": None}}, {"zz", "log.zz"}),
        ({"risk": None}, {"risk"}),
        ({"apiServer": 5}, {"apiServer"}),
        ({"apiServer": {"hosts": ["a/b"]}}, {"apiServer.hosts[0]"}),
        (
            {"telemetry": {"serviceName": "", "enableMetrics": 1.5, "otlpEndpoint": "grpc://a:4317"}},
            {"telemetry.serviceName", "telemetry.enableMetrics", "telemetry.otlpEndpoint"},
        ),
        ({"providers": {}, "lambdas": []}, {"providers", "lambdas"}),
        ({"pools": {"event": {"size": 0}}}, {"pools.event.size"}),
        ({"environment": "moon", "database": {"maxConns": 5}}, {"environment", "database.maxConns"}),
    ],
)
def test_every_fault_is_named_with_its_path_and_nothing_changes(
    control: Running, body: Any, faulty: set[str]
) -> None:
    before, last = get(control), audited(control)[0]
    answer = put(control, body)
    failure(answer, 400, "validation_failed")
    assert set(answer.json()["faults"]) == faulty
    assert (get(control), audited(control)[0]) == (before, last)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"database": {"dsn": "host=elsewhere"}}, "only in the config file"),
        ({"database": {"home": "/elsewhere"}}, "only in the config file"),
        ({"apiServer": {"auth": "none"}}, "only in the config file"),
        ({"apiServer": {"tls": {"key": "/etc/shadow"}}}, "only in the config file"),
        ({"strategies": {"upload": False}}, "only in the config file"),
        ({"log": {"file": "elsewhere.log"}}, "only in the config file"),
        ({"apiServer": {"addr": "127.0.0.1:1"}}, "set by the command line"),
    ],
)
def test_a_change_that_would_have_no_effect_is_a_conflict(control: Running, body: Any, word: str) -> None:
    before = get(control)
    assert word in failure(
        put(control, {**body, "log": {**body.get("log", {}), "level": "debug"}}), 409, "conflict"
    )
    assert get(control) == before


def test_a_plan_and_another_version_change_nothing(control: Running) -> None:
    before = control.client.get(PATH)
    body = {"eventbus": {"bufferSize": 44}, "log": {"level": "debug"}, "risk": {"maxOpenOrders": 2}}
    plan = control.client.put(f"{PATH}?plan=1", json=body)
    assert ok(plan)["effect"] == "update"
    assert ok(plan)["changes"] == {
        "eventbus.bufferSize": {"before": 1024, "after": 44},
        "log.level": {"before": "info", "after": "debug"},
        "risk.maxOpenOrders": {"after": 2},
        "restartRequired": {"after": ["eventbus.bufferSize"]},
    }
    failure(put(control, body, **{"if-match": '"0"'}), 412, "precondition_failed")
    assert get(control) == before.json()
    answer = put(control, body, **{"if-match": before.headers["etag"]})
    assert ok(answer)["restartRequired"] == ["eventbus.bufferSize"]
    assert answer.headers["etag"] == plan.headers["etag"]
    assert ok(control.client.put(f"{PATH}?plan=1", json=body))["effect"] == "none"
    assert ok(control.client.delete(f"{PATH}?plan=1"))["changes"].keys() == ok(plan)["changes"].keys() - {
        "restartRequired"
    }


def test_null_lets_the_file_decide_again(control: Running) -> None:
    before = get(control)
    ok(
        put(
            control,
            {"log": {"level": "debug"}, "supervision": {"backoff": {"max": "30s"}, "startTimeout": "9s"}},
        )
    )
    shown = ok(put(control, {"log": {"level": None}, "supervision": {"startTimeout": "11s"}}))
    assert shown["config"]["log"]["level"] == "info"
    assert shown["restartRequired"] == ["supervision.backoff.max", "supervision.startTimeout"]
    shown = ok(put(control, {"supervision": None}))
    assert shown == before


def test_what_equals_the_file_is_not_stored(control: Running) -> None:
    ok(put(control, {"retention": {"events": "2d"}}))
    assert ok(put(control, {"retention": {"events": "24h"}}))["source"] == "file"
    [(stored,)] = query(control, "select settings from meltica.runtime_configuration")
    assert stored == {}


def test_keys_without_effect_need_no_restart(control: Running) -> None:
    shown = ok(put(control, {"pools": {"event": {"size": 9}}, "strategies": {"requireRegistry": True}}))
    assert shown["restartRequired"] == []
    assert shown["config"]["pools"]["event"]["size"] == 9
    assert [each.partition(" ")[0] for each in shown["warnings"]] == [
        "`pools.event`",
        "`strategies.requireRegistry`",
    ]


def test_of_two_writers_at_once_one_state_remains(control: Running) -> None:
    def write(number: int) -> httpx.Response:
        return put(control, {"eventbus": {"bufferSize": number}, "risk": {"maxOpenOrders": number}})

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(write, [61, 62]))
    assert {each.status_code for each in answers} <= {200, 409}
    config = get(control)["config"]
    assert config["eventbus"]["bufferSize"] == config["risk"]["maxOpenOrders"]


def test_settings_last_until_the_config_file_is_edited(config: Path, cluster: EmbeddedPostgres) -> None:
    file = config.with_name("edited.yaml")
    text = config.read_text() + "eventbus: {bufferSize: 500}\nretention: {events: 3d}\n"
    file.write_text(text)
    body = {"eventbus": {"bufferSize": 600}, "retention": {"events": "5d"}, "log": {"level": "debug"}}
    with database(cluster) as dsn:
        with running(file, dsn, apiServer=OPEN) as first:
            shown = ok(put(first, {**body, "risk": {"maxOpenOrders": 3}}))
            assert shown["restartRequired"] == ["eventbus.bufferSize", "retention.events"]
            assert first.gateway.settings.eventbus.buffer_size == 500
        with running(file, dsn, apiServer=OPEN) as second:
            assert get(second) == {**shown, "restartRequired": []}
            settings = second.gateway.loaded.settings
            assert (settings.eventbus.buffer_size, settings.retention.events.days) == (600, 5)
            assert second.gateway.loaded.lambdas["watcher"].buffer_size == 600
        file.write_text(text.replace("500", "550"))
        with running(file, dsn, apiServer=OPEN) as third:
            shown = get(third)
            assert (shown["config"]["eventbus"]["bufferSize"], shown["config"]["retention"]["events"]) == (
                550,
                "5d",
            )
            assert shown["sources"]["eventbus.bufferSize"] == f"edited.yaml:{len(text.splitlines()) - 1}"
            assert audited(third)[0][:2] == ("configuration.set", "config file")
        # The edit is the last word, also when it is taken back. The environment comes before both.
        file.write_text(text)
        with running(file, dsn, {"MELTICA_RETENTION__EVENTS": "4d"}, apiServer=OPEN) as fourth:
            shown = get(fourth)["config"]
            assert (shown["eventbus"]["bufferSize"], shown["retention"]["events"]) == (500, "4d")
            refused = failure(put(fourth, {"retention": {"events": "6d"}}), 409, "conflict")
            assert "`retention.events` is set by MELTICA_RETENTION__EVENTS" in refused
            assert ok(fourth.client.delete(PATH))["source"] == "file"
            assert "maxOpenOrders" not in ok(fourth.client.get("/risk/limits"))["limits"]


def test_settings_that_do_not_fit_an_edited_file_do_not_apply(
    config: Path, cluster: EmbeddedPostgres
) -> None:
    file = config.with_name("unfit.yaml")
    file.write_text(config.read_text())
    with database(cluster) as dsn:
        with running(file, dsn, apiServer=OPEN) as first:
            ok(put(first, {"supervision": {"backoff": {"max": "15ms"}}, "log": {"level": "debug"}}))
        file.write_text(config.read_text().replace("min: 10ms", "min: 18ms"))
        with running(file, dsn, apiServer=OPEN) as second:
            shown = get(second)
            assert "`supervision.backoff.max` (set over REST): expected at least `min`" in shown["fault"]
            assert (shown["config"]["log"]["level"], shown["config"]["supervision"]["backoff"]["max"]) == (
                "info",
                "20ms",
            )
            faults = second.client.get("/health/ready").json()["faults"]
            assert faults["configuration"] == shown["fault"]
            failure(put(second, {"log": {"level": "error"}}), 400, "validation_failed")
            shown = ok(put(second, {"supervision": {"backoff": {"max": None}}}))
            assert "fault" not in shown
            assert shown["config"]["log"]["level"] == "debug"
            assert "configuration" not in second.client.get("/health/ready").json().get("faults", {})
