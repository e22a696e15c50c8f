"""Runs a strategy on recorded or written events, inside a test.

    from meltica.testing import event, replay

    def test_counts_trades() -> None:
        run = replay(
            Counter,
            [
                event("Trade", "BTC-USDT", at=1, price="100", quantity="2"),
                event("Trade", "BTC-USDT", at=62, price="101", quantity="1"),
            ],
            config={"seconds": 60},
        )
        assert run.instance.trades == 2
        assert run.logs == ["1 trade in 60 s"]

The events set the clock, so a minute of timers takes no time. The same events give the same callbacks in the
same order.
"""

import itertools
import logging
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Generic, TypeVar, cast, overload

import orjson
from pydantic.alias_generators import to_camel

from meltica._core import Event, Extension
from meltica.adapters.replay.adapter import ReplayAdapter, ReplaySettings
from meltica.backtest.replay import Replay, Run
from meltica.errors import LambdaError
from meltica.lambdas.base import Lambda
from meltica.lambdas.instances import LAMBDAS
from meltica.lambdas.loader import load

Strategy = TypeVar("Strategy", bound=Lambda)
Source = str | Path | Iterable[Event | Mapping[str, Any] | bytes]
"""A recording on disk, or its lines: events, events as dicts, or frames as `b"<received ns> <frame>"`."""

EPOCH = datetime(2025, 1, 1, tzinfo=UTC)
"""The time of an event at 0 s."""

_PRICES = {name: f"{name}Price" for name in ("last", "bid", "ask")}
_PRICES_OF_KLINES = {name: f"{name}Price" for name in ("open", "close", "high", "low")}
_ids = itertools.count(1)


@dataclass(frozen=True)
class Replayed(Generic[Strategy]):
    """What a strategy did during `replay`.

    - `instance`: the strategy's object, after `on_stop`
    - `emitted`: list of the `meltica.Extension` events that it sent with `emit`, in order
    - `logs`: list of the messages that it logged with `self.log`, in order; INFO and above by default
    - `report`: what `meltica replay --json` prints: counters of events, drops and errors
    """

    instance: Strategy
    """The strategy's object, after `on_stop`."""
    emitted: list[Extension]
    """What the strategy sent with `emit`, in order."""
    logs: list[str]
    """The messages that the strategy logged, in order."""
    report: dict[str, Any]
    """What `meltica replay --json` prints: counters of events, drops and errors."""


@overload
def replay(
    strategy: type[Strategy],
    source: Source,
    *,
    config: Mapping[str, object] | None = None,
    codec: str | None = None,
    symbols: Iterable[str] = (),
    allow_errors: bool = False,
) -> Replayed[Strategy]: ...


@overload
def replay(
    strategy: str | Path,
    source: Source,
    *,
    config: Mapping[str, object] | None = None,
    codec: str | None = None,
    symbols: Iterable[str] = (),
    allow_errors: bool = False,
) -> Replayed[Any]: ...


