"""Codecs as plain declarations: the location of each field in the messages of a venue.

`meltica._core.Codec(declaration)` validates a `Codec` and compiles it to a one-pass decoder. One error lists
all faults, each with its message and field.

A path is made of keys joined by dots (`k.o`) and positions in arrays (`[0]`, `c[-1]`), from the top of the
message. Where a message is the element of an array (`each="data"`), `@` is the element (`@.px`, `@[0]`) and
other paths are of the frame around it. Of two arrays (`each="events[].trades"`), `events[].type` is of the
element of the outer one. `each="[]"` is an array on top::

    TRADE = Message(
        name="trade",
        role="Trade",
        matches=(equals("e", "trade"),),
        symbol="s",
        venue_time=("T", "ms"),
        id=("t", "monotonic"),
        fields=(Field("id", "t", ident()), Field("price", "p", decimal()), Field("quantity", "q", decimal())),
    )

Fields by role (* is required): `Trade` id (ident), side (names), price*, quantity*; `Ticker` last, bid,
bid_quantity, ask, ask_quantity, volume_24h; `KlineSummary` open*, close*, high*, low*, volume*, open_time*
(time), close_time (time), interval (text, or names of intervals such as `1m`, from which the end follows),
closed (flag; without it, the next candle closes one); `InstrumentUpdate` price_increment,
quantity_increment, min_quantity, max_quantity, min_notional, max_notional, price_precision,
quantity_precision (those of the increments where not declared), contract_value, contract_multiplier,
contract_currency (text), status (names of `Trading` and `Halted`; any other text halts). All others are
decimals. An `Extension` has any fields: its payload holds them by name, and the `symbol`; decimals as text,
times in nanoseconds. Book messages have `levels` and no fields. Control messages have `matches` only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Role = Literal[
    "Trade",
    "Ticker",
    "KlineSummary",
    "InstrumentUpdate",
    "Extension",
    "BookDiff",
    "BookSnapshot",
    "Control",
]
"""What a message becomes: an event by itself, or changed or all levels of a book. `Control` is not market
data: an acknowledgement, a heartbeat or an error, which the adapter handles.
"""

TimeUnit = Literal["s", "ms", "us", "ns", "s.f", "rfc3339"]
"""Form of a venue's time: an integer in a unit, seconds with up to nine decimals, or RFC 3339."""

NEWEST_LEVEL: Literal["newest_level"] = "newest_level"
"""As `venue_time`: the newest time of the levels, which the row declares."""

SnapshotMode = Literal["joins", "replaces", "window", "history"]
"""How a snapshot becomes the book of its connection. `joins`: it was requested beside the stream; the updates
that it does not contain are applied to it, and one that is older than the book is ignored. `replaces`: it is
part of the stream and becomes the book, whatever its id. `window`: the best levels, which the venue sends
whole each time; it never becomes the book that updates are applied to. `history`: it is not of a book, but
the recent trades that the venue sends at a subscription. On the first connection they are dropped; later
those that were not received are delivered with `late`.
"""

IdMode = Literal["monotonic", "opaque"]
"""How repeated messages are recognized: by ascending integers, or by any text or number."""

Sign = Literal["positive", "non_negative", "zero_is_absent", "any"]
"""The numbers that a field may hold. `zero_is_absent`: positive numbers, and the venue writes 0 for a missing
value.
"""


@dataclass(frozen=True, slots=True)
class SymbolRule:
    """How a venue's symbols become canonical ones (`BTC-USDT`, `BTC-USDT-SWAP`).

    The case of ASCII letters does not matter; letters beyond ASCII are kept as the venue writes them. A text
    of the venue's instrument list comes first, then `explicit`, `suffixes`, `separator` and `quotes`.
    """

    quotes: tuple[str, ...] = ()
    """Quote currencies; the longest that ends the text splits it (`BTCUSDT`)."""
    separator: str | None = None
    """A character between the 2 to 6 parts (`BTC/USDT`, `BTC-USD-220527`)."""
    explicit: Mapping[str, str] = field(default_factory=dict[str, str])
    """Exceptions: the venue's text -> the canonical symbol."""
    aliases: Mapping[str, str] = field(default_factory=dict[str, str])
    """The venue's name of a base or quote -> the canonical one (`{"XBT": "BTC"}`)."""
    suffixes: Mapping[str, str] = field(default_factory=dict[str, str])
    """An end of the text -> the parts that replace it.

    Parts that begin with a quote follow a base: with `{"PERP": "USDC-PERP"}`, `BTCPERP` is `BTC-USDC-PERP`. A
    single part follows a pair: with `{"_PERP": "PERP"}`, `BTCUSD_PERP` is `BTC-USD-PERP`.
    """
    contract: str | None = None
    """Third part of the symbols that consist of base and quote only, such as `PERP`."""
    pairs_only: bool = False
    """Whether other symbols than `BASE-QUOTE` are refused."""
    contracts: bool = False
    """Whether the venue counts the quantities of other symbols than `BASE-QUOTE` in contracts.

    They are converted to the base currency, exactly, by the value of a contract in the instrument list:
    `InstrumentUpdate`s of the stream or of the adapter. Without one, and if the value is not in the base
    currency (inverse contracts), market data of the symbol is refused and counted.
    """


