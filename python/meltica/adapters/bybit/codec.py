"""Bybit v5, spot and linear: the public websocket topics.

The topic is a text such as `orderbook.50.BTCUSDT`. A snapshot replaces the book whatever its number: after a
restart of the service, numbers start again at 1. A delta has the number after that of the book; the venue
does not promise it in writing, but numbers of a topic are consecutive. `orderbook.1` is the best bid and ask,
not a book. Subscribe to one deeper topic per symbol. Tickers of linear contracts send only what changed, and
are completed with the values before. One with a mark price or a funding rate is such an extension too; what
it lacks has not changed.

One text names two instruments, so connections of linear contracts have the category `linear`: there, BTCUSDT
is `BTC-USDT-PERP`. The venue's documentation:
https://bybit-exchange.github.io/docs/v5/websocket/public/orderbook.
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
    part,
    prefix,
    present,
    time,
)

TRADES = Message(
    name="publicTrade",
    role="Trade",
    matches=(prefix("topic", "publicTrade."),),
    each="data",
    symbol="@.s",
    venue_time=("@.T", "ms"),
    id=("@.i", "opaque"),
    fields=(
        Field("id", "@.i", ident()),
        Field("side", "@.S", names({"Buy": "Buy", "Sell": "Sell"})),
        Field("price", "@.p", decimal()),
        Field("quantity", "@.v", decimal()),
    ),
)

DEPTHS = (50, 200, 1000)
"""Levels of the topics that have changes."""


def _books(depth: int) -> tuple[Message, Message]:
    """Returns the messages of one depth: changes and snapshots."""
    topic = prefix("topic", f"orderbook.{depth}.")
    return (
        Message(
            name=f"orderbook.{depth} delta",
            role="BookDiff",
            matches=(topic, equals("type", "delta")),
            symbol="data.s",
            venue_time=("cts", "ms"),
            levels=Levels(bids="data.b", asks="data.a", sequence=Range(first="data.u", last="data.u")),
        ),
        Message(
            name=f"orderbook.{depth} snapshot",
            role="BookSnapshot",
            matches=(topic, equals("type", "snapshot")),
            symbol="data.s",
            venue_time=("cts", "ms"),
            snapshot="replaces",
            levels=Levels(bids="data.b", asks="data.a", sequence=Range(last="data.u")),
        ),
    )


BEST = Message(
    name="orderbook.1",
    role="Ticker",
    matches=(prefix("topic", "orderbook.1."), equals("type", "snapshot")),
    symbol="data.s",
    venue_time=("cts", "ms"),
    fields=(
        Field("bid", "data.b[0][0]", decimal("zero_is_absent")),
        Field("bid_quantity", "data.b[0][1]", decimal("zero_is_absent")),
        Field("ask", "data.a[0][0]", decimal("zero_is_absent")),
        Field("ask_quantity", "data.a[0][1]", decimal("zero_is_absent")),
    ),
)


def _tickers(kind: str) -> Message:
    """Returns the message of tickers that are whole (`snapshot`) or have what changed (`delta`)."""
    return Message(
        name=f"tickers {kind}",
        role="Ticker",
        snapshot="replaces" if kind == "snapshot" else None,
        keep=True,
        matches=(prefix("topic", "tickers."), equals("type", kind)),
        symbol="data.symbol",
        venue_time=("ts", "ms"),
        fields=(
            Field("last", "data.lastPrice", decimal("zero_is_absent")),
            Field("bid", "data.bid1Price", decimal("zero_is_absent")),
            Field("bid_quantity", "data.bid1Size", decimal("zero_is_absent")),
            Field("ask", "data.ask1Price", decimal("zero_is_absent")),
            Field("ask_quantity", "data.ask1Size", decimal("zero_is_absent")),
            Field("volume_24h", "data.volume24h", decimal("non_negative")),
        ),
    )


TICKERS = (_tickers("snapshot"), _tickers("delta"))

MARK_PRICE = Message(
    name="tickers mark price",
    role="Extension",
    extension="mark_price",
    also=True,
    matches=(prefix("topic", "tickers."), present("data.markPrice")),
    symbol="data.symbol",
    venue_time=("ts", "ms"),
    fields=(
        Field("mark_price", "data.markPrice", decimal("zero_is_absent")),
        Field("index_price", "data.indexPrice", decimal("zero_is_absent")),
    ),
)

FUNDING_RATE = Message(
    name="tickers funding rate",
    role="Extension",
    extension="funding_rate",
    also=True,
    matches=(prefix("topic", "tickers."), present("data.fundingRate")),
    symbol="data.symbol",
    venue_time=("ts", "ms"),
    fields=(
        Field("funding_rate", "data.fundingRate", decimal("any")),
        Field("funding_time", "data.nextFundingTime", time("ms")),
    ),
)
"""A ticker of linear contracts is also a mark price and a funding rate, when it has them."""

_MINUTES = {str(n): f"{n}m" for n in (1, 3, 5, 15, 30)} | {str(60 * n): f"{n}h" for n in (1, 2, 4, 6, 12)}
_INTERVALS = {**_MINUTES, "D": "1d", "W": "1w", "M": "1M"}

KLINE = Message(
    name="kline",
    role="KlineSummary",
    matches=(prefix("topic", "kline."),),
    each="data",
    symbol=part("topic", ".", -1),
    venue_time=("@.timestamp", "ms"),
    fields=(
        Field("open", "@.open", decimal()),
        Field("close", "@.close", decimal()),
        Field("high", "@.high", decimal()),
        Field("low", "@.low", decimal()),
        Field("volume", "@.volume", decimal("non_negative")),
        Field("open_time", "@.start", time("ms")),
        Field("close_time", "@.end", time("ms")),
        Field("interval", "@.interval", names(_INTERVALS)),
        Field("closed", "@.confirm", flag()),
    ),
)

CONTROL = Message(name="op", role="Control", matches=(present("op"),))
"""Answers to requests, and pongs."""

ANSWER = Message(name="commandResponse", role="Control", matches=(equals("type", "COMMAND_RESP"),))

BYBIT = Codec(
    name="bybit",
    symbols={
        "spot": SymbolRule(
            quotes=("USDT", "USDC", "USDE", "USD1", "DAI", "BTC", "ETH", "EUR", "BRL", "BRZ", "PLN", "TRY")
        ),
        "linear": SymbolRule(quotes=("USDT", "USDC"), suffixes={"PERP": "USDC-PERP"}, contract="PERP"),
    },
    messages=(
        TRADES,
        *(message for depth in DEPTHS for message in _books(depth)),
        *TICKERS,
        MARK_PRICE,
        FUNDING_RATE,
        BEST,
        KLINE,
        CONTROL,
        ANSWER,
    ),
)
"""The declaration, for `meltica replay --codec bybit`."""
