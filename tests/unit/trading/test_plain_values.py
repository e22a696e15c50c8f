"""Subclasses of numbers and texts become plain values before trading uses them under its lock."""

from decimal import Decimal

import pytest

from meltica.errors import OrderRefused
from meltica.trading.numbers import decimal, nanoseconds_of, plain, tag_of


class Slow(Decimal):
    """A number whose methods would run the strategy's code."""

    def __mod__(self, other: Decimal | int) -> Decimal:
        raise AssertionError("code of the strategy ran")


class Text(str):
    """A text whose methods would run the strategy's code."""

    __slots__ = ()

    def __hash__(self) -> int:
        raise AssertionError("code of the strategy ran")

    def __str__(self) -> str:
        raise AssertionError("code of the strategy ran")


def test_a_subclass_of_decimal_becomes_a_decimal() -> None:
    number = decimal("quantity", Slow("1.50"))
    assert (type(number), str(number)) == (Decimal, "1.50")


def test_a_subclass_of_str_becomes_a_str() -> None:
    assert type(plain(Text("BTC-USDT"))) is str
    assert type(tag_of(Text("quote"))) is str


def test_durations_fit_the_clock() -> None:
    assert nanoseconds_of("expires_in", 366 * 24 * 3600) == 366 * 24 * 3600 * 10**9
    with pytest.raises(OrderRefused, match="at most 31622400 seconds"):
        nanoseconds_of("expires_in", 366 * 24 * 3600 + 1)
