"""Symbols and suggestions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meltica.errors import nearest, suggestion
from meltica.model.symbols import canonical, currencies

SEGMENT = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=1, max_size=10)


@given(st.lists(SEGMENT, min_size=2, max_size=6))
def test_dash_and_slash_mean_the_same(segments: list[str]) -> None:
    symbol = "-".join(segments)
    assert canonical(symbol) == symbol
    assert canonical("/".join(segments)) == symbol
    assert currencies(symbol) == (segments[0], segments[1])


@given(st.text(max_size=20))
def test_any_text_is_a_symbol_or_a_value_error(text: str) -> None:
    try:
        symbol = canonical(text)
    except ValueError as error:
        assert "expected a symbol such as BTC-USDT" in str(error)
    else:
        assert canonical(symbol) == symbol


@pytest.mark.parametrize("text", ["", "BTC", "BTCUSDT", "BTC-", "-USDT", "B--U", "BTC-USDT\n", "BTC_USDT"])
def test_texts_that_are_not_symbols(text: str) -> None:
    with pytest.raises(ValueError, match="expected a symbol"):
        canonical(text)


def test_lower_case_is_refused_with_the_right_form() -> None:
    with pytest.raises(ValueError, match=r"did you mean `BTC-USDT`\?"):
        canonical("btc/usdt")


def test_nearest() -> None:
    assert nearest("threshhold", ["threshold", "size"]) == "threshold"
    assert nearest("xyz", ["threshold"]) is None
    assert suggestion("xyz", ["a", "b"]) == "; expected one of a, b"
    assert suggestion("xyz", []) == "; none are defined"
