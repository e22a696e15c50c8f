"""Soak test of a venue with all faults, twenty lambdas and a trading account: states agree at quiet points.

    python -m tests.soak.venue [SECONDS]       or       nox -s soak -- venue [SECONDS]

`meltica venue serve` runs at ten times the wall clock, with all of `venue_behavior` on, at ten times the
rates that the system which Meltica follows had by default. The `fake` adapter talks to it over the wire and
feeds twenty lambdas, each on its own thread. In rounds of chaos, depth frames are dropped and connections are
closed in addition to the faults. Each round ends in a quiet point: faults are off and the background traders
pause. At a quiet point

- every book of every lambda equals the venue's, level by level;
- every forced gap was counted once and reported to every lambda of that symbol;
- the account's orders, fills and balances equal the venue's ledger, whose sums are zero;
- memory, threads, files, connections and slots have not grown.
"""

import asyncio
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

from meltica._core import Codec, Core
from meltica.adapters.base import Route
from meltica.adapters.fake.adapter import FakeAdapter
from meltica.lambdas.instances import LambdaInstance, add_instance
from meltica.model.fills import START
from meltica.simulator.catalogue import SYMBOLS
from tests.support.venue_trader import Trader
from tests.support.venue_watchers import OPEN, Owner, Watcher
from tests.support.venues import KEY, SECRET, Venue

SECONDS = 600.0
ROUND = 15.0
"""Seconds of chaos between two quiet points."""
LAMBDAS = 20
PATIENCE = 60.0
DEPTH = 25
WARM_UP = 3
"""Rounds before the reference measurement of memory; one in a short run."""
LIMIT = 24 << 20
"""By how much the RSS of either process may grow after the warm-up."""

FAULTS: dict[str, object] = {
    "latency_min": "5ms",
    "latency_max": "35ms",
    "transient_error": 0.05,
    "disconnect_chance": 0.005,
    "disconnect_for": "5s",
    "reject": 0.05,
    "report_late": 0.05,
    "report_late_for": "1s",
    "report_duplicate": 0.05,
    "report_reorder": 0.05,
}
NO_FAULTS: dict[str, object] = {
    name: "0s" if name.startswith("latency") else 0.0
    for name in FAULTS
    if name not in ("disconnect_for", "report_late_for")
}


@dataclass
class Resources:
    """Resources of the two processes."""

    rss: int
    venue_rss: int
    threads: int
    files: int
    connections: int


@dataclass
class Soaked:
    """The result of a run."""

    rounds: int = 0
    seconds: float = 0.0
    events: int = 0
    books_compared: int = 0
    gaps_forced: int = 0
    gaps_masked: int = 0
    """Frames lost together with a connection, so that a gap may not be visible."""
    disconnects: int = 0
    orders: Counter[str] = field(default_factory=Counter[str])
    """Number of requests by outcome."""
    resources: list[Resources] = field(default_factory=list[Resources])
    faults: list[str] = field(default_factory=list[str])


