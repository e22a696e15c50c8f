"""Coinbase Advanced Trade: trades and tickers of the market data websocket.

A frame has `events`, and an event many trades or tickers. The venue's documents do not settle whether the
side of a trade is the maker's or the taker's, so it stays absent. Futures are counted in contracts, so their
frames are refused (`unknown_symbol`). Books are not declared: their messages
have no numbers, and `sequence_num` counts those of all channels. The venue's documentation:
https://docs.cdp.coinbase.com/advanced-trade/docs/ws-channels.
"""

from meltica.adapters import (
    Codec,
    Field,
    Message,
    SymbolRule,
    decimal,
    equals,
    ident,
    one_of,
)

TRADES = Message(
    name="market_trades",
    role="Trade",
    matches=(equals("channel", "market_trades"),),
    each="events[].trades",
    symbol="@.product_id",
    venue_time=("@.time", "rfc3339"),
    id=("@.trade_id", "opaque"),
    fields=(
        Field("id", "@.trade_id", ident()),
        Field("price", "@.price", decimal()),
        Field("quantity", "@.size", decimal()),
    ),
)

TICKER = Message(
    name="ticker",
    role="Ticker",
    matches=(one_of("channel", "ticker", "ticker_batch"),),
    each="events[].tickers",
    symbol="@.product_id",
    venue_time=("timestamp", "rfc3339"),
    fields=(
        Field("last", "@.price", decimal("zero_is_absent")),
        Field("bid", "@.best_bid", decimal("zero_is_absent")),
        Field("bid_quantity", "@.best_bid_quantity", decimal("zero_is_absent")),
        Field("ask", "@.best_ask", decimal("zero_is_absent")),
        Field("ask_quantity", "@.best_ask_quantity", decimal("zero_is_absent")),
        Field("volume_24h", "@.volume_24_h", decimal("non_negative")),
    ),
)

CONTROL = Message(
    name="subscriptions", role="Control", matches=(one_of("channel", "subscriptions", "heartbeats"),)
)

ERROR = Message(name="error", role="Control", matches=(equals("type", "error"),))

COINBASE = Codec(
    name="coinbase",
    symbols=SymbolRule(separator="-", pairs_only=True),
    messages=(TRADES, TICKER, CONTROL, ERROR),
)
"""The declaration, for `meltica replay --codec coinbase`."""
