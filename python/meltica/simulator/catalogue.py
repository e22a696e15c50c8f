"""Symbols and start prices of the fake venue."""

from decimal import Decimal

from meltica.model.symbols import currencies

VENUE = "FAKE"
SYMBOLS = (
    "BTC-USDT",
    "ETH-USDT",
    "XRP-USDT",
    "SOL-USDT",
    "ADA-USDT",
    "DOGE-USDT",
    "BNB-USDT",
    "LTC-USDT",
    "DOT-USDT",
    "AVAX-USDT",
)

_PRICES = {"BTC-USDT": Decimal(60000), "ETH-USDT": Decimal(2000), "SOL-USDT": Decimal(150)}


def price(symbol: str) -> Decimal:
    """Returns the start price of a symbol."""
    return _PRICES.get(symbol, Decimal(100))


def instrument(symbol: str) -> dict[str, object]:
    """Returns the instrument of a symbol, as `InstrumentUpdate.instrument`."""
    base, quote = currencies(symbol)
    return {
        "symbol": symbol,
        "type": "spot",
        "baseCurrency": base,
        "quoteCurrency": quote,
        "venue": VENUE,
        "priceIncrement": "0.01",
        "quantityIncrement": "0.0001",
        "minQuantity": "0.0001",
        "maxQuantity": "1000",
        "minNotional": "10",
        "pricePrecision": 2,
        "quantityPrecision": 4,
        "notionalPrecision": 2,
    }
