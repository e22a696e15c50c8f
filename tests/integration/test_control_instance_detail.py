"""The orders, positions and PnL in the detail of an instance, also of one that left the configuration."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from meltica.persistence.postgres.embedded import EmbeddedPostgres
from tests.integration.test_control_resources import failure, ok
from tests.support import gateway
from tests.support.gateway import Running

PATH = "/strategy/instances"
BUYER = """
import meltica

class Buyer(meltica.Lambda):
    def on_ticker(self, ticker):
        if not self.trading:
            return
        try:
            if not self.orders(tag="rest"):
                self.buy("BTC-USDT", "0.01", ticker.bid * 0.992, tag="rest", round=True)
            if self.position("BTC-USDT").flat and len(self.orders()) < 2:
                self.buy("BTC-USDT", "0.01", ticker.ask * 1.002, round=True)
        except meltica.OrderRefused as refused:
            self.log.warning("%s", refused)
"""
CONFIG = """
risk: {notionalCurrency: USDT, orderThrottle: 100, orderBurst: 100}
providers:
  fake: {adapter: fake, settings: {ticker_interval: 20ms}, paper: {latency: 0ms, quiet: 10ms}}
lambdas:
  - {id: buyer, strategy: buyer.py, scope: {fake: [BTC-USDT]}}
  - {id: idle, strategy: noop, scope: {fake: [BTC-USDT]}}
"""
OPEN = {"auth": "none"}
"""A second gateway of a database has no token of the first one."""


@pytest.fixture(name="config")
def _config(tmp_path: Path) -> Path:
    (tmp_path / "buyer.py").write_text(BUYER)
    path = tmp_path / "meltica.yaml"
    path.write_text(CONFIG)
    return path


def detail(running: Running, id: str) -> Any:
    return ok(running.client.get(f"{PATH}/{id}"))


def traded(running: Running) -> Any:
    """Waits until the position is bought and the other order rests; returns the trading of the instance."""

    def is_traded() -> bool:
        trading = running.gateway.trading
        if trading is None or trading.runtime is None:
            return False
        desk = trading.runtime.desk
        with desk.lock.reading:
            open_orders = [each.record.tag for each in desk.open_machines()]
            return open_orders == ["rest"] and any(each.quantity for each in desk.positions)

    running.until(is_traded)
    return detail(running, "buyer")["trading"]


def test_a_detail_has_orders_positions_and_pnl(config: Path, cluster: EmbeddedPostgres) -> None:
    with gateway.database(cluster) as dsn:
        with gateway.running(config, dsn, apiServer=OPEN) as running:
            shown = traded(running)
            assert (shown["mode"], shown["openOrders"], shown["unknownOrders"]) == ("paper", 1, 0)
            [position] = shown["positions"]
            listed = ok(running.client.get(f"{PATH}/buyer/positions"))["positions"]
            assert [position] == listed
            pnl = shown["pnl"]
            assert (pnl["currency"], pnl["unvalued"]) == ("USDT", [])
            amounts = {name: Decimal(pnl[name]) for name in ("realised", "unrealised", "fees", "net")}
            assert amounts["net"] == amounts["realised"] + amounts["unrealised"] - amounts["fees"]
            counters = detail(running, "buyer")["counters"]
            assert counters["extensionBytes"] == 0
            assert abs(counters["lastEventAt"] / 1000 - running.gateway.started_at) < 3600
            idle = detail(running, "idle")
            assert ("trading" in idle, "absent" in idle, "lastEventAt" in idle["counters"]) == (
                False,
                False,
                True,
            )
        config.write_text(CONFIG.replace("  - {id: buyer", "  # - {id: buyer"))
        with gateway.running(config, dsn, apiServer=OPEN) as running:
            _check_absent(running, position)
        config.write_text(CONFIG)
        with gateway.running(config, dsn, apiServer=OPEN) as running:
            back = detail(running, "buyer")
            assert "absent" not in back
            assert back["trading"]["positions"][0]["uid"] == position["uid"]


def _check_absent(running: Running, position: Any) -> None:
    """An instance that left the configuration is shown with its position, and cannot be changed."""
    shown = detail(running, "buyer")
    assert (shown["absent"], shown["running"], shown["baseline"], shown["dryRun"]) == (
        True,
        False,
        True,
        True,
    )
    [kept] = shown["trading"]["positions"]
    assert (kept["uid"], kept["quantity"]) == (position["uid"], position["quantity"])
    assert shown["scope"] == {"fake": {"symbols": ["BTC-USDT"]}}
    listed = ok(running.client.get(PATH))["instances"]
    assert [(each["id"], each.get("absent", False)) for each in listed] == [("buyer", True), ("idle", False)]
    for method, path in (("POST", "/start"), ("POST", "/restart"), ("DELETE", ""), ("GET", "/why")):
        text = failure(running.client.request(method, f"{PATH}/buyer{path}"), 409, "conflict")
        assert "put it back into the configuration" in text
