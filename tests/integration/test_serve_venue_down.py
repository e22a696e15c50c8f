"""`meltica serve` stops while its venue is down: the orders left open are named, and cancelled first."""

import contextlib
import json
import os
import signal
from collections.abc import Generator
from typing import Any

import psycopg
import pytest

from meltica.persistence.postgres.server import wait_until
from tests.support.serving import PATIENCE, Gateway, Project, project
from tests.support.venues import KEY, SECRET, Venue, serving

STRATEGY = '''
import json
import pathlib

import meltica


class Rests(meltica.Lambda):
    """Rests one order far below the market, in its first run only, and writes down what it hears of it."""

    needs = {"Ticker"}

    def __init__(self):
        self.heard = []

    def on_load(self, state):
        self.heard = state

    def on_save(self):
        return self.heard

    def on_start(self):
        self.write("open", len(self.orders()))
        self.every(0.05, self.act)

    def act(self):
        if not self.heard and not self.orders() and self.trading and self.market("BTC-USDT"):
            self.buy("BTC-USDT", "0.01", self.market("BTC-USDT").bid * 0.995, round=True)

    def on_order_acknowledged(self, order):
        self.write("acknowledged", order.client_order_id)

    def on_order_cancelled(self, order):
        self.write("cancelled", order.client_order_id)

    def write(self, *words):
        if words != ("open", 0):
            self.heard.append(words)
        file = pathlib.Path(__file__).with_name("heard.json")
        file.with_suffix(".new").write_text(json.dumps(self.heard))
        file.with_suffix(".new").rename(file)
'''
CONFIG = """
log: {{level: info}}
apiServer: {{addr: "127.0.0.1:0"}}
providers:
  live: {{adapter: fake, settings: {{endpoint: "{venue}", key: {key}, secret: {secret}}}}}
lambdas:
  rests: {{strategy: rests.py, scope: {{live: [BTC-USDT]}}, dryRun: false}}
"""


@pytest.fixture(name="venue")
def _venue(trading: Project) -> Generator[Venue]:
    with serving(trading.folder) as venue:
        text = CONFIG.format(venue=venue.address, key=KEY, secret=SECRET)
        trading.config.write_text(text)
        yield venue


@pytest.fixture(name="trading")
def _trading() -> Generator[Project]:
    with project() as created:
        (created.folder / "rests.py").write_text(STRATEGY)
        yield created


@contextlib.contextmanager
def down(venue: Venue, how: str) -> Generator[None]:
    """Lets the venue refuse every connection, or answer nothing."""
    if how == "disconnected":
        venue.fault(disconnect="1h")
        yield
        venue.fault(disconnect="1ms")
    else:
        os.kill(venue.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(venue.process.pid, signal.SIGCONT)


def heard(trading: Project) -> list[Any]:
    """Returns what the strategy wrote down."""
    file = trading.folder / "heard.json"
    return json.loads(file.read_text()) if file.exists() else []


def wait_for(trading: Project, gateway: Gateway, *words: str) -> str:
    """Waits until the strategy heard so much of its order; returns the id of the order."""
    assert wait_until(lambda: [word for word, _ in heard(trading)] == list(words), PATIENCE), (
        heard(trading),
        gateway.tail(),
    )
    [id] = {id for _, id in heard(trading)}
    return id


@pytest.mark.parametrize("how", ["disconnected", "frozen"])
def test_a_stop_while_the_venue_is_down_names_what_the_next_start_cancels_first(
    trading: Project, venue: Venue, how: str
) -> None:
    with trading.serving() as gateway:
        id = wait_for(trading, gateway, "acknowledged")
        with down(venue, how):
            gateway.signal(signal.SIGTERM)
            assert gateway.ended() == 0
        assert f"the cancel of order {id} at live is not confirmed" in gateway.log.read_text()
    with trading.database() as url, psycopg.connect(url) as connection:
        row = connection.execute("select state, cancel_wanted from meltica.orders").fetchone()
        assert row == ("ACK", True)
    with trading.serving() as gateway:
        # `on_start` saw no open order: it would have written that down.
        assert wait_for(trading, gateway, "acknowledged", "cancelled") == id
        gateway.wait_ready()
        assert venue.done("GET", "/v1/orders")["orders"] == []
        gateway.signal(signal.SIGTERM)
        assert gateway.ended() == 0
    assert venue.get("/v1/requests")["posts"] == {id: 1}
