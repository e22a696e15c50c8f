"""Events: typed, immutable, picklable, the same after a round trip."""

import pickle
from collections.abc import Iterable
from decimal import Context, Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import meltica
from meltica import _core

HEADER = {
    "eventId": "p:BTCUSDT:X:7",
    "seq": 9,
    "routingVersion": 1,
    "provider": "p",
    "symbol": "BTC-USDT",
    "seqProvider": 7,
    "venueTs": "2024-08-08T23:54:13.937085768Z",
    "ingestTs": "2024-08-08T23:54:15.000000001Z",
    "emitTs": "2024-08-08T23:54:15.000000002Z",
}
LEVELS = {
    "bids": [{"price": "100.10", "quantity": "1.5"}, {"price": "100.00", "quantity": "2"}],
    "asks": [{"price": "100.20", "quantity": "3"}],
}
PAYLOADS: dict[str, dict[str, Any]] = {
    "Trade": {"tradeId": "12", "side": "Buy", "price": "100.10", "quantity": "0.5"},
    "Ticker": {"bidPrice": "100.10", "askPrice": "100.20"},
    "BookSnapshot": LEVELS,
    "KlineSummary": {
        **{f"{name}Price": "1.5" for name in ("open", "close", "high", "low")},
        "volume": "2",
        "openTime": "2024-08-08T23:54:00Z",
        "closeTime": "2024-08-08T23:55:00Z",
    },
    "ExecReport": {
        "clientOrderId": "a1",
        "state": "PARTIAL",
        "side": "Sell",
        "orderType": "Limit",
        "timeInForce": "GTC",
        "quantity": "2",
        "filledQuantity": "1",
        "executionId": "17",
        "lastQuantity": "1",
        "lastPrice": "100.10",
        "liquidity": "maker",
        "lastFee": "-0.01",
        "lastFeeCurrency": "USDT",
    },
    "BalanceUpdate": {
        "total": "2",
        "available": "1",
        "change": "-0.5",
        "reason": "withdrawal",
        "transferId": "t1",
    },
    "Extension": {"name": "x", "data": {"a": [1, None, "é"]}},
    "BookGap": {"expected": 5, "seen": 9},
    "MarketStale": {"reason": "crossed"},
}


def event(kind: str, **changes: Any) -> Any:
    return _core.Event.from_dict({**HEADER, "type": kind, "payload": {**PAYLOADS[kind], **changes}})


@pytest.mark.parametrize("kind", PAYLOADS)
def test_round_trips(kind: str) -> None:
    first = event(kind)
    assert type(first).__name__ == kind
    assert first.venue_time == 1723161253937085768
    for again in (_core.Event.from_dict(first.to_dict()), pickle.loads(pickle.dumps(first))):
        assert again == first
        assert hash(again) == hash(first)
        assert again.to_dict() == first.to_dict()
    assert repr(first).startswith(f"{kind}(BTC-USDT@p #9")
    with pytest.raises(AttributeError):
        first.seq = 1


def test_a_balance_has_its_transfer_as_a_whole_or_not_at_all() -> None:
    balance = event("BalanceUpdate")
    assert (balance.change, balance.reason, balance.transfer_id) == (-0.5, "withdrawal", "t1")
    absent = event("BalanceUpdate", change=None, reason=None, transferId=None)
    assert (absent.change, absent.change_decimal, absent.reason, absent.transfer_id) == (None,) * 4
    assert absent != balance
    assert {"change", "reason", "transferId"}.isdisjoint(absent.to_dict()["payload"])
    with pytest.raises(ValueError, match="change"):
        event("BalanceUpdate", change=None)
    with pytest.raises(ValueError, match="deposit or withdrawal"):
        event("BalanceUpdate", reason="gift")


def test_numbers_are_exact_and_floats_their_nearest() -> None:
    trade = event("Trade", price="61837.63000000")
    assert isinstance(trade, meltica.Trade)
    assert trade.price == 61837.63
    assert trade.price_decimal == Decimal("61837.63")
    assert trade.side is meltica.Side.BUY
    ticker = event("Ticker")
    assert (ticker.last, ticker.last_decimal, ticker.bid) == (None, None, 100.1)
    assert "lastPrice" not in ticker.to_dict()["payload"]
    book = event("BookSnapshot")
    assert [tuple(level) for level in book.bids] == [(100.1, 1.5), (100.0, 2.0)]
    assert book.best_ask.quantity_decimal == 3
    assert (book.bid_horizon, book.ask_horizon_decimal) == (None, None)


