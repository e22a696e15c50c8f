"""The data plane: compiled from `crates/meltica-python`. Times are integer nanoseconds since the Unix epoch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Literal, Protocol, Self, TypeAlias, final

from typing_extensions import disjoint_base

from meltica.model.enums import Side
from meltica.simulator.types import AccountFill, Balance, Fill, OrderBook

__all__ = [
    "BUILD_PROFILE",
    "BUILD_TARGET",
    "FILTER_FIELDS",
    "FILTER_OPERATORS",
    "HISTOGRAM_BOUNDS_NS",
    "KINDS",
    "BalanceUpdate",
    "BookGap",
    "BookSnapshot",
    "CapacityError",
    "Codec",
    "CodecError",
    "Core",
    "Event",
    "ExecReport",
    "Extension",
    "Host",
    "Instance",
    "InstrumentUpdate",
    "KlineSummary",
    "LambdaError",
    "LambdaStopped",
    "MarketStale",
    "MarketState",
    "MatchingEngine",
    "MelticaError",
    "PriceLevel",
    "Producer",
    "RiskControl",
    "SyntheticMarket",
    "Ticker",
    "Timer",
    "Trade",
    "__version__",
    "benchmark",
    "benchmark_beside",
    "benchmark_frames",
    "benchmark_mix",
    "benchmark_wake",
    "check_filter",
]

__version__: Final[str]

BUILD_PROFILE: Final[str]
"""How the module was compiled: `dev`, `release`, `dist`, or `custom` for any other profile."""

BUILD_TARGET: Final[str]
"""What it was compiled for, as Rust names it."""

_Route: TypeAlias = tuple[str, str, str | None]
_Histogram: TypeAlias = tuple[list[int], int]

KINDS: Final[tuple[str, ...]]
"""The public event kinds."""

HISTOGRAM_BOUNDS_NS: Final[tuple[int, ...]]
"""Bounds of `histograms()`: each is (how many values were below each bound, the sum of all values in ns)."""

FILTER_FIELDS: Final[Mapping[str, tuple[str, ...]]]
"""Kind -> the fields that a filter can look at."""

FILTER_OPERATORS: Final[tuple[str, ...]]
"""How a filter can compare."""

def check_filter(kind: str, field: str, operator: str, value: object, /) -> None:
    """Raises ValueError when no event of the kind could ever meet the condition."""

class MelticaError(Exception):
    """Base of every error Meltica raises."""

class CodecError(MelticaError):
    """A codec declaration is wrong; the text lists every fault."""

class CapacityError(MelticaError):
    """An instance asked for more memory than the configured maximum leaves."""

class LambdaError(MelticaError):
    """An instance cannot do what was asked of it."""

class LambdaStopped(BaseException):
    """Raised inside a callback that outlives its instance's stop."""

@disjoint_base
class Event:
    """One immutable event. Equal when kind, origin, times and payload are equal, the two local clocks aside."""

    @property
    def seq(self) -> int:
        """Global sequence number, from 1."""
    @property
    def kind(self) -> str: ...
    @property
    def provider(self) -> str: ...
    @property
    def symbol(self) -> str: ...
    @property
    def provider_seq(self) -> int:
        """Per provider, kind and symbol, from 1 at each start of the provider."""
    @property
    def routing_version(self) -> int: ...
    @property
    def venue_time(self) -> int | None:
        """When the venue says it happened, ns; None when it does not say."""
    @property
    def received_time(self) -> int:
        """When the bytes arrived, ns, wall clock."""
    @property
    def dispatched_time(self) -> int:
        """When it was numbered and routed, ns, wall clock."""
    def to_dict(self) -> dict[str, Any]:
        """The event as JSON-able data: camelCase keys, decimals as strings, times as RFC 3339."""
    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Event:
        """The event that `to_dict` described."""
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class Trade(Event):
    """A public trade."""

    @property
    def trade_id(self) -> str: ...
    @property
    def side(self) -> Side | None:
        """The taker's side."""
    @property
    def price(self) -> float: ...
    @property
    def price_decimal(self) -> Decimal: ...
    @property
    def quantity(self) -> float: ...
    @property
    def quantity_decimal(self) -> Decimal: ...

