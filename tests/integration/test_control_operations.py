"""The routes that act on trading: halts, flatten, and what is done to orders."""

from collections.abc import Generator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from meltica.gateway import control_services
from meltica.model.enums import OrderState
from meltica.model.trader import Order
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.trading import service
from meltica.trading.risk.limits import InstanceRiskLimits
from meltica.trading.risk.scopes import Scope
from tests.support import gateway
from tests.support.control_world import READS, actions, controlled, plan, post
from tests.support.gateway import Running
from tests.support.risk import BTC
from tests.support.trading_world import TradingWorld

WHY = {"reason": "too hot"}
SCOPE = {"scope": "instance:a", **WHY}
World = tuple[Running, TradingWorld]


@pytest.fixture(name="world", scope="module")
def _world(config: Path, cluster: EmbeddedPostgres) -> Generator[World]:
    with controlled(config, cluster) as world:
        yield world


@pytest.fixture(name="idle")
def _idle(config: Path, cluster: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> Generator[Running]:
    """A gateway in which nothing trades."""
    monkeypatch.setattr(control_services, "trading_reads", READS)
    with gateway.database(cluster) as dsn, gateway.running(config, dsn) as running:
        yield running


def _wait(trading: TradingWorld, order: Order, state: OrderState) -> None:
    trading.wait_until(lambda: order.state is state)


def test_an_order_is_cancelled_and_shows_its_whole_life(world: World) -> None:
    running, trading = world
    order = trading.buy("1", "99")
    _wait(trading, order, OrderState.ACK)
    before = len(actions(trading))
    cancelled = {f"order:{order.id}": ("ACK", "CANCELLED")}
    assert plan(world, f"/orders/{order.id}/cancel", WHY) == ("cancel", cancelled)
    changed = post(running, f"/orders/{order.id}/cancel", WHY)
    assert (changed["id"], changed["cancelWanted"]) == (str(order.id), True)
    _wait(trading, order, OrderState.CANCELLED)
    assert actions(trading)[before:] == [("cancel", str(order.id), running.actor, "too hot")]
    assert post(running, f"/orders/{order.id}/cancel", WHY, 409)["code"] == "conflict"
    trading.operate(lambda operator: operator.recorded())
    shown = running.client.get(f"/orders/{order.id}").json()
    assert (shown["order"]["state"], shown["executions"]) == ("CANCELLED", [])
    times = shown["times"]
    life = [times[name] for name in ("intent", "approved", "committed", "sent", "acknowledged", "ended")]
    assert life == sorted(life)


def test_the_orders_of_a_scope_are_cancelled(world: World) -> None:
    running, trading = world
    order = trading.buy("1", "98")
    _wait(trading, order, OrderState.ACK)
    assert plan(world, "/orders/cancel", {**SCOPE, "symbol": "ETH-USDT"}) == ("none", {})
    assert plan(world, "/orders/cancel", SCOPE) == ("cancel", {f"order:{order.id}": ("ACK", "CANCELLED")})
    assert post(running, "/orders/cancel", {**SCOPE, "symbol": "ETH-USDT"})["orders"] == []
    assert post(running, "/orders/cancel", SCOPE) == {"scope": "instance:a", "orders": [str(order.id)]}
    _wait(trading, order, OrderState.CANCELLED)


def test_a_cancel_finds_the_symbol_that_was_meant_or_fails(world: World) -> None:
    """A misspelt symbol must not answer that nothing is open."""
    running, trading = world
    order = trading.buy("1", "98")
    _wait(trading, order, OrderState.ACK)
    before = actions(trading)
    for symbol, status in (("BTCUSDT", 400), ("", 400), ("BTC-USTD", 404)):
        post(running, "/orders/cancel", {**SCOPE, "symbol": symbol}, status)
    assert actions(trading) == before
    found = post(running, "/orders/cancel", {**SCOPE, "symbol": " btc/usdt"})
    assert found["orders"] == [str(order.id)]
    _wait(trading, order, OrderState.CANCELLED)


def test_orders_of_all_instances_are_filtered(world: World) -> None:
    running, trading = world
    order = trading.buy("1", "97")
    _wait(trading, order, OrderState.ACK)
    trading.operate(lambda operator: operator.recorded())
    shown = running.client.get(f"/orders/{order.id}").json()["times"]["intent"]

    def ids(**parameters: Any) -> list[str]:
        found = running.client.get("/orders", params=parameters).json()
        return [each["id"] for each in found["orders"]]

    assert ids(state="ack") == [str(order.id)]
    assert ids(instance="a", symbol=order.symbol, since=shown, until=shown + 1)[0] == str(order.id)
    assert ids(until=shown).count(str(order.id)) == 0
    assert ids(symbol="ETH-USDT") == ids(instance="watcher") == ids(since=shown + 1) == []
    assert running.client.get("/orders", params={"instance": "b"}).status_code == 400
    post(running, f"/orders/{order.id}/cancel", WHY)
    _wait(trading, order, OrderState.CANCELLED)


def test_an_unknown_order_is_queried_and_resolved(world: World) -> None:
    running, trading = world
    order = trading.buy_unknown("1", "96")
    assert plan(world, f"/orders/{order.id}/query", WHY) == ("query", {"query": (False, True)})
    assert post(running, f"/orders/{order.id}/query", WHY)["state"] == "UNKNOWN"
    resolve = f"/orders/{order.id}/resolve"
    assert post(running, resolve, {"state": "FILLED", **WHY}, 409)["code"] == "conflict"
    assert post(running, resolve, {"state": "GONE", **WHY}, 400)["code"] == "validation_failed"
    ended = {"state": ("UNKNOWN", "REJECTED")}
    assert plan(world, resolve, {"state": "REJECTED", **WHY}) == ("resolve", ended)
    refused = running.client.post(resolve, params={"plan": "1"}, json={"state": "FILLED", **WHY})
    assert refused.status_code == 409
    assert post(running, resolve, {"state": "REJECTED", **WHY})["state"] == "REJECTED"
    _wait(trading, order, OrderState.REJECTED)
    assert order.state is OrderState.REJECTED


def test_a_scope_is_halted_resumed_and_flattened(world: World) -> None:
    running, trading = world
    assert plan(world, "/risk/halt", SCOPE) == ("halt", {"halted": (False, True)})
    assert post(running, "/risk/halt", SCOPE) == {"scope": "instance:a", "halted": True, "changed": True}
    assert plan(world, "/risk/halt", SCOPE) == ("none", {})
    assert plan(world, "/risk/resume", SCOPE) == ("resume", {"halted": (True, False)})
    assert not post(running, "/risk/halt", SCOPE)["changed"]
    [halt] = running.client.get("/risk/status").json()["halts"]
    assert (halt["haltedBy"], halt["reason"]) == (running.actor, "too hot")
    assert post(running, "/risk/resume", SCOPE) == {"scope": "instance:a", "halted": False, "changed": True}
    assert not post(running, "/risk/resume", SCOPE)["changed"]
    order = trading.buy("2", "100.01")
    _wait(trading, order, OrderState.FILLED)
    sold: dict[str, Any] = {"halted": (False, True), "positions": (["a:p:BTC-USDT"], [])}
    assert plan(world, "/risk/flatten", SCOPE) == ("flatten", sold)
    done = post(running, "/risk/flatten", SCOPE)
    assert (done["complete"], done["open"], done["unclosed"], len(done["closing"])) == (True, [], [], 1)
    positions = running.client.get("/strategy/instances/a/positions").json()["positions"]
    assert [each["quantity"] for each in positions] == ["0"]
    assert actions(trading)[-1] == ("flatten", "instance:a", running.actor, "too hot")
    assert post(running, "/risk/resume", SCOPE)["changed"]


def test_the_state_of_risk_shows_what_is_left_of_each_limit(world: World) -> None:
    running, trading = world
    limits = InstanceRiskLimits.model_validate({"maxPositionSize": "7.50", "maxOpenOrders": 2})
    scope = Scope.instance(trading.owner)
    trading.risk.registry.set_limits(scope, limits)
    order = trading.buy("1.5", "94")
    _wait(trading, order, OrderState.ACK)
    scopes = running.client.get("/risk/status").json()["scopes"]
    [shown] = [each["limits"] for each in scopes if each["scope"] == "instance:a"]
    assert shown == [
        {"rule": "max_position_size", "symbol": BTC, "limit": "7.5", "used": "1.5", "distance": "6"},
        {"rule": "max_open_orders", "limit": "2", "used": "1", "distance": "1"},
    ]
    trading.risk.registry.set_limits(scope, InstanceRiskLimits())
    post(running, f"/orders/{order.id}/cancel", WHY)
    _wait(trading, order, OrderState.CANCELLED)


def test_halts_are_written_while_nothing_trades(idle: Running) -> None:
    body = {"scope": "provider:main", **WHY}
    assert post(idle, "/risk/halt", body)["changed"]
    assert [each["scope"] for each in idle.client.get("/risk/status").json()["halts"]] == ["provider:main"]
    assert post(idle, "/risk/resume", body)["changed"]
    for path, more in (
        ("/risk/flatten", body),
        ("/orders/cancel", body),
        ("/orders/00000000-0000-4000-8000-000000000000/cancel", WHY),
        (f"/orders/{uuid4()}/query", WHY),
        (f"/orders/{uuid4()}/resolve", {"state": "REJECTED", **WHY}),
    ):
        assert post(idle, path, more, 409)["code"] == "conflict"


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/risk/halt", {"scope": "all", **WHY}, 400, "validation_failed"),
        ("/risk/halt", {"scope": "instance:", **WHY}, 400, "validation_failed"),
        ("/risk/halt", {"scope": "instance:none", **WHY}, 404, "not_found"),
        ("/risk/halt", {"scope": "provider:none", **WHY}, 404, "not_found"),
        ("/risk/halt", {}, 400, "validation_failed"),
        ("/risk/halt", None, 400, "invalid_parameter"),
        ("/risk/halt", [], 400, "validation_failed"),
        ("/risk/halt", {"reason": " "}, 400, "validation_failed"),
        ("/risk/halt", {"reason": "a\0"}, 400, "bad_request"),
        ("/risk/halt", {"reason": "x" * 5000}, 400, "validation_failed"),
        ("/risk/halt", {"scop": "global", **WHY}, 400, "validation_failed"),
        ("/orders/00000000-0000-4000-8000-000000000000/cancel", WHY, 404, "not_found"),
        ("/orders/nine/cancel", WHY, 404, "unknown_path"),
    ],
)
def test_a_request_that_is_not_valid_changes_nothing(
    world: World, path: str, body: Any, status: int, code: str
) -> None:
    running, trading = world
    before = actions(trading)
    assert post(running, path, body, status)["code"] == code
    assert actions(trading) == before


