"""`meltica serve` after edits of its config, with orders and positions at a venue of its own process."""

import json
import signal
from collections.abc import Generator
from typing import Any
from urllib.request import Request, urlopen

import psycopg
import pytest

from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.persistence.postgres.server import wait_until
from tests.support.serving import PATIENCE, Gateway, Project, project
from tests.support.venues import Venue

VENUE = """
market:
  symbols: [BTC-USDT, ETH-USDT]
  trade_interval: 50ms
rate_limit: 0
"""
STRATEGY = '''
import json
import os
import pathlib

import meltica


class Base(meltica.Lambda):
    needs = frozenset({"Ticker", "BookSnapshot"})

    def on_start(self):
        self.filled = []
        self.every(0.1, self.run)

    def run(self):
        market = self.market("BTC-USDT")
        if market is not None and market.bid is not None and self.trading and not self.orders():
            self.act(market.bid, market.ask)
        shown = {
            "pid": os.getpid(),
            "orders": [order.client_order_id for order in self.orders()],
            "position": format(self.position("BTC-USDT").quantity.normalize(), "f"),
            "filled": self.filled,
        }
        file = pathlib.Path(__file__).with_name(f"{self.id}.json")
        file.with_suffix(".new").write_text(json.dumps(shown))
        file.with_suffix(".new").rename(file)

    def on_order_filled(self, order, fill):
        self.filled.append(order.client_order_id)


class Hold(Base):
    """Buys once, and holds."""

    def act(self, bid, ask):
        if not self.position("BTC-USDT").quantity:
            self.buy("BTC-USDT", "0.5", ask * 1.01, round=True)


class Rest(Base):
    """Has one order that rests, unless there is a file `quiet`."""

    def act(self, bid, ask):
        if not pathlib.Path(__file__).with_name("quiet").exists():
            self.buy("BTC-USDT", "0.5", bid * 0.99, round=True)


class Fail(Base):
    """Fails with an order that rests."""

    def act(self, bid, ask):
        self.buy("BTC-USDT", "0.5", bid * 0.99, round=True)

    def on_order_acknowledged(self, order):
        raise OSError("no disk")
'''
HEAD = """
log: {level: info}
apiServer: {addr: "127.0.0.1:0"}
risk: {maxNotionalValue: 1000000, orderThrottle: 1000, orderBurst: 1000, priceBandPercent: 5}
providers:
  PROVIDER: {adapter: fake, settings: {endpoint: "VENUE", key: KEY, secret: KEY-secret}}
lambdas:
"""
HOLD = "  hold: {strategy: 'edits.py:Hold', scope: {live: [BTC-USDT]}, dryRun: false}\n"
IDLE = "  idle: {strategy: noop, scope: {live: [ETH-USDT]}}\n"
REST = "  rest: {strategy: 'edits.py:Rest', scope: {live: [BTC-USDT]}, dryRun: false, onStop: keep}\n"


class World:
    """A venue that outlives the gateways, a project, and its present gateway."""

    gateway: Gateway | None = None

    def __init__(self, project: Project, venue: Venue) -> None:
        self.project, self.venue = project, venue
        (project.folder / "edits.py").write_text(STRATEGY)

    def launch(self, lambdas: str, provider: str = "live", account: str = "main") -> Gateway:
        """Starts a gateway with these lambdas, and ends the one before as an operator does.

        `account` is one of the venue; without it, the provider has a market in the process.
        """
        if self.gateway is not None:
            self.gateway.signal(signal.SIGTERM)
            assert self.gateway.ended() == 0
            self.gateway.kill()
        head = HEAD.replace("VENUE", self.venue.address).replace("KEY", account)
        if account == "":
            head = head.replace('{endpoint: "' + self.venue.address + '", key: , secret: -secret}', "{}")
        self.project.config.write_text(head.replace("PROVIDER", provider) + lambdas)
        self.gateway = self.project.launch()
        self.gateway.wait_started()
        return self.gateway

    def shown(self, id: str) -> dict[str, Any]:
        """Returns what a lambda of the present gateway wrote last; empty before it did."""
        assert self.gateway is not None
        file = self.project.folder / f"{id}.json"
        shown: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
        return shown if shown.get("pid") == self.gateway.process.pid else {}

    def wait_shown(self, id: str, name: str, *values: object) -> Any:
        """Waits until a lambda shows one of some values, by default any that is not empty."""

        def matches() -> bool:
            value = self.shown(id).get(name)
            return value in values if values else bool(value)

        assert self.gateway is not None
        assert wait_until(matches, PATIENCE), (
            self.shown(id),
            self.gateway.get("/health/ready"),
            self.gateway.tail(),
        )
        return self.shown(id)[name]

    def rows(self, query: str) -> list[Any]:
        """Returns the rows of a query of the running gateway's database."""
        dsn = EmbeddedPostgres(self.project.home).dsn
        with psycopg.connect(dsn, options="-c search_path=meltica") as connection:
            return connection.execute(query.encode()).fetchall()

    def wait_resting(self) -> None:
        """Waits until an order rests at the venue."""
        assert wait_until(lambda: bool(self.open_orders()), PATIENCE)

    def open_orders(self) -> list[str]:
        """Returns the client order ids of the open orders at the venue."""
        return [each["clientOrderId"] for each in self.venue.done("GET", "/v1/orders")["orders"]]

    def coins(self) -> str:
        """Returns what the account at the venue has of BTC."""
        return self.venue.amounts()["BTC"][0]

    def faults(self) -> list[dict[str, Any]]:
        """Returns the faults of trading."""
        assert self.gateway is not None
        return self.gateway.get("/risk/status")[1]["faults"]

    def wait_fault(self, kind: str, **fields: str) -> dict[str, Any]:
        """Waits for a fault of trading, which keeps the gateway from being ready; returns it."""

        def found() -> list[dict[str, Any]]:
            return [each for each in self.faults() if {**each, "kind": kind, **fields} == each]

        assert self.gateway is not None
        assert wait_until(lambda: bool(found()), PATIENCE), (self.faults(), self.gateway.tail())
        assert self.gateway.get("/health/ready")[0] == 503
        return found()[0]

    def post(self, path: str) -> int:
        """Sends a POST request to the gateway; returns its status."""
        assert self.gateway is not None
        headers = self.gateway.project.authorization()
        with urlopen(
            Request(self.gateway.address + path, method="POST", headers=headers), timeout=30
        ) as response:
            return response.status

    def fill(self, price: str) -> None:
        """Lets another client sell at the venue until nothing is bid at a price or above."""
        body = {"symbol": "BTC-USDT", "side": "sell", "orderType": "limit", "timeInForce": "IOC"}
        for _ in range(20):
            self.venue.client.post(
                "/v1/accounts/second/orders", json={**body, "price": price, "quantity": "200"}
            )