@final
class Ticker(Event):
    """Last price and top of book. None is what the venue did not send."""

    @property
    def last(self) -> float | None: ...
    @property
    def last_decimal(self) -> Decimal | None: ...
    @property
    def bid(self) -> float | None: ...
    @property
    def bid_decimal(self) -> Decimal | None: ...
    @property
    def bid_quantity(self) -> float | None: ...
    @property
    def bid_quantity_decimal(self) -> Decimal | None: ...
    @property
    def ask(self) -> float | None: ...
    @property
    def ask_decimal(self) -> Decimal | None: ...
    @property
    def ask_quantity(self) -> float | None: ...
    @property
    def ask_quantity_decimal(self) -> Decimal | None: ...
    @property
    def volume_24h(self) -> float | None: ...
    @property
    def volume_24h_decimal(self) -> Decimal | None: ...

@final
class PriceLevel:
    """One price level. Unpacks to `(price, quantity)`."""

    def __new__(cls, price: Decimal | str | float, quantity: Decimal | str | float) -> Self: ...
    @property
    def price(self) -> float: ...
    @property
    def price_decimal(self) -> Decimal: ...
    @property
    def quantity(self) -> float: ...
    @property
    def quantity_decimal(self) -> Decimal: ...
    def __iter__(self) -> Iterator[float]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class BookSnapshot(Event):
    """The top of a whole order book, best level first."""

    @property
    def bids(self) -> tuple[PriceLevel, ...]: ...
    @property
    def asks(self) -> tuple[PriceLevel, ...]: ...
    @property
    def best_bid(self) -> PriceLevel | None: ...
    @property
    def best_ask(self) -> PriceLevel | None: ...
    @property
    def bid_count(self) -> int:
        """Levels of the whole book, which is never cut."""
    @property
    def ask_count(self) -> int: ...
    @property
    def first_update_id(self) -> int | None: ...
    @property
    def last_update_id(self) -> int | None: ...
    @property
    def checksum(self) -> int | None: ...

@final
class KlineSummary(Event):
    """A candle."""

    @property
    def open(self) -> float: ...
    @property
    def open_decimal(self) -> Decimal: ...
    @property
    def close(self) -> float: ...
    @property
    def close_decimal(self) -> Decimal: ...
    @property
    def high(self) -> float: ...
    @property
    def high_decimal(self) -> Decimal: ...
    @property
    def low(self) -> float: ...
    @property
    def low_decimal(self) -> Decimal: ...
    @property
    def volume(self) -> float: ...
    @property
    def volume_decimal(self) -> Decimal: ...
    @property
    def open_time(self) -> int: ...
    @property
    def close_time(self) -> int: ...
    @property
    def interval(self) -> str | None: ...
    @property
    def closed(self) -> bool | None: ...

@final
class ExecReport(Event):
    """A report on one of our orders."""

    @property
    def client_order_id(self) -> str: ...
    @property
    def venue_order_id(self) -> str | None: ...
    @property
    def state(self) -> str: ...
    @property
    def side(self) -> Side: ...
    @property
    def order_type(self) -> str: ...
    @property
    def time_in_force(self) -> str | None: ...
    @property
    def price(self) -> float | None: ...
    @property
    def price_decimal(self) -> Decimal | None: ...
    @property
    def quantity(self) -> float: ...
    @property
    def quantity_decimal(self) -> Decimal: ...
    @property
    def filled_quantity(self) -> float: ...
    @property
    def filled_quantity_decimal(self) -> Decimal: ...
    @property
    def remaining_quantity(self) -> float | None: ...
    @property
    def remaining_quantity_decimal(self) -> Decimal | None: ...
    @property
    def average_price(self) -> float | None: ...
    @property
    def average_price_decimal(self) -> Decimal | None: ...
    @property
    def fee(self) -> float | None: ...
    @property
    def fee_decimal(self) -> Decimal | None: ...
    @property
    def fee_currency(self) -> str | None: ...
    @property
    def reason(self) -> str | None: ...
    @property
    def execution_id(self) -> str | None:
        """The venue's id of the fill that this report describes; absent, as the properties below, without one."""
    @property
    def last_quantity(self) -> float | None: ...
    @property
    def last_quantity_decimal(self) -> Decimal | None: ...
    @property
    def last_price(self) -> float | None: ...
    @property
    def last_price_decimal(self) -> Decimal | None: ...
    @property
    def liquidity(self) -> str | None:
        """`maker` or `taker`."""
    @property
    def last_fee(self) -> float | None: ...
    @property
    def last_fee_decimal(self) -> Decimal | None: ...
    @property
    def last_fee_currency(self) -> str | None: ...

