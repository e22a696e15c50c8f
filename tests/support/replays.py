"""Runs `meltica replay` as a process, and frames for it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

TRADE = '{"e":"trade","E":%d,"s":"BTCUSDT","t":%d,"p":"1.0","q":"2","T":%d,"m":true}'
"""A trade of Binance: time, id, time."""


def trade(received: int, number: int, time: int = 1_700_000_000_000) -> str:
    return f"{received} {TRADE % (time, number, time)}\n"


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "meltica", "replay", *arguments]


def replay(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), check=False, capture_output=True, text=True, timeout=60, cwd=folder
    )


def report(folder: Path, *arguments: str) -> dict[str, Any]:
    done = replay(folder, *arguments, "--json")
    result: dict[str, Any] = json.loads(done.stdout)
    assert result["exit_code"] == done.returncode, done.stderr
    return result
