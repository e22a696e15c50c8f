"""The chart in the docs: what it is drawn of is the market, and the same arguments give the same bytes."""

import subprocess
import sys
from collections import defaultdict
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import meltica
from meltica._core import Core
from meltica.adapters.fake.adapter import FakeAdapter
from meltica.lambdas.instances import add_instance
from tests.support.paths import ROOT

TOOL = ROOT / "docs" / "charts" / "market.py"
SVG = "{http://www.w3.org/2000/svg}"
MINUTE = 60_000_000_000


class Trades(meltica.Lambda):
    def __init__(self) -> None:
        self.by_minute: defaultdict[int, list[meltica.Trade]] = defaultdict(list)

    def on_trade(self, trade: meltica.Trade) -> None:
        self.by_minute[(trade.venue_time or 0) // MINUTE].append(trade)


def draw(path: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(TOOL), str(path), "--duration", "5m", *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith(f"{path}: ")
    return path.read_text()


def traded(seed: int) -> list[list[meltica.Trade]]:
    """The trades of the same market, by minute."""
    adapter = FakeAdapter.configure(
        {
            "symbols": ["ETH-USDT"],
            "seed": seed,
            "start": "2026-01-01T00:00:00Z",
            "duration": "5m",
            "rate": "max",
        }
    )
    core = Core()
    host = core.host("shared", clock="event")
    trades = add_instance(host, Trades, id="trades", scope={"fake": "*"}, policies={"Trade": "block"})
    trades.start()
    producer = core.producer("fake")
    adapter.start({"fake": producer})
    adapter.run()
    assert producer.drain(30)
    assert host.stop()
    assert isinstance(trades.subject, Trades)
    return [minute for _, minute in sorted(trades.subject.by_minute.items())]


def test_its_candles_are_made_of_the_trades(tmp_path: Path) -> None:
    drawn = ElementTree.fromstring(
        draw(tmp_path / "a.svg", "--symbol", "ETH-USDT", "--seed", "7", "--at-once")
    )
    candles = [group for group in drawn.iter(f"{SVG}g") if group.get("class") in ("up", "down")]
    minutes = traded(7)
    assert len(candles) == len(minutes) == 5
    heights: dict[Decimal, float] = {}
    for candle, trades in zip(candles, minutes, strict=True):
        prices = [trade.price_decimal for trade in trades]
        first, last, low, high = prices[0], prices[-1], min(prices), max(prices)
        volume = sum(trade.quantity_decimal for trade in trades)
        told = (candle.findtext(f"{SVG}title") or "").split()
        assert dict(zip(told[1::2], map(Decimal, told[2::2]), strict=True)) == {
            "open": first,
            "high": high,
            "low": low,
            "close": last,
            "volume": volume,
        }
        assert (candle.get("class") == "up") == (last >= first)
        body = candle.find(f"{SVG}rect")
        wick = candle.find(f"{SVG}path")
        assert body is not None
        assert wick is not None
        heights[max(first, last)] = float(body.get("y", ""))
        upper, lower = (part.partition("V") for part in wick.get("d", "").split("M")[1:])
        heights[high], heights[low] = float(upper[0].split()[1]), float(lower[2])
    by_price = [height for _, height in sorted(heights.items())]
    assert all(above <= below for below, above in pairwise(by_price)), "a higher price is drawn higher"


def test_the_same_market_gives_the_same_bytes_at_any_speed(tmp_path: Path) -> None:
    slow = draw(tmp_path / "slow.svg", "--speed", "1000")
    assert slow == draw(tmp_path / "fast.svg", "--at-once")
    assert slow != draw(tmp_path / "other.svg", "--at-once", "--seed", "2")


def test_a_wrong_option_is_told_in_a_line(tmp_path: Path) -> None:
    for option, said in (
        (("--symbol", "BTC"), "expected a symbol"),
        (("--speed", "0"), "`speed`"),
        (("--duration", "1m"), "expected at least 2m"),
    ):
        arguments = [
            sys.executable,
            str(TOOL),
            str(tmp_path / "x.svg"),
            "--at-once",
            "--duration",
            "2m",
            *option,
        ]
        if "--speed" in option:
            arguments.remove("--at-once")
        done = subprocess.run(arguments, check=False, capture_output=True, text=True)
        assert done.returncode == 2, done.stderr
        assert said in done.stderr
        assert "Traceback" not in done.stderr
