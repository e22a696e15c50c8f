"""What the control plane reads of trading. Nothing here imports trading: a gateway may run without it."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from meltica.persistence.stores.trading.halts import HaltStore
from meltica.persistence.stores.trading.queries import TradingQueries

if TYPE_CHECKING:
    from meltica.trading.desk import Desk
    from meltica.trading.faults import TradingFault
    from meltica.trading.operator import Operator
    from meltica.trading.risk.configured import ConfiguredLimits


class TradingReads:
    """The state and the history of trading."""

    def __init__(
        self,
        queries: TradingQueries,
        halts: HaltStore,
        desk: "Callable[[], Desk | None]",
        faults: "Callable[[], Sequence[TradingFault]]",
        operator: "Callable[[], Operator | None]",
        limits: "ConfiguredLimits",
    ) -> None:
        """Creates it from parts of the gateway.

        - `desk`: returns the orders in memory; None while nothing trades.
        - `operator`: returns what acts on these orders; None while nothing trades.

        """
        self.queries = queries
        self.halts = halts
        self.desk = desk
        self.faults = faults
        self.operator = operator
        self.limits = limits
