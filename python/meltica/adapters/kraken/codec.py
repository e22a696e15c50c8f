"""Kraken spot, websocket v2: trades and tickers.

Books are not declared: their messages have no numbers, so only the checksum would show a lost one. The
venue's documentation: https://docs.kraken.com/api/docs/websocket-v2/trade.
"""

from meltica.adapters import (
    Codec,
    Field,
    Message,
    SymbolRule,
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

HEARTBEAT = Message(name="heartbeat", role="Control", matches=(one_of("channel", "heartbeat", "status"),))

ANSWER = Message(name="method", role="Control", matches=(present("method"),))
"""Answers to requests, and pongs."""

KRAKEN = Codec(
    name="kraken",
    symbols=SymbolRule(separator="/"),
    messages=(TRADE, TICKER, HEARTBEAT, ANSWER),
)
"""The declaration, for `meltica replay --codec kraken`."""
