"""`meltica trace` and `/orders/{id}/trace` against a gateway that trades."""

import json
from collections.abc import Callable, Generator
from uuid import UUID

import pytest
from click.testing import CliRunner, Result

from meltica.cli import cli
from meltica.errors import OrderRefused
from meltica.model.enums import OrderState, Side
from meltica.model.trader import Order
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from tests.integration.test_control_accounts import CONFIG, World
from tests.support.control_world import controlled
from tests.support.risk import BTC

Run = Callable[..., Result]
STEPS = [
    "received",
    "dispatched",
    "read",
    "callback",
    "intent",
    "approved",
    "committed",
    "sent",
    "acknowledged",
]


@pytest.fixture(name="world", scope="module")
def _world(tmp_path_factory: pytest.TempPathFactory, cluster: EmbeddedPostgres) -> Generator[World]:
    config = tmp_path_factory.mktemp("trace") / "meltica.yaml"
    config.write_text(CONFIG)
    with controlled(config, cluster) as world:
        yield world


@pytest.fixture(name="run")
def _run(world: World) -> Run:
    running, _ = world
    token = running.authorization["authorization"].removeprefix("Bearer ")

    def run(*arguments: str) -> Result:
        where = ["--url", running.url]
        return CliRunner().invoke(cli, [*arguments, *where], env={"MELTICA_TOKEN": token})

    return run


def placed_on_trade(world: World) -> Order:
    """Returns an order that the callback of a trade has placed, and that the venue has acknowledged."""
    _, trading = world
    placed: list[Order] = []
    trading.on_trade = lambda _: placed.append(trading.trader.place(Side.BUY, BTC, "1", "93"))
    trading.producer.publish("Trade", BTC, {"tradeId": "1", "price": "99", "quantity": "1"})
    trading.producer.drain()
    [order] = placed
    trading.wait_until(lambda: order.state is OrderState.ACK)
    trading.operate(lambda operator: operator.recorded())
    return order


def test_the_trace_of_an_order_is_a_waterfall(run: Run, world: World) -> None:
    order = placed_on_trade(world)
    lines = run("trace", str(order.id)).stdout.splitlines()
    assert lines[0] == f"order {order.id} of a (live), {BTC} at p: ACK"
    assert lines[1] == f"event 1: Trade of {BTC} at p"
    assert [line.split()[0] for line in lines[4:-2]] == STEPS
    assert all(len(line) <= 120 for line in lines)
    assert lines[-1].startswith("until the venue had it: work ")
    found = json.loads(run("trace", str(order.id), "--json").stdout)
    assert [each["step"] for each in found["steps"]] == STEPS
    # The first event of a batch waits for no other one.
    assert all(each["afterNs"] > 0 for each in found["steps"][1:] if each["step"] != "callback")
    before = [each["afterNs"] for each in found["steps"][1:]]
    assert found["workNs"] + found["waitNs"] + found["venueNs"] == sum(before)


def test_the_trace_of_a_refused_order_names_the_rule(run: Run, world: World) -> None:
    _, trading = world
    with pytest.raises(OrderRefused) as refused:
        trading.buy("100000000", "93")
    trading.operate(lambda operator: operator.recorded())
    listed = json.loads(run("risk", "refusals", "--json").stdout)["refusals"][0]
    assert listed["orderId"] in run("risk", "refusals").stdout
    lines = run("trace", listed["orderId"]).stdout.splitlines()
    rule = refused.value.rule
    assert lines[0] == f"order {listed['orderId']} of a (live), {BTC} at p: refused ({rule})"
    assert lines[1].startswith(f"refused by {rule}: ")
    assert [line.split()[0] for line in lines[4:-2]] == ["callback", "intent", "refused"]


def test_an_order_that_does_not_exist_has_no_trace(run: Run) -> None:
    assert "does not exist, and none was refused under this id" in str(run("trace", str(UUID(int=5))).output)
