"""Kraken spot, websocket v2.

Books have no numbers. Each message has a checksum of the best 10 levels, asks before bids, over the digits of
the instrument's precision. The client keeps the subscribed depth: levels beyond it are not deleted by the
venue. The venue's documentation: https://docs.kraken.com/api/docs/websocket-v2/book and
https://docs.kraken.com/api/docs/guides/spot-ws-book-v2.
"""

from dataclasses import replace

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
)

TRADE = Message(
    name="trade",
    role="Trade",
    matches=(equals("channel", "trade"),),
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

RECENT_TRADES = replace(
    TRADE,
    name="recent trades",
    matches=(equals("channel", "trade"), equals("type", "snapshot")),
    snapshot="history",
)
"""The last trades, at a subscription."""

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

ANSWER = Message(name="method", role="Control", matches=(present("method"),))
"""Answers to requests, and pongs."""

ERROR = Message(name="error", role="Control", matches=(present("Error"),))
"""A refusal of too many requests."""

KRAKEN = Codec(
    name="kraken",
    symbols=SymbolRule(separator="/"),
    messages=(BOOK_UPDATE, RECENT_TRADES, TRADE, TICKER, BOOK_SNAPSHOT, HEARTBEAT, ANSWER, ERROR),
)
"""The declaration, for `meltica replay --codec kraken`."""
