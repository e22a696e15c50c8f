from pydantic import Field

import meltica


class Books(meltica.Lambda):
    """Prints the best `levels` of each book when they change, and each gap and stale notice.

    A line has the received time in ns, the symbol, and bids and asks as `price quantity`, the best first.
    """

    book_depth = 5

    class Config(meltica.LambdaConfig):
        levels: int = Field(1, ge=1, le=5)
        """Levels of each side."""

    def __init__(self) -> None:
        self.tops: dict[tuple[str, str], str] = {}

    def on_book_snapshot(self, book: meltica.BookSnapshot) -> None:
        market = book.provider, book.symbol
        top = " | ".join(_text(side[: self.config.levels]) for side in (book.bids, book.asks))
        if self.tops.get(market) != top:
            self.tops[market] = top
            print(book.received_time, book.symbol, top)  # noqa: T201

    def on_gap(self, gap: meltica.BookGap) -> None:
        self._lost(gap, f"gap: expected {gap.expected}, saw {gap.seen}")

    def on_stale(self, stale: meltica.MarketStale) -> None:
        self._lost(stale, f"stale: {stale.reason}")

    def _lost(self, notice: meltica.BookGap | meltica.MarketStale, text: str) -> None:
        self.tops.pop((notice.provider, notice.symbol), None)
        print(notice.received_time, notice.symbol, text)  # noqa: T201


def _text(levels: tuple[meltica.PriceLevel, ...]) -> str:
    return ", ".join(f"{level.price_decimal} {level.quantity_decimal}" for level in levels)
