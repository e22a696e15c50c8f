"""The stages of the contract."""

from decimal import Decimal
from typing import ClassVar, cast

from meltica._core import SyntheticMarket
from meltica.adapters.base import Adapter
from meltica.adapters.fake.adapter import FakeAdapter
from meltica.testing import Book, Stage

SYMBOLS = ("BTC-USDT", "ETH-USDT", "XRP-USDT")
MARKET = {
    "seed": 7,
    "symbols": list(SYMBOLS),
    "trade_interval": "100ms",
    "ticker_interval": "100ms",
    "book_snapshot_interval": "50ms",
}
SIZES = {"BTC-USDT": Decimal("0.01"), "ETH-USDT": Decimal("0.1"), "XRP-USDT": Decimal(2)}


class InProcess(Stage):
    """`fake` in this process: the market belongs to the adapter."""

    symbols: ClassVar[tuple[str, ...]] = SYMBOLS
    _adapter: FakeAdapter | None = None

    @property
    def market(self) -> SyntheticMarket:
        """The market of the latest adapter."""
        assert self._adapter is not None
        return self._adapter.market

    def adapter(self, **settings: object) -> Adapter:
        self._adapter = cast(FakeAdapter, FakeAdapter.configure({**MARKET, **settings}))
        return self._adapter

    def book(self, symbol: str) -> Book:
        book = self.market.book(symbol)
        bids, asks = (
            tuple((level.price, level.quantity) for level in side) for side in (book.bids, book.asks)
        )
        return Book(book.update_id, bids, asks)

    def disconnect(self, seconds: float) -> None:
        self.market.operator.disconnect(int(seconds * 1e9))

    def behave(self, **faults: float) -> None:
        self.market.operator.set_behavior(
            {
                name: int(value * 1e9) if name.endswith(("_for", "_min", "_max")) else value
                for name, value in faults.items()
            }
        )

    def order_size(self, symbol: str) -> Decimal:
        return SIZES[symbol]
