"""Backups of what is configured, made and restored over REST."""

import copy
import hashlib
import json
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from meltica.control.backup_file import MAX_BYTES
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.persistence.secrets import new_key
from meltica.validation.models import MASK, revealed
from tests.integration.test_control_resources import failure, ok
from tests.support.backups import edited, faulty
from tests.support.gateway import Running, database, running

PATH = "/context/backup"
PASSPHRASE = "correct horse — battery"
HEADER: Any = {"x-meltica-passphrase": PASSPHRASE.encode()}
JSON = {"content-type": "application/json"}
OPEN = {"auth": "none"}
"""A second gateway of a database has no token of the first one."""

SOURCE = (
    "import meltica\n\n\nclass Grid(meltica.Lambda):\n    version = '1'\n\n"
    "    class Config(meltica.LambdaConfig):\n        levels: int = 3\n\n"
    "    def on_trade(self, trade): pass\n"
)
SECOND = SOURCE.replace("version = '1'", "version = '2'")
PROVIDER: dict[str, Any] = {
    "name": "made",
    "adapter": {"identifier": "test-venue", "config": {"api_key": "hunter2", "depth": 7}},
    "enabled": False,
}
INSTANCE: dict[str, Any] = {
    "id": "grid",
    "strategy": {"identifier": "grid", "config": {"levels": 5}},
    "scope": {"made": {"symbols": ["BTC-USDT"]}},
}


def hash_of(source: str) -> str:
    return f"sha256:{hashlib.sha256(source.encode()).hexdigest()}"


def get(control: Running, **headers: Any) -> dict[str, Any]:
    return ok(control.client.get(PATH, headers=headers or None))


def post(control: Running, document: Any, query: str = "", headers: Any = None) -> httpx.Response:
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    return control.client.post(f"{PATH}{query}", content=content, headers={**JSON, **(headers or {})})


def fill(control: Running) -> None:
    ok(control.client.post("/strategies/modules", json={"source": SOURCE}), 201)
    ok(control.client.post("/providers", json=PROVIDER), 202)
    ok(control.client.post("/strategy/instances", json=INSTANCE), 201)
    ok(control.client.post("/strategies/modules", json={"source": SECOND, "aliases": ["stable"]}), 201)
    limits = {
        "providers": {"made": {"maxDailyLoss": "12.50", "orderThrottle": 3}},
        "limits": {"MaxOpenOrders": 9},
    }
    ok(control.client.put("/risk/limits", json=limits))


def state(control: Running) -> dict[str, Any]:
    """Returns the rows of everything that a restore writes."""
    tables = ("providers", "instances", "risk_limits", "module_revisions", "module_tags")
    with psycopg.connect(control.gateway.database.dsn) as connection:
        rows: dict[str, Any] = {
            name: connection.execute(f"select * from {name} order by 1, 2").fetchall() for name in tables
        }
    return rows


def last_audit(control: Running) -> Any:
    with psycopg.connect(control.gateway.database.dsn) as connection:
        query = "select action, actor, before, after from audit order by id desc limit 1"
        return connection.execute(query).fetchone()


@pytest.fixture(scope="module", name="first")
def _first(config: Path, cluster: EmbeddedPostgres) -> Generator[tuple[Running, bytes]]:
    """A home with something of each kind, and its backup."""
    with database(cluster) as dsn, running(config, dsn) as started:
        fill(started)
        yield started, started.client.get(PATH, headers=HEADER).content


@pytest.fixture(scope="module", name="second")
def _second(config: Path, cluster: EmbeddedPostgres) -> Generator[Running]:
    with database(cluster) as dsn, running(config, dsn) as started:
        yield started


@pytest.fixture(name="home")
def _home(first: tuple[Running, bytes]) -> Generator[Running]:
    """The first home, as it was filled."""
    home, document = first
    yield home
    ok(post(home, document, headers=HEADER))
    for kind in ("instances", "providers"):
        stop_all(home, kind)


@pytest.fixture(name="other")
def _other(second: Running) -> Generator[Running]:
    """A second home, which has neither providers nor instances of its own."""
    yield second
    ok(post(second, {"providers": [], "lambdas": [], "risk": {}}))