def test_a_book_says_up_to_which_prices_its_levels_are_known() -> None:
    book = event("BookSnapshot", bidHorizon="99.125", askHorizon="100.2")
    assert (book.bid_horizon, book.ask_horizon) == (99.125, 100.2)
    assert (book.bid_horizon_decimal, book.ask_horizon_decimal) == (Decimal("99.125"), Decimal("100.2"))
    assert [tuple(level) for level in book.bids] == [(100.1, 1.5), (100.0, 2.0)]
    payload = book.to_dict()["payload"]
    assert (Decimal(payload["bidHorizon"]), Decimal(payload["askHorizon"])) == (
        book.bid_horizon_decimal,
        book.ask_horizon_decimal,
    )
    assert event("BookSnapshot", **payload) == book != event("BookSnapshot")


@st.composite
def numbers(draw: st.DrawFn) -> str:
    """Text of a number of up to 38 digits, 28 of them after the point, short and long ones alike."""
    digits = draw(st.integers(0, 10 ** draw(st.integers(1, 38)) - 1))
    scale = draw(st.integers(0, 28))
    return f"{draw(st.sampled_from(('', '-')))}{Decimal(digits).scaleb(-scale, Context(prec=38)):f}"


def check_floats(event: Any, names: Iterable[str], text: str) -> None:
    for name in names:
        exact = getattr(event, f"{name}_decimal")
        assert exact == Decimal(text), name
        assert getattr(event, name) == float(exact) == float(text), name


@given(numbers())
def test_a_float_is_the_float_of_its_decimal(text: str) -> None:
    for kind, keys, names in (
        ("Trade", "price quantity", "price quantity"),
        (
            "Ticker",
            "lastPrice bidPrice askPrice bidQuantity askQuantity volume24h",
            "last bid ask bid_quantity ask_quantity volume_24h",
        ),
        ("KlineSummary", "openPrice closePrice highPrice lowPrice volume", "open close high low volume"),
        (
            "ExecReport",
            "price quantity filledQuantity remainingQuantity averagePrice fee lastQuantity lastPrice lastFee",
            "price quantity filled_quantity remaining_quantity average_price fee "
            "last_quantity last_price last_fee",
        ),
        ("BalanceUpdate", "total available change", "total available change"),
    ):
        check_floats(event(kind, **dict.fromkeys(keys.split(), text)), names.split(), text)
    level = meltica.PriceLevel(text, text)
    check_floats(level, ("price", "quantity"), text)
    assert tuple(level) == (float(text), float(text))


@given(st.integers(1, 2**63 - 1), st.integers(0, 18))
def test_a_level_of_a_book_is_the_float_of_its_decimal(mantissa: int, scale: int) -> None:
    text = f"{Decimal(mantissa).scaleb(-scale, Context(prec=38)):f}"
    book = event("BookSnapshot", bids=[{"price": text, "quantity": text}], asks=[])
    check_floats(book.best_bid, ("price", "quantity"), text)
    check_floats(book.bids[0], ("price", "quantity"), text)


@pytest.mark.parametrize("bad", ["1/3", "NaN", "Infinity", "1e400", "١٢", "", "1_000"])
def test_what_is_no_decimal_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="price"):
        event("Trade", price=bad)


def test_an_exec_report_has_its_fill() -> None:
    report = event("ExecReport", venueOrderId="v1", fee="0.02", feeCurrency="USDT", reason="late")
    assert (report.venue_order_id, report.time_in_force, report.reason) == ("v1", "GTC", "late")
    assert (report.fee_decimal, report.fee_currency) == (Decimal("0.02"), "USDT")
    assert (report.execution_id, report.liquidity) == ("17", "maker")
    assert (report.last_quantity_decimal, report.last_price_decimal) == (Decimal(1), Decimal("100.10"))
    assert (report.last_fee_decimal, report.last_fee_currency) == (Decimal("-0.01"), "USDT")
    absent = (
        "executionId",
        "lastQuantity",
        "lastPrice",
        "liquidity",
        "lastFee",
        "lastFeeCurrency",
        "timeInForce",
    )
    without = event("ExecReport", **dict.fromkeys(absent))
    assert not set(absent) & set(without.to_dict()["payload"])
    assert (without.execution_id, without.last_price, without.last_fee, without.time_in_force) == (None,) * 4


def test_faults_name_the_key() -> None:
    with pytest.raises(ValueError, match='expected "liquidity" to be maker or taker, saw "Maker"'):
        event("ExecReport", liquidity="Maker")
    with pytest.raises(ValueError, match='expected "timeInForce" to be GTC, IOC or FOK, saw "GTD"'):
        event("ExecReport", timeInForce="GTD")
    with pytest.raises(ValueError, match='expected "side" to be Buy or Sell, saw "buy"'):
        event("Trade", side="buy")
    with pytest.raises(ValueError, match="event kind"):
        _core.Event.from_dict({**HEADER, "type": "Trad", "payload": {}})
    for data in (None, 3, {**HEADER, "type": "Trade", "payload": [1]}):
        with pytest.raises(ValueError, match="mapping"):
            _core.Event.from_dict(data)  # pyright: ignore[reportArgumentType]
