"""Prints the tables: orders without and beside the requests, then each list."""

import argparse
import contextlib
import json
import shutil
import statistics
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from meltica.persistence.postgres.server import wait_until
from tests.load import pulse
from tests.support.serving import Gateway, project

LAMBDAS = 20
SYMBOLS = ("BTC-USDT", "ETH-USDT", "SOL-USDT", "BNB-USDT", "DOGE-USDT")
SETTLE = 5.0
PATIENCE = 120.0
LEAST_ORDERS = 2
"""Orders of each lambda for which the requests continue: seconds differ with the load of the machine."""
LEAST_SHARE = 0.1
"""The share of the orders of a typical lambda below which a lambda starves."""
CONFIG = """
log: {level: warning}
apiServer: {addr: "127.0.0.1:0"}
risk:
  maxNotionalValue: 100000000
  orderThrottle: 1000
  orderBurst: 1000
  maxConcurrentOrders: 0
  maxRiskBreaches: 0
providers:
  flat-out:
    adapter: fake
    settings:
      rate: max
      balance_update_interval: 0
      instrument_refresh_interval: 0
      price_model: {drift: 0, volatility: 0, shock_probability: 0}
lambdas:
"""
LAMBDA = '  - {{id: pulse-{number}, strategy: pulse.py, scope: {{flat-out: ["{symbol}"]}}, dryRun: false}}\n'
LISTS = (
    "/adapters",
    "/audit?limit=100",
    "/health/ready",
    "/metrics",
    "/orders?limit=100",
    "/outbox?limit=100",
    "/providers",
    "/providers/flat-out/balances?limit=100",
    "/providers/flat-out/lines",
    "/refusals?limit=100",
    "/risk/limits",
    "/risk/status",
    "/strategies",
    "/strategies/modules",
    "/strategy/instances",
    "/strategy/instances/pulse-0",
    "/strategy/instances/pulse-0/executions?limit=100",
    "/strategy/instances/pulse-0/orders?limit=100",
    "/strategy/instances/pulse-0/positions",
    "/strategy/instances/pulse-0/why",
)


@dataclass
class Requests:
    """What the clients measured."""

    times: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict[str, list[float]](list))
    failures: Counter[str] = field(default_factory=Counter[str])


def main(words: list[str] | None = None) -> int:
    """Runs both phases and returns the exit code: 1 when a request failed or a lambda did not trade."""
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each phase, at least")
    parser.add_argument("--clients", type=int, default=4)
    arguments = parser.parse_args(words)
    with project() as where:
        rows = (LAMBDA.format(number=each, symbol=SYMBOLS[each % len(SYMBOLS)]) for each in range(LAMBDAS))
        where.config.write_text(CONFIG + "".join(rows))
        shutil.copy(pulse.__file__, where.folder / "pulse.py")
        with where.serving() as gateway:
            gateway.wait_ready()
            if not wait_until(lambda: len(_times(where.folder, 0.0)) == LAMBDAS, PATIENCE):
                print(f"not all lambdas trade: {gateway.tail()}", file=sys.stderr)
                return 1
            time.sleep(SETTLE)
            alone = _phase(where.folder, arguments.seconds)
            with httpx.Client(base_url=gateway.address, headers=where.authorization()) as client:
                delivered = _delivered(client)
            began = time.time()
            with _load(gateway, where.authorization(), arguments.clients) as requests:
                time.sleep(arguments.seconds)
                wait_until(lambda: _least(_times(where.folder, began)) >= LEAST_ORDERS, PATIENCE)
                beside, seconds = _times(where.folder, began), time.time() - began
            with httpx.Client(base_url=gateway.address, headers=where.authorization()) as client:
                after = _delivered(client)
            errors = gateway.errors()
    orders = _counts(beside)
    least = max(LEAST_ORDERS, LEAST_SHARE * statistics.median(orders.values()))
    starved = [
        *(f"{id} received no event" for id, count in after.items() if count == delivered.get(id)),
        *(f"{id} made {count} orders of {least:g}" for id, count in orders.items() if count < least),
    ]
    phases = {"without requests": (alone, arguments.seconds), "beside the requests": (beside, seconds)}
    _print(phases, requests)
    for what in starved:
        print(f"starved beside the requests: {what}", file=sys.stderr)
    for failure, count in requests.failures.items():
        print(f"failed {count} times: {failure}", file=sys.stderr)
    for error in errors:
        print(json.dumps(error), file=sys.stderr)
    return 1 if requests.failures or starved or errors else 0


