"""Kraken spot, websocket v2.

Books have no numbers. Each message has a checksum of the best 10 levels, asks before bids, over the digits of
the instrument's precision. The client keeps the subscribed depth: levels beyond it are not deleted by the
venue. The venue's documentation: https://docs.kraken.com/api/docs/websocket-v2/book and
https://docs.kraken.com/api/docs/guides/spot-ws-book-v2.
"""

from meltica.adapters import (
    Checksum,
    Codec,
    Field,
    Levels,
    Message,
    Row,
    SymbolRule,
    Unnumbered,
    decimal,
    equals,
    ident,
    names,
    one_of,
    present,
    time,
)


def _trades(kind: str) -> Message:
    """Returns the message of new trades (`update`), or of those before the subscription (`snapshot`)."""
    return Message(
        name=f"trade {kind}",
        role="Trade",
        snapshot="history" if kind == "snapshot" else None,
        matches=(equals("channel", "trade"), equals("type", kind)),
        each="data",
        symbol="@.symbol",
        venue_time=("@.timestamp", "rfc3339"),
        id=("@.trade_id", "monotonic"),
        fields=(
            Field("id", "@.trade_id", ident()),
            Field("side", "@.side", names({"buy": "Buy", "sell": "Sell"})),
            Field("price", "@.price", decimal()),
            Field("quantity", "@.qty", decimal()),
        ),
    )


TRADES = (_trades("update"), _trades("snapshot"))

TICKER = Message(
    name="ticker",
    role="Ticker",
    matches=(equals("channel", "ticker"),),
    each="data",
    symbol="@.symbol",
    venue_time=("@.timestamp", "rfc3339"),
    fields=(
        Field("last", "@.last", decimal("zero_is_absent")),
        Field("bid", "@.bid", decimal("zero_is_absent")),
        Field("bid_quantity", "@.bid_qty", decimal("zero_is_absent")),
        Field("ask", "@.ask", decimal("zero_is_absent")),
        Field("ask_quantity", "@.ask_qty", decimal("zero_is_absent")),
        Field("volume_24h", "@.volume", decimal("non_negative")),
    ),
)

_MINUTES = {"1": "1m", "5": "5m", "15": "15m", "30": "30m", "60": "1h", "240": "4h"}
_INTERVALS = {**_MINUTES, "1440": "1d", "10080": "1w", "21600": "15d"}

CANDLE = Message(
    name="ohlc",
    role="KlineSummary",
    matches=(equals("channel", "ohlc"),),
    each="data",
    symbol="@.symbol",
    fields=(
        *(Field(name, f"@.{name}", decimal()) for name in ("open", "high", "low", "close")),
        Field("volume", "@.volume", decimal("non_negative")),
        Field("open_time", "@.interval_begin", time("rfc3339")),
        Field("interval", "@.interval", names(_INTERVALS)),
    ),
)

INSTRUMENTS = Message(
    name="instrument",
    role="InstrumentUpdate",
    matches=(equals("channel", "instrument"),),
    each="data.pairs",
    symbol="@.symbol",
    fields=(
        Field("price_increment", "@.price_increment", decimal("zero_is_absent")),
        Field("quantity_increment", "@.qty_increment", decimal("zero_is_absent")),
        Field("price_precision", "@.price_precision", decimal("non_negative")),
        Field("quantity_precision", "@.qty_precision", decimal("non_negative")),
        Field("min_quantity", "@.qty_min", decimal("zero_is_absent")),
        Field("min_notional", "@.cost_min", decimal("zero_is_absent")),
        Field("status", "@.status", names({"online": "Trading"})),
    ),
)

_LEVELS = Levels(
    bids="@.bids",
    asks="@.asks",
    row=Row(price="price", quantity="qty"),
    sequence=Unnumbered(),
    checksum=Checksum("@.checksum"),
    depth=(10, 25, 100, 500, 1000),
)

BOOK_SNAPSHOT = Message(
    name="bookSnapshot",
    role="BookSnapshot",
    snapshot="replaces",
    matches=(equals("channel", "book"), equals("type", "snapshot")),
    each="data",
    symbol="@.symbol",
    venue_time=("@.timestamp", "rfc3339"),
    levels=_LEVELS,
)

BOOK_UPDATE = Message(
    name="bookUpdate",
    role="BookDiff",
    matches=(equals("channel", "book"), equals("type", "update")),
    each="data",
    symbol="@.symbol",
    venue_time=("@.timestamp", "rfc3339"),
    levels=_LEVELS,
)

HEARTBEAT = Message(name="heartbeat", role="Control", matches=(one_of("channel", "heartbeat", "status"),))

SUBSCRIBED = Message(
    name="subscribed",
    role="Control",
    matches=(equals("method", "subscribe"), equals("result.channel", "book"), present("result.depth")),
    symbol="result.symbol",
    depth="result.depth",
)
"""The answer to a subscription of a book, which confirms its depth."""

ANSWER = Message(name="method", role="Control", matches=(present("method"),))
"""Answers to requests, and pongs."""

ERROR = Message(name="error", role="Control", matches=(present("Error"),))
"""A refusal of too many requests."""

KRAKEN = Codec(
    name="kraken",
    symbols=SymbolRule(separator="/"),
    messages=(
        BOOK_UPDATE,
        *TRADES,
        TICKER,
        BOOK_SNAPSHOT,
        CANDLE,
        INSTRUMENTS,
        HEARTBEAT,
        SUBSCRIBED,
        ANSWER,
        ERROR,
    ),
)
"""The declaration, for `meltica replay --codec kraken`."""
