"""`/strategy/instances/{id}/why` and `meltica why`: each cause, with its subject and its remedy."""

import json
import re
import time
from collections.abc import Generator
from typing import Any

import pytest
from click.testing import CliRunner

from meltica.cli import cli
from meltica.control.remedies import REMEDIES
from meltica.control.why import Diagnosis
from meltica.gateway.control_services import control_services
from meltica.model.enums import Mode
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.persistence.stores.trading.rows import RefusalRow
from meltica.persistence.stores.trading.writer import GroupCommitWriter
from meltica.trading.faults import FaultKind
from meltica.trading.obstacles import EVERYWHERE, OF_ACCOUNTS, OF_INSTANCES
from tests.integration.test_control_resources import failure, ok
from tests.support import gateway
from tests.support.gateway import Running
from tests.support.paths import ROOT

PATIENCE = 30.0
PATH = "/strategy/instances"
TRADER = """
import meltica

class Trader(meltica.Lambda):
    def on_ticker(self, ticker): pass
    def on_order_filled(self, order, fill): pass

class Timer(meltica.Lambda):
    def on_order_filled(self, order, fill): pass
"""
CONFIG = """
providers:
  fake: {adapter: fake, settings: {ticker_interval: 20ms}}
  other: {adapter: fake, enabled: false}
lambdas:
  - {id: trader, strategy: trader.py:Trader, scope: {fake: [BTC-USDT]}}
  - {id: timer, strategy: trader.py:Timer, scope: {fake: [BTC-USDT]}}
"""


def why(running: Running, id: str) -> dict[str, Any]:
    """Returns the causes by kind and subject, without those in the text of others."""
    body = ok(running.client.get(f"{PATH}/{id}/why"))
    assert body["id"] == id
    assert all(cause["detail"] and cause["remedy"] for cause in body["causes"])
    return {f"{cause['kind']} {cause['subject']}": cause for cause in body["causes"]}


@pytest.fixture(name="trading", scope="module")
def _trading(tmp_path_factory: pytest.TempPathFactory, cluster: EmbeddedPostgres) -> Generator[Running]:
    folder = tmp_path_factory.mktemp("why")
    (folder / "trader.py").write_text(TRADER)
    (folder / "meltica.yaml").write_text(CONFIG)
    with gateway.database(cluster) as dsn, gateway.running(folder / "meltica.yaml", dsn) as running:
        yield running


