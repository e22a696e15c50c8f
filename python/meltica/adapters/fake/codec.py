"""The codec of the simulated exchange's stream, which `docs/venue.md` describes.

Diffs form a chain: `first` is the `last` of the previous diff plus one. A snapshot of `GET /v1/depth`
joins at the first diff with `first <= last + 1 <= its last`.
"""

from meltica.adapters import (
    Codec,
    Field,
    Levels,
    Message,
    Range,
    SymbolRule,
    decimal,
    equals,
    flag,
    ident,
    names,
    present,
    text,
    time,
)

_TIME = ("time", "ns")

TRADE = Message(
    name="trade",
    role="Trade",
    matches=(equals("type", "trade"),),
    symbol="symbol",
    venue_time=_TIME,
    id=("id", "monotonic"),
    fields=(
        Field("id", "id", ident()),
        Field("side", "side", names({"buy": "Buy", "sell": "Sell"}), required=True),
        Field("price", "price", decimal()),
        Field("quantity", "quantity", decimal()),
    ),
)

TICKER = Message(
    name="ticker",
    role="Ticker",
    matches=(equals("type", "ticker"),),
    symbol="symbol",
    venue_time=_TIME,
    fields=(
        Field("last", "last", decimal()),
        Field("bid", "bid", decimal()),
        Field("bid_quantity", "bidQuantity", decimal()),
        Field("ask", "ask", decimal()),
        Field("ask_quantity", "askQuantity", decimal()),
        Field("volume_24h", "volume24h", decimal("non_negative")),
    ),
)

CANDLE = Message(
    name="candle",
    role="KlineSummary",
    matches=(equals("type", "candle"),),
    symbol="symbol",
    venue_time=_TIME,
    fields=(
        Field("open", "open", decimal()),
        Field("high", "high", decimal()),
        Field("low", "low", decimal()),
        Field("close", "close", decimal()),
        Field("volume", "volume", decimal("non_negative")),
        Field("open_time", "openTime", time("ns")),
        Field("close_time", "closeTime", time("ns")),
        Field("interval", "interval", text()),
        Field("closed", "closed", flag()),
    ),
)

DEPTH = Message(
    name="depth",
    role="BookDiff",
    matches=(equals("type", "depth"),),
    symbol="symbol",
    venue_time=_TIME,
    levels=Levels(bids="bids", asks="asks", sequence=Range(first="first", last="last")),
)

DEPTH_SNAPSHOT = Message(
    name="depthSnapshot",
    role="BookSnapshot",
    matches=(equals("type", "depthSnapshot"),),
    symbol="symbol",
    venue_time=_TIME,
    levels=Levels(bids="bids", asks="asks", sequence=Range(last="last")),
    snapshot="joins",
)

REPLY = Message(name="reply", role="Control", matches=(present("op"),))

INSTRUMENT = Message(name="instrument", role="Control", matches=(equals("type", "instrument"),))
"""The adapter publishes instruments itself: a codec has no role for them."""

FAKE = Codec(
    name="fake",
    symbols=SymbolRule(separator="-"),
    messages=(TRADE, TICKER, DEPTH, CANDLE, DEPTH_SNAPSHOT, REPLY, INSTRUMENT),
)
"""The declaration, for `meltica replay --codec fake`."""