ACCOUNTS = """
accounts:
  main: {key: main, secret: main-secret, balances: {USDT: 1000000, BTC: 100, ETH: 100}}
  second: {key: second, secret: second-secret, balances: {USDT: 1000000, BTC: 100000, ETH: 100}}
"""


@pytest.fixture(name="world")
def _world() -> Generator[World]:
    with project() as created:
        venue = Venue(created.folder, config=VENUE + ACCOUNTS)
        world = World(created, venue)
        try:
            venue.wait_started()
            yield world
        finally:
            if world.gateway is not None:
                world.gateway.kill()
            venue.close()


def test_a_lambda_that_returns_to_the_file_has_the_position_that_it_left(world: World) -> None:
    world.launch(HOLD + IDLE)
    world.wait_shown("hold", "position", "0.5")
    held = world.rows("select uid from instances where id = 'hold'")
    gateway = world.launch(IDLE)
    fault = world.wait_fault("absent_instance", subject="hold")
    assert "0.5 BTC-USDT at live" in fault["detail"]
    assert "put it back" in gateway.get("/health/ready")[1]["faults"]["lambda hold"]
    assert world.rows("select uid from instances where id = 'hold'") == held
    gateway = world.launch(HOLD + IDLE)
    world.wait_shown("hold", "position", "0.5")
    gateway.wait_ready()
    assert (world.coins(), world.faults()) == ("100.5", [])
    assert world.rows("select uid, quantity from positions where symbol = 'BTC-USDT'") == [
        (held[0][0], pytest.approx(0.5))
    ]


def test_orders_of_a_lambda_that_is_not_in_the_file_are_cancelled(world: World) -> None:
    world.launch(REST + IDLE)
    world.wait_shown("rest", "orders")
    world.wait_resting()
    gateway = world.launch(IDLE)
    assert wait_until(lambda: not world.open_orders(), PATIENCE), gateway.tail()
    gateway.wait_ready()
    world.launch(IDLE)
    assert world.rows("select id from instances where id = 'rest'") == [], "nothing is left of it"


@pytest.mark.parametrize("stop", ["cancel", "keep"])
def test_an_order_at_a_provider_that_was_renamed_is_a_fault_and_stays_ours(world: World, stop: str) -> None:
    rest = REST.replace("keep", stop)
    gateway = world.launch(rest)
    [id] = world.wait_shown("rest", "orders")
    world.wait_resting()
    gateway.kill()
    world.gateway = None
    world.venue.fault(quiet=True)
    (world.project.folder / "quiet").touch()
    gateway = world.launch(rest.replace("live:", "other:"), provider="other")
    fault = world.wait_fault("unreachable_order", subject=id, provider="live")
    assert "is not configured" in fault["detail"]
    world.wait_fault("misplaced_order", subject=id, provider="other")
    [(price,)] = world.rows("select price from orders")
    world.fill(str(price))
    assert wait_until(lambda: not world.open_orders(), PATIENCE)
    assert wait_until(lambda: world.coins() == "100.5", PATIENCE)
    world.wait_fault("misplaced_order", subject=id, provider="other")
    assert world.shown("rest") == {}, "it waits"
    assert world.rows("select * from ledger_entries where kind = 'foreign_fill'") == []
    assert world.rows("select name, desired, enabled from providers where name = 'live'") == [
        ("live", "stopped", False)
    ]
    gateway = world.launch(rest)
    world.wait_shown("rest", "position", "0.5")
    gateway.wait_ready()
    assert world.rows("select state, provider from orders") == [("FILLED", "live")]


