"""Risk limits that are changed over REST: at once, for all scopes, and after a restart."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.trading.order import Owner
from tests.integration.test_control_resources import failure, ok
from tests.support.gateway import Running, database, running

PATH = "/risk/limits"
OLD: dict[str, Any] = {
    "MaxPositionSize": "10",
    "MaxNotionalValue": "1000",
    "NotionalCurrency": "USDT",
    "OrderThrottle": 4,
    "OrderBurst": 2,
    "MaxConcurrentOrders": 5,
    "PriceBandPercent": 2.5,
    "AllowedOrderTypes": ["limit"],
    "KillSwitchEnabled": True,
    "MaxRiskBreaches": 9,
    "CircuitBreaker": {"Enabled": True, "Threshold": 8, "Cooldown": "1m30s"},
}
"""What a client of the reference sends."""
BTC = "BTC-USDT"
OPEN = {"auth": "none"}
"""A second gateway of a database has no token of the first one."""


def get(control: Running) -> Any:
    return ok(control.client.get(PATH))


def put(control: Running, **body: Any) -> httpx.Response:
    return control.client.put(PATH, json=body)


def test_what_get_answers_changes_nothing(control: Running) -> None:
    before = control.client.get(PATH)
    answer = control.client.put(PATH, json=before.json())
    assert ok(answer) == {**before.json(), "status": "updated"}
    assert answer.headers["etag"] == before.headers["etag"]
    assert ok(control.client.put(PATH, json=answer.json())) == answer.json()


def test_an_old_client_does_not_remove_a_newer_limit(control: Running) -> None:
    ok(put(control, limits={"maxOpenOrders": 3, "maxDailyLoss": "50", "staleMarketSeconds": 4}))
    limits = ok(put(control, **OLD))["limits"]
    assert limits["maxPositionSize"] == "10"
    assert limits["allowedOrderTypes"] == ["Limit"]
    assert limits["circuitBreaker"] == {"enabled": True, "threshold": 8, "cooldown": "1m30s"}
    assert (limits["maxOpenOrders"], limits["maxDailyLoss"], limits["staleMarketSeconds"]) == (3, "50", 4)
    assert ok(put(control, MAXRISKBREACHES=8, circuitBREAKER={"thresHOLD": 7}))["limits"] == {
        **limits,
        "maxRiskBreaches": 8,
        "circuitBreaker": {**limits["circuitBreaker"], "threshold": 7},
    }


def test_null_removes_a_limit(control: Running) -> None:
    ok(put(control, providers={"main": {"maxOrderSize": "1.50", "maxOpenOrders": 2}}))
    assert ok(put(control, providers={"main": {"maxOrderSize": None}}))["providers"]["main"] == {
        "maxOpenOrders": 2
    }
    assert "main" not in ok(put(control, providers={"main": {"maxOpenOrders": None}}))["providers"]


def test_the_three_scopes_change_together_or_not_at_all(control: Running) -> None:
    body = {
        "limits": {"maxOrderSize": "7"},
        "providers": {"main": {"maxOrderSize": "6"}},
        "instances": {"watcher": {"maxOrderSize": "5", "capital": "100", "maxDrawdownPercent": 5}},
    }
    answer = ok(put(control, **body))
    assert answer["limits"]["maxOrderSize"] == "7"
    assert answer["providers"]["main"] == {"maxOrderSize": "6"}
    assert answer["instances"]["watcher"]["capital"] == "100"
    wrong = {**body, "limits": {"maxOrderSize": "8"}, "instances": {"watcher": {"capital": None}}}
    failed = put(control, **wrong)
    failure(failed, 400, "validation_failed")
    assert set(failed.json()["faults"]) == {"instances.watcher.capital"}
    assert get(control)["limits"]["maxOrderSize"] == "7"


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"maxPositionSize": "0"}, "maxPositionSize"),
        ({"MaxPositionSize": "many"}, "maxPositionSize"),
        ({"MaxNotionalValue": "NaN"}, "maxNotionalValue"),
        ({"OrderThrottle": True}, "orderThrottle"),
        ({"maxPositionsize": 1, "MaxPositionSize": 2}, "MaxPositionSize"),
        ({"maxPositionSiz": 1}, "maxPositionSiz"),
        ({"circuitBreaker": {"Treshold": 1}}, "circuitBreaker.Treshold"),
        ({"circuitBreaker": {"cooldown": "0s"}}, "circuitBreaker.cooldown"),
        ({"limits": {}, "maxOrderSize": 1}, "maxOrderSize"),
        ({"limits": 5}, "limits"),
        ({"providers": {"mian": {"maxOrderSize": 1}}}, "providers.mian"),
        ({"instances": {"watcher": {"capital": "-1"}}}, "instances.watcher.capital"),
        ({"instances": {"watcher": 1}}, "instances.watcher"),
    ],
)
def test_a_fault_changes_nothing_and_is_named_with_its_path(
    control: Running, body: dict[str, Any], path: str
) -> None:
    before = get(control)
    answer = put(control, **body)
    failure(answer, 400, "validation_failed")
    assert set(answer.json()["faults"]) == {path}
    assert get(control) == before


def test_a_plan_and_another_version_change_nothing(control: Running) -> None:
    before = control.client.get(PATH)
    plan = control.client.put(f"{PATH}?plan=1", json={"maxOpenOrders": 44})
    assert ok(plan)["effect"] == "update"
    assert ok(plan)["changes"]["global"]["after"]["maxOpenOrders"] == 44
    old = control.client.put(PATH, json={"maxOpenOrders": 44}, headers={"if-match": '"0"'})
    failure(old, 412, "precondition_failed")
    assert get(control) == before.json()
    version = {"if-match": before.headers["etag"]}
    answer = control.client.put(PATH, json={"maxOpenOrders": 44}, headers=version)
    assert ok(answer)["limits"]["maxOpenOrders"] == 44
    assert answer.headers["etag"] == plan.headers["etag"]


def test_of_two_writers_at_once_one_state_remains(control: Running) -> None:
    def both(number: int) -> httpx.Response:
        limits = {"maxOpenOrders": number}
        return put(control, limits=limits, providers={"main": limits})

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(both, [61, 62]))
    assert {each.status_code for each in answers} <= {200, 409}
    shown = get(control)
    assert shown["limits"]["maxOpenOrders"] == shown["providers"]["main"]["maxOpenOrders"]


def test_limits_are_audited_with_their_author(control: Running) -> None:
    ok(put(control, limits={"maxOpenOrders": 71}))
    ok(put(control, limits={"maxOpenOrders": 72}))
    with psycopg.connect(control.gateway.database.dsn) as connection:
        row = connection.execute(
            "select actor, subject, before, after from audit where action = 'risk limit.set'"
            " order by id desc limit 1"
        ).fetchone()
    assert row is not None
    actor, subject, before, after = row
    assert (actor, subject, set(after)) == (control.actor, "limits", {"global"})
    assert (before["global"]["maxOpenOrders"], after["global"]["maxOpenOrders"]) == (71, 72)


def test_limits_apply_to_trading_at_once(control: Running) -> None:
    def put_all(number: int) -> None:
        limits = {"maxOpenOrders": number}
        ok(put(control, limits=limits, providers={"main": limits}, instances={"watcher": limits}))

    put_all(81)
    trading = control.gateway.trading
    assert trading is not None
    runtime = control.submit(trading.started()).result()
    lanes = [
        risk.registry.lane(
            Owner("watcher", control.gateway.instances.stored("watcher").uid, mode), "main", BTC
        )
        for mode, risk in runtime.risks.items()
    ]
    assert [scope.max_open for scope in lanes[0].scopes][:2] == [81, 81]
    put_all(82)
    for lane in lanes:
        assert [state.limits.max_open_orders for state in lane.states] == [82, 82, 82]
        assert {scope.max_open for scope in lane.scopes} == {82}


def test_limits_last_until_the_config_file_is_edited(config: Path, cluster: EmbeddedPostgres) -> None:
    edit: dict[str, Any] = {"providers": {"spare": {"risk": {"maxOrderSize": 3}}}}
    with database(cluster) as dsn:
        with running(config, dsn, apiServer=OPEN) as first:
            ok(put(first, **OLD))
            ok(
                put(
                    first,
                    providers={"spare": {"maxOrderSize": "9"}},
                    instances={"watcher": {"maxOpenOrders": 1}},
                )
            )
            before = get(first)
        with running(config, dsn, apiServer=OPEN) as second:
            assert get(second) == before
        with running(config, dsn, apiServer=OPEN, **edit) as third:
            assert get(third)["providers"]["spare"] == {"maxOrderSize": "3", "maxFeedLag": "500ms"}
            assert get(third)["limits"] == before["limits"]
        # The edit is the last word, also when it is taken back.
        with running(config, dsn, apiServer=OPEN) as fourth:
            assert get(fourth)["providers"]["spare"]["maxOrderSize"] == "2.5"
            assert get(fourth)["instances"] == before["instances"]