@dataclass(frozen=True, slots=True)
class Envelope:
    """The wrapper of combined streams, `{"stream": "btcusdt@depth", "data": {..}}`; bare ones decode too."""

    payload: str
    """Key of the message."""
    stream: str
    """Key of the stream's name. As a path of a message, it is that of the envelope."""
    symbol_separator: str | None = None
    """The text of the stream's name before this is the symbol of a message that has none."""


@dataclass(frozen=True, slots=True)
class Match:
    """A condition on a message; use `equals`, `prefix`, `one_of`, `present`, `absent` and `whole`."""

    op: Literal["equals", "prefix", "one_of", "present", "absent", "whole"]
    path: "str | Part"
    value: str | None = None
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a text; use `part`."""

    path: str
    separator: str
    index: int


@dataclass(frozen=True, slots=True)
class Convert:
    """How a field is parsed; use `decimal`, `names`, `ident`, `time`, `text` and `flag`."""

    kind: Literal["decimal", "enum", "id", "time", "text", "bool"]
    sign: Sign | None = None
    unit: TimeUnit | None = None
    names: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an event."""

    name: str
    """Name of the event's field."""
    path: str
    """Path in the message."""
    convert: Convert
    """How the value is parsed."""
    required: bool = False
    """Whether a message without the field is refused, although the field is optional in the event."""


@dataclass(frozen=True, slots=True)
class Range:
    """Update ids that grow by one with each update: a diff covers `first` to `last`."""

    first: str | None = None
    """First update id of the message. A diff needs it."""
    last: str | None = None
    """Last update id of the message."""
    prev: str | None = None
    """Last update id of the message before, if the venue sends it."""


@dataclass(frozen=True, slots=True)
class Chain:
    """Each message has an id and the id of the message before. An id may be lower than the one before."""

    last: str
    """The id of the message."""
    prev: str | None = None
    """The id of the message before. A diff needs it."""


@dataclass(frozen=True, slots=True)
class Unnumbered:
    """The venue does not number its messages."""


Sequence = Range | Chain | Unnumbered
"""The update ids of a book message."""


@dataclass(frozen=True, slots=True)
class Row:
    """Where the parts of a level are: positions in an array, or keys of an object."""

    price: int | str = 0
    quantity: int | str = 1
    side: int | str | None = None
    """The side of the level, in a list of `changes`."""
    sides: Mapping[str, str] = field(default_factory=dict[str, str])
    """The sides: the venue's text -> `Buy` (a bid) or `Sell` (an ask). Any other text is an error."""
    time: tuple[int | str, TimeUnit] | None = None
    """The time of the level, for `NEWEST_LEVEL`."""


@dataclass(frozen=True, slots=True)
class Checksum:
    """A CRC-32 over the digits of the best levels, which is compared with the book after each message.

    A book that does not have its checksum is stale until the next snapshot. `mantissa` digits are those on
    the scales of the instrument, which an `InstrumentUpdate` has. Without it, the scales are the most digits
    of the symbol's messages once the checksum of one has proved them; until then checksums are counted as
    unverified.
    """

    path: str
    """A 32-bit number, signed or not."""
    levels: int = 10
    """Levels a side."""
    layout: Literal["asks_bids", "interleaved"] = "asks_bids"
    """All asks, then all bids; or the best bid, the best ask, the second bid, and so on."""
    separator: str = ""
    """Text between two numbers."""
    digits: Literal["mantissa", "shortest"] = "mantissa"
    """Every digit without the point and zeros in front; or the number without zeros at its end."""
    zero_is_none: bool = False
    """Whether the venue writes 0 for a missing checksum."""


