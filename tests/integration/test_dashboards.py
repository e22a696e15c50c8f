"""Every panel of the dashboards answers: a real Prometheus scrapes a gateway that trades during faults."""

import json
import math
from collections.abc import Generator, Iterator

import pytest

from meltica.persistence.postgres.server import wait_until
from tests.support import prometheus
from tests.support.monitored import monitored
from tests.support.paths import ROOT
from tests.support.serving import PATIENCE, Gateway
from tests.support.venues import Venue

VARIABLES = {"$job": "meltica", "$instance": ".+", "$__rate_interval": "10s"}

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
