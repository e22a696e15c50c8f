"""The innocent instance and the process in which it runs beside a hostile one."""

import io
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

from meltica import Lambda
from meltica._core import Codec, Core, Trade
from meltica.adapters.binance.codec import BINANCE
from meltica.lambdas.instances import add_instance
from tests.isolation.hostile import HOSTILE, Load
from tests.isolation.lines import trades

RATE = 1000
"""Trades per second of the innocent instance: its queue of 1,024 holds one second of them."""
PATIENCE = 120.0
SWITCH_INTERVAL = 0.0005
"""The gateway's setting of the interpreter."""


class Innocent(Lambda):
    """Records the ids of its trades."""

    def __init__(self) -> None:
        self.ids: list[int] = []

    def on_trade(self, trade: Trade) -> None:
        self.ids.append(int(trade.trade_id or 0))


@dataclass(frozen=True)
class Outcome:
    """What the innocent instance received, and when."""

    hostile: str
    sent: int
    received: int
    first_fault: str
    """The first trade that is missing, repeated or out of order; empty without one."""
    p50_ns: float
    p99_ns: float
    max_ns: float
    losses: str
    """Trades lost at the queue of the innocent instance, and for want of a slot."""
    hostile_stats: str

    @property
    def complete(self) -> bool:
        """Whether every trade was received once and in order."""
        return self.received == self.sent and not self.first_fault


def beside(name: str, seconds: float) -> Outcome:
    """Runs the innocent instance beside a hostile one in a new process, because some cannot be stopped."""
    command = [sys.executable, "-m", "tests.isolation.innocent", name, str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + PATIENCE)
    if done.returncode:
        raise RuntimeError(f"{name}: the process ended with {done.returncode}: {done.stderr[-2000:]}")
    return Outcome(**json.loads(done.stdout))


def _first_fault(ids: list[int], sent: int) -> str:
    for expected, received in zip(range(1, sent + 1), ids, strict=False):
        if received != expected:
            return f"expected trade {expected}, saw {received}"
    return f"{len(ids) - sent:+} trades at the end" if len(ids) != sent else ""


def _run(name: str, seconds: float) -> Outcome:
    sys.setswitchinterval(SWITCH_INTERVAL)
    core = Core()
    producer = core.producer("quiet", Codec(BINANCE))
    scope = {"quiet": ["BTC-USDT"]}
    innocent = add_instance(core.host("thread"), Innocent, id="innocent", scope=scope)
    innocent.start()
    load = Load(core, seconds)
    HOSTILE[name](load)
    load.wait_until_under_way()
    sent = int(RATE * seconds)
    assert isinstance(innocent.subject, Innocent)
    ids = innocent.subject.ids
    for first in range(1, sent + 1, RATE):
        count = min(RATE, sent + 1 - first)
        producer.replay([io.BytesIO(trades("BTCUSDT", count, RATE, first))], speed=1.0)
        # A busy machine must not fill the queue: it is empty before the next second begins.
        deadline = time.monotonic() + PATIENCE / 10
        while len(ids) < first + count - 1 and time.monotonic() < deadline:
            time.sleep(0.001)
    load.end()
    innocent.core.stop(PATIENCE)
    latency = innocent.stats()["latency_ns"]
    return Outcome(
        hostile=name,
        sent=sent,
        received=len(ids),
        first_fault=_first_fault(ids, sent),
        p50_ns=latency["p50"],
        p99_ns=latency["p99"],
        max_ns=latency["max"],
        losses=f"{innocent.stats()['dropped']} dropped, {producer.stats()['no_slot']} without a slot",
        hostile_stats=load.summary(),
    )


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(_run(sys.argv[1], float(sys.argv[2])))))
    sys.stdout.flush()
    # A hostile callback that never returns must not keep the process.
    os._exit(0)
