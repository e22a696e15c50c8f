"""The slowest deliveries of the last minute: of the core, over REST, and by command."""

import json
import threading

from click.testing import CliRunner

from meltica import _core
from meltica.cli import cli
from tests.support.gateway import Running

BTC = "BTC-USDT"
STEPS = ["received", "dispatched", "read", "callback", "returned"]


def trade(number: int) -> dict[str, str]:
    return {"tradeId": str(number), "price": "99", "quantity": "1"}


def test_the_slowest_deliveries_are_kept_whole_the_slowest_first() -> None:
    """The first event holds its host until all others wait, so the later ones wait less."""
    core, gate = _core.Core(), threading.Event()
    producer, host = core.producer("p"), core.host("thread")
    instance = host.add("a", callbacks={"Trade": lambda _: gate.wait()}, routes=[("p", "Trade", BTC)])
    instance.start()
    for number in range(80):
        producer.publish("Trade", BTC, trade(number))
    gate.set()
    producer.drain()
    found = core.slowest()
    totals = [each.read_ns + each.callback_ns + each.returned_ns for each in found]
    assert len(found) == 50
    assert totals == sorted(totals, reverse=True)
    assert len({each.sequence for each in found}) == 50
    assert {(each.lambda_id, each.kind, each.provider, each.symbol) for each in found} == {
        ("a", "Trade", "p", BTC)
    }
    held = next(each for each in found if each.sequence == 1)
    assert held.returned_ns > max(each.returned_ns for each in found if each is not held)
    assert instance.stats()["callback_ns"]["count"] == 80
    assert host.stop()


def test_a_replay_keeps_none() -> None:
    core = _core.Core()
    producer, host = core.producer("p"), core.host("shared", clock="event")
    instance = host.add("a", callbacks={"Trade": lambda _: None}, routes=[("p", "Trade", BTC)])
    instance.start()
    producer.publish("Trade", BTC, trade(1), received_time=1)
    producer.drain()
    assert instance.stats()["delivered"] == {"Trade": 1}
    assert core.slowest() == []
    assert host.stop()


def test_the_latencies_of_an_instance_are_those_of_its_providers() -> None:
    core = _core.Core()
    first, second, host = core.producer("p"), core.producer("q"), core.host("thread")
    routes = [("p", "Trade", BTC), ("q", "Trade", BTC)]
    instance = host.add("a", callbacks={"Trade": lambda _: None}, routes=routes)
    instance.start()
    for number, producer in enumerate((first, first, second)):
        producer.publish("Trade", BTC, trade(number))
        producer.drain()
    for name in ("latency", "callback"):
        by_provider = instance.histograms()[name]
        assert {provider: number for provider, (_, _, number) in by_provider.items()} == {"p": 2, "q": 1}
        assert instance.stats()[f"{name}_ns"]["count"] == 3
    assert host.stop()


def test_the_slowest_are_shown_over_rest_and_by_command(control: Running) -> None:
    control.until(lambda: bool(control.gateway.core.slowest()))
    found = control.client.get("/deliveries/slowest").json()
    assert found["count"] == len(found["deliveries"]) > 0
    for each in found["deliveries"]:
        steps = [step["step"] for step in each["steps"]]
        assert [step for step in steps if step != "venue"] == STEPS
        assert each["totalNs"] == sum(step["afterNs"] for step in each["steps"][-3:])
    token = control.authorization["authorization"].removeprefix("Bearer ")
    where = ["--url", control.url]
    shown = CliRunner().invoke(cli, ["slowest", *where], env={"MELTICA_TOKEN": token})
    assert shown.output.splitlines()[0].split()[:3] == ["dispatched", "instance", "event"]
    as_json = CliRunner().invoke(cli, ["slowest", "--json", *where], env={"MELTICA_TOKEN": token})
    assert json.loads(as_json.output)["count"] > 0