def test_an_order_at_a_provider_that_was_removed_is_a_fault_until_it_is_back(world: World) -> None:
    gateway = world.launch(REST)
    [id] = world.wait_shown("rest", "orders")
    world.wait_resting()
    gateway.kill()
    world.gateway = None
    (world.project.folder / "quiet").touch()
    gateway = world.launch(IDLE.replace("live", "other"), provider="other", account="second")
    fault = world.wait_fault("unreachable_order", subject=id, provider="live")
    assert "provider `live` is not configured" in fault["detail"]
    assert f"order {id}" in "".join(line["message"] for line in gateway.errors())
    gateway = world.launch(REST)
    gateway.wait_ready()
    assert wait_until(lambda: not world.open_orders(), PATIENCE), "its lambda was absent, so it is cancelled"


def test_a_lambda_does_not_start_without_the_provider_of_its_position(world: World) -> None:
    world.launch(HOLD)
    world.wait_shown("hold", "position", "0.5")
    gateway = world.launch(HOLD.replace("live:", "other:"), provider="other")
    world.wait_fault("absent_provider", subject="hold", provider="live")
    assert wait_until(
        lambda: "position of 0.5 BTC-USDT at live" in str(gateway.get("/health/ready")[1]), PATIENCE
    ), gateway.get("/health/ready")
    assert (world.shown("hold"), world.coins()) == ({}, "100.5")
    gateway = world.launch(HOLD)
    world.wait_shown("hold", "position", "0.5")
    gateway.wait_ready()
    assert world.coins() == "100.5"


def test_a_stop_of_a_provider_cancels_the_orders_there(world: World) -> None:
    gateway = world.launch(REST)
    world.wait_shown("rest", "orders")
    world.wait_resting()
    assert world.post("/providers/live/stop") == 200
    assert world.open_orders() == []
    assert world.faults() == []
    world.post("/providers/live/start")
    gateway.wait_ready()
    world.wait_resting()


def test_an_order_whose_cancel_is_not_confirmed_at_the_stop_of_a_provider_is_a_fault(world: World) -> None:
    gateway = world.launch(REST)
    [id] = world.wait_shown("rest", "orders")
    world.wait_resting()
    world.venue.fault(loseAnswers={"method": "DELETE", "count": 4, "carriedOut": "never"})
    assert world.post("/providers/live/stop") == 200
    fault = world.wait_fault("unreachable_order", subject=id, provider="live")
    assert "is not running" in fault["detail"]
    assert f"order {id} at live" in "".join(line["message"] for line in gateway.lines())
    world.post("/providers/live/start")
    gateway.wait_ready()
    assert wait_until(lambda: id not in world.open_orders(), PATIENCE)


def test_a_lambda_that_fails_keeps_no_order(world: World) -> None:
    fail = REST.replace("rest:", "fail:").replace("Rest", "Fail")
    world.launch(fail.replace("onStop: keep", "onStop: keep, maxErrors: 1"))
    states = "select state from orders"
    assert wait_until(lambda: world.rows(states) == [("CANCELLED",)], PATIENCE), world.rows(states)
    assert world.open_orders() == []


def test_paper_orders_end_with_their_provider(world: World) -> None:
    paper = REST.replace("dryRun: false", "dryRun: true")
    gateway = world.launch(paper)
    [id] = world.wait_shown("rest", "orders")
    states = f"select state, reason from orders where client_order_id = '{id}'"
    assert wait_until(lambda: world.rows(states) == [("ACK", None)], PATIENCE)
    gateway.kill()
    world.gateway = None
    gateway = world.launch(paper.replace("live:", "other:"), provider="other")
    world.wait_shown("rest", "orders")
    gateway.wait_ready()
    assert world.rows(states) == [("CANCELLED", "provider_removed")]


def test_coins_of_a_market_that_ended_with_its_process_are_no_fault(world: World) -> None:
    gateway = world.launch(HOLD + REST, account="")
    world.wait_shown("hold", "position", "0.5")
    [id] = world.wait_shown("rest", "orders")
    states = f"select state, reason from orders where client_order_id = '{id}'"
    assert wait_until(lambda: world.rows(states) == [("ACK", None)], PATIENCE)
    gateway.kill()
    world.gateway = None
    gateway = world.launch((HOLD + REST).replace("live:", "other:"), provider="other")
    world.wait_shown("hold", "position", "0.5")
    gateway.wait_ready()
    assert world.rows(states) == [("CANCELLED", "provider_removed")]
