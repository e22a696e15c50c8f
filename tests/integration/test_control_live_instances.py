"""Instances created over REST whose orders go to venues."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from meltica.adapters import registry
from meltica.adapters.base import Adapter
from meltica.adapters.fake.adapter import FakeAdapter
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.persistence.postgres.server import wait_until
from tests.integration.test_control_resources import failure, ok
from tests.support.gateway import Running, database, running
from tests.support.serving import PATIENCE

PATH = "/strategy/instances"
OPEN = {"auth": "none"}
SOURCE = """
import meltica

class Buyer(meltica.Lambda):
    version = "1"

    def on_ticker(self, ticker):
        if self.trading and not self.orders():
            self.buy("BTC-USDT", "0.01", ticker.bid * 0.995, round=True)
"""
LIVE = "live: true, risk: {maxPositionSize: 1, maxNotionalValue: 9, priceBandPercent: 1, maxDailyLoss: 5,"
REAL = f"  real: {{adapter: real, enabled: false, {LIVE} staleMarketSeconds: 2}}}}\n"
CONFIG = f"""
environment: ci
providers:
  fake: {{adapter: fake, settings: {{ticker_interval: 20ms}}}}
  careful: {{adapter: real, enabled: false}}
  demo: {{adapter: replay, enabled: false, settings: {{sample: true}}}}
{REAL}"""


class Real(FakeAdapter):
    """A simulated venue that counts as one for real money."""

    identifier = "real"
    simulated = False


@pytest.fixture(name="config")
def _config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    known = registry.adapter

    def adapter(name: str) -> type[Adapter]:
        return Real if name == "real" else known(name)

    monkeypatch.setattr(registry, "adapter", adapter)
    path = tmp_path / "meltica.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(name="dsn")
def _dsn(cluster: EmbeddedPostgres) -> Generator[str]:
    with database(cluster) as dsn:
        yield dsn


def body(*providers: str, **more: Any) -> dict[str, Any]:
    return {
        "id": "made",
        "strategy": {"identifier": "buyer"},
        "scope": {name: {"symbols": ["BTC-USDT"]} for name in providers},
        "dryRun": False,
        **more,
    }


def upload(control: Running) -> None:
    ok(control.client.post("/strategies/modules", json={"source": SOURCE}), 201)


def modes(control: Running) -> set[str]:
    found: list[dict[str, Any]] = ok(control.client.get(f"{PATH}/made/orders"))["orders"]
    return {each["mode"] for each in found}


def test_a_live_instance_sends_orders_to_the_venue_also_after_a_restart(config: Path, dsn: str) -> None:
    with running(config, dsn, apiServer=OPEN) as first:
        upload(first)
        plan = ok(first.client.post(f"{PATH}?plan=1", json=body("fake")))
        assert plan["changes"]["accounts"] == {"after": ["fake"]}
        assert "made" not in first.gateway.instances
        made = ok(first.client.post(PATH, json=body("fake")), 201)
        assert (made["dryRun"], made["status"]) == (False, "pending")
        [listed] = ok(first.client.get(PATH))["instances"]
        assert not listed["dryRun"]
        assert ok(first.client.get("/audit?subject=made"))["entries"][0]["after"]["dry_run"] is False
        ok(first.client.post(f"{PATH}/made/start"))
        assert wait_until(lambda: modes(first) == {"live"}, PATIENCE)
        shown = first.client.get(f"{PATH}/made")
        answer = first.client.put(f"{PATH}/made", json=shown.json())
        assert (ok(answer)["dryRun"], answer.headers["etag"]) == (False, shown.headers["etag"])
        conflict = first.client.put(f"{PATH}/made", json={"id": "made", "dryRun": True})
        assert "`dryRun` is immutable" in failure(conflict, 409, "conflict")
    with running(config, dsn, apiServer=OPEN) as second:
        second.until(lambda: second.gateway.instances.get("made").running)
        shown = ok(second.client.get(f"{PATH}/made"))
        assert (shown["dryRun"], shown["trading"]["mode"]) == (False, "live")
        [scope] = [
            each for each in ok(second.client.get("/risk/status"))["scopes"] if "made" in each["scope"]
        ]
        assert scope["mode"] == "live"


def test_every_venue_must_be_simulated_or_agree_to_real_money(config: Path, dsn: str) -> None:
    with running(config, dsn, apiServer=OPEN) as control:
        upload(control)
        for name, text in (
            ("careful", "trades real money: set `live: true`"),
            ("demo", "has no account to trade on"),
        ):
            answer = control.client.post(PATH, json=body("fake", name))
            failure(answer, 400, "validation_failed")
            assert text in answer.json()["faults"]["dryRun"]
            ok(control.client.post(f"{PATH}?plan=1", json=body("fake", name, dryRun=True)))
        created = {"name": "made", "adapter": {"identifier": "real"}, "enabled": False}
        ok(control.client.post("/providers", json=created), 202)
        failure(control.client.post(PATH, json=body("made")), 400, "validation_failed")
        assert not ok(control.client.post(PATH, json=body("real")), 201)["dryRun"]
    config.write_text(CONFIG.replace(REAL, REAL.replace("live: true, ", "")))
    with running(config, dsn, apiServer=OPEN) as careful:
        answer = careful.client.post(f"{PATH}/made/start")
        assert "trades real money" in failure(answer, 400, "start_failed")


def test_a_restore_keeps_the_mode_and_starts_nothing(
    config: Path, cluster: EmbeddedPostgres, dsn: str
) -> None:
    with running(config, dsn, apiServer=OPEN) as first:
        upload(first)
        ok(first.client.post(PATH, json=body("fake")), 201)
        ok(first.client.post(f"{PATH}/made/start"))
        backup = ok(first.client.get("/context/backup"))
        assert backup["lambdas"][0]["dryRun"] is False
        assert not ok(first.client.post("/context/backup", json=backup))["changes"]
    with database(cluster) as other, running(config, other, apiServer=OPEN) as second:
        ok(second.client.post("/context/backup", json=backup))
        shown = ok(second.client.get(f"{PATH}/made"))
        assert (shown["dryRun"], shown["status"], shown["desired"]) == (False, "pending", "stopped")
        failure(second.client.post("/context/backup?start=1", json=backup), 409, "accounts_not_named")
        backup["lambdas"][0]["scope"] = {"careful": {"symbols": ["BTC-USDT"]}}
        del backup["checksum"]
        answer = second.client.post("/context/backup", json=backup)
        failure(answer, 400, "validation_failed")
        assert "trades real money" in answer.json()["faults"]["lambdas[0].dryRun"]


def test_an_instance_of_an_older_version_stays_on_paper(config: Path, dsn: str) -> None:
    with running(config, dsn, apiServer=OPEN) as first:
        upload(first)
        assert ok(first.client.post(PATH, json=body("fake", dryRun=None)), 201)["dryRun"]
        with psycopg.connect(dsn) as connection:
            query = "select column_default from information_schema.columns where column_name = 'dry_run'"
            assert connection.execute(query).fetchone() == ("true",)


def test_a_provider_keeps_its_account_while_it_is_traded(config: Path, dsn: str) -> None:
    """What is open on another account could neither be seen nor cancelled."""
    path, elsewhere = "/providers/acct", "http://127.0.0.1:1"
    created = {"name": "acct", "adapter": {"identifier": "fake", "config": {"ticker_interval": "20ms"}}}
    moved = {"settings": {"endpoint": elsewhere, "key": "k", "secret": "s"}}
    with running(config, dsn, apiServer=OPEN) as control:
        upload(control)
        ok(control.client.post("/providers", json=created), 202)
        ok(control.client.post(PATH, json=body("acct", onStop="keep")), 201)
        ok(control.client.post(f"{PATH}/made/start"))
        assert wait_until(lambda: modes(control) == {"live"}, PATIENCE)
        backup = ok(control.client.get("/context/backup"))
        backup["providers"][0]["config"] = moved["settings"]
        del backup["checksum"]

        def refused(text: str) -> None:
            before = ok(control.client.get(path))["settings"]
            assert text in failure(control.client.put(path, json=moved), 409, "conflict")
            assert text in failure(control.client.post("/context/backup", json=backup), 409, "conflict")
            shown = ok(control.client.get(path))
            assert (shown["settings"], shown["running"]) == (before, True)

        refused("made trade there")
        ok(control.client.post(f"{PATH}/made/stop"))
        refused("instances have open orders or a position there")
        ok(control.client.put(path, json={"settings": {"ticker_interval": "30ms"}}))
        failure(control.client.put(f"{path}?sameAccount=maybe", json=moved), 400, "invalid_parameter")
        ok(control.client.put(f"{path}?sameAccount=true", json=moved))
        assert ok(control.client.get(path))["settings"]["endpoint"] == elsewhere
