"""Daily loss and drawdown of one scope."""

from dataclasses import dataclass
from decimal import Decimal

_DAY = 86_400_000_000_000
_HUNDRED = Decimal(100)

VALUED_FOR = 10_000_000_000
"""Nanoseconds for which a valuation may serve orders that add risk."""


@dataclass(slots=True)
class Loss:
    """The profit of a scope: its value at the opening of the day, its latest value and its peak.

    The profit is realised + unrealised - fees since the scope exists, in `notionalCurrency`. The day is that
    of UTC, and only moves forward: a clock that is set back leaves the day and its opening as they are.
    """

    currency: str = ""
    """Of all amounts; empty before the first valuation."""
    day: int | None = None
    """Days since 1970-01-01; None before the first valuation."""
    opening: Decimal | None = None
    """The profit at the opening of the day: the last one of the day before."""
    profit: Decimal | None = None
    """The latest profit; None before the first valuation."""
    peak: Decimal | None = None
    base: Decimal | None = None
    """What the drawdown is measured against: capital of an instance, equity elsewhere."""
    valued_at: int = 0

    def set_currency(self, currency: str) -> None:
        """Takes the currency of the valuations to come; in another one, the loss starts again."""
        if self.currency != currency:
            self.day = self.opening = self.profit = self.peak = None
        self.currency = currency

    def has_loss_of_day(self, now: int) -> bool:
        """Returns whether the latest valuation was below the opening of the day, which has not ended."""
        return self.day is not None and self.day >= now // _DAY and self.daily_loss > 0

    @property
    def has_fallen(self) -> bool:
        """Whether the latest valuation is below the peak."""
        return self.peak is not None and self.profit is not None and self.profit < self.peak

    def mark(self, profit: Decimal | None, base: Decimal | None, now: int) -> None:
        """Takes a valuation; a profit of None says that a position cannot be valued."""
        self.base = base
        if profit is None:
            self.valued_at = 0
            return
        self.valued_at = now
        day = now // _DAY
        if self.day is None or self.opening is None or self.profit is None or self.peak is None:
            self.day, self.opening, self.peak = day, profit, profit
        elif day > self.day:
            self.day, self.opening = day, self.profit
        self.profit = profit
        self.peak = max(self.peak, profit)

    def is_valued(self, now: int) -> bool:
        """Returns whether a valuation exists that is recent enough."""
        return self.profit is not None and -VALUED_FOR <= now - self.valued_at <= VALUED_FOR

    @property
    def daily_loss(self) -> Decimal:
        """The loss since the opening of the day; negative for a profit, 0 before the first valuation."""
        return Decimal(0) if self.opening is None or self.profit is None else self.opening - self.profit

    def reaches_drawdown(self, percent: Decimal) -> bool:
        """Returns whether the profit fell from its peak by `percent` of the base."""
        if self.peak is None or self.profit is None or self.base is None:
            return False
        return (self.peak - self.profit) * _HUNDRED >= percent * self.base

    def restart_peak(self) -> None:
        """Measures the drawdown from the latest profit on."""
        self.peak = self.profit
