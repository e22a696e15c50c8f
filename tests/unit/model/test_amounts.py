"""Amounts as text."""

from decimal import Decimal, localcontext

import pytest
from hypothesis import given, strategies

from meltica.model.amounts import amount_text


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("-1.454366500000000000", "-1.4543665"),
        ("1000", "1000"),
        ("1E+3", "1000"),
        ("10.00", "10"),
        ("0.000", "0"),
        ("-0.00", "0"),
        ("1E-18", "0.000000000000000001"),
        ("1000000000000000000000000.000000000000000001", "1000000000000000000000000.000000000000000001"),
    ],
)
def test_a_text_has_neither_trailing_zeros_nor_an_exponent(amount: str, text: str) -> None:
    with localcontext(prec=3):
        assert amount_text(Decimal(amount)) == text


@given(strategies.decimals(allow_nan=False, allow_infinity=False, places=21))
def test_a_text_is_the_same_amount(amount: Decimal) -> None:
    text = amount_text(amount)
    assert Decimal(text) == amount
    assert "E" not in text
    assert not ("." in text and text.endswith(("0", ".")))
