"""A gateway that trades on a simulated venue with faults, scraped by a real Prometheus."""

import contextlib
import json
from collections.abc import Generator
from pathlib import Path

import yaml

from meltica.adapters.replay import sample
from tests.support import prometheus
from tests.support.paths import ROOT
from tests.support.serving import Gateway, Project, free_port, project
from tests.support.venues import KEY, SECRET, Venue, serving

DEPLOYMENTS = ROOT / "deployments"
STRATEGIES = '''
import time

import meltica


class Greedy(meltica.Lambda):
    """Sends orders that risk refuses."""

    needs = {"Ticker"}

    def on_start(self):
        self.every(0.2, self.act)

    def act(self):
        if self.trading and self.market("BTC-USDT"):
            try:
                self.buy("BTC-USDT", "50", self.market("BTC-USDT").bid, round=True)
            except meltica.OrderRefused as refused:
                self.log.debug("%s", refused)


class Slow(meltica.Lambda):
    """Does not keep up with the market."""

    needs = {"Trade", "Ticker"}

    def on_start(self):
        self.every(0.1, lambda: time.sleep(0.5))

    def on_trade(self, trade):
        time.sleep(0.2)
'''
CONFIG = """
log: {{level: info}}
apiServer: {{addr: "127.0.0.1:{port}"}}
providers:
  live: {{adapter: fake, settings: {{endpoint: "{venue}", key: {key}, secret: {secret}}}}}
  damaged: {{adapter: replay, settings: {{paths: [damaged.rec], codec: binance, loop: true, speed: 20}}}}
lambdas:
  maker:
    strategy: market-making
    dryRun: false
    config: {{distance: 1, seconds: 0.05}}
    scope: {{live: [ETH-USDT]}}
  greedy:
    strategy: strategies.py:Greedy
    risk: {{maxOrderSize: "0.5"}}
    scope: {{live: [BTC-USDT]}}
  slow:
    strategy: strategies.py:Slow
    bufferSize: 1
    scope: {{live: "*", damaged: "*"}}
"""


@contextlib.contextmanager
def trading() -> Generator[tuple[Project, Venue]]:
    """Yields the project of a gateway with an address of its own, and its venue."""
    with project() as created, serving(created.folder) as venue:
        (created.folder / "strategies.py").write_text(STRATEGIES)
        lines = list(sample.lines(steps=40))
        stamp = lines[-1].partition(b" ")[0]
        (created.folder / "damaged.rec").write_bytes(b"\n".join([*lines, stamp + b" garbage", b""]))
        values = {"port": free_port(), "venue": venue.address, "key": KEY, "secret": SECRET}
        created.config.write_text(CONFIG.format(**values))
        yield created, venue


def configured(gateway: Gateway, alertmanager: int = 9093) -> Path:
    """Writes the configuration of `deployments` for a gateway and short intervals; returns its path."""
    folder = gateway.project.folder
    token = folder / "meltica.token"
    token.write_text(gateway.project.authorization()["authorization"].removeprefix("Bearer "))
    config = yaml.safe_load((DEPLOYMENTS / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
    config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{alertmanager}"]
    (scrape,) = config["scrape_configs"]
    scrape["authorization"]["credentials_file"] = str(token)
    scrape["static_configs"][0]["targets"] = [gateway.address.removeprefix("http://")]
    for file in config["rule_files"]:
        rules = yaml.safe_load((DEPLOYMENTS / file).read_text())
        for rule in rules["groups"][0]["rules"]:
            rule["for"] = "1s"
        (folder / file).write_text(json.dumps(rules))
    path = folder / "prometheus.yml"
    path.write_text(json.dumps(config))
    return path


@contextlib.contextmanager
def monitored() -> Generator[tuple[Gateway, Venue, prometheus.Server]]:
    """Yields a gateway, its venue, and a Prometheus that scrapes it."""
    prometheus.programs()
    with (
        trading() as (created, venue),
        created.serving() as gateway,
        prometheus.prometheus(configured(gateway)) as server,
    ):
        yield gateway, venue, server
