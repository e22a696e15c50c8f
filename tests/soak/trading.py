"""Trading of twenty lambdas at a venue with every fault: our books and the venue's ledger agree.

    python -m tests.soak.trading [SECONDS] [SEED]       or       nox -s soak -- trading [SECONDS] [SEED]
    python -m tests.soak.trading kills [COUNT] [SEED]         kills the gateway COUNT times

`meltica venue serve` runs with ten times the usual faults and outlives the gateway. Each round injects faults
and then lets the lambdas cancel their orders and rest. At this quiet point

- orders, fills, fees, positions and balances in the database equal the venue's ledger exactly, and the
  difference line of each currency is zero;
- no client order id was sent twice;
- each lambda counted, through its checkpoints and restarts, every fill once: its count equals its position;
- the gateway is ready.
"""

import contextlib
import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.persistence.postgres.server import wait_until
from tests.soak import trader
from tests.soak.gateway import supervised
from tests.soak.trading_faults import TradingFaults, TradingScene
from tests.soak.trading_ledger import State, disagreements
from tests.support.serving import free_port, project
from tests.support.venues import KEY, SECRET, Venue

SECONDS = 900.0
QUIET_SECONDS = 120.0
KILLS = 4
"""How many kills come before each quiet point of `run_kills`."""
TRADERS = 20
SYMBOLS = ("BTC-USDT", "ETH-USDT")
VENUE = """
market:
  symbols: [BTC-USDT, ETH-USDT]
  trade_interval: 50ms
  venue_behavior: BEHAVIOR
rate_limit: 0
"""
BEHAVIOR: dict[str, object] = {
    "latency_max": "50ms",
    "transient_error": 0.02,
    "disconnect_chance": 0.005,
    "disconnect_for": "2s",
    "reject": 0.02,
    "report_late": 0.05,
    "report_late_for": "500ms",
    "report_duplicate": 0.05,
    "report_reorder": 0.05,
}
CONFIG = """
log: {level: info}
apiServer: {addr: "127.0.0.1:MAIN"}
supervision: {backoff: {max: 2s}}
risk:
  maxNotionalValue: 1000000
  orderThrottle: 1000
  orderBurst: 1000
  maxConcurrentOrders: 0
  priceBandPercent: 5
  maxRiskBreaches: 0
  circuitBreaker: {enabled: false}
providers:
  live: {adapter: fake, settings: {endpoint: "VENUE", key: KEY, secret: SECRET}}
lambdas:
"""
LAMBDA = """
  - id: t{number}
    strategy: trader.py
    config: {{seed: {number}}}
    scope: {{live: [{symbols}]}}
    dryRun: false
    onStop: {on_stop}
"""


@dataclass
class Traded:
    """The result of a run."""

    rounds: int = 0
    seconds: float = 0.0
    fills: int = 0
    orders: Counter[str] = field(default_factory=Counter[str])
    refusals: Counter[str] = field(default_factory=Counter[str])
    injected: Counter[str] = field(default_factory=Counter[str])
    faults: list[str] = field(default_factory=list[str])


class TradingSoak:
    """One run."""

    def __init__(self, scene: TradingScene, seed: int, pace: float, report: Callable[[str], object]) -> None:
        self.traded = Traded()
        self._scene = scene
        self._report = report
        self._faults = TradingFaults(scene, random.Random(seed), pace)
        self._agreed: dict[str, State] = {}

    def run(self, seconds: float) -> Traded:
        """Runs rounds until `seconds` have passed and each fault was injected, or a fault is found."""
        began = time.monotonic()
        plan = self._faults.plan()
        least = len(plan)
        while not self.traded.faults:
            if self.traded.rounds >= least and time.monotonic() - began >= seconds:
                break
            plan = plan or self._faults.plan()
            self._round(plan.pop(0))
            self.traded.rounds += 1
        self.traded.seconds = time.monotonic() - began
        self.traded.injected = self._faults.injected
        return self.traded

    def run_kills(self, count: int) -> Traded:
        """Kills the gateway `count` times at random moments; compares after every few of them."""
        began = time.monotonic()
        while self.traded.rounds * KILLS < count and not self.traded.faults:
            self._round(["kill_while_trading"] * KILLS)
            self.traded.rounds += 1
        self.traded.seconds = time.monotonic() - began
        self.traded.injected = self._faults.injected
        return self.traded

    def _round(self, kinds: list[str]) -> None:
        (self._scene.folder / "quiet").unlink(missing_ok=True)
        for kind in kinds:
            self._faults.pause(1.0, 3.0)
            self._faults.inject(kind)
        self._faults.pause(1.0, 3.0)
        self._faults.remove()
        reports = self._rest()
        if not self.traded.faults:
            self._compare(reports)
        summary = {key: str(value) for key, value in self._summary(reports).items()}
        self._report(f"round {self.traded.rounds}: {', '.join(kinds)}; {summary}")

    def _rest(self) -> dict[str, dict[str, Any]]:
        """Waits until the gateway is ready and no lambda has an open order; returns their reports."""
        number = str(self.traded.rounds)
        quiet = self._scene.folder / "quiet.tmp"
        quiet.write_text(number)
        quiet.replace(self._scene.folder / "quiet")
        reports: dict[str, dict[str, Any]] = {}

        def rested() -> bool:
            for id in self._scene.ids:
                with contextlib.suppress(FileNotFoundError):
                    reports[id] = json.loads((self._scene.folder / f"{id}.json").read_text())
            waiting = [id for id in self._scene.ids if reports.get(id, {}).get("round") != number]
            return not waiting and self._scene.gateway.ready()

        if not wait_until(rested, QUIET_SECONDS):
            waiting = [id for id in self._scene.ids if reports.get(id, {}).get("round") != number]
            ready = self._scene.gateway.get("/health/ready")
            self.traded.faults.append(f"not quiet: {waiting} still trade; readiness: {ready}")
        return reports

    def _compare(self, reports: dict[str, dict[str, Any]]) -> None:
        calm = {"transient_error": 0, "disconnect_chance": 0, "latency_max": "0s"}
        self._scene.venue.fault(quiet=True, behavior=calm)
        found: list[str] = []

        def agree() -> bool:
            found[:] = disagreements(self._scene.server.dsn, self._scene.venue, self._agreed)
            return not found

        # The last commit may still run.
        if not wait_until(agree, 10.0):
            self.traded.faults += found
        self._scene.venue.fault(quiet=False, behavior=self._scene.behavior)
        for id, each in reports.items():
            counted, held = _amounts(each["net"]), _amounts(each["positions"])
            if counted != held:
                self.traded.faults.append(f"{id} counted {counted}, its positions are {held}")
            if each["repeated"]:
                self.traded.faults.append(f"{id} got fills twice: {each['repeated']}")

    def _summary(self, reports: dict[str, dict[str, Any]]) -> dict[str, object]:
        self.traded.fills = sum(each["fills"] for each in reports.values())
        self.traded.refusals = Counter()
        for each in reports.values():
            self.traded.refusals += Counter(each["refusals"])
        posts = self._scene.venue.get("/v1/requests")
        return {"fills": self.traded.fills, "posts": len(posts["posts"]), "refused": self.traded.refusals}


