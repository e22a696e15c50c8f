"""Binance, spot and USD-M futures: websocket streams, raw and combined, and the REST depth snapshot.

Names are those of the venue's documentation,
https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams (Trade Streams, Aggregate Trade
Streams, Individual Symbol Ticker Streams, Individual Symbol Book Ticker Streams, Diff. Depth Stream,
Kline/Candlestick Streams) and
https://developers.binance.com/docs/binance-spot-api-docs/rest-api/market-data-endpoints#order-book (Order
book).

Spot diffs form a chain: `U` is the previous `u` plus one. A snapshot joins them at the first diff with `U <=
lastUpdateId + 1 <= u` ("How to manage a local order book correctly"). In diffs of USD-M, numbers jump, and
`pu` is the previous `u`. `m` is true when the buyer is the maker, so the taker sold.

One text names two instruments, so connections of USD-M have the category `usdm`: there, BTCUSDT is
`BTC-USDT-PERP`. Subscribe to either `trade` or `aggTrade` of a symbol, because both become `Trade`. Partial
depth (`depth5`, `depth10`, `depth20`) is recognized by the name of its stream, so subscribe to it on combined
streams only: a raw message looks like a requested snapshot, or like a diff.
"""

from meltica.adapters import (
    Codec,
    Envelope,
    Field,
    Levels,
    Message,
    Range,
    SymbolRule,
    absent,
    decimal,
    equals,
    flag,
    ident,
    names,
    one_of,
    part,
    present,
    text,
    time,
)

QUOTES = (
    *("USDT", "USDC", "FDUSD", "TUSD", "BUSD", "USDP", "USDS", "USDE", "USD1", "DAI", "EURI"),
    *("RLUSD", "U", "UST", "KGST", "BKRW", "VAI"),
    *("BTC", "ETH", "BNB", "SOL", "XRP", "TRX", "DOGE", "DOT", "BIDR", "IDRT", "BVND"),
    *(
        "EUR",
        "GBP",
        "AUD",
        "TRY",
        "BRL",
        "RUB",
        "UAH",
        "NGN",
        "ZAR",
        "JPY",
        "PLN",
        "RON",
        "ARS",
        "MXN",
        "CZK",
        "COP",
    ),
)

_PRICE_AND_QUANTITY = (Field("price", "p", decimal()), Field("quantity", "q", decimal()))
_TAKER_SIDE = Field("side", "m", names({"true": "Sell", "false": "Buy"}))

TRADE = Message(
    name="trade",
    role="Trade",
    matches=(equals("e", "trade"),),
    symbol="s",
    venue_time=("T", "ms"),
    id=("t", "monotonic"),
    fields=(Field("id", "t", ident()), _TAKER_SIDE, *_PRICE_AND_QUANTITY),
)

AGG_TRADE = Message(
    name="aggTrade",
    role="Trade",
    matches=(equals("e", "aggTrade"),),
    symbol="s",
    venue_time=("T", "ms"),
    id=("a", "monotonic"),
    fields=(Field("id", "a", ident()), _TAKER_SIDE, *_PRICE_AND_QUANTITY),
)


def _best_bid_and_ask(at: str) -> tuple[Field, ...]:
    paths = (("bid", "b"), ("bid_quantity", "B"), ("ask", "a"), ("ask_quantity", "A"))
    return tuple(Field(name, f"{at}{key}", decimal("zero_is_absent")) for name, key in paths)


def _tickers_24h(event: str, *, has_best: bool) -> tuple[Message, Message]:
    """Returns the messages of a 24-hour ticker: of one symbol, and of all that changed, in an array."""

    def message(name: str, at: str, each: str | None) -> Message:
        return Message(
            name=name,
            role="Ticker",
            matches=(equals(f"{at}e", event),),
            each=each,
            symbol=f"{at}s",
            venue_time=(f"{at}E", "ms"),
            fields=(
                Field("last", f"{at}c", decimal("zero_is_absent")),
                *(_best_bid_and_ask(at) if has_best else ()),
                Field("volume_24h", f"{at}v", decimal("non_negative")),
            ),
        )

    return message(event, "", None), message(f"{event}s", "@.", "[]")


MINI_TICKER, MINI_TICKERS = _tickers_24h("24hrMiniTicker", has_best=False)
TICKER_24H, TICKERS_24H = _tickers_24h("24hrTicker", has_best=True)
_BEST_BID_AND_ASK = _best_bid_and_ask("")

BOOK_TICKER = Message(
    name="bookTicker",
    role="Ticker",
    matches=(absent("e"), present("u"), present("B"), present("A")),
    symbol="s",
    id=("u", "monotonic"),
    fields=_BEST_BID_AND_ASK,
)