@dataclass(frozen=True, slots=True)
class Levels:
    """The paths of the levels, and the update ids, of a book message.

    A side has one path or several, of which a message has one. A side that a message lacks is empty.
    `changes` is one list of both sides, whose row declares the side.
    """

    sequence: Sequence
    bids: str | tuple[str, ...] = ()
    asks: str | tuple[str, ...] = ()
    changes: str | None = None
    row: Row = field(default_factory=Row)
    checksum: Checksum | None = None
    """Checksum of the book after the message."""
    depth: int | tuple[int, ...] | Literal["snapshot"] | None = None
    """Where the venue sends a window of the levels, to which the book is cut: their number a side.

    A tuple has the numbers that a client may subscribe to: the smallest one that the last snapshot does not
    exceed, as a thin market has fewer levels. `snapshot` is the number of levels of the last snapshot. None:
    the venue sends all levels, or keeps its window itself.
    """


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a venue."""

    name: str
    """A descriptive name, unique in the codec."""
    role: Role
    """What the message becomes."""
    matches: tuple[Match, ...]
    """The conditions that identify the message; all must hold."""
    each: str | None = None
    """The array whose elements are the messages."""
    symbol: str | Part | None = None
    """Path of the venue's symbol, or the `part` of a text."""
    venue_time: tuple[str, TimeUnit] | Literal["newest_level"] | None = None
    """Path and form of the venue's time, or `NEWEST_LEVEL`."""
    id: tuple[str, IdMode] | None = None
    """Path and mode of the id that identifies repeated messages."""
    fields: tuple[Field, ...] = ()
    extension: str | None = None
    """For `Extension`: the name of the event, which messages may share; that of the message by default."""
    levels: Levels | None = None
    """For `BookDiff` and `BookSnapshot`."""
    snapshot: SnapshotMode | None = None
    """For `BookSnapshot`: how it becomes the book. With `keep`: whether it `replaces` all values.

    For `Trade`: `history`, with the `id` of the message of new trades.
    """
    keep: bool = False
    """For a `Ticker` of which the venue sends only what changed.

    A value that the message does not have is the one that the symbol had before on the connection. A
    reconnect forgets these values.
    """
    also: bool = False
    """Whether the message is read beside the first one whose conditions hold.

    It is for frames and elements with the values of several messages, such as a ticker and a mark price.
    """
    depth: str | None = None
    """For `Control`: path of the levels per side that the venue confirms for the book of the `symbol`."""


@dataclass(frozen=True, slots=True)
class Codec:
    """The messages of one venue. The first whose conditions hold is read, and those with `also`.

    Unknown fields are ignored.
    """

    name: str
    symbols: SymbolRule | Mapping[str, SymbolRule]
    """The rule of the venue's symbols.

    Where one text names two instruments, a rule for each category of connections, the default first:
    `{"spot": SymbolRule(...), "linear": SymbolRule(..., contract="PERP")}`.
    """
    messages: tuple[Message, ...]
    envelope: Envelope | None = None
    connection_sequence: str | None = None
    """Path of a number that grows by one with each frame of a connection, whatever it holds.

    After a jump, all books of the connection are stale. A frame that was received before, or comes late, is
    dropped. The number may restart with the connection; if it does within one, the books are stale too.
    """
    max_frame: int | None = None
    """Maximum size of a frame in bytes; 4 MiB by default, at most 64 MiB."""
    max_levels: int | None = None
    """Maximum number of levels per list of a message; 10,000 by default, at most 1,048,576."""

    def sound(self) -> "tuple[Codec | None, list[str]]":
        """Returns the part whose values have the right types, if any, and the faults of the rest."""
        # The module reads the classes of this one.
        from meltica.adapters.shape import sound

        return sound(self)


def equals(path: str | Part, value: str) -> Match:
    """Holds when the value at `path`, with or without quotes, or the `part` of a text, is `value`."""
    return Match("equals", path, value)


def prefix(path: str | Part, text: str) -> Match:
    """Holds when the text at `path`, or the `part` of a text, begins with `text`."""
    return Match("prefix", path, text)


def one_of(path: str | Part, *texts: str) -> Match:
    """Holds when the value at `path`, with or without quotes, or the `part` of a text, is one of `texts`."""
    return Match("one_of", path, values=texts)


def part(path: str, separator: str, index: int) -> Part:
    """The part `index` of the text at `path`, split at `separator`; a negative index counts from the end."""
    return Part(path, separator, index)


def present(path: str) -> Match:
    """Holds when `path` has a value."""
    return Match("present", path)


def absent(path: str) -> Match:
    """Holds when `path` does not have a value."""
    return Match("absent", path)


def whole(text: str) -> Match:
    """Holds when the frame is `text`, which is not JSON (`pong`): the only condition of a control message."""
    return Match("whole", text)


def decimal(sign: Sign = "positive") -> Convert:
    """An exact decimal, with or without quotes."""
    return Convert("decimal", sign=sign)


def names(values: Mapping[str, str]) -> Convert:
    """A name from a list: the venue's text -> canonical name. Any other text leaves the field absent."""
    return Convert("enum", names=tuple(values.items()))


def ident() -> Convert:
    """An id: a 64-bit number, or text of at most 39 bytes."""
    return Convert("id")


def time(unit: TimeUnit) -> Convert:
    """A time in the form `unit`: a number since the epoch, or RFC 3339. 0 and the year 1 are absence."""
    return Convert("time", unit=unit)


def text() -> Convert:
    """Text of at most 39 bytes; of any length in an `Extension`."""
    return Convert("text")


def flag() -> Convert:
    """`true` or `false`, also as 1 or 0."""
    return Convert("bool")
