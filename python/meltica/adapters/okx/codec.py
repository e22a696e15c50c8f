"""OKX v5, spot and derivatives: the public websocket channels.

Channels are named in `arg`; what they push is an array, `data`. A book is a chain: `prevSeqId` is the number
that the book has, also when `seqId` is lower (after maintenance), and -1 in a snapshot. An update with both
numbers equal and without levels is a heartbeat. Until June 2026 the venue sent a checksum of the best 25
levels; since then it is 0. `books5` has the best 5 levels whole and never touches a book of `books`.

Subscribe to one of `books`, `books50-l2-tbt` and `books-l2-tbt` of a symbol, and to either `trades` or
`trades-all`, because their ids are the same. Sizes of derivatives are contracts, which are converted to the
base currency by the channel `instruments`. Without it, and if a contract is not worth base currency
(inverse), their frames are refused. The venue's documentation: https://www.okx.com/docs-v5/en/.
"""

from meltica.adapters import (
    Chain,
    Checksum,
    Codec,
    Field,
    Levels,
    Message,
    SymbolRule,
    decimal,
    equals,
    flag,
    ident,
    names,
    one_of,
    prefix,
    present,
    text,
    time,
    whole,
)

_INSTRUMENT = "arg.instId"

TRADES = Message(
    name="trades",
    role="Trade",
    matches=(one_of("arg.channel", "trades", "trades-all"),),
    each="data",
    symbol="@.instId",
    venue_time=("@.ts", "ms"),
    id=("@.tradeId", "monotonic"),
    fields=(
        Field("id", "@.tradeId", ident()),
        Field("side", "@.side", names({"buy": "Buy", "sell": "Sell"})),
        Field("price", "@.px", decimal()),
        Field("quantity", "@.sz", decimal()),
    ),
)

TICKERS = Message(
    name="tickers",
    role="Ticker",
    matches=(equals("arg.channel", "tickers"),),
    each="data",
    symbol="@.instId",
    venue_time=("@.ts", "ms"),
    fields=(
        Field("last", "@.last", decimal("zero_is_absent")),
        Field("bid", "@.bidPx", decimal("zero_is_absent")),
        Field("bid_quantity", "@.bidSz", decimal("zero_is_absent")),
        Field("ask", "@.askPx", decimal("zero_is_absent")),
        Field("ask_quantity", "@.askSz", decimal("zero_is_absent")),
        Field("volume_24h", "@.vol24h", decimal("non_negative")),
    ),
)

BEST = Message(
    name="bbo-tbt",
    role="Ticker",
    matches=(equals("arg.channel", "bbo-tbt"),),
    each="data",
    symbol=_INSTRUMENT,
    venue_time=("@.ts", "ms"),
    fields=(
        Field("bid", "@.bids[0][0]", decimal("zero_is_absent")),
        Field("bid_quantity", "@.bids[0][1]", decimal("zero_is_absent")),
        Field("ask", "@.asks[0][0]", decimal("zero_is_absent")),
        Field("ask_quantity", "@.asks[0][1]", decimal("zero_is_absent")),
    ),
)

_LENGTHS = {
    "s": (1,),
    "m": (1, 3, 5, 15, 30),
    "H": (1, 2, 4, 6, 12),
    "D": (1, 2, 3, 5),
    "W": (1,),
    "M": (1, 3),
}
_CHANNELS = {
    f"candle{n}{unit}{zone}": f"{n}{unit if unit == 'M' else unit.lower()}"
    for unit, lengths in _LENGTHS.items()
    for n in lengths
    for zone in ("", "utc")
}
"""Channels of candles. Those with `utc` begin at midnight UTC, others in Hong Kong."""

CANDLE = Message(
    name="candle",
    role="KlineSummary",
    matches=(prefix("arg.channel", "candle"),),
    each="data",
    symbol=_INSTRUMENT,
    fields=(
        *(Field(name, f"@[{i}]", decimal()) for i, name in enumerate(("open", "high", "low", "close"), 1)),
        Field("volume", "@[5]", decimal("non_negative")),
        Field("open_time", "@[0]", time("ms")),
        Field("interval", "arg.channel", names(_CHANNELS)),
        Field("closed", "@[8]", flag()),
    ),
)

