"""Plays a few trades through the strategy: they set the clock, so ten seconds take no time."""

import json
from pathlib import Path

import pytest

from meltica.adapters.replay.adapter import ReplayAdapter, ReplaySettings
from meltica.backtest.replay import Replay, Run
from meltica.lambdas.loader import load

VolumeReport = load(str(Path(__file__).parents[1] / "lambdas" / "volume_report.py"))


def trade(second: int, symbol: str, price: str, quantity: str) -> dict[str, object]:
    time = f"2025-01-01T12:00:{second:02d}Z"
    return {
        "type": "Trade",
        "provider": "fake",
        "symbol": symbol,
        "venueTs": time,
        "ingestTs": time,
        "payload": {"tradeId": str(second), "side": "Buy", "price": price, "quantity": quantity},
    }


def play(folder: Path, trades: list[dict[str, object]], config: dict[str, object]) -> None:
    recording = folder / "trades.jsonl"
    recording.write_text("".join(json.dumps(each) + "\n" for each in trades))
    replay = Replay(ReplayAdapter(ReplaySettings(paths=[recording])), [Run(VolumeReport, "report", config)])
    replay.run()
    assert replay.finish()
    assert replay.report("ok")["callback_errors"] == 0


def test_reports_what_was_traded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trades = [
        trade(1, "BTC-USDT", "100", "1"),
        trade(2, "BTC-USDT", "200", "3"),
        trade(3, "ETH-USDT", "50", "2"),
        trade(12, "BTC-USDT", "300", "1"),
        trade(23, "BTC-USDT", "300", "1"),
    ]
    with caplog.at_level("INFO", logger="meltica.lambda.report"):
        play(tmp_path, trades, {"seconds": 10})
    assert caplog.messages == [
        "BTC-USDT: 4.0000 traded, 175.00 on average",
        "ETH-USDT: 2.0000 traded, 50.00 on average",
        "BTC-USDT: 1.0000 traded, 300.00 on average",
    ]