BOOK_TICKER_USDM = Message(
    name="bookTickerUsdm",
    role="Ticker",
    matches=(equals("e", "bookTicker"),),
    symbol="s",
    venue_time=("T", "ms"),
    id=("u", "monotonic"),
    fields=_BEST_BID_AND_ASK,
)

_PARTIAL = one_of(part("stream", "@", 1), "depth5", "depth10", "depth20")

PARTIAL_DEPTH_USDM = Message(
    name="partialDepthUsdm",
    role="BookSnapshot",
    matches=(equals("e", "depthUpdate"), _PARTIAL),
    symbol="s",
    venue_time=("E", "ms"),
    levels=Levels(bids="b", asks="a", sequence=Range(last="u")),
    snapshot="window",
)

DEPTH_UPDATE_USDM = Message(
    name="depthUpdateUsdm",
    role="BookDiff",
    matches=(equals("e", "depthUpdate"), present("pu")),
    symbol="s",
    venue_time=("E", "ms"),
    levels=Levels(bids="b", asks="a", sequence=Range(first="U", last="u", prev="pu")),
)

DEPTH_UPDATE = Message(
    name="depthUpdate",
    role="BookDiff",
    matches=(equals("e", "depthUpdate"),),
    symbol="s",
    venue_time=("E", "ms"),
    levels=Levels(bids="b", asks="a", sequence=Range(first="U", last="u")),
)

KLINE = Message(
    name="kline",
    role="KlineSummary",
    matches=(equals("e", "kline"),),
    symbol="s",
    venue_time=("E", "ms"),
    fields=(
        Field("open", "k.o", decimal()),
        Field("close", "k.c", decimal()),
        Field("high", "k.h", decimal()),
        Field("low", "k.l", decimal()),
        Field("volume", "k.v", decimal("non_negative")),
        Field("open_time", "k.t", time("ms")),
        Field("close_time", "k.T", time("ms")),
        Field("interval", "k.i", text()),
        Field("closed", "k.x", flag()),
    ),
)

PARTIAL_DEPTH = Message(
    name="partialDepth",
    role="BookSnapshot",
    matches=(absent("e"), present("lastUpdateId"), _PARTIAL),
    levels=Levels(bids="bids", asks="asks", sequence=Range(last="lastUpdateId")),
    snapshot="window",
)

DEPTH_SNAPSHOT = Message(
    name="depth",
    role="BookSnapshot",
    matches=(absent("e"), present("lastUpdateId")),
    levels=Levels(bids="bids", asks="asks", sequence=Range(last="lastUpdateId")),
    snapshot="joins",
)


def _mark_price(name: str, at: str, each: str | None) -> Message:
    """Returns the message of mark prices and funding rates of USD-M; `at` is in front of its paths."""
    return Message(
        name=name,
        role="Extension",
        extension="mark_price",
        matches=(equals(f"{at}e", "markPriceUpdate"),),
        each=each,
        symbol=f"{at}s",
        venue_time=(f"{at}E", "ms"),
        fields=(
            Field("mark_price", f"{at}p", decimal("zero_is_absent")),
            Field("index_price", f"{at}i", decimal("zero_is_absent")),
            Field("funding_rate", f"{at}r", decimal("any")),
            Field("funding_time", f"{at}T", time("ms")),
        ),
    )


MARK_PRICE = _mark_price("markPriceUpdate", "", None)
MARK_PRICES = _mark_price("markPriceUpdates", "@.", "[]")

ANSWER = Message(name="answer", role="Control", matches=(absent("e"), present("id")))
"""The answer to a request, an error too."""

SHUTDOWN = Message(name="serverShutdown", role="Control", matches=(equals("e", "serverShutdown"),))

BINANCE = Codec(
    name="binance",
    symbols={
        "spot": SymbolRule(
            quotes=QUOTES, explicit={f"{base}AEUR": f"{base}-AEUR" for base in ("BTC", "ETH", "BNB", "EUR")}
        ),
        "usdm": SymbolRule(quotes=("USDT", "USDC", "BTC"), contract="PERP"),
    },
    envelope=Envelope(payload="data", stream="stream", symbol_separator="@"),
    messages=(
        TRADE,
        AGG_TRADE,
        TICKER_24H,
        BOOK_TICKER,
        PARTIAL_DEPTH_USDM,
        DEPTH_UPDATE_USDM,
        DEPTH_UPDATE,
        KLINE,
        PARTIAL_DEPTH,
        DEPTH_SNAPSHOT,
        BOOK_TICKER_USDM,
        ANSWER,
        SHUTDOWN,
        MINI_TICKER,
        MINI_TICKERS,
        TICKERS_24H,
        MARK_PRICE,
        MARK_PRICES,
    ),
)
"""The declaration, for `meltica replay --codec binance`."""
