"""Sessions: what connections receive of the markets, with faults, and what a correct client knows then.

A `Stream` renders markets in the frames of one venue. `generate` runs markets and streams, loses, repeats and
swaps frames, cuts connections, and answers each fault as a client would: by a new snapshot some steps later.
"""

import datetime
import json
import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from tests.support.venue_sessions.market import Book, Changes, Instrument, Market, Trade

START_NS = 1_767_268_800_000_000_000
STEP_NS = 20_000_000
RESYNC_STEPS = 6
"""Steps from a fault to the snapshot of the resubscription."""
DOWN_STEPS = 5
"""Steps from the loss of a connection to the next."""


class Number(str):
    """A number that is written without quotes, with all its digits."""


def dump(value: Any) -> str:
    """Returns JSON without spaces, in which a `Number` keeps its digits."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value).items()
        return "{" + ",".join(f"{json.dumps(key)}:{dump(member)}" for key, member in members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(dump, cast("list[Any]", value))) + "]"
    return json.dumps(value, ensure_ascii=False)


def rfc3339(ns: int, places: int) -> str:
    """Returns a time in UTC with `places` digits after the second."""
    seconds, rest = divmod(ns, 1_000_000_000)
    text = datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest:09d}"[: 20 + places].rstrip(".") + "Z"


@dataclass(frozen=True)
class Message:
    """One frame of a venue, and what it says."""

    frame: str
    symbol: str | None = None
    """The canonical symbol, None for several or none."""
    kind: str = "other"
    """`diff`, `snapshot`, `trades` or `other`."""
    book: Book | None = None
    """Of diffs and snapshots: the levels that a client holds after it."""
    trades: tuple[Trade, ...] = ()
    requested: bool = False
    """Whether it answers a request and does not name its symbol."""


class Stream(ABC):
    """What one connection receives from a venue. A new connection has a new stream."""

    breaks_all = False
    """Whether a lost frame concerns all books of the connection."""
    restart_breaks = False
    """Whether a book needs a new snapshot after its numbers restarted."""

    def __init__(self, markets: Mapping[str, Market], rng: random.Random) -> None:
        self.markets = markets
        self.rng = rng

    @abstractmethod
    def opened(self, ns: int) -> Iterator[Message]:
        """Yields what comes first, without snapshots."""

    @abstractmethod
    def step(self, market: Market, ns: int, changes: Changes, trades: list[Trade]) -> Iterator[Message]:
        """Yields the messages about one step of a market."""

    @abstractmethod
    def snapshot(self, market: Market, ns: int) -> Message:
        """Returns the snapshot that a subscription or a request yields."""

    def idle(self, ns: int) -> Iterator[Message]:
        """Yields what comes about once a second, beside the market."""
        yield from ()

    def restarted(self, market: Market, ns: int) -> Iterator[Message]:
        """Yields what is sent when the numbers of a market restarted."""
        yield from ()


@dataclass(frozen=True)
class Faults:
    """Which frames go wrong: the numbers of diffs (all symbols and connections count), and of steps."""

    lose: frozenset[int] = frozenset()
    repeat: frozenset[int] = frozenset()
    swap: frozenset[int] = frozenset()
    """Diffs that come after the next one of their book."""
    restart: frozenset[int] = frozenset()
    """Steps at which the numbers of the first market restart."""
    cut: frozenset[int] = frozenset()
    """Steps at which the first connection is lost."""


@dataclass(frozen=True)
class Line:
    """One line of a recording, and the truth about it."""

    ns: int
    connection: int
    message: Message | None
    """None for a mark."""
    mark: str = ""
    expected: Book | None = None
    """The book of the message's symbol after the line; None where a correct client may not have one."""
    repeated: bool = False

    def text(self, *, connections: bool) -> str:
        """Returns the line of a recording, with the number of the connection if asked for."""
        parts = [str(self.ns)]
        if connections:
            parts.append(f"@{self.connection}")
        if self.message is None:
            return " ".join([*parts, self.mark])
        if self.message.requested and self.message.symbol:
            parts.append(self.message.symbol)
        return " ".join([*parts, self.message.frame])


@dataclass
class Session:
    """The lines in order of time, and what is true of all of them."""

    instruments: tuple[Instrument, ...]
    lines: list[Line] = field(default_factory=list[Line])
    lost: list[tuple[int, Message]] = field(default_factory=list[tuple[int, Message]])
    """Lost diffs, each with the number of lines before it."""

    def trades(self) -> dict[str, list[Trade]]:
        """Returns the trades of each symbol, each once, in order of their arrival."""
        found: dict[str, dict[int, Trade]] = {i.symbol: {} for i in self.instruments}
        for line in self.lines:
            if line.message and line.message.symbol:
                for trade in line.message.trades:
                    found[line.message.symbol].setdefault(trade.id, trade)
        return {symbol: list(trades.values()) for symbol, trades in found.items()}

    def recording(self) -> bytes:
        """Returns the recording, with connections where there are several or marks."""
        connections = any(line.connection or line.message is None for line in self.lines)
        marks = [line for line in self.lines if line.message is not None or connections]
        return "".join(line.text(connections=connections) + "\n" for line in marks).encode()