def _amounts(texts: dict[str, str]) -> dict[str, Decimal]:
    return {symbol: Decimal(amount) for symbol, amount in texts.items()}


@contextlib.contextmanager
def trading(behavior: dict[str, object] = BEHAVIOR) -> Generator[TradingScene]:
    """Runs a venue, a database and a gateway with the lambdas."""
    with project() as created, contextlib.ExitStack() as stack:
        venue = Venue(created.folder, config=VENUE.replace("BEHAVIOR", json.dumps(behavior)))
        stack.callback(venue.close)
        venue.wait_started()
        (created.folder / "trader.py").write_text(Path(trader.__file__).read_text())
        parts = {"MAIN": str(free_port()), "VENUE": venue.address, "KEY": KEY, "SECRET": SECRET}
        config = re.sub("|".join(parts), lambda word: parts[word[0]], CONFIG)
        for number in range(1, TRADERS + 1):
            on_stop = "keep" if number % 4 == 0 else "cancel"
            config += LAMBDA.format(number=number, symbols=", ".join(SYMBOLS), on_stop=on_stop)
        created.config.write_text(config)
        server = EmbeddedPostgres(created.home)
        stack.enter_context(supervised(server))
        ids = [f"t{number}" for number in range(1, TRADERS + 1)]
        scene = TradingScene(created, server, venue, created.launch(), ids, behavior)
        stack.callback(lambda: scene.gateway.kill())
        scene.gateway.wait_started()
        yield scene


def soak(
    seconds: float, seed: int = 1, report: Callable[[str], object] = lambda _: None, pace: float = 1.0
) -> Traded:
    """Trades for about `seconds`; `Traded.faults` lists the disagreements.

    A `pace` below 1 shortens the faults.
    """
    with trading() as scene:
        traded = TradingSoak(scene, seed, pace, report).run(seconds)
        if traded.faults:
            report(scene.gateway.log.read_text()[-20000:])
    return traded


def soak_kills(count: int, seed: int = 1, report: Callable[[str], object] = lambda _: None) -> Traded:
    """Kills the gateway at random moments; `Traded.faults` lists the disagreements."""
    with trading() as scene:
        traded = TradingSoak(scene, seed, 1.0, report).run_kills(count)
        if traded.faults:
            report(scene.gateway.log.read_text()[-20000:])
    return traded


def main() -> int:
    """Runs the soak, prints what it did, and returns the exit code."""

    def report(line: str) -> None:
        print(line, flush=True)

    kills, *arguments = sys.argv[1:] if sys.argv[1:2] == ["kills"] else ["", *sys.argv[1:]]
    seed = int(arguments[1]) if len(arguments) > 1 else 1
    if kills:
        traded = soak_kills(int(arguments[0]) if arguments else 200, seed, report)
    else:
        traded = soak(float(arguments[0]) if arguments else SECONDS, seed, report)
    print(f"{traded.rounds} rounds in {traded.seconds:.0f} s with seed {seed}, {traded.fills} fills counted")
    for counts in (traded.injected, traded.refusals):
        print(", ".join(f"{name}: {count}" for name, count in sorted(counts.items())))
    for fault in traded.faults:
        print(f"fault: {fault}")
    return 1 if traded.faults else 0


if __name__ == "__main__":
    sys.exit(main())