def _phase(folder: Path, seconds: float) -> dict[str, list[float]]:
    since = time.time()
    time.sleep(seconds)
    return _times(folder, since)


def _times(folder: Path, since: float) -> dict[str, list[float]]:
    """Returns the milliseconds of the orders of each lambda since a time."""
    found: dict[str, list[float]] = {}
    for file in folder.glob("*.times"):
        for line in file.read_text().splitlines():
            at, value = line.split(" ", 1)
            if float(at) >= since and value.isdigit():
                found.setdefault(file.stem, []).append(int(value) / 1e6)
    return found


def _counts(orders: dict[str, list[float]]) -> dict[str, int]:
    """Returns the number of orders of each lambda, also of those that placed none."""
    ids = (f"pulse-{number}" for number in range(LAMBDAS))
    return {id: len(orders.get(id, ())) for id in ids}


def _least(orders: dict[str, list[float]]) -> int:
    return min(_counts(orders).values())


def _delivered(client: httpx.Client) -> dict[str, int]:
    ids = [f"pulse-{number}" for number in range(LAMBDAS)]
    details = {id: client.get(f"/strategy/instances/{id}").json() for id in ids}
    return {id: sum(detail["counters"]["delivered"].values()) for id, detail in details.items()}


@contextlib.contextmanager
def _load(gateway: Gateway, headers: dict[str, str], clients: int) -> Generator[Requests]:
    """Sends requests while the block runs; yields what is measured."""
    requests, ended = Requests(), threading.Event()

    def read(first: int) -> None:
        with httpx.Client(base_url=gateway.address, headers=headers, timeout=7) as client:
            number = first
            while not ended.is_set():
                path = LISTS[number % len(LISTS)]
                number += 1
                began = time.perf_counter()
                try:
                    answer = client.get(path)
                except httpx.HTTPError as error:
                    requests.failures[f"{path}: {type(error).__name__}"] += 1
                    continue
                requests.times[path].append((time.perf_counter() - began) * 1000)
                if not answer.is_success:
                    requests.failures[f"{path}: {answer.status_code} {answer.text[:200]}"] += 1

    threads = [
        threading.Thread(target=read, args=(number * len(LISTS) // clients,)) for number in range(clients)
    ]
    for thread in threads:
        thread.start()
    try:
        yield requests
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def _print(phases: dict[str, tuple[dict[str, list[float]], float]], requests: Requests) -> None:
    """Prints the tables; `phases` has the orders and the seconds of each phase, that of the requests last."""
    print("| orders | per second | least of a lambda | p50 | p99 | max |\n|---|---|---|---|---|---|")
    seconds = 0.0
    for name, (orders, seconds) in phases.items():
        times = [each for values in orders.values() for each in values]
        least = _least(orders) / seconds
        print(f"| {name} | {len(times) / seconds:,.1f} | {least:,.1f} | {_figures(times)} |")
    every = [each for values in requests.times.values() for each in values]
    print("\n| requests | per second | p50 | p99 | max |\n|---|---|---|---|---|")
    for path, times in sorted(requests.times.items()):
        print(f"| `GET {path}` | {len(times) / seconds:,.1f} | {_figures(times)} |")
    print(f"| all | {len(every) / seconds:,.1f} | {_figures(every)} |")


def _figures(times: list[float]) -> str:
    """Returns p50, p99 and maximum as cells of a table."""
    if len(times) < 2:
        return "| | "
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    return f"{cuts[49]:,.1f} ms | {cuts[98]:,.1f} ms | {max(times):,.1f} ms"


if __name__ == "__main__":
    sys.exit(main())
