"""Symbols: one grammar for texts of users, of adapters and of venues' frames."""

from collections.abc import Callable

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from meltica._core import Codec, Core
from meltica.adapters import Codec as Declaration
from meltica.adapters import Field, Message, SymbolRule, decimal, equals, ident
from meltica.errors import MelticaError, nearest, suggestion
from meltica.lambdas.instances import canonical_scope
from meltica.model.instruments import Instrument
from meltica.model.symbols import canonical, currencies, currency, is_spot, upper
from meltica.settings.entries import LambdaEntry, ProviderEntry

PART = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789币安人生ÉéДд", min_size=1, max_size=20)
ANY_TEXT = st.text(max_size=12) | st.text("aZ0é币İß\u0131\u017f\u0301\u3164\u212a-/:._ \n", max_size=12)
TRADE = Message(
    name="trade",
    role="Trade",
    matches=(equals("e", "trade"),),
    symbol="s",
    fields=(Field("id", "t", ident()), Field("price", "p", decimal()), Field("quantity", "q", decimal())),
)
DASHED = Codec(Declaration("dashed", SymbolRule(separator="-"), (TRADE,)))


@given(st.lists(PART, min_size=2, max_size=6))
def test_dash_and_slash_mean_the_same(parts: list[str]) -> None:
    symbol = upper("-".join(parts))
    assert canonical("-".join(parts)) == symbol
    assert canonical("/".join(parts)) == symbol
    assert currencies(symbol) == (upper(parts[0]), upper(parts[1]))
    assert is_spot(symbol) == (len(parts) == 2)


@given(ANY_TEXT)
def test_any_text_is_a_symbol_or_a_value_error(text: str) -> None:
    try:
        symbol = canonical(text)
    except ValueError as error:
        assert "expected a symbol such as BTC-USDT" in str(error)
    else:
        assert canonical(symbol) == symbol
        assert _beyond_ascii(symbol) == _beyond_ascii(text), "kept as written"


@given(ANY_TEXT)
@example("btc-usdt")
@example("BTC/USDT")
@example("1-2")
@example("T-USDT")
@example("币安人生-usdt")
@example("é-USDT")
@example("e\u0301-USDT")
@example("ﬃ-USDT")
@example("BTC-USDT\n")
@example(" BTC-USDT")
def test_config_adapter_scope_order_and_codec_agree_on_any_text(text: str) -> None:
    """A text is the same symbol everywhere, or nowhere one."""
    expected = _result(canonical, text)

    def listed(text: str) -> str:
        entry = ProviderEntry.model_validate({"adapter": "fake", "settings": {"symbols": [text]}})
        return str(entry.settings.model_dump()["symbols"][0]["symbol"])

    def scoped(text: str) -> str:
        fields = {"strategy": "noop", "scope": {"f": [text]}}
        return LambdaEntry.model_validate(fields).scope["f"][0]

    if expected is None or is_spot(expected):
        assert _result(listed, text) == expected
    if text != "*":
        assert _result(scoped, text) == expected
        assert _result(lambda text: canonical_scope({"f": [text]})["f"][0], text) == expected
    if "/" not in text and ":" not in text:
        assert DASHED.symbol(text) == expected


def _result(read: Callable[[str], str], text: str) -> str | None:
    try:
        return read(text)
    except (ValueError, MelticaError):
        return None


def _beyond_ascii(text: str) -> str:
    return "".join(each for each in text if not each.isascii())


@pytest.mark.parametrize(
    "text", ["", "BTC", "BTCUSDT", "BTC-", "-USDT", "B--U", "BTC-USDT\n", "BTC_USDT", "\ud800"]
)
def test_texts_that_are_not_symbols(text: str) -> None:
    with pytest.raises(ValueError, match="expected a symbol"):
        canonical(text)


def test_the_form_that_was_meant_is_named() -> None:
    for text in ("BTC_USDT", " btc-usdt\n"):
        with pytest.raises(ValueError, match=r"did you mean `BTC-USDT`\?"):
            canonical(text)


@given(st.text(max_size=3))
def test_a_currency_is_a_part_of_a_symbol(text: str) -> None:
    assume(not set(text) & set("/-:"))
    found = _result(lambda text: currencies(canonical(f"{text}-X"))[0], text)
    assert _result(currency, text) == (text if found == text else None)
    assert found in (None, upper(text))


def test_a_contract_is_not_listed_as_spot() -> None:
    with pytest.raises(ValueError, match="instrument BTC-USDT-SWAP: type: expected that of a contract"):
        Instrument.from_payload({"symbol": "BTC-USDT-SWAP"})
    swap = Instrument.from_payload({"symbol": "BTC-USDT-SWAP", "type": "perp"})
    assert (swap.base, swap.quote) == ("BTC", "USDT")


def test_a_producer_takes_the_category_of_a_connection_and_the_instrument_list() -> None:
    rules = {"spot": SymbolRule(quotes=("USDT",)), "linear": SymbolRule(quotes=("USDT",), contract="PERP")}
    producer = Core().producer("v", Codec(Declaration("two", rules, (TRADE,))))

    def trade(text: str, connection: int) -> int:
        frame = b'{"e":"trade","s":"%s","t":1,"p":"1","q":"1"}' % text.encode()
        return producer.feed(frame, 1, connection=connection).decoded

    producer.set_category("linear", connection=1)
    assert [trade("X_1", connection) for connection in (0, 1)] == [0, 0]
    producer.list_symbols(["X-USDT-260327"], {"x_1": "X-USDT-260327"}, category="linear")
    assert [trade("X_1", connection) for connection in (0, 1)] == [0, 1]
    for category in ("option", ""):
        with pytest.raises(ValueError, match=r'one of "spot, linear"'):
            producer.set_category(category)
    with pytest.raises(ValueError, match="expected a symbol such as BTC-USDT in `texts`"):
        producer.list_symbols([], {"X": "X"})


def test_nearest() -> None:
    assert nearest("threshhold", ["threshold", "size"]) == "threshold"
    assert nearest("xyz", ["threshold"]) is None
    assert suggestion("xyz", ["a", "b"]) == "; expected one of a, b"
    assert suggestion("xyz", []) == "; none are defined"
    assert suggestion("xyz", map(str, range(1000))).endswith(", 48, 49 and 950 more")
