"""Mark prices and funding rates of the venues, from realistic frames."""

from typing import Any

import pytest

from meltica._core import Codec as Compiled
from meltica.adapters import Codec
from meltica.adapters.binance.codec import BINANCE
from meltica.adapters.bybit.codec import BYBIT
from meltica.adapters.okx.codec import OKX

MARK = (
    '{"e":"markPriceUpdate","E":1767268800000,"s":"BTCUSDT","p":"61837.15000000","i":"61830.62659091",'
    '"P":"61835.25641265","r":"-0.00038167","T":1767283200000}'
)
UNFUNDED = MARK.replace("-0.00038167", "").replace("1767283200000", "0")
MARK_DATA = {
    "symbol": "BTC-USDT-PERP",
    "mark_price": "61837.15000000",
    "index_price": "61830.62659091",
    "funding_rate": "-0.00038167",
    "funding_time": 1_767_283_200_000_000_000,
}
ARG = '{"arg":{"channel":"%s","instId":"BTC-USDT-SWAP"},"data":[%s]}'
OKX_MARK = ARG % (
    "mark-price",
    '{"instType":"SWAP","instId":"BTC-USDT-SWAP","markPx":"61837.1","ts":"1767268800000"}',
)
OKX_FUNDING = ARG % (
    "funding-rate",
    '{"fundingRate":"0.0001875391284828","fundingTime":"1767283200000","instId":"BTC-USDT-SWAP",'
    '"instType":"SWAP","method":"current_period","maxFundingRate":"0.00375","minFundingRate":"-0.00375",'
    '"nextFundingRate":"","nextFundingTime":"1767312000000","premium":"0.0001","settFundingRate":"0.0001",'
    '"settState":"settled","ts":"1767268800000"}',
)
OKX_FUNDING_DATA = {
    "symbol": "BTC-USDT-SWAP",
    "funding_rate": "0.0001875391284828",
    "funding_time": 1_767_283_200_000_000_000,
}


@pytest.mark.parametrize(
    ("codec", "connection", "frame", "name", "data"),
    [
        (BINANCE, "usdm", MARK, "mark_price", MARK_DATA),
        (BINANCE, "usdm", f"[{MARK}]", "mark_price", MARK_DATA),
        (BINANCE, "usdm", f'{{"stream":"!markPrice@arr","data":[{MARK}]}}', "mark_price", MARK_DATA),
        (BINANCE, "usdm", f'{{"stream":"btcusdt@markPrice@1s","data":{MARK}}}', "mark_price", MARK_DATA),
        (OKX, "", OKX_MARK, "mark_price", {"symbol": "BTC-USDT-SWAP", "mark_price": "61837.1"}),
        (OKX, "", OKX_FUNDING, "funding_rate", OKX_FUNDING_DATA),
    ],
)
def test_mark_prices_and_funding_rates(
    codec: Codec, connection: str, frame: str, name: str, data: dict[str, Any]
) -> None:
    [message] = Compiled(codec).decode(frame.encode(), connection=connection)
    payload: dict[str, Any] = message.get("payload", {})
    assert (payload["name"], payload["data"]) == (name, data)
    assert "venue_time" in message.get("present", [])


LINEAR = (
    '{"topic":"tickers.BTCUSDT","type":"%s","cs":24987956059,"ts":1767268800000,'
    '"data":{"symbol":"BTCUSDT",%s}}'
)
RATE = '"fundingRate":"-0.000212","nextFundingTime":"1767283200000"'
WHOLE = f'"lastPrice":"61837.1","bid1Price":"61837","markPrice":"61837.15","indexPrice":"61830.6",{RATE}'
BYBIT_MARK = {"symbol": "BTC-USDT-PERP", "mark_price": "61837.15", "index_price": "61830.6"}
BYBIT_FUNDING = {
    "symbol": "BTC-USDT-PERP",
    "funding_rate": "-0.000212",
    "funding_time": 1_767_283_200_000_000_000,
}


@pytest.mark.parametrize(
    ("kind", "data", "expected"),
    [
        ("snapshot", WHOLE, [None, ("mark_price", BYBIT_MARK), ("funding_rate", BYBIT_FUNDING)]),
        ("delta", WHOLE, [None, ("mark_price", BYBIT_MARK), ("funding_rate", BYBIT_FUNDING)]),
        ("delta", '"lastPrice":"61837.1"', [None]),
        ("delta", '"symbol2":"","markPrice":"1"', [None, ("mark_price", {"mark_price": "1"})]),
    ],
)
def test_a_ticker_of_bybit_is_also_a_mark_price_and_a_funding_rate(
    kind: str, data: str, expected: list[tuple[str, dict[str, Any]] | None]
) -> None:
    frame = (LINEAR % (kind, data)).encode()
    messages = Compiled(BYBIT).decode(frame, connection="linear")
    assert messages[0].get("message") == f"tickers {kind}"
    assert [message.get("outcome") for message in messages] == ["event"] * len(expected)
    for message, extension in zip(messages, expected, strict=True):
        if extension is not None:
            payload: dict[str, Any] = message.get("payload", {})
            assert payload["name"] == extension[0]
            assert extension[1].items() <= payload["data"].items()


def test_a_missing_rate_and_a_time_of_0_are_absent() -> None:
    [message] = Compiled(BINANCE).decode(UNFUNDED.encode(), connection="usdm")
    assert message.get("present") == ["mark_price", "index_price", "venue_time"]
