import meltica


class Noop(meltica.Lambda):
    """Receives market data and does nothing: shows what a lambda costs by itself."""

    def on_trade(self, trade: meltica.Trade) -> None:
        pass

    def on_ticker(self, ticker: meltica.Ticker) -> None:
        pass

    def on_book_snapshot(self, book: meltica.BookSnapshot) -> None:
        pass
