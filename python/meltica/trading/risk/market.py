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
    event_time: int = 0
    """When the latest event of the symbol was received."""
    book_synced: bool = False
    """Whether a book of the symbol is complete, so that no event means no change."""
    connection_time: int = 0
    """When the connection of that book last delivered anything, of any symbol; 0 before the first time."""
    lag: int | None = None
    """Delay of the feed above its least delay of the last 8 s, in ns; None where the venue sends no times."""

    @property
    def reference(self) -> Decimal | None:
        """The middle of bid and ask, or the last price if one of them is absent."""
        if self.bid is None or self.ask is None:
            return self.last
        return (self.bid + self.ask) * _HALF

    def fresh_until(self, limit: int) -> int:
        """Returns when the market becomes stale unless more data arrives.

        A symbol that does not trade stays fresh while its book is complete and its connection delivers.
        """
        time = self.event_time
        if self.book_synced and self.connection_time > time:
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
