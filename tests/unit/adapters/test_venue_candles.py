"""Candles of the venues: their ends, and how they close."""

from pathlib import Path

import pytest

from tests.support.codecs import replayed
from tests.unit.adapters.test_venue_frames import okx, recording
from tests.unit.adapters.test_venue_frames_usd import coinbase, kraken


def bybit(interval: str, close: str, confirm: str) -> str:
    return (
        f'{{"topic":"kline.{interval}.BTCUSDT","data":[{{"start":1767268800000,"end":1767268859999,'
        f'"interval":"{interval}","open":"10","close":"{close}","high":"12","low":"9","volume":"5","turnover":"1.5",'
        f'"confirm":{confirm},"timestamp":1767268800001}}],"ts":1767268800001,"type":"snapshot"}}'
    )


def okx_candle(channel: str, start: int, close: str, confirm: str, symbol: str = "BTC-USDT") -> str:
    return okx(channel, symbol, f'["{start}","10","12","9","{close}","5","50","50","{confirm}"]')


def kraken_candle(begin: str, close: str, interval: int = 1) -> str:
    return (
        f'{{"symbol":"BTC/USD","open":10.0,"high":12.0,"low":9.0,"close":{close},"trades":4,"volume":5.00000000,'
        f'"vwap":10.0,"interval_begin":"{begin}","interval":{interval},"timestamp":"2026-01-01T12:01:00.000000Z"}}'
    )


def coinbase_candle(start: str, close: str) -> str:
    return (
        f'{{"type":"update","candles":[{{"start":"{start}","high":"12","low":"9","open":"10","close":"{close}",'
        '"volume":"5","product_id":"BTC-USD"}]}'
    )


CASES = {
    "bybit": (
        [bybit("1", "11", "false"), bybit("1", "11.5", "true"), bybit("D", "11", "false")],
        ["11 5 1m open", "11.5 5 1m closed", "11 5 1d open"],
    ),
    "okx": (
        [
            okx_candle("candle1m", 1767268800000, "11", "0"),
            okx_candle("candle1m", 1767268800000, "11.5", "1"),
            okx_candle("candle1m", 1767268860000, "10", "0"),
            okx_candle("candle1Dutc", 1767225600000, "10", "0"),
            okx_candle("mark-price-candle1m", 1767268800000, "10", "0"),
        ],
        ["11 5 1m open", "11.5 5 1m closed", "10 5 1m open", "10 5 1d open"],
    ),
    "kraken": (
        [
            kraken(
                "ohlc",
                "snapshot",
                kraken_candle("2026-01-01T11:58:00.000000000Z", "9.5")
                + ","
                + kraken_candle("2026-01-01T12:00:00.000000000Z", "11"),
            ),
            kraken("ohlc", "update", kraken_candle("2026-01-01T12:00:00.000000000Z", "11.5")),
            kraken("ohlc", "update", kraken_candle("2026-01-01T12:00:00.000000000Z", "10", 60)),
            kraken("ohlc", "update", kraken_candle("2026-01-01T12:01:00.000000000Z", "12")),
        ],
        [
            "9.5 5 1m open",
            "9.5 5 1m closed",
            "11 5 1m open",
            "11.5 5 1m open",
            "10 5 1h open",
            "11.5 5 1m closed",
            "12 5 1m open",
        ],
    ),
    "coinbase": (
        [
            coinbase("candles", 0, coinbase_candle("1767268800", "11")),
            coinbase("candles", 1, coinbase_candle("1767268800", "11.5")),
            coinbase("candles", 2, coinbase_candle("1767269100", "10")),
        ],
        ["11 5 5m open", "11.5 5 5m open", "11.5 5 5m closed", "10 5 5m open"],
    ),
}


@pytest.mark.parametrize("venue", CASES)
def test_candles_close(tmp_path: Path, venue: str) -> None:
    frames, expected = CASES[venue]
    events, stats = replayed(recording(tmp_path, frames), venue)
    assert [event.split(" ", 4)[4] for event in events] == expected
    assert stats["errors"] == {}


def test_a_candle_is_not_closed_across_lost_frames(tmp_path: Path) -> None:
    frames = [
        coinbase("candles", 0, coinbase_candle("1767268800", "11")),
        coinbase("candles", 2, coinbase_candle("1767269100", "10")),
        coinbase("candles", 3, coinbase_candle("1767269400", "9")),
    ]
    events, _ = replayed(recording(tmp_path, frames), "coinbase")
    candles = [event.split(" ", 4)[4] for event in events if "5m" in event]
    assert candles == ["11 5 5m open", "10 5 5m open", "10 5 5m closed", "9 5 5m open"]
