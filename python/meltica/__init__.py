"""Meltica: a gateway for crypto trading strategies in Python.

This module holds everything that a strategy author needs::

    import meltica

    class Spread(meltica.Lambda):
        def on_ticker(self, ticker: meltica.Ticker) -> None:
            self.log.info("%s %.2f", ticker.symbol, ticker.ask - ticker.bid)

The import takes a few milliseconds: pydantic is loaded only when `LambdaConfig` is first used.
"""

from typing import TYPE_CHECKING

from meltica._core import (
    BalanceUpdate,
    BookGap,
    BookSnapshot,
    Event,
    ExecReport,
    Extension,
    InstrumentUpdate,
    KlineSummary,
    MarketStale,
    MarketState,
    PriceLevel,
    RiskControl,
    Ticker,
    Timer,
    Trade,
    __version__,
)
from meltica.errors import (
    CapacityError,
    CodecError,
    ConfigError,
    LambdaDefinitionError,
    LambdaError,
    LambdaLoadError,
    LambdaStopped,
    MelticaError,
    OrderRefused,
    OutcomeUnknown,
    ProtocolError,
    RateLimited,
    ReplayError,
    Unauthenticated,
    VenueError,
    VenueUnavailable,
)
from meltica.lambdas.base import Filter, Lambda
from meltica.model.enums import (
    EventKind,
    Liquidity,
    Mode,
    OrderState,
    OrderType,
    OverflowPolicy,
    Side,
    TimeInForce,
)

if TYPE_CHECKING:
    from meltica.lambdas.config import LambdaConfig
    from meltica.model.account import FeeRates
    from meltica.model.fills import Fill
    from meltica.model.instruments import Instrument
    from meltica.model.trader import Order, PnlView, PositionView, TradingStatus

_LATE = {
    "FeeRates": "meltica.model.account",
    "Fill": "meltica.model.fills",
    "Instrument": "meltica.model.instruments",
    "LambdaConfig": "meltica.lambdas.config",
    "Order": "meltica.model.trader",
    "PnlView": "meltica.model.trader",
    "PositionView": "meltica.model.trader",
    "TradingStatus": "meltica.model.trader",
}
"""Names whose modules are imported when they are first used."""

__all__ = [
    "BalanceUpdate",
    "BookGap",
    "BookSnapshot",
    "CapacityError",
    "CodecError",
    "ConfigError",
    "Event",
    "EventKind",
    "ExecReport",
    "Extension",
    "FeeRates",
    "Fill",
    "Filter",
    "Instrument",
    "InstrumentUpdate",
    "KlineSummary",
    "Lambda",
    "LambdaConfig",
    "LambdaDefinitionError",
    "LambdaError",
    "LambdaLoadError",
    "LambdaStopped",
    "Liquidity",
    "MarketStale",
    "MarketState",
    "MelticaError",
    "Mode",
    "Order",
    "OrderRefused",
    "OrderState",
    "OrderType",
    "OutcomeUnknown",
    "OverflowPolicy",
    "PnlView",
    "PositionView",
    "PriceLevel",
    "ProtocolError",
    "RateLimited",
    "ReplayError",
    "RiskControl",
    "Side",
    "Ticker",
    "TimeInForce",
    "Timer",
    "Trade",
    "TradingStatus",
    "Unauthenticated",
    "VenueError",
    "VenueUnavailable",
    "__version__",
]


def __getattr__(name: str) -> object:
    if name in _LATE:
        from importlib import import_module

        value = globals()[name] = getattr(import_module(_LATE[name]), name)
        return value
    raise AttributeError(f"module `meltica` has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
