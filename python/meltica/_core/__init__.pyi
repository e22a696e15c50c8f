"""The data plane: compiled from `crates/meltica-python`. Times are integer nanoseconds since the Unix epoch, UTC.

Events, the account's events, the simulator and the benchmarks are submodules; all of their names are here too.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from os import PathLike
from typing import Any, Final, Literal, Protocol, Self, SupportsFloat, TypeAlias, final

from meltica._core.account import BalanceUpdate, ExecReport, RiskControl
from meltica._core.benchmarks import (
    benchmark,
    benchmark_beside,
    benchmark_first_sight,
    benchmark_frames,
    benchmark_mix,
    benchmark_wake,
)
from meltica._core.events import (
    BookGap,
    BookSnapshot,
    Event,
    Extension,
    InstrumentUpdate,
    KlineSummary,
    MarketStale,
    PriceLevel,
    Ticker,
    Trade,
)
from meltica._core.simulator import MatchingEngine, SyntheticMarket, VenueOperator

__all__ = [
    "BUILD_PROFILE",
    "BUILD_TARGET",
    "FILTER_FIELDS",
    "FILTER_LIMIT",
    "FILTER_OPERATORS",
    "HISTOGRAM_BOUNDS_NS",
    "KINDS",
    "BalanceUpdate",
    "BookGap",
    "BookSnapshot",
    "CapacityError",
    "ChangeLock",
    "Codec",
    "CodecError",
    "Core",
    "Event",
    "ExecReport",
    "Extension",
    "FeedOutcome",
    "Histogram",
    "Host",
    "Instance",
    "InstrumentUpdate",
    "IntentQueue",
    "KlineSummary",
    "LambdaError",
    "LambdaStopped",
    "MarketStale",
    "MarketState",
    "MatchingEngine",
    "MelticaError",
    "Metrics",
    "PriceLevel",
    "Producer",
    "Quotes",
    "Reading",
    "RiskControl",
    "SlowDelivery",
    "SyntheticMarket",
    "Ticker",
    "Timer",
    "Trade",
    "Trigger",
    "TriggerEvent",
    "VenueOperator",
    "Watch",
    "__version__",
    "benchmark",
    "benchmark_beside",
    "benchmark_first_sight",
    "benchmark_frames",
    "benchmark_mix",
    "benchmark_wake",
    "canonical_symbol",
    "check_filter",
    "is_currency",
    "metrics_families",
    "metrics_text",
    "read_line",
    "stamp_fault",
]

__version__: Final[str]

BUILD_PROFILE: Final[str]
"""Cargo profile of the build: `dev`, `release`, `dist`, or `custom` for any other."""

BUILD_TARGET: Final[str]
"""Target triple of the build, such as `x86_64-unknown-linux-gnu`."""

_Route: TypeAlias = tuple[str, str, str | None]
_Histogram: TypeAlias = tuple[list[int], int, int]
_Distribution: TypeAlias = tuple[list[float], list[int], int, float]
_MetricFamily: TypeAlias = tuple[str, str, str, list[str], list[tuple[list[str], float | _Distribution]]]

KINDS: Final[tuple[str, ...]]
"""The event kinds that can be subscribed to."""

HISTOGRAM_BOUNDS_NS: Final[tuple[int, ...]]
"""Upper bounds of the buckets of `histograms()`, in ns."""

FILTER_FIELDS: Final[Mapping[str, tuple[str, ...]]]
"""Kind -> the fields that a filter can test."""

FILTER_LIMIT: Final[int]
FILTER_OPERATORS: Final[tuple[str, ...]]
"""The comparison operators of filters."""

def canonical_symbol(text: str, /) -> str | None:
    """Returns the canonical form of a symbol in any case, with dashes or slashes or in ccxt's notation, or None."""

def is_currency(text: str, /) -> bool:
    """Returns whether a text is a currency: 1 to 20 letters or digits."""

def check_filter(kind: str, field: str, operator: str, value: object, /) -> None:
    """Raises `ValueError` if no event of the kind can ever match the filter."""

