"""`meltica serve` with lambdas that trade on `fake`, on paper and live: kills, restarts, stops, readiness."""

import json
import os
import signal
from collections.abc import Generator
from typing import Any, ClassVar

import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.persistence.postgres.server import wait_until
from tests.integration.test_control_metrics import TRADING, documented
from tests.support.serving import PATIENCE, Gateway, Project, project

STRATEGY = '''
import json
import os
import pathlib
from decimal import Decimal

import meltica


class Trader(meltica.Lambda):
    """Buys at the ask, sells at the bid, and rests a bid far below; counts its fills over restarts."""

    def __init__(self):
        self.count = Decimal(0)
        self.fills = 0

    def on_load(self, state):
        self.count, self.fills = Decimal(state["count"]), state["fills"]

    def on_save(self):
        return {"count": str(self.count), "fills": self.fills}

    def on_ticker(self, ticker):
        resting = self.orders(tag="rest")
        busy = [order for order in self.orders() if order.tag != "rest"]
        position = self.position("BTC-USDT")
        self.write(resting, position, quiet=not busy)
        if not self.trading or busy:
            return
        try:
            if not resting:
                self.buy("BTC-USDT", "0.01", ticker.bid * 0.995, tag="rest", round=True)
            # Below zero after a takeover: the market of each process has filled a sale of the same coins.
            if position.flat or position.quantity < 0:
                self.buy("BTC-USDT", "0.01", ticker.ask)
            else:
                self.sell("BTC-USDT", "all", ticker.bid, time_in_force="IOC")
        except meltica.OrderRefused as refused:
            self.log.debug("%s", refused)

    def on_order_partial_fill(self, order, fill):
        self.add(fill)

    def on_order_filled(self, order, fill):
        self.add(fill)

    def add(self, fill):
        self.fills += 1
        self.count += fill.quantity if fill.side == meltica.Side.BUY else -fill.quantity

    def write(self, resting, position, quiet):
        shown = {
            "pid": os.getpid(),
            "fills": self.fills,
            "resting": [order.client_order_id for order in resting],
            "agrees": quiet and self.count == position.quantity,
        }
        file = pathlib.Path(__file__).with_name(f"{self.id}.json")
        file.with_suffix(".new").write_text(json.dumps(shown))
        file.with_suffix(".new").rename(file)
'''
CONFIG = """
log: {level: info}
apiServer: {addr: "127.0.0.1:0"}
risk: {orderThrottle: 100, orderBurst: 100}
providers:
  fake: {adapter: fake, settings: {ticker_interval: 50ms}, paper: {latency: 5ms, quiet: 10ms}}
lambdas:
  paper: {strategy: trader.py, scope: {fake: [BTC-USDT]}}
  live: {strategy: trader.py, scope: {fake: [BTC-USDT]}, dryRun: false, onStop: keep}
"""


@pytest.fixture(name="trading")
def _trading() -> Generator[Project]:
    with project() as created:
        (created.folder / "trader.py").write_text(STRATEGY)
        created.config.write_text(CONFIG)
        yield created
        for gateway in Serving.started:
            gateway.kill()
        Serving.started.clear()


class Serving(Gateway):
    """A gateway whose lambdas `paper` and `live` trade."""

    started: ClassVar[list["Serving"]] = []

    def __init__(self, project: Project, database: str | None = None) -> None:
        super().__init__(project, project.command(database=database))
        self.database = database
        self.started.append(self)
        self.wait_started()

    def shown(self, id: str) -> dict[str, Any]:
        """Returns what a lambda of this process wrote last; empty before it did."""
        file = self.project.folder / f"{id}.json"
        shown: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
        return shown if shown.get("pid") == self.process.pid else {}

    def wait_traded(self, fills: int) -> None:
        """Waits until each lambda has had some more fills, and agrees with its position."""
        for id in ("paper", "live"):
            before = self.shown(id).get("fills", 0)

            def traded(id: str = id, before: int = before) -> bool:
                shown = self.shown(id)
                return bool(shown.get("agrees")) and shown["fills"] >= before + fills

            assert wait_until(traded, PATIENCE), (self.shown(id), self.get("/health/ready"), self.tail())

    def rows(self, query: str) -> list[Any]:
        """Returns the rows of a query of its database."""
        with psycopg.connect(self.database or EmbeddedPostgres(self.project.home).dsn) as connection:
            return connection.execute(query.encode()).fetchall()

    def check_ledger(self) -> None:
        """Checks that positions and filled quantities are the sums of the fills."""
        # One query: the lambdas go on trading.
        wrong, positions = (
            self.rows(
                "select 'position', p.instance, p.quantity, f.quantity from positions p left join ("
                " select o.uid, o.mode,"
                " sum(case o.side when 'Buy' then f.quantity else -f.quantity end) as quantity"
                " from fills f join orders o on o.id = f.order_id group by 1, 2) f using (uid, mode)"
                " where f.quantity is distinct from p.quantity"
                " union all select 'order', o.client_order_id, o.filled_quantity, sum(f.quantity)"
                " from orders o left join fills f on o.id = f.order_id group by o.id"
                " having o.filled_quantity <> coalesce(sum(f.quantity), 0)"
            ),
            self.rows("select instance from positions"),
        )
        assert (wrong, len(positions)) == ([], 2)