INSTRUMENTS = Message(
    name="instruments",
    role="InstrumentUpdate",
    matches=(equals("arg.channel", "instruments"),),
    each="data",
    symbol="@.instId",
    fields=(
        Field("price_increment", "@.tickSz", decimal("zero_is_absent")),
        Field("quantity_increment", "@.lotSz", decimal("zero_is_absent")),
        Field("min_quantity", "@.minSz", decimal("zero_is_absent")),
        Field("max_quantity", "@.maxLmtSz", decimal("zero_is_absent")),
        Field("contract_value", "@.ctVal", decimal("zero_is_absent")),
        Field("contract_multiplier", "@.ctMult", decimal("zero_is_absent")),
        Field("contract_currency", "@.ctValCcy", text()),
        Field("status", "@.state", names({"live": "Trading"})),
    ),
)

MARK_PRICE = Message(
    name="mark-price",
    role="Extension",
    extension="mark_price",
    matches=(equals("arg.channel", "mark-price"),),
    each="data",
    symbol="@.instId",
    venue_time=("@.ts", "ms"),
    fields=(Field("mark_price", "@.markPx", decimal("zero_is_absent")),),
)

FUNDING_RATE = Message(
    name="funding-rate",
    role="Extension",
    extension="funding_rate",
    matches=(equals("arg.channel", "funding-rate"),),
    each="data",
    symbol="@.instId",
    venue_time=("@.ts", "ms"),
    fields=(
        Field("funding_rate", "@.fundingRate", decimal("any")),
        Field("funding_time", "@.fundingTime", time("ms")),
    ),
)

_BOOKS = one_of("arg.channel", "books", "books50-l2-tbt", "books-l2-tbt")


def _levels(prev: str | None) -> Levels:
    return Levels(
        bids="@.bids",
        asks="@.asks",
        sequence=Chain(last="@.seqId", prev=prev),
        checksum=Checksum(
            "@.checksum", levels=25, layout="interleaved", separator=":", digits="shortest", zero_is_none=True
        ),
    )


BOOK_SNAPSHOT = Message(
    name="booksSnapshot",
    role="BookSnapshot",
    snapshot="replaces",
    matches=(_BOOKS, equals("action", "snapshot")),
    each="data",
    symbol=_INSTRUMENT,
    venue_time=("@.ts", "ms"),
    levels=_levels(None),
)

BOOK_UPDATE = Message(
    name="booksUpdate",
    role="BookDiff",
    matches=(_BOOKS, equals("action", "update")),
    each="data",
    symbol=_INSTRUMENT,
    venue_time=("@.ts", "ms"),
    levels=_levels("@.prevSeqId"),
)

FIVE_BEST = Message(
    name="books5",
    role="BookSnapshot",
    snapshot="window",
    matches=(equals("arg.channel", "books5"),),
    each="data",
    symbol=_INSTRUMENT,
    venue_time=("@.ts", "ms"),
    levels=Levels(bids="@.bids", asks="@.asks", sequence=Chain(last="@.seqId")),
)

CONTROL = Message(name="event", role="Control", matches=(present("event"),))
"""Answers to requests, errors, notices and counts of connections."""

PONG = Message(name="pong", role="Control", matches=(whole("pong"),))

OKX = Codec(
    name="okx",
    symbols=SymbolRule(separator="-", contracts=True),
    messages=(
        TRADES,
        BOOK_UPDATE,
        BOOK_SNAPSHOT,
        FIVE_BEST,
        TICKERS,
        BEST,
        CANDLE,
        INSTRUMENTS,
        MARK_PRICE,
        FUNDING_RATE,
        CONTROL,
        PONG,
    ),
)
"""The declaration, for `meltica replay --codec okx`."""
