"""Replays a few trades through the strategy: they set the clock, so ten seconds take no time."""

from pathlib import Path

from meltica.testing import event, replay

STRATEGY = Path(__file__).parents[1] / "lambdas" / "volume_report.py"


def test_reports_what_was_traded() -> None:
    trades = [
        event("Trade", "BTC-USDT", at=1, price="100", quantity="1"),
        event("Trade", "BTC-USDT", at=2, price="200", quantity="3"),
        event("Trade", "ETH-USDT", at=3, price="50", quantity="2"),
        event("Trade", "BTC-USDT", at=12, price="300", quantity="1"),
        event("Trade", "BTC-USDT", at=23, price="300", quantity="1"),
    ]
    run = replay(STRATEGY, trades, config={"seconds": 10})
    assert run.logs == [
        "BTC-USDT: 4.0000 traded, 175.00 on average",
        "ETH-USDT: 2.0000 traded, 50.00 on average",
        "BTC-USDT: 1.0000 traded, 300.00 on average",
    ]