def replay(
    strategy: type[Lambda] | str | Path,
    source: Source,
    *,
    config: Mapping[str, object] | None = None,
    codec: str | None = None,
    symbols: Iterable[str] = (),
    allow_errors: bool = False,
) -> Replayed[Any]:
    """Runs a strategy on `source` and returns what it did.

    For example:

        import meltica
        from meltica.testing import event, replay

        class Counter(meltica.Lambda):
            def on_trade(self, trade: meltica.Trade) -> None:
                self.log.info("%s at %s", trade.quantity, trade.price)

        run = replay(Counter, [event("Trade", "BTC-USDT", at=1, price="100", quantity="2")])
        assert run.logs == ["2.0 at 100.0"]

    The arguments:

    - `strategy`: a `Lambda` subclass, or the file that defines one: `lambdas/mine.py`, `lambdas/mine.py:Mine`
    - `source`: the path of a recording, plain or compressed, or the lines of one, at least one: `Event`s,
      dicts as of `Event.to_dict()`, or frames as `b"<received ns> <frame>"`
    - `config`: the settings, by the names of the fields of the strategy's `Config`
    - `codec`: the codec of frames, such as `binance`; None for events
    - `symbols`: the scope of the strategy, such as `["BTC-USDT"]`; empty for all symbols of the source
    - `allow_errors`: count exceptions in callbacks, as a gateway does, instead of raising LambdaError

    Returns a `Replayed` with `instance` (the strategy's object), `emitted` (its `Extension` events), `logs`
    (its messages) and `report` (counters, as `meltica replay --json` prints).

    The received times of the events, in ns since 1970-01-01 UTC, set the clock: timers fire between events,
    without waiting. After the last event the clock stops, so timers that are due later do not fire; `on_stop`
    follows.

    The exceptions:

    - LambdaLoadError: the file has no usable strategy
    - LambdaDefinitionError: the class cannot run, for example `book()` without `BookSnapshot`
    - ConfigError: `config` does not fit the `Config`
    - ReplayError: the source cannot be read, is empty or damaged, or does not fit `codec`
    - CapacityError: memory is not available for the queues
    - LambdaError: `__init__`, `on_start` or a callback raised; a callback did not return; a symbol is invalid
    """
    cls = strategy if isinstance(strategy, type) else load(str(strategy))
    with tempfile.TemporaryDirectory(prefix="meltica-") as folder:
        path = _recording(source, Path(folder))
        adapter = ReplayAdapter(ReplaySettings(paths=[path], codec=codec))
        runs = [Run(cls, cls.__name__, config or {}), Run(_Emitted, "_emitted")]
        session = Replay(adapter, runs, symbols=list(symbols))
        instance, emitted = (run.subject for run in session.instances)
        with _Messages(instance.log.logger) as logs:
            try:
                session.run()
            finally:
                stopped = session.finish()
    report = session.report("ok" if stopped else "lambda_failed")
    row, _ = report["lambdas"]
    report["lambdas"] = [row]
    if not stopped:
        raise LambdaError(f"{cls.__name__}: a callback did not return")
    if row["errors"] and not allow_errors:
        raise LambdaError(f"{cls.__name__}: {row['errors']} callbacks raised; the last: {row['last_error']}")
    return Replayed(instance, cast(_Emitted, emitted).events, logs.messages, report)


def event(kind: str, symbol: str, *, at: float = 0.0, provider: str = "test", **payload: object) -> Event:
    """Returns an event for `replay`: `event("Ticker", "BTC-USDT", at=1.5, bid="99", ask="101")`.

    `at` is its time, in seconds since 2025-01-01 UTC. The payload has the names of the event's attributes;
    numbers may be str, int, Decimal or float. A trade without a `trade_id` gets one. Raises ValueError when
    the payload does not fit.
    """
    names = _PRICES if kind == "Ticker" else _PRICES_OF_KLINES if kind == "KlineSummary" else {}
    values = {names.get(name) or to_camel(name): _plain(value) for name, value in payload.items()}
    if kind == "Trade":
        values.setdefault("tradeId", str(next(_ids)))
    time = (EPOCH + timedelta(seconds=at)).isoformat()
    data = {
        "type": kind,
        "provider": provider,
        "symbol": symbol,
        "venueTs": time,
        "ingestTs": time,
        "payload": values,
    }
    result = Event.from_dict(data)
    ignored = values.keys() - result.to_dict()["payload"].keys()
    if ignored:
        raise ValueError(f"{kind}: unknown fields {', '.join(sorted(ignored))}; use the event's attributes")
    return result


class _Emitted(Lambda):
    """Keeps the extensions that the strategy emits."""

    def __init__(self) -> None:
        self.events: list[Extension] = []

    def on_extension(self, extension: Extension, /) -> None:
        """Keeps one, unless it comes from the recording."""
        if extension.provider == LAMBDAS:
            self.events.append(extension)


class _Messages(logging.Handler):
    """Keeps the messages of a logger while the context is open."""

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__()
        self.messages: list[str] = []
        self._logger = logger
        self._level = logger.level

    def __enter__(self) -> "_Messages":
        self._logger.addHandler(self)
        if not self._logger.isEnabledFor(logging.INFO):
            self._logger.setLevel(logging.INFO)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)
        self._logger.setLevel(self._level)

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps one message."""
        self.messages.append(record.getMessage())


def _recording(source: Source, folder: Path) -> Path:
    if isinstance(source, str | Path):
        return Path(source)
    path = folder / "events"
    path.write_bytes(b"".join(_line(each) + b"\n" for each in source))
    return path


def _line(item: Event | Mapping[str, Any] | bytes) -> bytes:
    if isinstance(item, bytes):
        return item
    return orjson.dumps(item.to_dict() if isinstance(item, Event) else item)


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Decimal | float) else value
