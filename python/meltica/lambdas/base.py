"""The base class of strategies.

Overriding a callback subscribes to its event kind. A class is checked when it is defined. `async def`,
misspelt callbacks, unknown kinds, filters that no event can match and invalid policies are refused, all at
once.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from meltica.errors import LambdaDefinitionError, LambdaError
from meltica.lambdas.definition import SOURCES, faults_of

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
"""Default limit, in bytes of JSON, of the payload of `Lambda.emit`."""


class Filter(NamedTuple):
    """A condition on a field of an event: `Filter("side", "eq", "Buy")`.

    All conditions of a kind must hold. `operator` is `eq`, `neq`, `in` (a list of values) or `prefix`.
    Numbers are compared by value (`100.10` = `100.1`). A field that the venue did not send never matches.
    """

    field: str
    operator: str
    value: object


class Lambda:
    """A strategy: subclass it, override callbacks and use the helpers.

    The runtime constructs the instances. Callbacks of one instance run one at a time, on the thread of its
    host, in the order of `event.seq`. An exception in a callback is caught, counted and logged with its
    traceback. Events are immutable and may be kept without limit of time.
    """

    Config: "ClassVar[type[LambdaConfig] | None]" = None
    """Settings, `class Config(LambdaConfig)`: validated before the instance exists, read as `self.config`."""
    filters: "ClassVar[Mapping[str, Sequence[tuple[str, str, object]]]]" = {}
    """Kind -> conditions that must all hold: `{"Trade": [Filter("side", "eq", "Buy")]}`."""
    needs: "ClassVar[AbstractSet[str]]" = frozenset()
    """Kinds to subscribe to without a callback, as sources of `self.market` and `self.book`."""
    book_depth: ClassVar[int] = 25
    """Levels per side of a `BookSnapshot`, 1 to 5000."""
    policies: ClassVar[Mapping[str, str]] = {}
    """Kind -> overflow policy of its queue.

    `conflate` is the default of BookSnapshot and Ticker, `drop_oldest` of all other kinds. `block` is for
    replay.
    """

    id: str
    """Id of this instance."""
    config: Any
    """The validated `Config`; None when the class has none."""
    scope: Mapping[str, tuple[str, ...]]
    """Provider -> the symbols that this instance receives; `("*",)` is all of them."""
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

    # Callbacks: overriding one subscribes to its kind.

    def on_start(self) -> None:
        """Called before the first event. An exception here prevents the instance from starting."""

    def on_stop(self) -> None:
        """Called after the last event."""

    def on_trade(self, trade: "Trade", /) -> None:
        """Called for a public trade."""

    def on_ticker(self, ticker: "Ticker", /) -> None:
        """Called for a new best bid, best ask or last price. Fields that the venue did not send are None."""

    def on_book_snapshot(self, book: "BookSnapshot", /) -> None:
        """Called for a complete order book, cut to `book_depth` levels per side."""

    def on_kline_summary(self, kline: "KlineSummary", /) -> None:
        """Called for a candle."""

    def on_instrument_update(self, update: "InstrumentUpdate", /) -> None:
        """Called for a new or changed instrument."""

    def on_balance_update(self, balance: "BalanceUpdate", /) -> None:
        """Called for a changed balance of the account in a currency of the scope."""

    def on_risk_control(self, control: "RiskControl", /) -> None:
        """Called when a risk check trips or clears."""

    def on_extension(self, extension: "Extension", /) -> None:
        """Called for custom data of an adapter, or for an event that another lambda emitted."""

    def on_gap(self, gap: "BookGap", /) -> None:
        """Called when updates of an order book were lost. Requires a subscription to `BookSnapshot`."""

    def on_stale(self, stale: "MarketStale", /) -> None:
        """Called when an order book becomes invalid until its next snapshot.

        Requires a subscription to `BookSnapshot`.
        """

    # Helpers.

    def market(self, symbol: str, provider: str | None = None) -> "MarketState | None":
        """Returns last, bid, ask and spread as of the latest events; None before the first event.

        `provider` may be left out while only one provider sends the symbol; otherwise LambdaError is raised.
        """
        self._require("market")
        return self._running("market").market(symbol, provider)

    def book(self, symbol: str, provider: str | None = None) -> "BookSnapshot | None":
        """Returns the latest valid order book; None before the first snapshot and while the book is stale."""
        self._require("book")
        return self._running("book").book(symbol, provider)

    def every(self, seconds: float, fn: Callable[[], object]) -> "Timer":
        """Calls `fn` periodically, on this instance's clock, until `Timer.cancel()`."""
        code = getattr(fn, "__code__", None)
        if not callable(fn) or (code is not None and code.co_flags & 0x280):
            raise LambdaError(f"every: expected a plain function without arguments, {fn!r} was given")
        return self._running("every").every(seconds, fn)

    def now(self) -> int:
        """Returns the time in ns since the epoch: the wall clock when live, the events' clock in replay."""
        return self._running("now").now()

    @property
    def delivered_at(self) -> int:
        """Wall clock time, in ns, at which the latest event reached this instance; 0 before the first."""
        return self._running("delivered_at").delivered_at

    def emit(self, name: str, payload: object = None) -> None:
        """Publishes an `Extension` event to other lambdas; the sender does not receive it.

        `payload` is any value that JSON can represent; Decimals (as strings) and events are allowed too. Its
        JSON is limited to `eventbus.extensionPayloadCapBytes`, 100 KiB by default.
        """
        instance = self._running("emit")
        if not isinstance(name, str) or not name.strip():  # pyright: ignore[reportUnnecessaryIsInstance]
            raise LambdaError(f"emit: expected a name, {name!r} was given")
        from meltica.lambdas.payload import encode

        instance.emit(name, encode(name, payload, self._max_payload))

    def _attach(self, instance: "Instance", kept: frozenset[str], max_payload: int) -> None:
        """Connects the strategy to its run; `kept` names the helpers whose state is kept."""
        self._instance, self._kept, self._max_payload = instance, kept, max_payload
        self.log.clock = instance.now

    def _running(self, helper: str) -> "Instance":
        if self._instance is None:
            raise LambdaError(
                f"{type(self).__name__}.{helper} was used before the instance exists; "
                "use it in on_start or later, not in __init__"
            )
        return self._instance

    def _require(self, helper: str) -> None:
        if helper not in self._kept and self._instance is not None:
            kinds = " or ".join(repr(kind) for kind in sorted(SOURCES[helper]))
            raise LambdaError(
                f"self.{helper}() has no data: its state is not kept, because no method of"
                f" {type(self).__name__} calls it; add {kinds} to `needs`"
            )