def used(control: Running) -> Any:
    """Returns the settings that the adapter gets."""
    return revealed(control.gateway.providers.get("made").spec.settings)


def stop_all(control: Running, kind: str) -> None:
    path, name = ("/strategy/instances", "grid") if kind == "instances" else ("/providers", "made")
    if ok(control.client.get(f"{path}/{name}"))["desired"] == "running":
        ok(control.client.post(f"{path}/{name}/stop"))


def test_sending_back_a_backup_changes_nothing(home: Running) -> None:
    sent: list[Any] = [{}, HEADER]
    for headers in sent:
        answer = home.client.get(PATH, headers=headers)
        document, before, audited = ok(answer), state(home), last_audit(home)
        assert document["providers"][0]["config"] == {"api_key": MASK, "depth": 7}
        assert "hunter2" not in answer.text
        restored = post(home, document, headers=headers)
        assert ok(restored)["changes"] == {}
        assert ok(restored)["missingSecrets"] == {}
        assert restored.headers["etag"] == answer.headers["etag"]
        assert state(home) == before
        assert last_audit(home) == audited


def test_a_second_home_gets_everything_and_starts_nothing(home: Running, other: Running) -> None:
    ok(home.client.post("/providers/made/start"), 202)
    ok(home.client.post("/strategy/instances/grid/start"))
    ok(other.client.post("/providers", json={**PROVIDER, "name": "extra", "enabled": True}), 202)
    extra = {
        **INSTANCE,
        "id": "extra",
        "strategy": {"identifier": "noop"},
        "scope": {"extra": {"symbols": ["BTC-USDT"]}},
    }
    ok(other.client.post("/strategy/instances", json=extra), 201)
    ok(other.client.post("/strategy/instances/extra/start"))
    document = get(home, **HEADER)
    assert [each["wasRunning"] for each in (*document["providers"], *document["lambdas"])] == [True, True]
    result = ok(post(other, document, headers=HEADER))
    assert result["changes"] | {"provider:made": "created", "instance:grid": "created"} == result["changes"]
    assert result["changes"] | {"provider:extra": "deleted", "instance:extra": "deleted"} == result["changes"]
    assert {"limits:provider:made", "limits:global", "tag:grid:latest"} <= result["changes"].keys()
    assert (result["stopped"], result["started"]) == (["instance:extra", "provider:extra"], [])
    assert result["missingSecrets"] == {}
    assert (get(other)["providers"], get(other)["lambdas"], get(other)["limits"], get(other)["modules"]) == (
        [{**document["providers"][0], "wasRunning": False}],
        [{**document["lambdas"][0], "wasRunning": False}],
        document["limits"],
        document["modules"],
    )
    provider, instance = other.gateway.providers.get("made"), other.gateway.instances.get("grid")
    assert not provider.busy
    assert not instance.running
    assert used(other)["api_key"] == "hunter2"
    assert "extra" not in other.gateway.providers
    assert "extra" not in other.gateway.instances
    assert instance.spec.module is not None
    assert instance.spec.module.hash == hash_of(SOURCE)
    assert ok(other.client.get("/strategy/instances/grid"))["strategy"]["selector"] == "grid:latest"
    assert ok(other.client.get("/strategies/modules/grid"))["hash"] == hash_of(SECOND)
    action, actor, before, after = last_audit(other)
    assert (action, actor) == ("backup.restore", other.actor)
    assert set(before) >= {"provider:extra", "instance:extra"}
    assert set(after) >= {"provider:made", "instance:grid", "tag:grid:stable"}
    assert "hunter2" not in json.dumps([before, after])


def test_what_was_restored_survives_a_restart_and_runs(
    home: Running, config: Path, cluster: EmbeddedPostgres
) -> None:
    document, key = get(home, **HEADER), {"MELTICA_SECRET_KEY": new_key()}
    with database(cluster) as dsn:
        with running(config, dsn, key) as other:
            modules: list[Any] = [{**document["modules"][0], "tags": []}]
            text = failure(post(other, edited(document, modules=modules)), 400, "validation_failed")
            assert "no revision of `grid` has the tag `latest`" in text
            ok(post(other, document, headers=HEADER))
        with running(config, dsn, key, apiServer=OPEN) as other:
            assert not other.gateway.instances.get("grid").running
            ok(other.client.post("/providers/made/start"), 202)
            other.until(lambda: other.gateway.providers.get("made").running)
            ok(other.client.post("/strategy/instances/grid/start"))
            assert ok(other.client.get("/strategy/instances/grid"))["strategy"]["hash"] == hash_of(SOURCE)


