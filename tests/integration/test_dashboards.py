"""Every panel of the dashboards answers: a real Prometheus scrapes a gateway that trades during faults."""

import json
import math
import re
from collections.abc import Generator, Iterator
from typing import Any

import httpx
import pytest

from meltica.persistence.postgres.server import wait_until
from tests.support import prometheus
from tests.support.monitored import monitored
from tests.support.paths import ROOT
from tests.support.serving import PATIENCE, Gateway
from tests.support.venues import Venue

VARIABLES = {"$job": "meltica", "$instance": ".+", "$__rate_interval": "10s"}

_SELECTOR = re.compile(r"\b(?:up|(?:meltica|process)_\w+)\b(?:\{[^}]*\})?")
DIFFERENCE = "meltica-orders-and-risk: Difference to the venue"


@pytest.fixture(scope="module", name="running")
def _running() -> Generator[tuple[Gateway, Venue, prometheus.Server]]:
    with monitored() as running:
        yield running


def expressions() -> Iterator[tuple[str, str]]:
    """Yields the panels of all dashboards and their queries, with values for the variables."""
    for file in sorted((ROOT / "docs" / "dashboards").glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel.get("targets", ()):
                query: str = target["expr"]
                for variable, value in VARIABLES.items():
                    query = query.replace(variable, value)
                yield f"{file.stem}: {panel['title']}", query


def test_every_query_answers_without_nan(running: tuple[Gateway, Venue, prometheus.Server]) -> None:
    _, venue, server = running
    venue.fault(behavior={"latency_max": "20ms", "transient_error": 0.05})
    venue.fault(skipDepth={"symbol": "ETH-USDT", "frames": 3})
    empty = list(expressions())
    assert len(empty) > 80

    def titles() -> set[str]:
        return {title for title, _ in empty}

    def answered() -> bool:
        for title, query in list(empty):
            series = server.query(query)
            assert not [labels for labels, value in series if math.isnan(float(value))], (title, query)
            if series:
                empty.remove((title, query))
        return not empty

    # Only fills that the venue does not report make a difference, and without them nothing else is traded.
    assert wait_until(lambda: answered() or titles() == {DIFFERENCE}, PATIENCE), titles()
    venue.fault(withholdFills=True)
    assert wait_until(answered, PATIENCE), titles()


def test_every_metric_of_the_alerts_answers(running: tuple[Gateway, Venue, prometheus.Server]) -> None:
    _, _, server = running
    groups: list[dict[str, Any]] = server.client.get("/api/v1/rules").json()["data"]["groups"]
    rules: list[dict[str, Any]] = [rule for group in groups for rule in group["rules"]]
    assert len(rules) > 15
    empty = {selector for rule in rules for selector in _SELECTOR.findall(rule["query"])}
    # No order is unknown in this run: its metric answers for the other states.
    empty = {selector.replace('{state="UNKNOWN"}', "") for selector in empty}

    def answered() -> bool:
        empty.difference_update([selector for selector in empty if server.query(selector)])
        return not empty

    assert wait_until(answered, PATIENCE), empty
    assert {rule["health"] for rule in rules} == {"ok"}, rules


def test_promtool_finds_no_fault_in_the_metrics(running: tuple[Gateway, Venue, prometheus.Server]) -> None:
    gateway, _, _ = running
    headers = gateway.project.authorization()
    text = httpx.get(f"{gateway.address}/metrics", headers=headers, timeout=10).raise_for_status().text
    assert text.count("\n") > 500
    prometheus.promtool("check", "metrics", input=text)
