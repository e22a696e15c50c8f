"""Mark prices and funding rates of the venues, from realistic frames."""

from typing import Any

import pytest

from meltica._core import Codec as Compiled
from meltica.adapters import Codec
from meltica.adapters.binance.codec import BINANCE
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


def test_a_missing_rate_and_a_time_of_0_are_absent() -> None:
    [message] = Compiled(BINANCE).decode(UNFUNDED.encode(), connection="usdm")
    assert message.get("present") == ["mark_price", "index_price", "venue_time"]