def test_a_restore_starts_only_what_ran_after_the_accounts_were_named(home: Running, other: Running) -> None:
    ok(home.client.post("/providers/made/start"), 202)
    ok(home.client.post("/strategy/instances/grid/start"))
    document, before = get(home, **HEADER), state(other)
    refused = post(other, document, "?start=true", HEADER)
    assert "repeat it with `accounts=made`" in failure(refused, 409, "accounts_not_named")
    assert state(other) == before
    result = ok(post(other, document, "?start=true&accounts=made", HEADER))
    assert result["started"] == ["provider:made", "instance:grid"]
    assert other.gateway.instances.get("grid").running
    again = ok(post(other, document, "?start=true&accounts=made", HEADER))
    assert (again["changes"], again["started"]) == ({}, [])


def test_a_plan_changes_nothing(home: Running, other: Running) -> None:
    document, before = get(home, **HEADER), state(other)
    plan = ok(post(other, document, "?plan=1", HEADER))
    assert plan["effect"] == "restore"
    assert "provider:made" in plan["changes"]
    assert "hunter2" not in json.dumps(plan)
    assert state(other) == before
    answer = ok(post(other, document, headers=HEADER | {"if-match": other.client.get(PATH).headers["etag"]}))
    assert answer["status"] == "restored"
    failure(post(other, document, headers=HEADER | {"if-match": '"x"'}), 412, "precondition_failed")
    assert post(other, document, "?plan=1").json()["effect"] == "none"


def test_secrets_that_are_absent_or_masked_keep_the_stored_ones(home: Running) -> None:
    document = get(home)
    for config in ({"depth": 8}, {"api_key": MASK, "depth": 9}):
        providers = [{**document["providers"][0], "config": config}]
        result = ok(post(home, edited(document, providers=providers)))
        assert result["changes"] == {"provider:made": "updated"}
        assert result["missingSecrets"] == {}
        settings = used(home)
        assert (settings["api_key"], settings["depth"]) == ("hunter2", config["depth"])


def test_without_a_passphrase_secrets_are_reported_as_missing(home: Running, other: Running) -> None:
    for document in (get(home), get(home, **HEADER)):
        assert ok(post(other, document))["missingSecrets"] == {"made": ["api_key"]}
        assert used(other)["api_key"] is None


def test_passphrases_are_taken_from_a_header_or_the_body_only(home: Running, other: Running) -> None:
    failure(home.client.get(f"{PATH}?passphrase=correct-horse-battery"), 400, "invalid_parameter")
    failure(home.client.get(PATH, headers={"x-meltica-passphrase": "short"}), 400, "passphrase_refused")
    document, before = get(home, **HEADER), state(other)
    failure(post(other, document, "?passphrase=correct-horse-battery"), 400, "invalid_parameter")
    wrong = post(other, document, headers={"x-meltica-passphrase": "incorrect horse"})
    assert "the passphrase is not that of the file" in failure(wrong, 400, "passphrase_refused")
    failure(post(other, get(home), headers=HEADER), 400, "passphrase_refused")
    assert state(other) == before
    assert ok(post(other, {**document, "passphrase": PASSPHRASE}))["missingSecrets"] == {}


