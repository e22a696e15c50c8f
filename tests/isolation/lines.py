"""Recorded lines of Binance frames: `<receive ns> <frame>`, at a steady rate."""

from collections.abc import Sequence


def _line(n: int, rate: float, frame: str) -> str:
    return f"{int(n * 1e9 / rate)} {frame}\n"


def trades(symbol: str, count: int, rate: float, first: int = 1) -> bytes:
    """Returns `count` trades of a symbol, whose ids begin at `first`."""
    frame = '{"e":"trade","E":1,"s":"%s","t":%d,"p":"61837.63","q":"0.02","T":1,"m":true}'
    return "".join(_line(n, rate, frame % (symbol, n)) for n in range(first, first + count)).encode()


def tickers(symbols: Sequence[str], count: int, rate: float) -> bytes:
    """Returns `count` tickers of the symbols in turn."""
    frame = '{"u":%d,"s":"%s","b":"25.35190000","B":"31.2","a":"25.36520000","A":"40.6"}'
    return "".join(
        _line(n, rate, frame % (n, symbols[n % len(symbols)])) for n in range(1, count + 1)
    ).encode()
