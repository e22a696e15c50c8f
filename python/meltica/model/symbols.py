"""Symbols: `BASE-QUOTE`, and for contracts their terms: `BTC-USDT-SWAP`, `BTC-USD-220527`.

A symbol has 2 to 6 parts, each of 1 to 20 letters or digits. The core has the only implementation of the
grammar, so configuration, adapters and codecs agree. The letters a to z become upper case; letters beyond
ASCII stay as they are written.
"""

from string import ascii_lowercase
from typing import Final

from meltica._core import canonical_symbol, is_currency

ANY: Final = "*"
"""In a scope: every symbol of the provider."""

CURRENCY: Final = "a currency such as USDT, 1 to 20 letters or digits, in upper case"
"""The form of a currency, for messages."""

_UPPER: Final = {ord(letter): letter.upper() for letter in ascii_lowercase}


def canonical(text: str) -> str:
    """Returns the canonical form of a symbol: upper case, its parts joined by dashes.

    Raises ValueError, with the form that was probably meant, when `text` is not a symbol.
    """
    if (symbol := canonical_symbol(text)) is not None:
        return symbol
    meant = canonical_symbol(text.strip().replace("_", "-"))
    hint = "" if meant is None else f"; did you mean `{meant}`?"
    form = "a symbol such as BTC-USDT or BTC/USDT, 2 to 6 parts of 1 to 20 letters or digits"
    raise ValueError(f"expected {form}, saw {text!r}{hint}")


def upper(text: str) -> str:
    """Returns a text with the letters a to z in upper case, which is all that the grammar folds."""
    return text.translate(_UPPER)


def currency(text: str) -> str:
    """Returns a currency. Raises ValueError when `text` is not one."""
    if not is_currency(text):
        raise ValueError(f"expected {CURRENCY}, saw {text!r}")
    return text


def currencies(symbol: str) -> tuple[str, str]:
    """Returns base and quote currency of a canonical symbol."""
    base, quote, *_ = symbol.split("-")
    return base, quote


def is_spot(symbol: str) -> bool:
    """Returns whether a canonical symbol has no terms of a contract."""
    return symbol.count("-") == 1
