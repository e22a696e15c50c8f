"""The base class of strategies.

Overriding a callback subscribes to its event kind. A class is checked when it is defined. `async def`,
misspelt callbacks, unknown kinds, filters that no event can match and invalid policies are refused, all at
once.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from meltica.errors import LambdaDefinitionError, LambdaError
from meltica.lambdas.definition import SOURCES, faults_of
from meltica.lambdas.orders import TradingMethods

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
    from meltica.model.trader import Trader

MAX_NAME = 256
"""Limit, in bytes, of the name of `Lambda.emit`: each waiting event holds its name."""
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


class Lambda(TradingMethods):
    """A strategy: subclass it, override callbacks and use the helpers.

    Overriding a callback subscribes to its event kind. The runtime constructs the instances. Callbacks of one
    instance run one at a time, on the thread of its host, in the order of `event.seq`. An exception in a
    callback is caught, counted and logged with its traceback. Events are immutable and may be kept without
    limit of time. `meltica.lambdas.orders.TradingMethods` describes the callbacks and helpers of orders.

    For example:

        class Spread(meltica.Lambda):
            class Config(meltica.LambdaConfig):
                seconds: float = 60

            needs = {"Ticker"}

            def on_start(self) -> None:
                self.every(self.config.seconds, self.report)

            def report(self) -> None:
                market = self.market("BTC-USDT")
                if market is not None:
                    self.log.info("spread %s", market.spread)

    Attributes that a class may define:

        Config      type[LambdaConfig] | None: the settings, `class Config(meltica.LambdaConfig)`; validated
                    before the instance exists
        filters     dict: kind -> list of `meltica.Filter` that must all hold:
                    `{"Trade": [Filter("side", "eq", "Buy")]}`; other events do not reach the callback
        needs       set[str]: kinds to subscribe to without a callback, as sources of `market` and `book`
        book_depth  int: levels per side of a `BookSnapshot`, 1 to 5000; 25 by default
        places_orders  bool: whether the lambda trades although none of its methods uses a trading helper
        policies    dict[str, str]: kind -> what its full queue does: `conflate` (keeps the latest event of
                    each symbol), `drop_oldest` or `block` (replay only)

    Attributes of an instance, set before `__init__` runs:

        id          str: id of this instance, unique in its gateway
        config      the validated `Config`; None if the class has none
        scope       Mapping[str, tuple[str, ...]]: provider -> the symbols that this instance receives;
                    `("*",)` is all of them
        log         logging.LoggerAdapter: the logger `meltica.lambda.<id>`: `self.log.info("bid %s", bid)`

    `meltica.testing.replay` runs a strategy in a test, `meltica replay` on a recording.
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
    _trader: "Trader | None" = None
    _kept: frozenset[str] = frozenset()
    _max_payload: int = MAX_PAYLOAD

    def __init_subclass__(cls, **keywords: object) -> None:
        """Checks the definition of a subclass. Raises LambdaDefinitionError, which lists every fault.

        Faults are `async def` and misspelt callbacks, wrong parameters, unknown kinds, filters that no event
        can match, and invalid values of `needs`, `book_depth` and `policies`.
        """
        super().__init_subclass__(**keywords)
        faults = faults_of(cls, Lambda)
        if faults:
            raise LambdaDefinitionError(cls.__name__, faults)

    # Callbacks: overriding one subscribes to its kind.

    def on_start(self) -> None:
        """Called once, before the first event. An exception here prevents the instance from starting."""

    def on_stop(self) -> None:
        """Called once, after the last event. Orders are refused here, cancels go out."""

    def on_trade(self, trade: "Trade", /) -> None:
        """Called for a public trade. Subscribes to `Trade`."""

    def on_ticker(self, ticker: "Ticker", /) -> None:
        """Called for a new best bid, best ask or last price. Subscribes to `Ticker`.

        Fields that the venue did not send are None.
        """

    def on_book_snapshot(self, book: "BookSnapshot", /) -> None:
        """Called for a complete order book. Subscribes to `BookSnapshot`.

        The book is cut to `book_depth` levels per side.
        """

    def on_kline_summary(self, kline: "KlineSummary", /) -> None:
        """Called for a candle. Subscribes to `KlineSummary`."""

    def on_instrument_update(self, update: "InstrumentUpdate", /) -> None:
        """Called for a new or changed instrument. Subscribes to `InstrumentUpdate`."""

    def on_balance_update(self, balance: "BalanceUpdate", /) -> None:
        """Called for a changed balance of the account. Subscribes to `BalanceUpdate`.

        The currency is in the scope of the instance.
        """

    def on_risk_control(self, control: "RiskControl", /) -> None:
        """Called when risk begins or ceases to block orders of this lambda: `TRIGGERED`, then `CLEARED`.

        `breach_type` is `operator` or the limit that halted a scope of the lambda, `breaker_open` while the
        circuit breaker pauses it, or `feed_lag` while orders that would rest are refused.

        Subscribes to `RiskControl`. So it is also called for what an adapter publishes.
        """

    def on_extension(self, extension: "Extension", /) -> None:
        """Called for data of an adapter, or what another lambda emitted. Subscribes to `Extension`."""

    def on_gap(self, gap: "BookGap", /) -> None:
        """Called when updates of an order book were lost: `BookGap`.

        Does not subscribe: requires `on_book_snapshot`, or `BookSnapshot` in `needs`.
        """

    def on_stale(self, stale: "MarketStale", /) -> None:
        """Called when market data becomes stale until its next event: `MarketStale`.

        Does not subscribe: requires a subscription to `BookSnapshot`, `Trade` or `Ticker`. Without books,
        only the reasons `disconnected`, `silent`, `left_out` and `contract_size` are delivered,
        `ticker_crossed` for tickers and `ids_restarted` for trades.
        """

    # Helpers.

    def market(self, symbol: str, provider: str | None = None) -> "MarketState | None":
        """Returns last, bid, ask and spread as of the latest events; None before the first event.

        Requires a subscription to `Trade`, `Ticker` or `BookSnapshot`: by a callback, or in `needs`. Without
        one, the instance does not start: LambdaDefinitionError. For calls outside the class's methods,
        the kind must be in `needs`; LambdaError is raised otherwise.

        `symbol` is `BTC-USDT` or `BTC/USDT`. `provider` may be left out while only one provider sends the
        symbol; otherwise LambdaError is raised.
        """
        self._require("market")
        return self._running("market").market(symbol, provider)

    def book(self, symbol: str, provider: str | None = None) -> "BookSnapshot | None":
        """Returns the latest valid order book; None before the first snapshot and while the book is stale.

        Requires a subscription to `BookSnapshot`: by `on_book_snapshot`, or in `needs`. Without one, the
        instance does not start: LambdaDefinitionError. For calls outside the class's methods, the kind
        must be in `needs`; LambdaError is raised otherwise.

        `symbol` is `BTC-USDT` or `BTC/USDT`. `provider` may be left out while only one provider sends the
        symbol; otherwise LambdaError is raised.
        """
        self._require("book")
        return self._running("book").book(symbol, provider)

    def every(self, seconds: float, fn: Callable[[], object]) -> "Timer":
        """Calls `fn` each `seconds` (1e-6 to 1e9) until `Timer.cancel()`.

        The first call is one period from now; in a replay before the first event, one period after that
        event. Live, a change of the wall clock does not affect the timer, and calls that are overdue are made
        once. A replay makes each of them, and none after its last event; when the recording jumps by more
        than 10,000 periods, the calls beyond are skipped and logged. An exception in `fn` is handled like one
        in a callback.

        Raises ValueError when `seconds` is out of range, and LambdaError when `fn` is not a plain function
        (`async def`, a generator), in `__init__`, and once the instance has ended.
        """
        code = getattr(fn, "__code__", None)
        if not callable(fn) or (code is not None and code.co_flags & 0x280):
            raise LambdaError(f"every: expected a plain function without arguments, {fn!r} was given")
        return self._running("every").every(seconds, fn)

    def now(self) -> int:
        """Returns the time in ns since 1970-01-01 UTC: the wall clock live, the events' clock in a replay.

        The events' clock is 0 before the first event. Raises LambdaError in `__init__`.
        """
        return self._running("now").now()

    @property
    def delivered_at(self) -> int:
        """int: When the latest event reached this instance; 0 before the first.

        In ns since 1970-01-01 UTC, by the wall clock, in a replay too. Raises LambdaError in `__init__`.
        """
        return self._running("delivered_at").delivered_at

    def emit(self, name: str, payload: object = None) -> None:
        """Publishes an `Extension` event to other lambdas; the sender does not receive it.

        `payload` is any value that JSON can represent; Decimals (as strings) and events are allowed too. Its
        JSON has at most 100 KiB (102,400 bytes), less if `eventbus.extensionPayloadCapBytes` is lower. In a
        replay, the event is published after the callbacks of the current one.

        Raises LambdaError when `name` is empty or has more than 256 bytes, when the payload has no JSON
        representation or is too large, in `__init__`, and once the instance has ended.
        """
        instance = self._running("emit")
        if not isinstance(name, str) or not name.strip():  # pyright: ignore[reportUnnecessaryIsInstance]
            raise LambdaError(f"emit: expected a name, {name!r} was given")
        if len(name) > MAX_NAME or len(name.encode("utf-8", "surrogatepass")) > MAX_NAME:
            size = len(name.encode("utf-8", "surrogatepass"))
            raise LambdaError(f"emit {name[:20]!r}: expected a name of at most {MAX_NAME} bytes, saw {size}")
        from meltica.lambdas.payload import encode

        instance.emit(name, encode(f"emit {name!r}: the payload", payload, self._max_payload))

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

    def _trading(self, helper: str) -> "Trader":
        if self._trader is None:
            self._running(helper)
            raise LambdaError(
                f"self.{helper} is not available: no method of {type(self).__name__} uses it, so the lambda "
                "does not trade; set `places_orders = True` in the class"
            )
        return self._trader

    def _require(self, helper: str) -> None:
        if helper not in self._kept and self._instance is not None:
            kinds = " or ".join(repr(kind) for kind in sorted(SOURCES[helper]))
            raise LambdaError(
                f"self.{helper}() has no data: its state is not kept, because no method of"
                f" {type(self).__name__} calls it; add {kinds} to `needs`"
            )