@final
class InstrumentUpdate(Event):
    """A new or changed instrument."""

    @property
    def instrument(self) -> dict[str, Any]:
        """The instrument with the keys of the REST API."""

@final
class BalanceUpdate(Event):
    """A balance of ours; `symbol` is the currency."""

    @property
    def total(self) -> float: ...
    @property
    def total_decimal(self) -> Decimal: ...
    @property
    def available(self) -> float: ...
    @property
    def available_decimal(self) -> Decimal: ...

@final
class RiskControl(Event):
    """A risk check that tripped or cleared."""

    @property
    def strategy_id(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def breach_type(self) -> str: ...
    @property
    def metrics(self) -> dict[str, str]: ...
    @property
    def kill_switch_engaged(self) -> bool: ...
    @property
    def circuit_breaker_open(self) -> bool: ...

@final
class Extension(Event):
    """Free-form data from an adapter or another lambda."""

    @property
    def name(self) -> str: ...
    @property
    def payload(self) -> Any: ...

@final
class BookGap(Event):
    """A hole in a venue's sequence: ids between `expected` and `seen` never came."""

    @property
    def expected(self) -> int: ...
    @property
    def seen(self) -> int: ...

@final
class MarketStale(Event):
    """A book is no longer good, until the next `BookSnapshot` of its symbol."""

    @property
    def reason(self) -> Literal["gap", "crossed", "checksum", "no_snapshot", "overflow", "disconnected"]: ...

@final
class MarketState:
    """What an instance last saw of one symbol at one provider."""

    @property
    def last(self) -> float | None: ...
    @property
    def bid(self) -> float | None: ...
    @property
    def ask(self) -> float | None: ...
    @property
    def spread(self) -> float | None:
        """`ask - bid`, in quote currency."""
    @property
    def spread_pct(self) -> float | None:
        """`spread` in percent of the bid."""
    @property
    def time(self) -> int:
        """Received time of the last event that changed it, ns."""
    @property
    def stale(self) -> bool:
        """Whether the symbol's book is stale."""

@final
class Timer:
    """A running `Lambda.every`."""

    def cancel(self) -> None: ...

@final
class Codec:
    """A compiled codec. `declaration` is a `meltica.adapters.codec.Codec`."""

    def __new__(cls, declaration: object) -> Self: ...
    @property
    def name(self) -> str: ...

class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...

@final
class Core:
    """One data plane: pools, routing table, producers and hosts."""

    def __new__(cls, *, max_pool_bytes: int = ...) -> Self: ...
    def producer(self, provider: str, codec: Codec | None = None) -> Producer:
        """A source of events under the name `provider`. Without a codec it takes `publish` only."""
    def host(
        self,
        mode: Literal["thread", "shared"],
        *,
        clock: Literal["wall", "event"] = "wall",
        batch: int = 256,
    ) -> Host:
        """One thread that runs callbacks. A `thread` host takes one instance, a `shared` host many."""
    def stats(self) -> dict[str, Any]:
        """Counters and latency summaries (ns) per stage, pool and provider."""
    def histograms(self) -> dict[str, _Histogram]:
        """Per provider, received to dispatched."""
    def routes(self) -> list[_Route]:
        """What the running instances want, by provider, kind and symbol; symbol None is every symbol."""
    def watch_routes(self, callback: Callable[[int, list[_Route], list[_Route]], object] | None) -> None:
        """Calls `callback(version, subscribe, unsubscribe)` after each change of `routes()`, on the thread that made it.

        It must be quick: a host may be waiting for it.
        """
    def close(self) -> None:
        """Closes every queue; hosts end once they are read out."""

@final
class Producer:
    """One provider's way into the data plane."""

    @property
    def provider(self) -> str: ...
    def feed(self, frame: bytes, received_time: int | None = None) -> int:
        """Decodes one frame and dispatches what it held; returns how many events that were. A bad frame is counted."""
    def publish(
        self,
        kind: str,
        symbol: str,
        payload: Mapping[str, Any],
        *,
        venue_time: int | None = None,
        received_time: int | None = None,
    ) -> bool:
        """Dispatches one event given as `Event.to_dict()["payload"]`; returns whether anybody wanted it."""
    def replay(
        self,
        files: Sequence[_Readable],
        *,
        speed: float | None = None,
        restamp: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> None:
        """Feeds lines `<receive ns> <frame>` merged by (time, file, line) until the files end or `stop`.

        `speed` 1.0 keeps the recorded pace, None goes as fast as the readers. `restamp` puts the present in place of the
        recorded receive times. `progress` gets the bytes consumed, about ten times a second. Raises ValueError when a
        line is not of that form.
        """
    def restart(self, received_time: int | None = None) -> int:
        """Begins anew, as after a lost connection: books are stale until their next snapshot, ids may come again.

        Returns how many notices that made.
        """
    def unsynced(self) -> list[str]:
        """The symbols whose book waits for a snapshot: its diffs came, or it was good before a gap or `restart`."""
    def drain(self, timeout: float | None = None) -> bool:
        """Waits until every host has handled all that was dispatched; False when `timeout` seconds passed first."""
    def stop(self) -> None:
        """Ends a running `replay` soon, and each later one at once; from any thread."""
    def stats(self) -> dict[str, Any]:
        """Frames, bytes, events by kind, gaps, stale books, unknown enum values, errors by kind."""
    def bad_frames(self) -> list[tuple[int, str, bytes]]:
        """The last bad frames: (received ns, what was wrong, the first 4 KiB)."""

@final
class Host:
    """One thread that runs callbacks."""

    @property
    def mode(self) -> str: ...
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
        """Makes an instance and reserves its slots; nothing runs before `Instance.start`.

        `routes` are (provider, kind, symbol), symbol None for every symbol. `callbacks` are keyed by kind, notices
        `BookGap` and `MarketStale` included. `max_errors` callbacks that raise in a row stop the instance, 0 never does.
        """
    def stop(self, timeout: float = 5.0) -> bool:
        """Stops every instance and the thread; False when a callback would not end, which leaves it `stuck`."""

@final
class Instance:
    """One run of a lambda."""

    @property
    def id(self) -> str: ...
    @property
    def state(self) -> Literal["created", "running", "stopping", "stopped", "failed", "stuck"]: ...
    def start(self) -> None:
        """Runs `on_start` on the host's thread, then lets events flow. Raises what `on_start` raised."""
    def stop(self, timeout: float = 5.0) -> bool:
        """Ends the flow, runs `on_stop` on the host's thread, waits. False when it had to be given up as `stuck`."""
    @property
    def in_callback_ns(self) -> int:
        """How long its present callback has been running, 0 when none is."""
    def now(self) -> int:
        """The instance's clock, ns: wall time live, the events' time in replay."""
    @property
    def delivered_at(self) -> int:
        """When the latest event reached this instance, ns, wall clock; 0 before the first."""
    def market(self, symbol: str, provider: str | None = None) -> MarketState | None: ...
    def book(self, symbol: str, provider: str | None = None) -> BookSnapshot | None:
        """The last good book, None when there is none or it is stale."""
    def every(self, seconds: float, fn: Callable[[], object]) -> Timer: ...
    def emit(self, name: str, payload_json: str) -> None: ...
    def stats(self) -> dict[str, Any]:
        """State, per kind delivered / conflated / dropped, errors, slow callbacks, latency summaries (ns)."""
    def histograms(self) -> dict[str, _Histogram]:
        """`latency`: dispatched to delivered; `callback`: delivered to returned."""

@final
class SyntheticMarket:
    """A market that lives by itself on a virtual clock, and accounts that trade on it.

    Strangers and accounts share each symbol's book. All that happens goes out through `producer`, as the first account
    sees it; without one in frames, which `poll` returns and `docs/venue.md` describes. The same options and the same
    calls at the same virtual times give the same events and the same faults. `meltica.simulator.settings` makes `options`,
    `symbols` and `accounts` (balances by currency, by the account's name).

    Raises `ConfigError`, which lists every fault. Where a method takes an account, None is the first.
    """

    TAKERS: Final[float]
    """The part of the background's actions that take, at least."""

    def __new__(
        cls,
        producer: Producer | None,
        options: Mapping[str, object],
        symbols: Sequence[Mapping[str, object]],
        accounts: Mapping[str, Mapping[str, Decimal | str]],
    ) -> Self: ...
    @property
    def now(self) -> int:
        """The virtual time, ns."""
    def announce(self) -> None:
        """Sends every instrument and every balance."""
    def run(self, *, speed: float | None = None, until: int | None = None) -> None:
        """Goes on until a virtual time or `Producer.stop`: `speed` times as fast as the wall clock, None waits for
        nothing. Needs a producer.
        """
    def advance(self, until: int) -> None:
        """Goes on to a virtual time; one that is over does nothing."""
    def submit(
        self,
        client_order_id: str,
        symbol: str,
        side: str,
        quantity: Decimal | str | float,
        price: Decimal | str | float | None = None,
        time_in_force: str = "GTC",
        post_only: bool = False,
        *,
        account: str | None = None,
    ) -> str:
        """Submits an order at the present virtual time and returns the venue's id of it.

        Its reports are sent as well. Raises `OrderRefused`; numbers are as for `MatchingEngine.submit`.
        """
    def cancel(self, client_order_id: str, *, account: str | None = None) -> None:
        """Cancels an open order. Raises `OrderRefused`."""
    def amend(
        self,
        client_order_id: str,
        quantity: Decimal | str | float | None = None,
        price: Decimal | str | float | None = None,
        *,
        account: str | None = None,
    ) -> None:
        """Changes an open order, as `MatchingEngine.amend`. Raises `OrderRefused`, and then nothing changed."""
    def order(self, client_order_id: str, *, account: str | None = None) -> dict[str, Any] | None:
        """An order, open or one of the venue's last 100,000 that ended: what was last reported of it, its `symbol`, and
        the virtual `time` of that. None when there is none of that id.
        """
    def open_orders(self, *, account: str | None = None) -> list[dict[str, Any]]:
        """The open orders, oldest first, as `order` has them."""
    def fills_since(
        self, number: int = 0, *, time: int = 0, limit: int | None = None, account: str | None = None
    ) -> list[AccountFill]:
        """The fills after that number and not before that time, of the venue's last 1,048,576; the first `limit`."""
    def balances(self, *, account: str | None = None) -> dict[str, Balance]:
        """What the account owns, by currency."""
    def ledger(self) -> dict[str, Any]:
        """All that anybody owns: `time`, `accounts` (name -> currency -> Balance), `outside` (strangers) and `fees`
        (currency -> total), and how many `fills` there were. Each currency's totals add up to zero.
        """
    def book(self, symbol: str, depth: int | None = None) -> OrderBook:
        """The book of a symbol, whole without `depth`."""
    def request_fate(self) -> tuple[int, str | None]:
        """Draws one request's latency (virtual ns), and whether it fails `before` or `after` it was done."""
    @property
    def connected(self) -> bool:
        """Whether clients are connected."""
    @property
    def cuts(self) -> int:
        """How often all connections were cut, so that no short absence is missed."""
    def disconnect(self, duration: int | None = None) -> None:
        """Cuts all connections for so many virtual ns; for as long as the behavior says without it."""
    def set_behavior(self, changes: dict[str, Any]) -> None:
        """Changes some of the faults (times in ns). Raises `ConfigError`, and then nothing changed."""
    def rest(self, resting: bool) -> None:
        """Has strangers rest, or go on; clock, candles and accounts are as before."""
    def skip_depth(self, symbol: str, frames: int = 1) -> None:
        """Loses the next depth frames of a symbol. For a market that is told in frames, as all below."""
    def pace(self, speed: float) -> None:
        """Has the virtual clock run beside the wall's from now on."""
    def poll(self) -> list[tuple[str, str]]:
        """Goes on to the present; returns what has arrived since the last call: channel and frame, in order."""
    def wake_in(self) -> float:
        """Seconds of the wall clock in which nothing is due, at most 0.05."""
    def lag(self) -> float:
        """Seconds of the wall clock by which the market is behind its pace: more than a few milliseconds where the
        computer cannot keep it.
        """
    def want(self, channel: str, wanted: bool) -> None:
        """Has frames of a channel made, or no more of them: `trade:BTC-USDT`, `ticker:..`, `depth:..`, `candle:..`,
        `instruments`, `account:NAME`.
        """
    def depth(self, symbol: str, limit: int | None = None) -> bytes:
        """A frame with the whole book, or the best `limit` levels of either side."""

@final
class MatchingEngine:
    """A limit order book of one instrument that matches by price, then time; `docs/simulator.md` has the rules.

    Without options there are no rules but those of the numbers (64 bits, 8 digits after the point), no fees and no
    balances. With `balances`, by account and currency, orders of those accounts need funds and reserve them, and
    other names are refused; orders without an account come from outside, whose funds nobody looks at.

    Fees are rates (0.001 is 0.1 %), in `quote`, in `base`, or in what each side has `received`. `self_trade` is what
    happens between orders of one account: `allow`, `expire_taker`, `expire_maker` or `expire_both`.

    Raises `ConfigError`, which lists every fault.
    """

    def __new__(
        cls,
        symbol: str = "BASE-QUOTE",
        *,
        tick_size: Decimal | str | float | None = None,
        lot_size: Decimal | str | float | None = None,
        min_quantity: Decimal | str | float | None = None,
        max_quantity: Decimal | str | float | None = None,
        min_notional: Decimal | str | float | None = None,
        maker_fee: Decimal | str | float | None = None,
        taker_fee: Decimal | str | float | None = None,
        fee_in: str = "quote",
        self_trade: str = "allow",
        balances: Mapping[str, Mapping[str, Decimal | str | float]] | None = None,
    ) -> Self: ...
    @property
    def symbol(self) -> str: ...
    def submit(
        self,
        order_id: str | int,
        side: str,
        quantity: Decimal | str | float,
        price: Decimal | str | float | None = None,
        time_in_force: str = "GTC",
        post_only: bool = False,
        account: str | None = None,
        *,
        self_trade: str | None = None,
    ) -> list[Fill]:
        """Matches a new order and returns its trades.

        Without a price it is a market order, whose rest expires; so is a sell at 0, as exchanges write it.
        `time_in_force` is GTC, IOC or FOK. Raises `OrderRefused`, and then nothing happened and the id may be used
        again. A float goes by its shortest form to the increment (quantity down, buy price down, sell price up), and is
        refused where that changes it by more than 1e-9 of itself; other numbers must be exact.
        """
    def amend(
        self,
        order_id: str | int,
        quantity: Decimal | str | float | None = None,
        price: Decimal | str | float | None = None,
    ) -> list[Fill]:
        """Changes an open order and returns its trades where its new price takes.

        `quantity` is the whole, what is filled included: no more than is filled cancels. Less at the same price keeps
        the place in the queue, anything else loses it. Raises `OrderRefused`, and then nothing changed.
        """
    def cancel(self, order_id: str | int) -> Decimal:
        """Cancels an open order and returns what was not filled. Raises `OrderRefused`."""
    def remaining(self, order_id: str | int) -> Decimal:
        """What an order still wants in the book: 0 once it is filled, cancelled or expired."""
    def book(self, depth: int | None = None) -> OrderBook:
        """The best `depth` levels of either side, or all."""
    def balance(self, account: str) -> dict[str, Balance]:
        """What an account owns, by currency; one without funds to look at may owe."""
    @property
    def fees(self) -> dict[str, Decimal]:
        """All fees so far, by currency."""

def benchmark(
    name: Literal["pool", "pool_contended", "publish", "publish_book", "unwanted", "order", "market"],
    readers: int = 1,
) -> float:
    """Nanoseconds an operation of the core takes: the median of five runs after a warm-up."""

def benchmark_wake(asleep_us: int) -> float:
    """Nanoseconds to publish a trade and wake its one reader, which has been asleep for some microseconds."""

def benchmark_beside(others: int) -> tuple[float, float]:
    """Nanoseconds to publish a trade to one queue, alone and beside `others` queues of other symbols."""

def benchmark_frames(codec: Codec, frames: Sequence[bytes], before: Sequence[bytes] = ...) -> float:
    """Nanoseconds a frame takes from bytes to a dispatched event, books of depth 25 assembled and copied.

    `before` is fed first, unmeasured: what brings the books up.
    """

def benchmark_mix() -> list[bytes]:
    """Made-up frames: two that bring the book up, then 40 % trades, 20 % book tickers, 20 % day tickers, 20 % diffs."""
