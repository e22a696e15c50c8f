"""Benchmarks of memory: resident bytes of an idle instance, and of one more symbol of an instance.

    python -m meltica.bench.memory instance|symbol

Each figure is measured in a process of its own, because memory that another row has freed would hide growth.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Literal

from meltica import _core

INSTANCES = 200
SYMBOLS = 2000

What = Literal["instance", "symbol"]


def bytes_per(what: What) -> Callable[[], float]:
    """Returns a measurement in bytes, in a new process."""
    command = [sys.executable, "-m", "meltica.bench.memory", what]

    def measure() -> float:
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    return measure


def rss(pid: int) -> int:
    """Returns the resident memory of a process in bytes."""
    done = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], check=True, capture_output=True, text=True)
    return int(done.stdout) * 1024


def _instance(core: _core.Core, number: int, symbols: int) -> _core.Host:
    """Starts an instance on a thread host of its own."""
    host = core.host("thread")
    routes = [("bench", "Ticker", f"S{symbol}-USDT") for symbol in range(symbols)]
    host.add(f"bench-{number}", callbacks={"Ticker": lambda _: None}, routes=routes).start()
    return host


def _growth(work: Callable[[_core.Core], list[_core.Host]]) -> int:
    """Returns the bytes that `work` adds to a process which has run an instance before."""
    core = _core.Core()
    hosts = [_instance(core, 0, 1)]
    before = rss(os.getpid())
    hosts += work(core)
    growth = rss(os.getpid()) - before
    for host in hosts:
        host.stop()
    return growth


def idle_instance() -> float:
    """Returns the bytes of an idle instance of one symbol."""
    return (
        _growth(lambda core: [_instance(core, number, 1) for number in range(1, INSTANCES + 1)]) / INSTANCES
    )


def one_symbol() -> float:
    """Returns the bytes of one more symbol of an instance, with a ticker delivered for each symbol."""

    def grow(symbols: int) -> Callable[[_core.Core], list[_core.Host]]:
        def work(core: _core.Core) -> list[_core.Host]:
            host = _instance(core, 1, symbols)
            producer = core.producer("bench")
            for symbol in range(symbols):
                producer.publish("Ticker", f"S{symbol}-USDT", {"lastPrice": "1"})
            producer.drain()
            return [host]

        return work

    few, many = _growth(grow(SYMBOLS // 10)), _growth(grow(SYMBOLS))
    return (many - few) / (SYMBOLS - SYMBOLS // 10)


if __name__ == "__main__":
    sys.stdout.write(str({"instance": idle_instance, "symbol": one_symbol}[sys.argv[1]]()))