def stamp_fault(time: int, last: int | None, /) -> tuple[str, bool] | None:
    """Returns what is wrong with a receive time of a recording, and whether it is in another unit than ns.

    `last` is the one before it in the order of the replay, None for the first. A time is at fault if it looks like
    seconds, milliseconds or microseconds, or if it jumps by more than a day. Returns None for one without a fault.
    """

def read_line(line: bytes, has_time: bool, /) -> tuple[str, bytes | None, str | None]:
    """Returns the name of the connection and the frame of a line of a recording, and the fault of a line that has no frame.

    `has_time` is false for the lines of a file whose first line is JSON. The frame of a mark is None.
    """

@final
class ChangeLock:
    """The lock of a state that many threads change; a context manager, not reentrant.

    A `LambdaStopped` for the thread of a lambda is raised when the lock is released, not inside the block. Any exception
    that leaves the block, other than `MelticaError`, may have left half a change: the first one is kept as `failure`.
    """

    def __new__(cls) -> Self: ...
    def __enter__(self) -> None: ...
    def __exit__(self, kind: object, exception: object, traceback: object, /) -> Literal[False]: ...
    @property
    def reading(self) -> Reading:
        """A context manager for blocks that change nothing: it holds the lock, and exceptions are not kept."""
    @property
    def failure(self) -> BaseException | None:
        """The first exception that may have left half a change; None if each change was whole."""

@final
class Reading:
    """The lock of a `ChangeLock`, for blocks that change nothing."""

    def __enter__(self) -> None: ...
    def __exit__(self, kind: object, exception: object, traceback: object, /) -> Literal[False]: ...

@final
class IntentQueue:
    """Requests of strategies on their way to trading. Any thread may push; one event loop takes.

    `fileno` is readable while a batch waits that was not taken: one wake-up per batch. Raises `ValueError` for a capacity
    of zero, `OSError` when the process has no free descriptor.
    """

    def __new__(cls, capacity: int = 65_536) -> Self: ...
    def push(self, body: object, trace: int | None = None) -> None:
        """Adds a request; never waits. `trace` is the 128-bit id of a trace.

        Raises `CapacityError` when the queue is full.
        """
    def take(self) -> list[tuple[Any, int | None]]:
        """Takes all requests, oldest first, as (body, trace)."""
    def fileno(self) -> int:
        """The descriptor to wait for."""
    def __len__(self) -> int: ...

@final
class Quotes:
    """The latest prices of watched symbols, kept by a thread that needs no interpreter.

    Times are those of a clock that counts from the start of the machine, with `boot_time` added: the time of the start.
    """

    def __new__(cls, core: Core, boot_time: int) -> Self: ...
    def watch(self, routes: Sequence[tuple[str, str]]) -> None:
        """Watches these symbols, as (provider, symbol), in place of the previous ones. One thread at a time may call it.

        Raises `CapacityError` if the core lacks room for a symbol; those before it are watched.
        """
    def quote(
        self, provider: str, symbol: str
    ) -> tuple[Decimal | None, Decimal | None, Decimal | None, int, int, bool, bool, int, int | None] | None:
        """Returns the latest prices of a symbol:
        (bid, ask, last, time of bid and ask, time of last, of a book, crossed, connected, lag).

        Bid and ask have one time, because each event states both. A time without a price is 0. While bid and ask are
        crossed, both are None.

        None before its first event, while its feed is stale, and for a symbol that is not watched.
        """
    def depth(self, provider: str, symbol: str, side: str, limit: Decimal) -> Decimal | None:
        """Returns the quantity that an order of `side` meets at `limit` or better, within the best 128 levels.

        None without a complete book.
        """
    def close(self) -> None:
        """Ends the thread. `quote` and `depth` return None afterwards."""