def test_everything_adds_up_over_kills(trading: Project) -> None:
    gateway = Serving(trading)
    for round in range(3):
        gateway.wait_ready()
        gateway.wait_traded(4)
        resting = gateway.shown("live")["resting"]
        gateway.kill()
        gateway = Serving(trading)
        gateway.wait_ready()
        gateway.wait_traded(1)
        gateway.check_ledger()
        if round == 0:
            assert resting, "an order rested at the kill"
    # Each market in the process is a new one: it has forgotten the orders of the earlier one.
    reasons = gateway.rows("select distinct mode, reason from orders where reason is not null")
    assert {mode for mode, reason in reasons if reason == "forgotten"} <= {"live"}
    # Nor does what its account has differ from what the lambdas have and what was not theirs.
    assert (
        gateway.rows("select provider, mode, found from reconciliations where found::jsonb ? 'differences'")
        == []
    )
    check_metrics(gateway)
    gateway.signal(signal.SIGTERM)
    assert gateway.ended() == 0


def check_metrics(gateway: Gateway) -> None:
    """Checks the metrics of trading against their page."""
    import urllib.request

    metrics = urllib.request.Request(gateway.address + "/metrics", headers=gateway.project.authorization())
    with urllib.request.urlopen(metrics, timeout=10) as response:
        families = list(text_string_to_metric_families(response.read().decode()))
    page = {name: row for name, row in documented().items() if name.startswith(TRADING)}
    exposed = {
        f"{family.name}_total" if family.type == "counter" else family.name: family
        for family in families
        if family.name.startswith(TRADING)
    }
    assert {name: family.type for name, family in exposed.items()} == {
        name: kind for name, (kind, _) in page.items()
    }
    for name, family in exposed.items():
        assert {frozenset(sample.labels) - {"le"} for sample in family.samples} <= {page[name][1]}, name
    fills = {sample.labels["mode"]: sample.value for sample in exposed["meltica_trading_fills_total"].samples}
    assert min(fills.values()) > 0


def test_a_stop_cancels_or_keeps_orders_and_a_lambda_that_does_not_come_back_has_none(
    trading: Project,
) -> None:
    trading.edit(
        "scope: {fake: [BTC-USDT]}, dryRun: false, onStop: keep", "scope: {fake: [BTC-USDT]}, dryRun: false"
    )
    trading.edit("paper: {strategy: trader.py,", "paper: {strategy: trader.py, onStop: keep,")
    gateway = Serving(trading)
    gateway.wait_traded(2)
    assert wait_until(lambda: all(gateway.shown(id)["resting"] for id in ("paper", "live")), PATIENCE)
    gateway.signal(signal.SIGTERM)
    assert gateway.ended() == 0
    states = "select instance, state from meltica.orders where tag = 'rest' order by intent_at"
    with trading.database() as url, psycopg.connect(url) as connection:
        assert dict(connection.execute(states).fetchall()) == {"paper": "ACK", "live": "CANCELLED"}
    trading.edit("onStop: keep,", "onStop: keep, enabled: false,")
    gateway = Serving(trading)
    assert wait_until(lambda: dict(gateway.rows(states))["paper"] == "CANCELLED", PATIENCE), gateway.tail()


def test_trading_starts_again_after_another_gateway_has_traded(
    trading: Project, empty_database_url: str
) -> None:
    first = Serving(trading, empty_database_url)
    first.wait_traded(2)
    pid = first.process.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        with psycopg.connect(empty_database_url, autocommit=True) as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name like %s",
                [f"meltica gateway on % process {pid}"],
            )
        second = Serving(trading, empty_database_url)
        second.wait_traded(4)
        os.kill(pid, signal.SIGCONT)
        assert wait_until(lambda: "lock" in first.get("/health/ready")[1].get("faults", {}), PATIENCE)
        second.signal(signal.SIGTERM)
        assert second.ended() == 0
    finally:
        os.kill(pid, signal.SIGCONT)
    first.wait_ready()
    first.wait_traded(2)
    first.check_ledger()
    assert "trading restarts" in first.log.read_text()
    first.signal(signal.SIGTERM)
    assert first.ended() == 0
