"""`Lambda`: what a strategy is written as.

Overriding a callback is subscribing to its kind. A class is checked when it is made: `async def`, misspelt
callbacks, unknown kinds, filters that no event can meet and impossible policies are refused there, all faults
at once.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from meltica.errors import LambdaDefinitionError, LambdaError
from meltica.lambdas.callbacks import SOURCES, faults_of

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from meltica._core import (
        BalanceUpdate,
        BookGap,
        BookSnapshot,
        Extension,
        Instance,
        InstrumentUpdate,
        KlineSummary,
        MarketStale,
        MarketState,
        RiskControl,
        Ticker,
        Timer,
        Trade,
    )
    from meltica.lambdas.config import LambdaConfig
    from meltica.lambdas.logs import LambdaLogger

MAX_PAYLOAD = 100 * 1024
"""Most bytes of JSON that `Lambda.emit` sends unless the configuration says otherwise."""


class Filter(NamedTuple):
    """A condition on a field of an event: `Filter("side", "eq", "Buy")`. Several on one kind must all hold.

    `operator` is `eq`, `neq`, `in` (a list of values) or `prefix`. Numbers are compared by value (`100.10` =
    `100.1`). A field that the venue did not send meets no condition.
    """

    field: str
    operator: str
    value: object


class Lambda:
    """A strategy. Subclass it, override callbacks, and use the helpers; construct it never: the runtime does.

    Callbacks of one instance run one at a time, on the thread of its host, in the order of `event.seq`. An
    exception in one is caught, counted and logged with its traceback. Events are immutable and stay valid for
    ever when kept.
    """

    Config: "ClassVar[type[LambdaConfig] | None]" = None
    """Settings, `class Config(LambdaConfig)`: validated before the instance exists, read as `self.config`."""
    filters: "ClassVar[Mapping[str, Sequence[tuple[str, str, object]]]]" = {}
    """Kind -> conditions that must all hold: `{"Trade": [Filter("side", "eq", "Buy")]}`."""
    needs: "ClassVar[AbstractSet[str]]" = frozenset()
    """Kinds to subscribe to without a callback, to feed `self.market` and `self.book`."""
    book_depth: ClassVar[int] = 25
    """Levels per side that a `BookSnapshot` holds, 1 to 5000."""
    policies: ClassVar[Mapping[str, str]] = {}
    """Kind -> what a full queue does: `conflate` (default of BookSnapshot and Ticker), `drop_oldest` (of
    the rest), `block`.
    """

    id: str
    """Name of this instance."""
    config: Any
    """The validated `Config`; None when the class has none."""
    scope: Mapping[str, tuple[str, ...]]
    """Provider -> the symbols this instance sees; `("*",)` is all of them."""
    log: "LambdaLogger"
    """A logger named `meltica.lambda.<id>`."""

    _instance: "Instance | None" = None
    _kept: frozenset[str] = frozenset()
    _max_payload: int = MAX_PAYLOAD

    def __init_subclass__(cls, **keywords: object) -> None:
        super().__init_subclass__(**keywords)
        faults = faults_of(cls, Lambda)
        if faults:
            raise LambdaDefinitionError(cls.__name__, faults)

    # Callbacks: overriding is subscribing.

    def on_start(self) -> None:
        """Before the first event. An exception here keeps the instance from starting."""

    def on_stop(self) -> None:
        """After the last event."""

    def on_trade(self, trade: "Trade", /) -> None:
        """A public trade."""

    def on_ticker(self, ticker: "Ticker", /) -> None:
        """A new best bid or ask, or last price. What the venue did not send is None."""

    def on_book_snapshot(self, book: "BookSnapshot", /) -> None:
        """A whole order book, cut to `book_depth` levels per side."""

    def on_kline_summary(self, kline: "KlineSummary", /) -> None:
        """A candle."""

    def on_instrument_update(self, update: "InstrumentUpdate", /) -> None:
        """A new or changed instrument."""

    def on_balance_update(self, balance: "BalanceUpdate", /) -> None:
        """A balance of ours in one of the currencies of the scope."""

    def on_risk_control(self, control: "RiskControl", /) -> None:
        """A risk check that tripped or cleared."""

    def on_extension(self, extension: "Extension", /) -> None:
        """Free-form data from an adapter, or what another lambda emitted."""

    def on_gap(self, gap: "BookGap", /) -> None:
        """Diffs of a book were lost. `BookSnapshot` must be subscribed."""

    def on_stale(self, stale: "MarketStale", /) -> None:
        """A book is not good any more, until its next snapshot. `BookSnapshot` must be subscribed."""

    # Helpers.

    def market(self, symbol: str, provider: str | None = None) -> "MarketState | None":
        """Returns last, bid, ask and spread as this instance saw them last; None before the first event.

        `provider` may be left out while one provider only sends the symbol, else LambdaError asks for it.
        """
        self._require("market")
        return self._running("market").market(symbol, provider)

    def book(self, symbol: str, provider: str | None = None) -> "BookSnapshot | None":
        """Returns the last good book; None when there is none yet or it is stale."""
        self._require("book")
        return self._running("book").book(symbol, provider)

    def every(self, seconds: float, fn: Callable[[], object]) -> "Timer":
        """Calls `fn` every so many seconds of this instance's clock, until `Timer.cancel()`."""
        code = getattr(fn, "__code__", None)
        if not callable(fn) or (code is not None and code.co_flags & 0x280):
            raise LambdaError(f"every: expected a plain function without arguments, {fn!r} was given")
        return self._running("every").every(seconds, fn)

    def now(self) -> int:
        """Returns the time, ns since the epoch: wall time live, the events' time in replay."""
        return self._running("now").now()

    @property
    def delivered_at(self) -> int:
        """When the latest event reached this instance, ns, wall clock; 0 before the first."""
        return self._running("delivered_at").delivered_at

    def emit(self, name: str, payload: object = None) -> None:
        """Sends an `Extension` event that other lambdas can receive; the sender does not.

        `payload` is anything JSON can say, Decimal (as a string) and events included; at most 100 KiB of
        JSON, or what `eventbus.extensionPayloadCapBytes` says.
        """
        instance = self._running("emit")
        if not isinstance(name, str) or not name.strip():  # pyright: ignore[reportUnnecessaryIsInstance]
            raise LambdaError(f"emit: expected a name, {name!r} was given")
        from meltica.lambdas.payload import encode

        instance.emit(name, encode(name, payload, self._max_payload))

    def _attach(self, instance: "Instance", kept: frozenset[str], max_payload: int) -> None:
        """Connects the object with its run; `kept` names the helpers whose state is kept."""
        self._instance, self._kept, self._max_payload = instance, kept, max_payload
        self.log.clock = instance.now

    def _running(self, what: str) -> "Instance":
        if self._instance is None:
            raise LambdaError(
                f"{type(self).__name__}.{what} was used before the instance exists; "
                "use it in on_start or later, not in __init__"
            )
        return self._instance

    def _require(self, what: str) -> None:
        if what not in self._kept and self._instance is not None:
            kinds = " or ".join(repr(kind) for kind in sorted(SOURCES[what]))
            raise LambdaError(
                f"self.{what}() keeps nothing here, because no method of {type(self).__name__} calls it;"
                f" add {kinds} to `needs`"
            )