@final
class Watch:
    """Watches the callbacks of a core from a thread that needs no interpreter, until `close`.

    While a callback holds the interpreter for longer than a second, the watch logs which lambda does: to stderr, and to
    the file of `log_to`.
    """

    def __new__(cls, core: Core) -> Self: ...
    def log_to(self, format: Literal["human", "json"], path: str | PathLike[str] | None = None) -> None:
        """Sets the format of the lines, and a file that they are written to as well as to stderr."""
    def supervise(self, stuck_after: float) -> None:
        """Supervises the hosts: a callback that runs for more than `stuck_after` seconds counts as stuck, see `Host.blocked`.

        `fileno` is readable after a change until `clear`: a callback became stuck or returned after that, an instance has
        ended. It is also readable from time to time while the queue of an instance lacks room for symbols. If nothing calls
        `clear` within a second, the watch logs the stuck callbacks itself.
        """
    def fileno(self) -> int:
        """The descriptor to wait for."""
    def clear(self) -> None:
        """Makes `fileno` unreadable until the next change. Call it before the states are read."""
    def end_after(
        self,
        timeout: float,
        signals: Sequence[int],
        *,
        data: str | PathLike[str] | None = None,
        output: int | None = None,
    ) -> None:
        """Keeps the deadline of a stop: ends the process when one of `signals` was received and the stop cannot end.

        The process ends shortly before `timeout` seconds have passed if the interpreter is held, because nothing else can
        stop it then, and 5 s after them in any case. Before that, the PostgreSQL server on the directory `data` is
        stopped. `output` is a file descriptor that receives a last line of JSON. The exit code is 3 while a callback
        runs, otherwise 1, and 130 after a second signal.

        Call it after the handlers of the signals are installed; they stay.
        """
    def close(self) -> None:
        """Ends the probe of the interpreter, before the interpreter ends.

        After `end_after` and a signal, the deadline of the stop stays.
        """

class MelticaError(Exception):
    """Base class of every error that Meltica raises."""

class CodecError(MelticaError):
    """A codec declaration is invalid. The message lists every fault."""

class CapacityError(MelticaError):
    """An instance needs more memory than the configured maximum leaves."""

class LambdaError(MelticaError):
    """An instance cannot do what was requested."""

class LambdaStopped(BaseException):
    """Raised inside a callback that is still running when its instance is stopped."""

@final
class MarketState:
    """The latest prices of one symbol at one provider, as one instance saw them. Immutable.

    `str()` has only the fields that are present: `bid 60000.01, ask 60000.02, last 60000.02`.
    """

    @property
    def last(self) -> float | None:
        """float | None: Price of the last trade, in quote currency; None before the first."""
    @property
    def bid(self) -> float | None:
        """float | None: Best bid price, in quote currency; None before the first, or if the last ticker or book has none."""
    @property
    def ask(self) -> float | None:
        """float | None: Best ask price, in quote currency; None before the first, or if the last ticker or book has none."""
    @property
    def spread(self) -> float | None:
        """float | None: `ask - bid`, in quote currency; None if either is None."""
    @property
    def spread_pct(self) -> float | None:
        """float | None: `spread` in percent of the bid; None if either price is None or the bid is not positive."""
    @property
    def time(self) -> int:
        """int: Received time of the last event that changed the state, in ns since 1970-01-01 UTC."""
    @property
    def stale(self) -> bool:
        """bool: Whether the symbol's book or ticker is stale, its feed is disconnected or silent, or the bid reaches the ask."""

@final
class Timer:
    """A running timer, made by `Lambda.every`. It ends with its instance, or with `cancel`."""

    def cancel(self) -> None:
        """Stops the timer; it does not fire again. Cancelling twice is allowed."""

@final
class Codec:
    """A compiled codec: decodes the frames of one venue.

    `declaration` is a `meltica.adapters.codec.Codec`. Raises `CodecError`, which lists every fault.
    """

    def __new__(cls, declaration: object) -> Self: ...
    @property
    def name(self) -> str:
        """Name of the codec, from its declaration."""
    def decode(self, frame: bytes, *, connection: str = "") -> list[dict[str, Any]]:
        """Decodes one frame, without a feed: books are not assembled, and repeated messages are not removed.

        Returns a dictionary for each message of the frame: `outcome` is `event`, `diff`, `snapshot`, `control`,
        `unmatched` or `refused`. `message` is its declared name, `symbol` the canonical symbol, `present` the fields or
        sides that it has, `payload` that of an event, and `error` the fault of a refused one; absent keys are omitted.

        `connection` is the name of the connection, whose category is that with which the name begins.
        """
    @property
    def categories(self) -> list[str]:
        """Names of the categories of connections; a single empty one if symbols mean the same on all connections."""
    def symbol(self, text: str, category: str | None = None) -> str | None:
        """Returns the canonical symbol of the venue's text, or None if the rule of the category does not match it.

        The category is the first one by default. Raises `ValueError` for a category that the codec does not have.
        """