def rss(pid: int | str) -> int:
    """Returns the resident memory of a process in bytes."""
    import resource

    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def wait(condition: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    """Waits until a condition holds; returns False after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        threading.Event().wait(0.01)
    return True


class Soak:
    """One run."""

    def __init__(self, folder: Path, report: Callable[[str], object]) -> None:
        self.soaked = Soaked()
        self._report = report
        self._random = random.Random(3)
        market = {"seed": 11, "speed": 10, "symbols": list(SYMBOLS)}
        self._venue = Venue(folder, config=json.dumps({"market": market, "rate_limit": 0}))
        self._venue.wait_started()
        wire = {"endpoint": self._venue.address, "key": KEY, "secret": SECRET}
        self._adapter = cast(FakeAdapter, FakeAdapter.configure(wire))
        self._core = core = Core()
        declaration = self._adapter.codec()
        assert declaration is not None
        self._producer = core.producer("fake", Codec(declaration))
        self._hosts = [core.host("thread") for _ in range(LAMBDAS + 1)]
        self._owner = Owner()
        callbacks = {
            "ExecReport": self._owner.on_exec_report,
            "BalanceUpdate": self._owner.on_balance_update,
        }
        routes = [("fake", kind, None) for kind in callbacks]
        self._hosts[-1].add("owner", callbacks=callbacks, routes=routes).start()
        self._watchers: list[LambdaInstance] = []
        for number, host in enumerate(self._hosts[:-1]):
            # Every second watcher subscribes to all symbols, the others to three each.
            scope = "*" if number % 2 else [SYMBOLS[(number + i) % len(SYMBOLS)] for i in range(3)]
            instance = add_instance(host, Watcher, id=f"w{number}", scope={"fake": scope})
            self._watchers.append(instance)
            instance.start()
        self._run = threading.Thread(target=self._adapter.run, name="adapter", daemon=True)
        assert self._adapter.account is not None
        self._trader = Trader(self._adapter.account, self.soaked.orders)
        self._warm_up = WARM_UP

    def soak(self, seconds: float) -> Soaked:
        """Runs for about `seconds`, and at least two rounds."""
        started_at = time.monotonic()
        self._warm_up = WARM_UP if seconds > 120 else 1
        # Without faults yet: a failed start would need a retry, as the gateway does it.
        self._adapter.bind_name("fake")
        self._adapter.start({"fake": self._producer})
        self._run.start()
        self._trader.start()
        kinds = ("BookSnapshot", "Trade", "ExecReport", "BalanceUpdate")
        self._adapter.route([Route(kind, None) for kind in kinds], [])
        try:
            while not self.soaked.faults and (
                self.soaked.rounds < 2 or time.monotonic() - started_at < seconds - ROUND / 2
            ):
                self._chaos(min(ROUND, seconds / 4))
                self._quiet()
                self.soaked.rounds += 1
                self._print_round()
        finally:
            self._end()
        self.soaked.seconds = time.monotonic() - started_at
        return self.soaked

    def _chaos(self, seconds: float) -> None:
        self._venue.fault(behavior=FAULTS, quiet=False)
        self._trader.trade()
        started_at, disconnect_at = time.monotonic(), seconds * self._random.uniform(0.2, 0.6)
        disconnected = False
        while (elapsed := time.monotonic() - started_at) < seconds:
            if elapsed > disconnect_at and not disconnected:
                disconnected = True
                self._venue.fault(disconnect=f"{self._random.randrange(100, 5000)}ms")
                self.soaked.disconnects += 1
            self._force_gap(self._random.choice(SYMBOLS))
            threading.Event().wait(self._random.uniform(0.05, 0.5))
        self._trader.rest()

    def _force_gap(self, symbol: str) -> None:
        """Drops depth frames of a valid book and waits until the book is stale, by a gap or otherwise."""
        if symbol in self._producer.unsynced() or not self._clients():
            return
        before = self._producer.stats()
        # Two frames, because the latest snapshot may already include the first one.
        self._venue.fault(skipDepth={"symbol": symbol, "frames": 2})
        wait(lambda: self._producer.stats()["stale"] != before["stale"], 5.0)
        if self._producer.stats()["gaps"] > before["gaps"]:
            self.soaked.gaps_forced += 1
        else:
            # The connection was lost in the meantime.
            self.soaked.gaps_masked += 1

    def _clients(self) -> list[dict[str, Any]]:
        return self._venue.get("/v1/clients")["clients"]

    def _quiet(self) -> None:
        """Turns the faults off and compares all states."""
        self._venue.fault(behavior=NO_FAULTS, quiet=True)
        fault = self.soaked.faults.append
        venue_books: dict[str, Any] = {}

        def agree() -> bool:
            for symbol in SYMBOLS:
                venue_books[symbol] = self._venue.depth(symbol, DEPTH)
            return all(venue_books.values()) and all(
                self._same(watcher, venue_books) for watcher in self._watchers
            )

        if not wait(agree):
            for watcher in self._watchers:
                fault(f"round {self.soaked.rounds}: {self._differences(watcher, venue_books)}")
        self.soaked.books_compared += sum(len(self._scope(watcher)) for watcher in self._watchers)
        self._compare_gaps()
        self._compare_account()
        self._check_resources()

    def _scope(self, watcher: LambdaInstance) -> list[str]:
        number = int(watcher.id[1:])
        return [s for i, s in enumerate(SYMBOLS) if number % 2 or (i - number) % len(SYMBOLS) < 3]

    def _same(self, watcher: LambdaInstance, venue_books: dict[str, Any]) -> bool:
        return not self._differences(watcher, venue_books)

    def _differences(self, watcher: LambdaInstance, venue_books: dict[str, Any]) -> str:
        books = cast(Watcher, watcher.subject).books
        for symbol in self._scope(watcher):
            if venue_books[symbol] is None:
                return "the venue is disconnected"
            update_id, bids, asks = venue_books[symbol]
            book = books.get(symbol)
            if book is None:
                return f"{watcher.id} has no book of {symbol}"
            if book.last_update_id != update_id:
                return f"{watcher.id}: {symbol} at {book.last_update_id}, the venue's is at {update_id}"
            for side, levels, expected in (("bids", book.bids, bids), ("asks", book.asks, asks)):
                actual = tuple((level.price_decimal, level.quantity_decimal) for level in levels)
                if actual != expected:
                    return f"{watcher.id}: {side} of {symbol} at {update_id} differ from the venue's"
        return ""

    def _compare_gaps(self) -> None:
        stats, fault = self._producer.stats(), self.soaked.faults.append
        forced, masked = self.soaked.gaps_forced, self.soaked.gaps_masked
        if not forced <= stats["gaps"] <= forced + masked:
            fault(f"{stats['gaps']} gaps counted, {forced} forced, {masked} possibly masked")
        if stats["errors"]:
            fault(f"frames that could not be decoded: {stats['errors']}")
        complete = [cast(Watcher, w.subject) for w in self._watchers if len(self._scope(w)) == len(SYMBOLS)]
        for watcher in self._watchers:
            subject = cast(Watcher, watcher.subject)
            expected = {s: n for s, n in complete[0].gaps.items() if s in self._scope(watcher)}
            if dict(subject.gaps) != expected:
                fault(f"{watcher.id}: expected gaps {expected}, saw {dict(subject.gaps)}")
            if subject.disorder:
                fault(f"{watcher.id}: {subject.disorder} events out of order")
            errors = watcher.stats()["errors"]
            if errors:
                fault(f"{watcher.id}: {errors} callbacks raised")
        if sum(complete[0].gaps.values()) != stats["gaps"]:
            fault(f"{sum(complete[0].gaps.values())} gaps were reported, {stats['gaps']} counted")

    def _compare_account(self) -> None:
        fault = self.soaked.faults.append
        ledger = self._venue.get("/v1/ledger")
        for currency, total in ledger["sums"].items():
            if Decimal(total) != 0:
                fault(f"the sum of {currency} in the ledger is {total}")
        account = self._adapter.account
        assert account is not None
        balances, fills, open_orders = asyncio.run(self._query(account))
        [ledger_account] = ledger["accounts"]
        for entry in ledger_account["balances"]:
            balance = balances[entry["currency"]]
            if (balance.total, balance.available) != (Decimal(entry["total"]), Decimal(entry["available"])):
                fault(f"{entry['currency']}: the account has {balance}, the ledger {entry}")
        if len({fill.execution_id for fill in fills}) != len(fills):
            fault("the venue listed a fill twice")
        traded = {fill.client_order_id for fill in fills}
        if ids := traded & self._trader.refused:
            fault(f"refused orders have traded: {sorted(ids)[:5]}")
        if ids := {order.client_order_id for order in open_orders} & self._trader.refused:
            fault(f"refused orders are open: {sorted(ids)[:5]}")
        self._compare_reports({order.client_order_id for order in open_orders}, fills, balances)
        open_ids = sorted(order.client_order_id for order in open_orders)
        ledger_ids = sorted(order["clientOrderId"] for order in ledger_account["openOrders"])
        if open_ids != ledger_ids:
            fault(f"{len(open_ids)} open orders, but {len(ledger_ids)} in the ledger")

    def _compare_reports(self, open_ids: set[str], fills: Any, balances: Any) -> None:
        """Compares the reports that the owner's lambda received with the venue's state."""
        fault, owner = self.soaked.faults.append, self._owner
        filled: Counter[str] = Counter()
        for fill in fills:
            filled[fill.client_order_id] += fill.quantity

        def differences() -> list[str]:
            reported_open = {id for id, report in owner.orders.items() if report.state in OPEN}
            texts = [
                f"order {id}: open at the venue or in the reports, but not in both"
                for id in reported_open ^ open_ids
            ]
            for id, quantity in filled.items():
                report = owner.orders.get(id)
                if report is None or report.filled_quantity_decimal != quantity:
                    texts.append(f"order {id}: {quantity} filled at the venue, reported as {report}")
            for currency, balance in balances.items():
                report = owner.balances.get(currency)
                if report is None or (report.total_decimal, report.available_decimal) != balance[:2]:
                    texts.append(f"{currency}: {balance} at the venue, reported as {report}")
            return texts

        # Late reports arrive within a second of the venue's clock.
        if not wait(lambda: not differences()):
            for text in differences()[:5]:
                fault(f"round {self.soaked.rounds}: {text}")
        rejected = {id for id, report in owner.orders.items() if report.state == "REJECTED"}
        if traded := rejected & filled.keys():
            fault(f"rejected orders have traded: {sorted(traded)[:5]}")

    async def _query(self, account: Any) -> tuple[Any, Any, Any]:
        fills = await account.fills_since(dict.fromkeys(SYMBOLS, START))
        return await account.balances(), fills, await account.open_orders()

    def _check_resources(self) -> None:
        # The account's connection may be the last one to reconnect.
        wait(lambda: len(self._clients()) == 2)
        resources = Resources(
            rss("self"),
            rss(self._venue.process.pid),
            len(list(Path("/proc/self/task").iterdir())),
            len(list(Path("/proc/self/fd").iterdir())),
            len(self._clients()),
        )
        self.soaked.resources.append(resources)
        if len(self.soaked.resources) <= self._warm_up:
            return
        base = self.soaked.resources[self._warm_up - 1]
        for name, limit in (
            ("rss", LIMIT),
            ("venue_rss", LIMIT),
            ("threads", 4),
            ("files", 8),
            ("connections", 0),
        ):
            growth = getattr(resources, name) - getattr(base, name)
            if growth > limit:
                rounds = len(self.soaked.resources)
                self.soaked.faults.append(f"{name} grew by {growth:,} in {rounds} rounds")

    def _print_round(self) -> None:
        stats, soaked, last = self._producer.stats(), self.soaked, self.soaked.resources[-1]
        soaked.events = sum(stats["events"].values())
        self._report(
            f"round {soaked.rounds}: {soaked.events:,} events, {soaked.books_compared} books compared, "
            f"{soaked.gaps_forced} gaps ({soaked.gaps_masked} masked), {soaked.disconnects} disconnects, "
            f"{sum(soaked.orders.values())} requests; RSS {last.rss >> 20} and {last.venue_rss >> 20} MiB, "
            f"{last.threads} threads, {last.files} files, {last.connections} connections"
        )

    def _end(self) -> None:
        fault = self.soaked.faults.append
        self._trader.end()
        self._adapter.stop()
        self._run.join(PATIENCE)
        if self._run.is_alive() or self._trader.is_alive():
            fault("the adapter or the trader did not end")
        for watcher in self._watchers:
            cast(Watcher, watcher.subject).books.clear()
        if not all(host.stop() for host in self._hosts):
            fault("a host did not stop")
        stats = self._core.stats()
        for pool in ("event_pool", "book_pool"):
            if stats[pool]["free"] != stats[pool]["capacity"]:
                fault(f"{pool}: slots were not returned: {stats[pool]}")
        self._venue.process.terminate()
        if (code := self._venue.ended()) != 0:
            fault(f"the venue ended with {code}")
        self._venue.close()


def soak(seconds: float, report: Callable[[str], object] = lambda _: None) -> Soaked:
    """Runs the soak test for about `seconds`; `Soaked.faults` lists the failures."""
    with tempfile.TemporaryDirectory() as folder:
        return Soak(Path(folder), report).soak(seconds)


def main() -> int:
    """Runs the soak test, prints the result and returns the exit code."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    soaked = soak(seconds, report=lambda line: print(line, flush=True))
    print(f"{soaked.rounds} rounds in {soaked.seconds:.0f} s, {soaked.events:,} events")
    print(", ".join(f"{outcome}: {count}" for outcome, count in sorted(soaked.orders.items())))
    for fault in soaked.faults:
        print(f"fault: {fault}")
    return 1 if soaked.faults else 0


if __name__ == "__main__":
    sys.exit(main())