def test_a_symbol_that_cannot_be_recorded_cancels_nothing(world: World) -> None:
    running, trading = world
    before = actions(trading)
    refused = post(running, "/orders/cancel", {**SCOPE, "symbol": "\0"}, 400)
    assert "NUL" in refused["error"]
    assert actions(trading) == before


def test_an_order_that_does_not_exist_is_not_found(world: World) -> None:
    assert world[0].client.get(f"/orders/{uuid4()}").status_code == 404


def test_a_halt_that_is_not_recorded_yet_acts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    running, trading = world
    monkeypatch.setattr(service, "RECORD_SECONDS", 0.2)
    order = trading.buy("1", "95")
    _wait(trading, order, OrderState.ACK)
    with psycopg.connect(trading.url, options="-c search_path=meltica") as connection:
        connection.execute("lock table operator_actions in access exclusive mode")
        answer = post(running, "/risk/halt", SCOPE, 202)
        assert answer == {"scope": "instance:a", "halted": True, "recorded": False}
        _wait(trading, order, OrderState.CANCELLED)
    monkeypatch.undo()
    trading.operate(lambda operator: operator.recorded())
    assert post(running, "/risk/resume", SCOPE)["changed"]


def test_positions_are_released_once_the_instance_does_not_run(world: World) -> None:
    running, trading = world
    order = trading.buy("1", "100.01")
    _wait(trading, order, OrderState.FILLED)
    path, body = "/strategy/instances/a/positions/release", {"mode": "live", **WHY}
    assert "running" in post(running, path, body, 409)["error"]
    assert post(running, path, {**body, "uid": str(uuid4())}, 404)["code"] == "not_found"
    assert post(running, path, {"mode": "paper", **WHY}, 404)["code"] == "not_found"
    trading.desk.detach(trading.owner)
    effect, released = plan(world, path, body)
    assert (effect, list(released)) == ("release", ["positions"])
    [left] = post(running, path, body)["positions"]
    assert left["quantity"] == "0"
    assert actions(trading)[-1] == ("release", "a", running.actor, "too hot")
    assert post(running, path, body, 404)["code"] == "not_found"