def until(running: Running, id: str, *kinds: str) -> dict[str, Any]:
    """Waits until exactly these kinds of causes are found; returns the causes."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = why(running, id)
        if sorted({each["kind"] for each in found.values()}) == sorted(kinds):
            return found
        assert time.monotonic() < deadline, found


def test_a_healthy_instance_has_no_cause(trading: Running) -> None:
    assert until(trading, "trader") == {}


def test_a_halt_of_each_scope_is_a_cause_with_the_command_that_ends_it(trading: Running) -> None:
    until(trading, "trader")
    for scope in ("global", "provider:fake", "instance:trader"):
        ok(trading.client.post("/risk/halt", json={"scope": scope, "reason": "too hot"}))
        found = until(trading, "trader", "halted")[f"halted {scope}"]
        assert f"halted by {trading.actor}: too hot" in found["detail"]
        assert found["remedy"].endswith(f"`meltica risk resume {scope}`")
        ok(trading.client.post("/risk/resume", json={"scope": scope, "reason": "cool"}))
        until(trading, "trader")


def test_a_strategy_without_events_is_a_cause(trading: Running) -> None:
    assert "on_trade" in until(trading, "timer", "not_subscribed")["not_subscribed timer"]["remedy"]


def test_a_provider_that_is_down_is_a_cause(trading: Running) -> None:
    until(trading, "trader")
    ok(trading.client.post("/providers/fake/stop"))
    try:
        found = why(trading, "trader")
        assert found["provider_down fake"]["remedy"].endswith("`meltica providers start fake`")
        assert "its desired state is stopped" in found["provider_down fake"]["detail"]
    finally:
        trading.client.post("/providers/fake/start")
    until(trading, "trader")


def test_a_symbol_that_is_misspelt_is_a_cause_with_the_nearest_one(trading: Running) -> None:
    body = {"id": "typo", "strategy": {"identifier": "noop"}, "scope": {"fake": {"symbols": ["BTC-USTD"]}}}
    ok(trading.client.post(PATH, json=body), 201)
    ok(trading.client.post(f"{PATH}/typo/start"))
    found = until(trading, "typo", "no_event", "symbol_unknown")
    assert "did you mean `BTC-USDT`?" in found["symbol_unknown fake BTC-USTD"]["detail"]
    assert found["no_event typo"]["detail"] == "no event was delivered since its start"
    ok(trading.client.post(f"{PATH}/typo/stop"))
    assert set(why(trading, "typo")) == {"not_running typo", "symbol_unknown fake BTC-USTD"}
    ok(trading.client.delete(f"{PATH}/typo"))


def test_refusals_are_counted_by_rule(trading: Running) -> None:
    until(trading, "trader")
    manager = trading.gateway.instances
    now = time.time_ns()

    def row(rule: str, count: int, age: int, **more: Any) -> RefusalRow:
        values: dict[str, Any] = {
            "refused_at": now - age,
            "last_refused_at": now - age,
            "count": count,
            "instance": "trader",
            "uid": manager.stored("trader").uid,
            "mode": Mode.PAPER,
            "provider": "fake",
            "symbol": "BTC-USDT",
            "rule": rule,
            "message": f"{rule} {count}",
            **more,
        }
        return RefusalRow(**values)

    day = 24 * 3600 * 10**9
    rows = [
        row("price_band", 3, 5000),
        row("price_band", 4, 1000),
        row("throttle", 9, 2000),
        row("max_position_size", 5, 2 * day),
        row("market_stale", 5, 0, mode=Mode.LIVE),
        row("market_stale", 5, 0, uid=manager.stored("timer").uid),
    ]
    writer = GroupCommitWriter(trading.gateway.database, trading.gateway.lock)
    trading.submit(writer.commit(rows)).result(20)
    found = until(trading, "trader", "refused")
    assert {name: each["count"] for name, each in found.items()} == {
        "refused throttle": 9,
        "refused price_band": 7,
    }
    assert (found["refused price_band"]["detail"], found["refused price_band"]["last"]) == (
        "price_band 4",
        (now - 1000) // 10**6,
    )
    assert list(found) == ["refused throttle", "refused price_band"]


def test_events_that_ceased_are_a_cause(control: Running) -> None:
    instance = control.gateway.instances.get("watcher")
    run = instance.run
    assert run is not None
    from tests.support.venue import Venue

    trade = {"tradeId": "1", "side": "Buy", "price": "100", "quantity": "1"}
    producer = Venue.producers["main"]
    producer.publish("Trade", "BTC-USDT", trade)
    control.until(lambda: run.core.delivered_at > 0)
    services = control_services(control.gateway, None)

    def kinds(age: int) -> list[tuple[str, str]]:
        now = run.core.delivered_at + age * 10**9
        found = control.submit(Diagnosis(services, instance, now).why()).result(20).causes
        return [(each.kind, each.detail) for each in found if each.kind == "no_event"]

    assert kinds(59) == []
    assert kinds(61) == [("no_event", "no event was delivered for 61 s")]


def test_the_states_of_instances_and_providers_are_causes(control: Running) -> None:
    assert "not_running slow" in why(control, "slow")
    assert "its status is pending" in why(control, "slow")["not_running slow"]["detail"]
    assert control.client.post(f"{PATH}/failing/start").status_code == 400
    found = why(control, "failing")
    assert "no luck" in found["failed failing"]["detail"]
    assert "meltica logs failing" in found["failed failing"]["remedy"]
    found = why(control, "watcher")
    assert "provider `spare` is pending" in found["provider_down spare"]["detail"]
    # The adapter sends trades only.
    assert "sends no Ticker" in str(why(control, "slowly"))
    failure(control.client.get(f"{PATH}/wotcher/why"), 404, "not_found")


def test_the_command_prints_causes_with_remedies(control: Running) -> None:
    def run(*arguments: str) -> tuple[object, str]:
        environment = {"MELTICA_TOKEN": control.authorization["authorization"].removeprefix("Bearer ")}
        result = CliRunner().invoke(
            cli, ["why", *arguments, "--url", control.url], env=environment, standalone_mode=False
        )
        return result.return_value, result.output

    code, printed = run("slow")
    assert code == 3
    assert printed.splitlines()[:2] == [
        "not_running (slow): its status is pending",
        "  remedy: start it: `meltica instances start slow`",
    ]
    code, printed = run("slow", "--json")
    assert json.loads(printed) == ok(control.client.get(f"{PATH}/slow/why"))


def test_every_cause_has_a_remedy_and_is_documented() -> None:
    kinds = {each.value for each in EVERYWHERE | OF_ACCOUNTS | OF_INSTANCES}
    assert kinds <= REMEDIES.keys()
    assert {each.value for each in FaultKind} - kinds == {
        "absent_instance",
        "unreachable_order",
        "unknown_order",
    }
    sources = [
        (ROOT / "python" / "meltica" / "control" / "why.py").read_text(),
    ]
    assert set(re.findall(r'_cause\(\s*"(\w+)"', "".join(sources))) <= REMEDIES.keys()
    documented = (ROOT / "docs" / "rest.md").read_text()
    assert [kind for kind in REMEDIES if f"`{kind}`" not in documented] == []
