"""Symbols: `BASE-QUOTE`, with ccxt's `BASE/QUOTE` as a synonym."""

import re
from functools import lru_cache

_SEGMENT = re.compile(r"[A-Z0-9.]+")

ANY = "*"
"""In a scope: every symbol of the provider."""


def canonical(text: str) -> str:
    """Returns the canonical form of a symbol: 2 to 6 upper-case segments joined by dashes.

    Raises ValueError, with the form that was probably meant, when `text` is not a symbol.
    """
    symbol = text.replace("/", "-")
    if _is_symbol(symbol):
        return symbol
    upper = symbol.strip().upper()
    hint = f"; did you mean `{upper}`?" if upper != symbol and _is_symbol(upper) else ""
    raise ValueError(f"expected a symbol such as BTC-USDT or BTC/USDT, saw {text!r}{hint}")


def currencies(symbol: str) -> tuple[str, str]:
    """Returns base and quote currency of a canonical symbol."""
    base, quote, *_ = symbol.split("-")
    return base, quote


@lru_cache(maxsize=4096)
def _is_symbol(text: str) -> bool:
    segments = text.split("-")
    return 2 <= len(segments) <= 6 and all(_SEGMENT.fullmatch(segment) for segment in segments)
