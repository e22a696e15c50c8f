"""Coinbase Advanced Trade: the market data websocket.

Books have no numbers. `sequence_num` counts all messages of a connection, so a lost one makes all its books
stale. The channel of `level2` is named `l2_data` in its messages. A frame has `events`, and an event many
trades, tickers or levels; the levels of both sides are one list. The venue's documents do not settle whether
the side of a trade is the maker's or the taker's, so it stays absent. Futures are counted in contracts, so
their frames are refused (`unknown_symbol`). The venue's documentation:
https://docs.cdp.coinbase.com/advanced-trade/docs/ws-channels.
"""

from meltica.adapters import (
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
    time,
)


def _trades(kind: str) -> Message:
    """Returns the message of new trades (`update`), or of those before the subscription (`snapshot`)."""
    return Message(
        name=f"market_trades {kind}",
        role="Trade",
        snapshot="history" if kind == "snapshot" else None,
        matches=(equals("channel", "market_trades"), equals("events[].type", kind)),
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


TRADES = (_trades("update"), _trades("snapshot"))

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

CANDLE = Message(
    name="candles",
    role="KlineSummary",
    matches=(equals("channel", "candles"),),
    each="events[].candles",
    symbol="@.product_id",
    fields=(
        *(Field(name, f"@.{name}", decimal()) for name in ("open", "high", "low", "close")),
        Field("volume", "@.volume", decimal("non_negative")),
        Field("open_time", "@.start", time("s")),
        Field("interval", "channel", names({"candles": "5m"})),
    ),
)

PRODUCTS = Message(
    name="status",
    role="InstrumentUpdate",
    matches=(equals("channel", "status"),),
    each="events[].products",
    symbol="@.id",
    fields=(
        Field("price_increment", "@.quote_increment", decimal("zero_is_absent")),
        Field("quantity_increment", "@.base_increment", decimal("zero_is_absent")),
        Field("min_notional", "@.min_market_funds", decimal("zero_is_absent")),
        Field("status", "@.status", names({"online": "Trading"})),
    ),
)

_LEVELS = Levels(
    changes="@.updates",
    row=Row(price="price_level", quantity="new_quantity", side="side", sides={"bid": "Buy", "offer": "Sell"}),
    sequence=Unnumbered(),
)

BOOK_SNAPSHOT = Message(
    name="level2Snapshot",
    role="BookSnapshot",
    snapshot="replaces",
    matches=(equals("channel", "l2_data"), equals("@.type", "snapshot")),
    each="events",
    symbol="@.product_id",
    venue_time=("timestamp", "rfc3339"),
    levels=_LEVELS,
)

BOOK_UPDATE = Message(
    name="level2Update",
    role="BookDiff",
    matches=(equals("channel", "l2_data"), equals("@.type", "update")),
    each="events",
    symbol="@.product_id",
    venue_time=("timestamp", "rfc3339"),
    levels=_LEVELS,
)

CONTROL = Message(
    name="subscriptions", role="Control", matches=(one_of("channel", "subscriptions", "heartbeats"),)
)

ERROR = Message(name="error", role="Control", matches=(equals("type", "error"),))

COINBASE = Codec(
    name="coinbase",
    symbols=SymbolRule(separator="-", pairs_only=True),
    messages=(BOOK_UPDATE, *TRADES, TICKER, BOOK_SNAPSHOT, CANDLE, PRODUCTS, CONTROL, ERROR),
    connection_sequence="sequence_num",
    max_frame=64 << 20,
    max_levels=200_000,
)
"""The declaration, for `meltica replay --codec coinbase`."""
