"""The market as risk sees it: quotes, freshness, lag of the feed, and rates between currencies."""

from dataclasses import dataclass
from decimal import ROUND_CEILING, Context, Decimal, DivisionByZero, InvalidOperation, Overflow
from typing import Protocol

from meltica.model.enums import Side

_RATES = Context(prec=34, rounding=ROUND_CEILING, traps=[InvalidOperation, DivisionByZero, Overflow])
_ONE = Decimal(1)
_HALF = Decimal("0.5")


@dataclass(slots=True)
class Quote:
    """The latest prices of a symbol. Absent prices are None."""

    bid: Decimal | None = None
    ask: Decimal | None = None
    last: Decimal | None = None
    top_time: int = 0
    """When the event that stated bid and ask was received. Each event states both, or removes one."""
    last_time: int = 0
    """When the event that stated the last price was received."""
    of_book: bool = False
    """Whether a complete book has this bid and ask, so that no event means no change."""
    crossed: bool = False
    """Whether the bid reached the ask. Both are absent then, and no price is a reference."""
    connection_time: int = 0
    """When the connection of that book last delivered anything, of any symbol; 0 before the first time."""
    lag: int | None = None
    """Delay of the feed above its least delay of the last 8 s, in ns; None where the venue sends no times."""

    @property
    def reference(self) -> Decimal | None:
        """The middle of bid and ask, or without one of them the last price; None while they are crossed."""
        if self.bid is None or self.ask is None:
            return None if self.crossed else self.last
        return (self.bid + self.ask) * _HALF

    @property
    def source(self) -> str:
        """Which prices make the reference."""
        return "last price" if self.bid is None or self.ask is None else "bid and ask"

    def fresh_until(self, limit: int) -> int:
        """Returns when the reference becomes stale unless more data arrives.

        A symbol that does not trade stays fresh while its book is complete and its connection delivers.
        """
        if self.bid is None or self.ask is None:
            return self.last_time + limit
        time = self.top_time
        if self.of_book and self.connection_time > time:
            time = self.connection_time
        return time + limit


class Market(Protocol):
    """The market data that risk reads."""

    def quote(self, provider: str, symbol: str) -> Quote | None:
        """Returns the latest prices of a symbol; None before the first, and while its feed is stale."""
        ...

    def depth(self, provider: str, symbol: str, side: Side, limit: Decimal) -> Decimal | None:
        """Returns the quantity that an order of `side` meets at `limit` or better.

        None without a complete book.
        """
        ...


def conversion_pairs(currency: str, into: str) -> tuple[str, ...]:
    """Returns the symbols of which one has to be subscribed to, to convert a currency."""
    return () if currency == into else (f"{currency}-{into}", f"{into}-{currency}")


def rate(
    market: Market, provider: str, currency: str, into: str, now: int, stale: int | None
) -> Decimal | None:
    """Returns the price of a currency in another one by a direct pair of the provider.

    None without a fresh one. The inverse of a price is rounded up.
    """
    if currency == into:
        return _ONE
    direct, inverse = conversion_pairs(currency, into)
    for symbol in (direct, inverse):
        quote = market.quote(provider, symbol)
        price = None if quote is None else quote.reference
        if quote is None or price is None or price <= 0:
            continue
        if stale is not None and now > quote.fresh_until(stale):
            continue
        return price if symbol == direct else _RATES.divide(_ONE, price)
    return None
