"""`meltica orders`, `positions`, `balances`, `outbox` and `risk` against a gateway that trades."""

import json
from collections.abc import Callable, Generator
from decimal import Decimal
from typing import Any

import pytest
from click.testing import CliRunner, Result

from meltica.cli import cli
from meltica.cli.trading import utc
from meltica.model.balances import Balance
from meltica.model.enums import Mode, OrderState
from meltica.model.trader import Order
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.persistence.stores.outbox import Outbox, event
from meltica.trading.balances import SETTLES_WITHIN
from meltica.trading.risk.limits import InstanceRiskLimits
from meltica.trading.risk.scopes import Scope
from tests.integration.test_control_accounts import CONFIG, World, lose
from tests.support.control_world import actions, controlled, post
from tests.support.lossy_account import Fate
from tests.support.risk import BTC

Run = Callable[..., Result]
WHY = ("--reason", "too hot")


@pytest.fixture(name="world", scope="module")
def _world(tmp_path_factory: pytest.TempPathFactory, cluster: EmbeddedPostgres) -> Generator[World]:
    config = tmp_path_factory.mktemp("commands") / "meltica.yaml"
    config.write_text(CONFIG)
    with controlled(config, cluster) as world:
        yield world


@pytest.fixture(name="run")
def _run(world: World) -> Run:
    running, _ = world
    token = running.authorization["authorization"].removeprefix("Bearer ")

    def run(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(
            cli, [*arguments, "--url", running.url], env={"MELTICA_TOKEN": token}, standalone_mode=False
        )
        found = result.return_value if isinstance(result.return_value, int) else result.exit_code
        if isinstance(result.exception, Exception):
            found = getattr(result.exception, "exit_code", None)
        assert found == code, (result.output, result.exception)
        return result

    return run


def shown(result: Result) -> Any:
    return json.loads(result.stdout)


def table(result: Result) -> list[list[str]]:
    return [line.split() for line in result.stdout.splitlines()]


def acknowledged(world: World, price: str) -> Order:
    """Returns an order that the venue has acknowledged, and whose rows are written."""
    _, trading = world
    order = trading.buy("1", price)
    trading.wait_until(lambda: order.state is OrderState.ACK)
    trading.operate(lambda operator: operator.recorded())
    return order


def test_an_order_is_listed_shown_and_cancelled(run: Run, world: World) -> None:
    _, trading = world
    order = acknowledged(world, "95")
    headings, row = table(run("orders", "list", "--state", "ack"))
    assert headings[:3] == ["placed", "id", "instance"]
    assert row[:2] == utc(order.requested_at // 10**6).split()
    assert row[2:] == [str(order.id), "a", "live", "p", BTC, "Buy", "Limit", "1", "95", "0", "ACK", "-"]
    assert run("orders", "list", "--instance", "paper").output == "no order\n"
    listed = shown(run("orders", "list", "--state", "ACK", "--state", "UNKNOWN", "--json"))
    assert [each["id"] for each in listed["orders"]] == [str(order.id)]
    assert "clientOrderId:" in run("orders", "show", str(order.id)).output
    assert run("orders", "query", str(order.id), *WHY).output == f"{order.id} is queried; it is ACK\n"
    assert "requested" in run("orders", "cancel", str(order.id), *WHY).output
    trading.wait_until(lambda: order.state is OrderState.CANCELLED)
    assert [each[0] for each in actions(trading)] == ["query", "cancel"]
    refused = run("orders", "cancel", str(order.id), *WHY, code=3)
    assert "not cancelled: it is CANCELLED" in str(refused.exception)
    run("orders", "cancel", str(order.id), code=2)


def test_all_orders_of_a_scope_are_cancelled(run: Run, world: World) -> None:
    _, trading = world
    order = acknowledged(world, "94")
    run("orders", "cancel-all", "instance:a", "--symbol", "ETH-USDT", *WHY, code=3)
    cancelled = shown(run("orders", "cancel-all", "instance:a", *WHY, "--json"))
    assert cancelled == {"scope": "instance:a", "orders": [str(order.id)]}
    trading.wait_until(lambda: order.state is OrderState.CANCELLED)


def test_a_scope_is_flattened(run: Run, world: World) -> None:
    _, trading = world
    order = acknowledged(world, "92")
    assert run("risk", "flatten", "instance:a", *WHY).output == "instance:a is halted, and flat\n"
    trading.wait_until(lambda: order.state is OrderState.CANCELLED)
    again = shown(run("risk", "flatten", "instance:a", *WHY, "--json"))
    assert (again["scope"], again["complete"]) == ("instance:a", True)
    run("risk", "flatten", *WHY, code=2)
    run("risk", "flatten", "instance:nope", *WHY, code=3)
    assert post(world[0], "/risk/resume", {"scope": "instance:a", "reason": "flat"})["changed"]


def test_an_unknown_order_is_resolved(run: Run, world: World) -> None:
    _, trading = world
    trading.lossy.fates["submit"].append(Fate.LATE)
    order = trading.buy("1", "93")
    trading.wait_until(lambda: order.state is OrderState.UNKNOWN)
    assert run("orders", "resolve", str(order.id), "rejected", *WHY).output == f"{order.id} is REJECTED\n"
    trading.wait_until(lambda: order.state is OrderState.REJECTED)
    run("orders", "resolve", str(order.id), "FILLED", *WHY, code=2)


def test_what_is_left_of_a_limit_and_what_it_refused_is_shown(run: Run, world: World) -> None:
    _, trading = world
    scope = Scope.instance(trading.owner)
    trading.risk.registry.set_limits(scope, InstanceRiskLimits.model_validate({"maxPositionSize": "7.50"}))
    assert table(run("risk", "usage", "--scope", "instance:a")) == [
        ["scope", "mode", "rule", "symbol", "used", "limit", "distance", "currency"],
        ["instance:a", "live", "max_position_size", BTC, "0", "7.5", "7.5", "-"],
    ]
    with pytest.raises(Exception, match="max_position_size"):
        trading.buy("8", "92")
    trading.risk.registry.set_limits(scope, InstanceRiskLimits())
    trading.wait_until(lambda: run("risk", "refusals").output != "no refusal\n")
    headings, row = table(run("risk", "refusals", "--counts", "--instance", "a"))
    assert (headings, row[2:]) == (
        ["last", "count", "instance", "mode", "rule"],
        ["1", "a", "live", "max_position_size"],
    )
    [refusal] = shown(run("risk", "refusals", "--rule", "max_position_size", "--json"))["refusals"]
    assert (refusal["seen"], refusal["limit"]) == ("8", "7.5")


def test_positions_are_listed_and_released(run: Run, world: World) -> None:
    _, trading = world
    assert run("positions", "list", "paper").output == "no position\n"
    order = trading.buy("1", "100.01")
    trading.wait_until(lambda: order.state is OrderState.FILLED)
    assert table(run("positions", "list", "--mode", "live"))[1] == [
        *("a", "live", "p", BTC, "1", "100.01", "0"),
    ]
    assert "it is running" in str(run("positions", "release", "a", *WHY, code=3).exception)
    trading.desk.detach(trading.owner)
    assert run("positions", "release", "a", *WHY).output == "the positions of a are released\n"
    assert actions(trading)[-1][:2] == ("release", "a")


def test_a_difference_is_found_and_booked(run: Run, world: World) -> None:
    _, trading = world
    headings, *_ = table(run("balances", "lines", "p"))
    assert headings == ["mode", "currency", "venue", "instances", "not", "ours", "difference", "fault"]
    venue = trading.books.lines("p", "USDT").venue
    assert venue is not None
    total = venue - Decimal("2.50")
    with trading.desk.lock:
        now = trading.desk.clock()
        trading.books.reported("p", "USDT", Balance(total, total, now))
        for time in (now, now + SETTLES_WITHIN):
            trading.books.check(time)
    [line] = [each for each in table(run("balances", "lines", "p", code=3)) if each[1] == "USDT"]
    assert line[-2:] == ["-2.5", "yes"]
    assert "not booked" in str(run("balances", "book", "p", "USDT", "-2.4", *WHY, code=3).exception)
    done = run("balances", "book", "p", "USDT", "-2.5", *WHY)
    assert done.output == "-2.5 USDT at p are booked\n"
    [entry] = shown(run("balances", "ledger", "p", "--kind", "booking", "--json"))["entries"]
    assert (entry["amount"], entry["note"]) == ("-2.5", "too hot")
    assert table(run("balances", "ledger", "p", "--limit", "1"))[0][:2] == ["id", "booked"]
    trading.wait_until(lambda: not trading.books.faults)
    run("balances", "lines", "p")


def test_balances_are_listed(run: Run, world: World) -> None:
    _, trading = world
    trading.operate(lambda operator: operator.recorded())
    rows = table(run("balances", "list", "p", "--currency", "usdt"))
    assert rows[0] == ["as", "of", "provider", "mode", "currency", "total", "available"]
    assert rows[1][2:5] == ["p", "live", "USDT"]
    assert shown(run("balances", "history", "p", "--limit", "1", "--json"))["count"] == 1
    assert run("balances", "list").output == "no balance\n"


def test_lost_orders_are_disowned_and_adopted(run: Run, world: World) -> None:
    _, trading = world
    id = lose(trading, "50")
    assert f"lost order {id} (live)" in run("balances", "lines", "p", code=3).output
    assert run("balances", "disown", "p", id, *WHY).output == f"{id} belongs to no instance\n"
    trading.wait_until(lambda: trading.desk.accounts.link("p", Mode.LIVE).ready)
    id = lose(trading, "51")
    assert run("balances", "adopt", "p", id, "a", *WHY).output == f"{id} belongs to a\n"
    run("orders", "cancel-all", *WHY)


def test_dead_letters_are_found_and_retried(run: Run, world: World) -> None:
    running, trading = world
    outbox = Outbox(running.gateway.database, max_attempts=1)
    assert run("outbox", "consumers").output == "no consumer\n"
    running.submit(outbox.add_consumer("hook")).result(20)
    with trading.desk.lock:
        trading.desk.pending.write([event("risk", "global", "halt", {})])
    trading.desk.wake()
    trading.operate(lambda operator: operator.recorded())
    claimed = running.submit(outbox.claim("hook")).result(20)
    dead = next(each.id for each in claimed if each.event_type == "halt")
    others = [each.id for each in claimed if each.id != dead]
    running.submit(outbox.delivered("hook", others)).result(20)
    running.submit(outbox.failed("hook", dead, "HTTP 500")).result(20)
    assert table(run("outbox", "consumers", code=3))[1][:3] == ["hook", "0", "1"]
    assert "HTTP 500" in run("outbox", "show", "hook").output
    [row] = table(run("outbox", "list", "--dead"))[1:]
    assert (row[0], row[-2:]) == (str(dead), ["HTTP", "500"])
    assert run("outbox", "retry", "hook", str(dead), *WHY).output == "1 events of hook are due again\n"
    run("outbox", "consumers")
    [again] = running.submit(outbox.claim("hook")).result(20)
    running.submit(outbox.failed("hook", again.id, "HTTP 500")).result(20)
    assert run("outbox", "drop", "hook", *WHY).output == "1 events of hook are dropped\n"
    assert run("outbox", "consumers").output.split()[6:8] == ["0", "0"]
    assert run("outbox", "delete", str(dead)).output == f"{dead} is deleted\n"
    assert run("outbox", "list").output == "no event\n"
    assert "does not exist" in str(run("outbox", "show", "hok", code=3).exception)