def test_bodies_of_existing_clients_pass(other: Running) -> None:
    body: dict[str, Any] = {
        "Providers": [
            {
                "Name": "Old",
                "Adapter": "TEST-VENUE",
                "Config": {"identifier": "test-venue", "config": {"depth": 3}, "provider_name": "Old"},
            }
        ],
        "Lambdas": [
            {
                "ID": "old",
                "Strategy": {"Identifier": "noop", "Config": {}},
                "Scope": {"Old": {"Symbols": ["btc-usdt", "BTC-USDT"]}},
                "running": True,
                "aggregatedSymbols": ["BTC-USDT"],
            }
        ],
        "Risk": {"MaxPositionSize": "5", "MaxNotionalValue": "", "NotionalCurrency": "", "OrderThrottle": 2},
    }
    result = ok(post(other, body))
    assert result["status"] == "restored"
    limits = ok(other.client.get("/risk/limits"))["limits"]
    assert (limits["maxPositionSize"], limits["orderThrottle"]) == ("5", 2)
    assert ok(other.client.get("/strategy/instances/old"))["scope"] == {"Old": {"symbols": ["BTC-USDT"]}}
    assert ok(post(other, body))["changes"] == {}
    old = {key: value for key, value in get(other).items() if key in ("providers", "lambdas", "risk")}
    assert ok(post(other, old))["changes"] == {}


def test_what_is_damaged_newer_or_edited_is_refused_whole(home: Running, other: Running) -> None:
    document = get(home, **HEADER)
    before = state(other)
    for name, body, code in faulty(document):
        answer = post(other, body, headers=HEADER if "secrets" in name else None)
        assert answer.status_code == 400, (name, answer.text)
        text = failure(answer, 400, code)
        assert "nothing changed" in text, name
        assert "hunter2" not in text
    assert state(other) == before


def test_a_file_may_be_edited_without_its_checksum(home: Running) -> None:
    document = get(home)
    document["lambdas"][0]["strategy"]["config"]["levels"] = 6
    assert "remove `checksum`" in failure(post(home, document), 400, "backup_damaged")
    del document["checksum"]
    uid = home.gateway.instances.stored("grid").uid
    assert ok(post(home, document))["changes"] == {"instance:grid": "updated"}
    assert home.gateway.instances.get("grid").spec.config == {"levels": 6}
    assert home.gateway.instances.stored("grid").uid == uid


def test_the_order_of_keys_and_the_form_of_numbers_do_not_matter(home: Running) -> None:
    document = get(home)
    text = json.dumps(dict(reversed(document.items())), indent=4).replace('"levels": 5', '"levels": 5.0')
    assert "5.0" in text
    assert ok(post(home, text.encode()))["changes"] == {}


def test_what_has_positions_is_not_deleted_or_replaced(home: Running) -> None:
    document = get(home)
    uid = home.gateway.instances.stored("grid").uid
    with psycopg.connect(home.gateway.database.dsn, autocommit=True) as connection:
        connection.execute(
            "insert into positions (instance, uid, mode, provider, symbol, quantity, cost, realised, peak,"
            " updated_at) values ('grid', %s, 'paper', 'made', 'BTC-USDT', 1, 1, 0, 0, 1767323045678901000)",
            (uid,),
        )
    before = state(home)
    replaced = copy.deepcopy(document["lambdas"])
    replaced[0]["scope"]["made"]["symbols"] = ["ETH-USDT"]
    refused: list[dict[str, Any]] = [{"lambdas": []}, {"lambdas": replaced}, {"lambdas": [], "providers": []}]
    for changes in refused:
        text = failure(post(home, edited(document, **changes)), 409, "conflict")
        assert "instance `grid` would be deleted and has open orders or a position" in text
    assert state(home) == before
    with psycopg.connect(home.gateway.database.dsn, autocommit=True) as connection:
        connection.execute("delete from positions")
    assert ok(post(home, edited(document, lambdas=replaced)))["changes"] == {"instance:grid": "updated"}
    assert home.gateway.instances.stored("grid").uid != uid
    assert dict(home.gateway.instances.get("grid").spec.scope) == {"made": ("ETH-USDT",)}


def test_what_runs_and_changes_is_stopped_and_the_rest_runs_on(home: Running) -> None:
    ok(home.client.post("/providers/made/start"), 202)
    ok(home.client.post("/strategy/instances/grid/start"))
    document, run = get(home), home.gateway.instances.get("grid").run
    document["providers"][0]["config"]["depth"] = 1
    result = ok(post(home, edited(document)))
    assert (result["stopped"], result["started"]) == (["provider:made"], [])
    assert home.gateway.instances.get("grid").run is run
    assert home.gateway.instances.get("grid").running
    assert not home.gateway.providers.get("made").busy


