"""Made-up sessions of five venues, with what is true of them: one synthetic market in the frames of each."""

from functools import lru_cache

from tests.support.venue_sessions import binance, bybit, coinbase, kraken, naive, okx
from tests.support.venue_sessions.market import Book, Changes, Instrument, Trade
from tests.support.venue_sessions.session import Faults, Line, Message, Session, Stream, generate

VENUES: dict[str, tuple[type[Stream], tuple[Instrument, ...], type[naive.Builder]]] = {
    "binance": (binance.Binance, binance.INSTRUMENTS, naive.Binance),
    "binance-usdm": (binance.BinanceUsdm, binance.INSTRUMENTS, naive.Binance),
    "okx": (okx.Okx, okx.INSTRUMENTS, naive.Okx),
    "okx-without-checksums": (okx.OkxWithoutChecksums, okx.INSTRUMENTS, naive.Okx),
    "bybit-spot": (bybit.BybitSpot, bybit.INSTRUMENTS, naive.Bybit),
    "bybit-linear": (bybit.BybitLinear, bybit.INSTRUMENTS, naive.Bybit),
    "kraken": (kraken.Kraken, kraken.INSTRUMENTS, naive.Kraken),
    "kraken-deep": (kraken.KrakenDeep, kraken.INSTRUMENTS, naive.Kraken),
    "coinbase": (coinbase.Coinbase, coinbase.INSTRUMENTS, naive.Coinbase),
}
"""By name: the stream, its instruments, and the builder that knows the venue's rules."""
FAULTS = Faults(
    lose=frozenset({31, 150, 377}),
    repeat=frozenset({60, 61, 200}),
    swap=frozenset({90, 260}),
    restart=frozenset({210}),
    cut=frozenset({185}),
)
"""One session's worth of each fault, by the number of the frame."""


@lru_cache(maxsize=16)
def session(
    name: str, *, seed: int = 1, steps: int = 300, connections: int = 1, faults: Faults | None = None
) -> Session:
    """Returns a session of a venue; the options are those of `generate`."""
    stream, instruments, _ = VENUES[name]
    return generate(stream, instruments, seed=seed, steps=steps, connections=connections, faults=faults)


__all__ = [
    "FAULTS",
    "VENUES",
    "Book",
    "Changes",
    "Faults",
    "Instrument",
    "Line",
    "Message",
    "Session",
    "Stream",
    "Trade",
    "generate",
    "session",
]
