"""Symbols without room: REST and a metric name them, and they are admitted once there is room."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from meltica.persistence.postgres.embedded import EmbeddedPostgres
from tests.support import gateway, venue

SYMBOLS = [f"S{number:03}-USDT" for number in range(300)]
CONFIG = """
pools: {maxBytes: 1536KiB}
providers:
  main: {adapter: test-venue}
lambdas:
  - {id: keeper1, strategy: strategies.py:Keeper, scope: {main: [BTC-USDT]}}
  - {id: keeper2, strategy: strategies.py:Keeper, scope: {main: [BTC-USDT]}}
  - {id: keeper3, strategy: strategies.py:Keeper, scope: {main: [BTC-USDT]}}
  - {id: greedy, strategy: strategies.py:Greedy, scope: {main: "*"}}
"""
STRATEGIES = """
import meltica

class Keeper(meltica.Lambda):
    def on_trade(self, trade):
        pass

class Greedy(meltica.Lambda):
    def on_ticker(self, ticker):
        pass
"""


@pytest.fixture
def small(tmp_path: Path, cluster: EmbeddedPostgres) -> Generator[gateway.Running]:
    """A gateway with little memory for queues."""
    (tmp_path / "meltica.yaml").write_text(CONFIG)
    (tmp_path / "strategies.py").write_text(STRATEGIES)
    with (
        venue.installed(tmp_path),
        gateway.database(cluster) as dsn,
        gateway.running(tmp_path / "meltica.yaml", dsn) as running,
    ):
        yield running


def detail(running: gateway.Running) -> dict[str, Any]:
    return running.client.get("/strategy/instances/greedy").json()


def count(running: gateway.Running) -> float:
    name = 'meltica_lambda_symbols_left_out{lambda="greedy"} '
    [line] = [line for line in running.client.get("/metrics").text.splitlines() if line.startswith(name)]
    return float(line.removeprefix(name))


def publish(running: gateway.Running) -> None:
    running.until(lambda: "main" in venue.Venue.producers)
    for symbol in SYMBOLS:
        venue.Venue.producers["main"].publish("Ticker", symbol, {"lastPrice": "1"})


def test_symbols_without_room_are_named_and_admitted_later(small: gateway.Running) -> None:
    instances = small.gateway.instances
    small.until(lambda: all(each.actual == "running" for each in instances.all()))
    assert "leftOut" not in detail(small)
    assert count(small) == 0
    greedy = instances.get("greedy").run
    assert greedy is not None
    publish(small)
    left_out = detail(small)["leftOut"]["Ticker"]
    assert 0 < left_out["count"] < len(SYMBOLS)
    assert SYMBOLS[-1] in left_out["symbols"]["main"]
    assert SYMBOLS[0] not in left_out["symbols"]["main"]
    assert "raise the maximum" in detail(small)["leftOutReason"]
    assert count(small) >= left_out["count"]
    for keeper in ("keeper1", "keeper2", "keeper3"):
        small.client.post(f"/strategy/instances/{keeper}/stop")
    small.until(lambda: not greedy.core.left_out)
    assert "leftOut" not in detail(small)
    assert count(small) == 0


def test_what_an_instance_reserves_is_in_its_detail(small: gateway.Running) -> None:
    instances = small.gateway.instances
    small.until(lambda: all(each.actual == "running" for each in instances.all()))
    publish(small)

    def reserved(id: str) -> dict[str, int]:
        counters = small.client.get(f"/strategy/instances/{id}").json()["counters"]
        return {key: counters[f"reserved{key}"] for key in ("Events", "Books", "Bytes")}

    keeper, greedy = reserved("keeper1"), reserved("greedy")
    assert keeper == reserved("keeper2") == reserved("keeper3")
    assert min(keeper["Events"], greedy["Events"]) >= 1024
    assert keeper["Books"] == 0
    total = 3 * keeper["Bytes"] + greedy["Bytes"]
    assert 0 < total <= small.gateway.core.stats()["reserved_bytes"] <= 1536 << 10
    small.client.post("/strategy/instances/keeper1/stop")
    assert reserved("keeper1") == {"Events": 0, "Books": 0, "Bytes": 0}