def test_what_the_config_file_declares_is_skipped(home: Running) -> None:
    document = get(home)
    main = {"name": "main", "adapter": "test-venue", "config": {"depth": 99}, "wasRunning": True}
    providers = [*document["providers"], main]
    result = ok(post(home, edited(document, providers=providers)))
    assert (result["changes"], result["skipped"]) == ({}, ["provider:main"])


def test_uploads_that_are_off_refuse_new_modules(
    home: Running, config: Path, cluster: EmbeddedPostgres
) -> None:
    document = get(home, **HEADER)
    with database(cluster) as dsn, running(config, dsn, strategies={"upload": False}) as other:
        ok(post(other, edited(document, modules=[], lambdas=[]), "?plan=1", HEADER))
        assert not (other.gateway.access.folder.path / "secret-key").exists()
        text = failure(post(other, document, headers=HEADER), 400, "validation_failed")
        assert "`strategies.upload` is false" in text


def test_a_database_that_refuses_changes_nothing(home: Running, other: Running) -> None:
    document, before = get(home, **HEADER), state(other)
    with psycopg.connect(other.gateway.database.dsn, autocommit=True) as connection:
        connection.execute(
            "alter table audit add constraint no_restore check (action <> 'backup.restore') not valid"
        )
        failure(post(other, document, headers=HEADER), 503, "database_refused")
        assert state(other) == before
        assert "made" not in other.gateway.providers
        connection.execute("alter table audit drop constraint no_restore")
    ok(post(other, document, headers=HEADER))


def test_a_restore_that_fails_names_what_it_stopped(home: Running) -> None:
    """An answer that nothing changed would hide that what ran does not run any more."""
    ok(home.client.post("/strategy/instances/grid/start"))
    ok(home.client.post("/providers/made/start"), 202)
    document = get(home)
    document["providers"][0]["config"]["depth"] = 2
    document["lambdas"][0]["strategy"]["config"] = {"levels": 6}
    change = "alter table audit add constraint no_restore check (action <> 'backup.restore') not valid"
    with psycopg.connect(home.gateway.database.dsn, autocommit=True) as connection:
        connection.execute(change)
        text = failure(post(home, edited(document)), 503, "database_refused")
        connection.execute("alter table audit drop constraint no_restore")
    assert "stopped before, and to be started again: instance:grid, provider:made" in text


def test_a_body_has_a_limit_of_its_own(other: Running) -> None:
    padding = b'{"risk":{},"environment":"' + b"x" * (2 << 20) + b'"}'
    assert ok(post(other, padding))["changes"] == {}

    def parts() -> Iterator[bytes]:
        for _ in range((MAX_BYTES >> 20) + 1):
            yield b" " * (1 << 20)

    failure(other.client.post(PATH, content=parts(), headers=JSON), 413, "body_too_large")
    too_long = other.client.post(PATH, content=b" " * (MAX_BYTES + 1), headers=JSON)
    failure(too_long, 413, "body_too_large")
    failure(
        other.client.post(PATH, content=b"{}", headers={"content-type": "text/plain"}),
        415,
        "unsupported_media_type",
    )
    assert other.client.get("/health/live").status_code == 200


def test_only_administrators_make_and_restore_backups(other: Running) -> None:
    token = ok(other.client.post("/tokens", json={"name": "x", "scope": "operator"}), 201)["secret"]
    client = httpx.Client(base_url=other.url, headers={"authorization": f"Bearer {token}"})
    with client:
        failure(client.get(PATH), 403, "forbidden")
        failure(client.post(PATH, content=b"{}", headers=JSON), 403, "forbidden")


def test_a_list_that_is_absent_deletes_nothing(home: Running) -> None:
    """A file of limits alone must not delete what trades; an empty list does."""
    before = state(home)
    documents: list[dict[str, Any]] = [{"version": 1}, {"risk": {}}, {"providers": None, "lambdas": None}]
    for document in documents:
        assert ok(post(home, document))["changes"] == {}
        assert state(home) == before
    kept = failure(post(home, {"providers": []}), 400, "validation_failed")
    assert "`made` would be deleted" in kept
    assert ok(post(home, {"lambdas": []}))["changes"] == {"instance:grid": "deleted"}
    assert ok(post(home, {"providers": []}))["changes"] == {"provider:made": "deleted"}
