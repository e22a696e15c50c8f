"""Benchmarks of a gateway with the default config: time from start until it trades, and memory."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from meltica.bench.memory import rss

STRATEGY = """
import meltica

class First(meltica.Lambda):
    def on_ticker(self, ticker):
        if not hasattr(self, "ready"):
            self.ready = True
            self.log.info("the first event")
"""
CONFIG = f"""
apiServer: {{addr: "127.0.0.1:0"}}
log: {{format: json}}
{(Path(__file__).parents[1] / "config" / "default.yaml").read_text()}
  - {{id: first, strategy: first.py, scope: {{fake: "*"}}}}
"""
"""The shipped config, and a lambda that logs its first event."""
STARTED = frozenset({"the first event", "instance market-making is running", "instance momentum is running"})
"""The messages after which events flow and lambdas trade."""
SETTLE_SECONDS = 3.0
PATIENCE = 60.0


@dataclass(frozen=True)
class GatewayCost:
    """Seconds from `meltica serve` until its lambdas trade, seconds of a stop, and MiB without PostgreSQL."""

    first_start: float
    """The first start, which includes the creation of PostgreSQL's data directory."""
    second_start: float
    stop: float
    idle_rss: float


def measure() -> GatewayCost:
    """Starts and stops a gateway twice in a temporary directory."""
    with temporary_folder() as folder:
        (folder / "first.py").write_text(STRATEGY)
        (folder / "config.yaml").write_text(CONFIG)
        with _serving(folder) as (_, first):
            pass
        with _serving(folder) as (process, second):
            time.sleep(SETTLE_SECONDS)
            memory = rss(process.pid) / 2**20
            started_at = time.monotonic()
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)
            return GatewayCost(first, second, time.monotonic() - started_at, memory)


@contextmanager
def temporary_folder() -> Generator[Path]:
    """Yields a folder in which PostgreSQL can run."""
    # In /tmp when run as root, because another user, who cannot enter root's directories, runs PostgreSQL.
    folder = Path(tempfile.mkdtemp(prefix="meltica-bench-", dir="/tmp" if os.geteuid() == 0 else None))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _serving(folder: Path) -> Generator[tuple[subprocess.Popen[str], float]]:
    """Yields a gateway whose lambdas trade, and the seconds that this took."""
    config, home = str(folder / "config.yaml"), str(folder / "pg")
    command = [sys.executable, "-m", "meltica", "serve", "--config", config, "--home", home]
    started_at = time.monotonic()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            lines: list[str] = []
            missing = set(STARTED)
            for line in process.stderr:
                lines.append(line)
                if line.startswith("{"):
                    missing.discard(json.loads(line)["message"])
                if not missing:
                    break
            else:
                raise RuntimeError(f"the gateway ended: {''.join(lines[-5:])}")
            yield process, time.monotonic() - started_at
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=PATIENCE)