class _Connection:
    """A stream behind a wire with faults, and whether a client's books are what they should be."""

    def __init__(self, number: int, run: "_Run") -> None:
        self.number = number
        self.run = run
        self.latency = 3_000_000 + 1_500_000 * number
        self.stream: Stream | None = None
        self.down_until = 0
        self.broken: dict[str, int] = {}
        """Symbols whose book is not known, and the step of the next snapshot."""
        self.held: dict[str, Message] = {}

    def tick(self, step: int, ns: int) -> None:
        """Opens or keeps the connection, and sends due snapshots."""
        if self.stream is None and step >= self.down_until:
            self.stream = self.run.make()
            if self.run.marks:
                self.run.mark(ns, self.number, "open")
            self.send(self.stream.opened(ns), ns)
            self.broken = dict.fromkeys(self.run.markets, step + 3)
        if self.stream is not None:
            for symbol in [s for s, due in self.broken.items() if due <= step]:
                del self.broken[symbol]
                self.send([self.stream.snapshot(self.run.markets[symbol], ns)], ns)

    def cut(self, step: int, ns: int) -> None:
        """Loses the connection."""
        self.run.mark(ns + self.latency, self.number, "lost reset by peer")
        self.stream, self.down_until = None, step + DOWN_STEPS
        self.held.clear()

    def broke(self, symbol: str | None, step: int) -> None:
        """Notes a fault of one book, or of all."""
        for each in [symbol] if symbol and self.stream and not self.stream.breaks_all else self.run.markets:
            self.broken[each] = step + RESYNC_STEPS

    def send(self, messages: Iterable[Message], ns: int, step: int = 0) -> None:
        """Sends messages through the wire."""
        for message in messages:
            symbol = message.symbol or ""
            if message.kind != "diff":
                if message.kind == "snapshot":
                    self.held.pop(symbol, None)
                self.deliver(message, ns)
                continue
            number = self.run.diffs = self.run.diffs + 1
            if number in self.run.faults.lose:
                self.run.session.lost.append((len(self.run.session.lines), message))
                self.broke(message.symbol, step)
            elif number in self.run.faults.swap:
                self.held[symbol] = message
                self.broke(message.symbol, step)
            else:
                self.deliver(message, ns)
                if held := self.held.pop(symbol, None):
                    self.deliver(held, ns)
                if number in self.run.faults.repeat:
                    self.deliver(message, ns, repeated=True)

    def deliver(self, message: Message, ns: int, *, repeated: bool = False) -> None:
        """Appends a line."""
        known = message.book if message.symbol not in self.broken else None
        self.run.session.lines.append(
            Line(self.run.time(ns + self.latency), self.number, message, "", known, repeated)
        )


class _Run:
    """One generation: the markets, the connections and the session so far."""

    def __init__(
        self,
        stream: type[Stream],
        instruments: tuple[Instrument, ...],
        seed: int,
        connections: int,
        faults: Faults,
    ) -> None:
        self.rng = random.Random(seed)
        self.kind = stream
        self.faults = faults
        self.markets = {i.symbol: Market(i, self.rng) for i in instruments}
        self.session = Session(instruments)
        self.diffs = 0
        self.last = 0
        self.marks = connections > 1 or bool(faults.cut)
        self.connections = [_Connection(number, self) for number in range(connections)]

    def make(self) -> Stream:
        return self.kind(self.markets, self.rng)

    def time(self, ns: int) -> int:
        self.last = max(self.last + 1, ns + self.rng.randrange(400_000))
        return self.last

    def mark(self, ns: int, connection: int, text: str) -> None:
        self.session.lines.append(Line(self.time(ns), connection, None, text))

    def step(self, step: int) -> None:
        ns = START_NS + step * STEP_NS + self.rng.randrange(STEP_NS // 4)
        if step in self.faults.cut:
            self.connections[0].cut(step, ns)
        for connection in self.connections:
            connection.tick(step, ns)
        for i, market in enumerate(self.markets.values()):
            changes, trades = Changes(), list[Trade]()
            restarts = i == 0 and step in self.faults.restart
            if restarts:
                market.restart_numbers()
            else:
                changes, trades = market.step(ns)
            for each in self.connections:
                if each.stream is not None:
                    if restarts:
                        if each.stream.restart_breaks:
                            each.broke(market.instrument.symbol, step)
                        each.send(each.stream.restarted(market, ns), ns, step)
                    else:
                        each.send(each.stream.step(market, ns, changes, trades), ns, step)
        if step % 25 == 10:
            for each in self.connections:
                if each.stream is not None:
                    each.send(each.stream.idle(ns), ns, step)


def generate(
    stream: type[Stream],
    instruments: tuple[Instrument, ...],
    *,
    seed: int = 1,
    steps: int = 300,
    connections: int = 1,
    faults: Faults | None = None,
) -> Session:
    """Returns a session of `steps` steps of 20 ms each; the same arguments yield the same session."""
    run = _Run(stream, instruments, seed, connections, faults or Faults())
    for step in range(steps):
        run.step(step)
    return run.session