class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...

@final
class Core:
    """One data plane: pools, routing table, producers and hosts.

    `max_pool_bytes` limits the memory of all pools, 1 GiB by default.
    """

    def __new__(cls, *, max_pool_bytes: int = ...) -> Self: ...
    def producer(self, provider: str, codec: Codec | None = None) -> Producer:
        """Makes a producer that sends events under the name `provider`.

        Without a codec, only its `publish` can be used. Raises `ValueError` for a name that is not valid.
        """
    def host(
        self,
        mode: Literal["thread", "shared"],
        *,
        clock: Literal["wall", "event"] = "wall",
        batch: int = 256,
        spin_ns: int = 0,
    ) -> Host:
        """Makes a host: one thread that runs callbacks.

        A `thread` host runs one instance, a `shared` host many. With the `event` clock, timers and `Instance.now`
        follow the events, for replays. `batch` is the largest number of events read from one queue at once, 1 to 65536.
        The thread waits `spin_ns` for events, 0 to 1000000, before it sleeps; it holds no GIL meanwhile. Raises
        `ValueError` for other values.
        """
    def stats(self) -> dict[str, Any]:
        """Returns counters and latency summaries (ns) of pools, hosts and providers.

        `names` is the number of interned symbols, `extension_bytes` the size of the extensions that wait in queues. The
        free slots of the pools are counted, which takes milliseconds while the pools are large.
        """
    def provider_stats(self) -> dict[str, Any]:
        """Returns the counters and latency summaries (ns) of each provider: the key `providers` of `stats`."""
    @property
    def dispatched(self) -> int:
        """Number of events dispatched so far."""
    def histograms(self) -> dict[str, _Histogram]:
        """Returns, by provider, the time from received to dispatched.

        Each histogram is (number of values below each of `HISTOGRAM_BOUNDS_NS`, sum of all values in ns, their number).
        """
    def routes(self) -> list[_Route]:
        """Returns the routes of the running instances: (provider, kind, symbol), symbol None for every symbol."""
    def watch_routes(self, callback: Callable[[int, list[_Route], list[_Route]], object] | None) -> None:
        """Calls `callback(version, subscribe, unsubscribe)` after each change of `routes()`; None ends it.

        The callback runs on the thread that made the change and must return fast, because a host may wait for it.
        """
    def slowest(self) -> list[SlowDelivery]:
        """Returns the slowest deliveries of the last minute, at most 50, the slowest first: from dispatched to the end of the
        callback. Those of replays are not counted.
        """
    def close(self) -> None:
        """Closes every queue: events that were not delivered are discarded. Stop the hosts first."""

@final
class FeedOutcome:
    """What `Producer.feed` did with a frame.

    The message of a frame counts as exactly one of `decoded`, `control`, `unmatched` and `bad`.
    """

    @property
    def events(self) -> int:
        """Number of events dispatched, notices about books included."""
    @property
    def decoded(self) -> int:
        """Number of market data messages.

        They need not have events: duplicates, book changes that wait for a snapshot, and unwanted messages count too.
        """
    @property
    def control(self) -> int:
        """Number of messages that the codec declares as not market data."""
    @property
    def unmatched(self) -> int:
        """Number of well-formed messages that match no declaration of the codec."""
    @property
    def bad(self) -> int:
        """Number of messages that could not be decoded. `Producer.bad_frames` has the latest."""
    @property
    def needs_adapter(self) -> bool:
        """Whether the adapter has to handle the frame: it holds control or unmatched messages."""

