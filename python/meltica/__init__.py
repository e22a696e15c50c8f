"""Meltica: a gateway for people who run crypto trading strategies in Python.

Everything a strategy author needs is here::

    import meltica

    class Spread(meltica.Lambda):
        def on_ticker(self, ticker: meltica.Ticker) -> None:
            self.log.info("%s %.2f", ticker.symbol, ticker.ask - ticker.bid)

Importing costs a few milliseconds: `LambdaConfig` loads pydantic only when it is first used.
"""

from typing import TYPE_CHECKING

from meltica._core import (
    BalanceUpdate,
    BookSnapshot,
    Event,
    ExecReport,
    Extension,
    Gap,
    InstrumentUpdate,
    KlineSummary,
    Level,
    MarketState,
    RiskControl,
    Stale,
    Ticker,
    Timer,
    Trade,
    __version__,
)
from meltica.errors import (
    CapacityError,
    CodecError,
    ConfigError,
    LambdaClassError,
    LambdaError,
    LambdaLoadError,
    LambdaStopped,
    MelticaError,
    ReplayError,
)
from meltica.lambdas.base import Filter, Lambda
from meltica.types import EventKind, Policy, Side

if TYPE_CHECKING:
    from meltica.lambdas.config import LambdaConfig

__all__ = [
    "BalanceUpdate",
    "BookSnapshot",
    "CapacityError",
    "CodecError",
    "ConfigError",
    "Event",
    "EventKind",
    "ExecReport",
    "Extension",
    "Filter",
    "Gap",
    "InstrumentUpdate",
    "KlineSummary",
    "Lambda",
    "LambdaClassError",
    "LambdaConfig",
    "LambdaError",
    "LambdaLoadError",
    "LambdaStopped",
    "Level",
    "MarketState",
    "MelticaError",
    "Policy",
    "ReplayError",
    "RiskControl",
    "Side",
    "Stale",
    "Ticker",
    "Timer",
    "Trade",
    "__version__",
]


def __getattr__(name: str) -> object:
    if name == "LambdaConfig":
        from meltica.lambdas.config import LambdaConfig

        globals()[name] = LambdaConfig
        return LambdaConfig
    raise AttributeError(f"module `meltica` has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
