"""The routes of orders, executions, positions, balances and risk."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from meltica.control.trading import TradingReads
from meltica.gateway import control_services
from meltica.gateway.gateway import Gateway
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.persistence.stores.trading.halts import HaltStore
from meltica.persistence.stores.trading.rows import HaltScope
from meltica.trading.operator import Act
from meltica.trading.risk.scopes import GLOBAL
from tests.support import gateway, rest_schemas
from tests.support.gateway import Running
from tests.support.trading_history import FILLED, OPEN, write_history
from tests.support.trading_rows import START
from tests.support.trading_world import TradingWorld

MILLISECONDS = START // 10**6
INSTANCE = "/strategy/instances/watcher"


@pytest.fixture(name="running", scope="module")
def _running(config: Path, cluster: EmbeddedPostgres) -> Generator[Running]:
    with gateway.database(cluster) as dsn, gateway.running(config, dsn) as running:
        write_history(running)
        yield running


def _get(running: Running, path: str, **parameters: Any) -> Any:
    answer = running.client.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_an_order_has_its_whole_life(running: Running) -> None:
    assert _get(running, f"{INSTANCE}/orders")["count"] == 2
    [shown] = _get(running, f"{INSTANCE}/orders", provider="main")["orders"]
    times = {shown.pop(name) for name in ("createdAt", "updatedAt")}
    assert len(times) == 1
    assert shown == {
        "id": str(FILLED.id),
        "provider": "main",
        "strategyInstance": "watcher",
        "clientOrderId": "abc000000000000001",
        "symbol": "BTC-USDT",
        "side": "Buy",
        "mode": "paper",
        "type": "Market",
        "timeInForce": "GTC",
        "postOnly": False,
        "reduceOnly": False,
        "quantity": "0.01",
        "limitPrice": "64000.1",
        "filledQuantity": "0.01",
        "averagePrice": "64000",
        "fees": {"USDT": "-0.000000000000000001"},
        "state": "FILLED",
        "cancelWanted": False,
        "tag": "entry",
        "externalReference": "v1",
        "placedAt": MILLISECONDS,
        "sentAt": MILLISECONDS,
        "acknowledgedAt": MILLISECONDS,
        "completedAt": MILLISECONDS + 1000,
        "metadata": {},
    }


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, [OPEN, FILLED]),
        ({"limit": 1}, [OPEN]),
        ({"limit": 100_000}, [OPEN, FILLED]),
        ({"mode": "live"}, [OPEN]),
        ({"state": "filled"}, [FILLED]),
        ({"states": ["ACK", "FILLED"]}, [OPEN, FILLED]),
        ({"states": "PENDING"}, []),
        ({"provider": "zzz"}, []),
    ],
)
def test_orders_are_filtered_and_the_latest_comes_first(
    running: Running, parameters: dict[str, Any], expected: list[Any]
) -> None:
    found = _get(running, f"{INSTANCE}/orders", **parameters)
    assert [each["id"] for each in found["orders"]] == [str(each.id) for each in expected]
    assert found["count"] == len(expected)


def test_a_fill_names_its_order_mode_and_rule(running: Running) -> None:
    [shown] = _get(running, f"{INSTANCE}/executions", orderId=str(FILLED.id), mode="paper")["executions"]
    shown.pop("createdAt")
    assert shown == {
        "orderId": str(FILLED.id),
        "provider": "main",
        "strategyInstance": "watcher",
        "mode": "paper",
        "symbol": "BTC-USDT",
        "side": "Buy",
        "executionId": "e1",
        "quantity": "0.01",
        "price": "64000",
        "fee": "-0.000000000000000001",
        "feeAsset": "USDT",
        "liquidity": "taker",
        "rule": "taker",
        "tradedAt": MILLISECONDS,
        "recovered": False,
        "metadata": {},
    }
    for nothing in ({"orderId": str(OPEN.id)}, {"mode": "live"}, {"provider": "spare"}):
        assert _get(running, f"{INSTANCE}/executions", **nothing) == {"executions": [], "count": 0}


def test_balances_are_a_history_by_mode_and_asset(running: Running) -> None:
    found = _get(running, "/providers/main/balances")
    assert [(each["mode"], each["asset"]) for each in found["balances"]] == [
        ("paper", "BTC"),
        ("paper", "USDT"),
        ("live", "USDT"),
    ]
    latest = _get(running, "/providers/main/balances", latest="true")["balances"]
    assert [(each["mode"], each["asset"]) for each in latest] == [
        ("live", "USDT"),
        ("paper", "BTC"),
        ("paper", "USDT"),
    ]
    assert _get(running, "/providers/main/balances", latest="true", asset="btc")["count"] == 1
    [shown] = _get(running, "/providers/main/balances", asset="usdt", mode="live")["balances"]
    assert (shown["total"], shown["available"]) == ("1000000000000000000000000.000000000000000001", "0.1")
    assert (shown["snapshotAt"], shown["createdAt"]) == (MILLISECONDS, shown["updatedAt"])


def test_positions_are_those_of_the_database_while_nothing_trades(running: Running) -> None:
    [shown] = _get(running, f"{INSTANCE}/positions", mode="paper", provider="main")["positions"]
    assert shown == {
        "instance": "watcher",
        "uid": str(FILLED.uid),
        "mode": "paper",
        "provider": "main",
        "symbol": "BTC-USDT",
        "quantity": "0.01",
        "cost": "640",
        "averagePrice": "64000",
        "realisedPnl": "0",
        "fees": {"USDT": "0.32"},
    }
    assert _get(running, f"{INSTANCE}/positions", mode="live")["count"] == 0


def test_existing_clients_can_read_the_responses(running: Running) -> None:
    for path, kind in (
        (f"{INSTANCE}/orders", rest_schemas.Orders),
        (f"{INSTANCE}/executions", rest_schemas.Executions),
        ("/providers/main/balances", rest_schemas.Balances),
        ("/risk/limits", rest_schemas.RiskLimits),
    ):
        assert msgspec.json.decode(running.client.get(path).content, type=kind)


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        (f"{INSTANCE}/orders?limit=0", "limit"),
        (f"{INSTANCE}/orders?limit=-1", "limit"),
        (f"{INSTANCE}/orders?limit=x", "limit"),
        (f"{INSTANCE}/orders?limit=1.5", "limit"),
        (f"{INSTANCE}/orders?states=open", "state"),
        (f"{INSTANCE}/orders?mode=dry", "mode"),
        (f"{INSTANCE}/executions?orderId=1", "orderId"),
        ("/providers/main/balances?limit=0", "limit"),
    ],
)
def test_a_parameter_that_is_not_valid_is_named(running: Running, path: str, parameter: str) -> None:
    answer = running.client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameter")
    assert answer.json()["error"].startswith(f"`{parameter}`: ")


def test_the_limits_are_those_of_the_config(running: Running) -> None:
    shown = _get(running, "/risk/limits")
    assert shown == {
        "limits": {
            "maxPositionSize": "250",
            "maxNotionalValue": "50000",
            "notionalCurrency": "USDT",
            "orderThrottle": 5.0,
            "orderBurst": 3,
            "maxConcurrentOrders": 6,
            "priceBandPercent": 1.0,
            "allowedOrderTypes": ["Limit", "Market"],
            "killSwitchEnabled": True,
            "maxRiskBreaches": 3,
            "circuitBreaker": {"enabled": True, "threshold": 4, "cooldown": "1m30s"},
        },
        "providers": {"spare": {"maxOrderSize": "2.5", "maxFeedLag": "500ms"}},
        "instances": {"unloaded": {"maxDailyLoss": "100", "capital": "1000", "maxDrawdownPercent": 2.5}},
    }


def test_halts_of_the_database_are_shown_while_nothing_trades(running: Running) -> None:
    assert _get(running, "/risk/status") == {"trading": False, "halts": [], "scopes": [], "faults": []}
    halts = HaltStore(running.gateway.database)
    running.submit(halts.halt(HaltScope.INSTANCE, "watcher", "too hot", "alice")).result(20)
    [halt] = _get(running, "/risk/status")["halts"]
    assert halt.pop("haltedAt") > START // 10**6
    assert halt == {"scope": "instance:watcher", "rule": "operator", "reason": "too hot", "haltedBy": "alice"}
    running.submit(halts.clear(HaltScope.INSTANCE, "watcher", "cooled", "alice")).result(20)


@pytest.fixture(name="world")
def _world(
    config: Path, cluster: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> Generator[tuple[Running, TradingWorld]]:
    """A gateway whose control plane reads from trading, which has an account of its own."""
    worlds = list[TradingWorld]()
    make = control_services.trading_reads

    def reads(running: Gateway) -> TradingReads:
        world = TradingWorld(running.database.dsn, running.lock)
        world.start()
        worlds.append(world)
        found = make(running)
        found.desk, found.faults = lambda: world.desk, world.trading.faults
        return found

    monkeypatch.setattr(control_services, "trading_reads", reads)
    with gateway.database(cluster) as dsn, gateway.running(config, dsn) as running:
        yield running, worlds[0]
        worlds[0].close()


def test_positions_orders_and_risk_of_trading_that_runs(world: tuple[Running, TradingWorld]) -> None:
    running, trading = world
    trading.buy("2", "100.01")
    trading.wait_for("filled")
    resting = trading.buy("1", "99.5")
    trading.wait_for("filled", "acknowledged")
    [position] = _get(running, "/strategy/instances/a/positions")["positions"]
    assert {name: position[name] for name in ("uid", "mode", "quantity", "averagePrice", "cost")} == {
        "uid": str(trading.owner.uid),
        "mode": "live",
        "quantity": "2",
        "averagePrice": "100.01",
        "cost": "200.02",
    }
    trading.operate(lambda operator: operator.recorded())
    orders = _get(running, "/strategy/instances/a/orders")["orders"]
    assert [(each["id"], each["state"]) for each in orders[:1]] == [(str(resting.id), "ACK")]
    assert trading.operate(lambda operator: operator.halt(GLOBAL, Act("alice", "too hot")))
    trading.desk.gate.blocked = "lock_not_held"
    status = _get(running, "/risk/status")
    assert status["trading"]
    assert [(each["scope"], each["haltedBy"], each["reason"]) for each in status["halts"]] == [
        ("global", "alice", "too hot")
    ]
    assert status["faults"] == [{"kind": "no_orders", "detail": "lock_not_held"}]
    scopes = {each["scope"]: each for each in status["scopes"]}
    assert set(scopes) == {"global", "provider:p", "instance:a"}
    assert (scopes["global"]["halted"], scopes["instance:a"]["halted"]) == (True, False)
    assert scopes["instance:a"]["mode"] == "live"