@final
class Producer:
    """One provider's entry into the data plane, made by `Core.producer`."""

    @property
    def provider(self) -> str:
        """Name of the provider."""
    def feed(
        self,
        frame: bytes,
        received_time: int | None = None,
        *,
        symbol: str | None = None,
        connection: int = 0,
    ) -> FeedOutcome:
        """Decodes one frame, dispatches its events and returns what became of the frame.

        `received_time` is in ns, None for now. `symbol` is the one that the frame was requested for: it is that of a book
        snapshot that names none. A frame that cannot be decoded is counted, not raised, and so is a book snapshot of
        another symbol or without one. `connection` is a number of the adapter's: each connection has books of its own.
        """
    def publish(
        self,
        kind: str,
        symbol: str,
        payload: Mapping[str, Any],
        *,
        venue_time: int | None = None,
        received_time: int | None = None,
    ) -> bool:
        """Dispatches one event and returns whether an instance receives it.

        `payload` has the form of `Event.to_dict()["payload"]`; times are in ns, `received_time` None for now. Of a book
        whose best bid reaches its best ask, only a `MarketStale` is dispatched. Raises `ValueError` naming the key that
        is missing or has a wrong value, such as a negative price, or the book level that is empty or not in order.
        """
    def replay(
        self,
        files: Sequence[_Readable],
        *,
        speed: float | None = None,
        restamp: bool = False,
        on_stamp: Callable[[int, int, str, bool], object] | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> None:
        """Feeds recorded lines `<receive ns> <frame>`, merged by (time, file, line), until the files end or `stop`.

        A line may name a connection and a symbol before its frame, and mark that a connection was opened or lost; see
        docs/replay.md.

        `speed` 1.0 keeps the recorded pace, None replays as fast as the readers allow. `restamp` replaces the recorded
        receive times with the current time. `on_stamp` is called with the index of the file, the number of the line and
        the result of `stamp_fault` for each receive time that is at fault. `progress` is called with the number of
        consumed bytes, about ten times a second.

        Raises `ValueError` if a file does not start with such a line or `speed` is not above 0, and what a file,
        `on_stamp` or `progress` raises.
        """
    def list_symbols(
        self, symbols: Sequence[str], texts: Mapping[str, str] | None = None, *, category: str | None = None
    ) -> None:
        """Sizes the routing table for the symbols of the venue's instruments, so that their first events cost less.

        `texts` has the venue's text of symbols, which takes precedence over the codec's rule of `category`, the first one by
        default. Raises `ValueError` if the provider has used up its allowance of new symbols, for a text whose symbol is not
        one, and for a category that the codec does not have.
        """
    def set_category(self, category: str, *, connection: int = 0) -> None:
        """Sets the category of a connection, which decides what its symbols mean; the first one of the codec until then.

        Raises `ValueError` for a category that the codec does not have.
        """
    def restart(
        self, received_time: int | None = None, *, connection: int | None = None, forget_ids: bool = False
    ) -> int:
        """Reports that a connection was lost: market data that no other one delivers is stale until its next event.

        `received_time` is in ns, None for now; `connection` None for all connections. The good books of other connections
        are published in place of those of the lost one. `forget_ids` delivers messages that were delivered before again.
        Returns the number of events that were dispatched.
        """
    def unsynced(self, connection: int | None = None) -> list[str]:
        """Returns the symbols whose book waits for a snapshot: after its first diffs, a gap or `restart`.

        With a `connection`, those whose book of this connection waits, otherwise those without a good book on any.
        """
    def stale_books(self) -> dict[str, bool]:
        """Returns the symbols whose book is stale, and whether it was good before, unless its connection was lost then."""
    def verify_checksums(self, enabled: bool) -> None:
        """Sets whether the checksums of books are verified, as they are at first; otherwise they count as unverified.

        Any thread may call it, also during a `replay`. A book that is stale stays so until its next snapshot.
        """
    def checksum_faults(self) -> dict[str, str]:
        """Returns the faults of checksums by symbol: `snapshots` if the last three did not have theirs, as the declared layout
        or the decimals are wrong; `decimals` if the checksums have others than the instrument list, which are used.
        """
    def unverified(self) -> dict[str, tuple[int, bool]]:
        """Returns the symbols with checksums that were not verified, their number, and whether others were verified."""
    def drain(self, timeout: float | None = None) -> bool:
        """Waits until every host has handled the events dispatched so far; False after `timeout` seconds.

        Without a timeout, `stop` ends the wait. Raises `LambdaError` in a callback, whose host would wait for itself.
        """
    def stop(self) -> None:
        """Stops a running `replay` soon, and every later one at once. Any thread may call it.

        Ends the waits of `publish` and `feed` for slow readers too.
        """
    def stats(self) -> dict[str, Any]:
        """Returns counters: frames, bytes, events by kind, gaps, stale books, unknown enum values, errors by kind."""
    def ignored_frames(self) -> list[bytes]:
        """Returns the first frames that match no declaration of the codec, up to 8, each the first 400 bytes."""
    def bad_frames(self) -> list[tuple[int, str, bytes]]:
        """Returns the latest frames that could not be decoded: (received ns, the fault, the first 4 KiB)."""

@final
class Host:
    """One thread that runs callbacks, made by `Core.host`."""

    @property
    def mode(self) -> str:
        """`thread` or `shared`."""
    @property
    def running(self) -> tuple[str, int] | None:
        """Id of the instance whose callback runs, and for how long, in ns; None between callbacks."""
    @property
    def blocked(self) -> str | None:
        """Id of the instance whose callback has run for longer than the limit of `Watch.supervise`; None otherwise."""
    def add(
        self,
        id: str,
        *,
        callbacks: Mapping[str, Callable[[Any], object]],
        routes: Sequence[tuple[str, str, str | None]],
        filters: Mapping[str, Sequence[tuple[str, str, object]]] | None = None,
        policies: Mapping[str, str] | None = None,
        capacity: int = 1024,
        book_depth: int = 25,
        keep_market: bool = False,
        keep_book: bool = False,
        on_start: Callable[[], object] | None = None,
        on_stop: Callable[[], object] | None = None,
        on_error: Callable[[str, BaseException], object] | None = None,
        max_errors: int = 0,
        slow_ns: int = 100_000_000,
    ) -> Instance:
        """Makes an instance and reserves its slots; its callbacks run only after `Instance.start`.

        - `callbacks`: kind -> function of one event; the notices `BookGap` and `MarketStale` are kinds too
        - `routes`: (provider, kind, symbol), symbol None for every symbol
        - `filters`: kind -> (field, operator, value), of which all must match
        - `policies`: kind -> `conflate`, `drop_oldest` or `block`, when its queue is full
        - `capacity`: events in the queue, 1 to 1048576
        - `book_depth`: levels on each side of a book, 1 to 5000
        - `keep_market`, `keep_book`: keep the state that `Instance.market` and `Instance.book` return
        - `on_error`: called with the callback's name and the exception
        - `max_errors`: this many failed callbacks in a row stop the instance; 0 never does
        - `slow_ns`: a callback of at least this many ns counts as slow

        Raises `ValueError` for invalid values, `CapacityError` if the slots do not fit in memory, `LambdaError` for a
        second instance in a `thread` host.
        """
    def stop(self, timeout: float = 5.0) -> bool:
        """Stops every instance and the thread; False if a callback did not return, which leaves its instance `stuck`.

        `timeout` is in seconds, for each instance.
        """

@final
class Histogram:
    """A histogram of durations, with the bounds `HISTOGRAM_BOUNDS_NS`. Only one thread at a time may record."""

    def __new__(cls) -> Self: ...
    def record(self, ns: int) -> None:
        """Counts a duration in ns; a negative one counts as 0."""
    def counts(self) -> _Histogram:
        """Returns the number of values below each of `HISTOGRAM_BOUNDS_NS`, the sum of all values in ns, and their number."""

@final
class Metrics:
    """Families of metrics, which are read when their text is written."""

    def __new__(
        cls,
        kind: Literal["counter", "gauge", "histogram"],
        name: str,
        help: str,
        labels: Sequence[str],
        rows: Iterable[tuple[tuple[str, ...], SupportsFloat | Histogram | str]],
        states: Sequence[str] = ...,
    ) -> Self:
        """Makes a `counter`, `gauge` or `histogram` from rows: (value of each label, number or histogram).

        With `states`, the value of each row is one of them, and the family has a series per state, which is 1 for that of
        the row. Raises `ValueError` for another type, and for rows of other lengths.
        """
    @staticmethod
    def of_core(core: Core) -> Metrics:
        """Returns the families of the data plane: dispatch, pools and the feeds of providers."""
    @staticmethod
    def of_lambdas(instances: Sequence[tuple[str, Instance]]) -> Metrics:
        """Returns the families of instances: events, queues, callbacks and latencies, with the label `lambda`."""

@final
class SlowDelivery:
    """One delivery that was among the slowest of the last minute."""

    @property
    def lambda_id(self) -> str:
        """The instance."""
    @property
    def sequence(self) -> int:
        """The global number of the event."""
    @property
    def kind(self) -> str:
        """Its kind."""
    @property
    def provider(self) -> str:
        """Its provider."""
    @property
    def symbol(self) -> str:
        """Its symbol."""
    @property
    def venue_time(self) -> int | None:
        """The time by the venue; None if the venue sends none."""
    @property
    def received_time(self) -> int:
        """When its bytes arrived, wall clock."""
    @property
    def dispatched_time(self) -> int:
        """When it was numbered and routed, wall clock."""
    @property
    def read_ns(self) -> int:
        """Nanoseconds from then to the begin of the round of deliveries that has it."""
    @property
    def callback_ns(self) -> int:
        """From then to the begin of the callback."""
    @property
    def returned_ns(self) -> int:
        """How long the callback ran."""

@final
class Trigger:
    """What led to the callback that runs. Ages are in ns before the call of `Instance.trigger`, on the monotonic clock."""

    @property
    def callback_age(self) -> int:
        """How long ago the callback began."""
    @property
    def event(self) -> TriggerEvent | None:
        """The event; None for a timer, a posted function or `on_start`."""

@final
class TriggerEvent:
    """The event that a callback is about."""

    @property
    def sequence(self) -> int:
        """Its global number."""
    @property
    def kind(self) -> str:
        """Its kind."""
    @property
    def provider(self) -> str:
        """Its provider."""
    @property
    def symbol(self) -> str:
        """Its symbol."""
    @property
    def venue_time(self) -> int | None:
        """The time by the venue; None if the venue sends none."""
    @property
    def received_time(self) -> int:
        """When its bytes arrived, wall clock."""
    @property
    def received_age(self) -> int:
        """The same, as an age: negative if the wall clock was set back before the dispatch."""
    @property
    def dispatched_age(self) -> int:
        """How long ago it was numbered and routed."""
    @property
    def read_age(self) -> int:
        """How long ago the host began the round of deliveries that has it."""

@final
class Instance:
    """One run of a lambda, made by `Host.add`."""

    @property
    def id(self) -> str:
        """Name of the instance."""
    @property
    def state(self) -> Literal["created", "starting", "running", "stopping", "stopped", "failed", "stuck"]:
        """Life-cycle state of the instance."""
    def start(self) -> None:
        """Runs `on_start` on the host's thread, then starts the delivery of events.

        Raises what `on_start` raised, or `LambdaError` if the instance was already started, or if a stop has given up
        waiting for `on_start`.
        """
    def stop(self, timeout: float = 5.0) -> bool:
        """Stops the delivery of events, runs `on_stop` on the host's thread and waits for it.

        After `timeout` seconds, raises `LambdaStopped` inside a running callback, four times within the next second
        at most. Returns False if the callback does not return even then; the instance is then `stuck`.
        """
    def post(self, function: Callable[[], object]) -> bool:
        """Calls `function` without arguments on the host's thread, between two callbacks; never waits.

        Functions are called in the order of their posts, at most 64 or for 2 ms at a time; those posted before the start
        come after `on_start` and before the first event. An exception is handled like one of a callback.

        Returns False if the function is refused: from the stop on, or because 65,536 wait, which also halts the instance.
        It then calls those that wait, receives no further event, and fails. The functions accepted before a stop are called
        before `on_stop`. Only an instance that fails, or whose stop exceeds its timeout, discards the rest and ends
        `failed` or `stuck`; `discarded_posts` of `stats` counts them.
        """
    @property
    def in_callback_ns(self) -> int:
        """How long the current callback has been running, in ns; 0 between callbacks."""
    def now(self) -> int:
        """Returns the time of the instance's clock, in ns: the wall clock live, the events' time in a replay."""
    def trigger(self) -> Trigger | None:
        """Returns what led to the callback of the instance that runs: its event, and how long ago that passed each step.

        Returns None between callbacks, and on any other thread than the host's.
        """
    @property
    def delivered_at(self) -> int:
        """When the latest event reached the instance, in ns of the wall clock; 0 before the first."""
    def market(self, symbol: str, provider: str | None = None) -> MarketState | None:
        """Returns the latest prices of a symbol; None before its first event.

        Raises `LambdaError` if several providers send the symbol and `provider` is None.
        """
    def book(self, symbol: str, provider: str | None = None) -> BookSnapshot | None:
        """Returns the latest book of a symbol; None before the first, or while it is stale.

        Raises `LambdaError` if several providers send the symbol and `provider` is None.
        """
    def every(self, seconds: float, fn: Callable[[], object]) -> Timer:
        """Calls `fn` every `seconds` (1e-6 to 1e9) of the instance's clock, on the host's thread, until cancelled.

        Functions that are due are called by due time, live at most 64 or for 2 ms at a time; then waiting events come first.

        Raises `LambdaError` once the instance has ended.
        """
    def emit(self, name: str, payload_json: str) -> None:
        """Publishes an `Extension` event with a payload of at most 100 KiB of JSON.

        In a replay, the event is published at the end of the current step. Raises `ValueError` for a larger payload or a
        name of more than 256 bytes, `LambdaError` once the instance has ended, if the queue of a subscriber blocks and is
        full, or if the lambdas emit more than 64 MiB within one step of a replay.
        """
    @property
    def left_out(self) -> dict[str, list[tuple[str, str]]]:
        """The symbols for which the queue has no room: by kind, (provider, symbol). Their events are not delivered.

        A route for every symbol claims more room in the background as new symbols appear, until the pools are at their
        maximum. Their events count as dropped.
        """
    @property
    def refused_room(self) -> str | None:
        """Why the queue could not get more room; None if it did."""
    def retry_room(self) -> None:
        """Requests again the room that was refused. The request is handled soon, in the background.

        A symbol that has room is delivered from its next event on.
        """
    def stats(self) -> dict[str, Any]:
        """Returns counters (delivered, conflated, dropped and left out by kind, errors, slow callbacks) and latencies in
        ns. `left_out` counts symbols, `extension_bytes` the bytes of waiting extensions, the others events. `reserved_*`
        are the slots of the pools that the running instance has reserved, and their bytes with those of extensions.
        """
    def histograms(self) -> dict[str, dict[str, _Histogram]]:
        """Returns two histograms by provider: `latency` from dispatched to delivered, `callback` from delivered to returned.

        Each is (number of values below each of `HISTOGRAM_BOUNDS_NS`, sum of all values in ns, their number).
        """

def metrics_text(metrics: Sequence[Metrics], *, limit: int = 20_000, openmetrics: bool = False) -> str:
    """Returns the text of a scrape, in the format of Prometheus or of `OpenMetrics`, with at most `limit` series.

    The series beyond the limit, first those of histograms, are summed into ones whose labels are `overflow`, except for
    those labels whose values the program defines. Counts of the core and histograms are read, and the text is written,
    without the interpreter.
    """

def metrics_families(metrics: Sequence[Metrics], *, limit: int = 20_000) -> list[_MetricFamily]:
    """Returns the families of a scrape: type, name, help, names of the labels, and rows of their values and a number, or of
    a histogram (bounds, number of values up to each bound, number of all values, their sum).

    A counter is named without `_total`. `limit` is as of `metrics_text`.
    """
