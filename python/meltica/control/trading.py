"""What the control plane reads of trading. Nothing here imports trading: a gateway may run without it."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from meltica.persistence.stores.trading.halts import HaltStore
from meltica.persistence.stores.trading.queries import TradingQueries

if TYPE_CHECKING:
    from meltica.trading.desk import Desk
    from meltica.trading.faults import TradingFault
    from meltica.trading.operator import Operator
    from meltica.trading.risk.limits import RiskLimits


class TradingReads:
    """The state and the history of trading."""

    def __init__(
        self,
        queries: TradingQueries,
        halts: HaltStore,
        desk: "Callable[[], Desk | None]",
        faults: "Callable[[], Sequence[TradingFault]]",
        operator: "Callable[[], Operator | None]",
        limits: "RiskLimits",
        provider_limits: "Mapping[str, RiskLimits]",
        instance_limits: "Mapping[str, RiskLimits]",
    ) -> None:
        """Creates it from parts of the gateway.

        - `desk`: returns the orders in memory; None while nothing trades.
        - `operator`: returns what acts on these orders; None while nothing trades.
        - `limits`: those of the global scope.

        """
        self.queries = queries
        self.halts = halts
        self.desk = desk
        self.faults = faults
        self.operator = operator
        self.limits = limits
        self.provider_limits = provider_limits
        self.instance_limits = instance_limits
