"""Profit and loss of positions in one currency."""

from collections.abc import Iterable
from decimal import Decimal, localcontext

from meltica.model.symbols import currencies
from meltica.model.trader import PnlView
from meltica.trading.exact import EXACT, ZERO
from meltica.trading.positions import Position
from meltica.trading.risk.market import Market, rate


def value(positions: Iterable[Position], market: Market, currency: str, now: int) -> PnlView:
    """Returns the profit and loss of positions in a currency, at the prices of now.

    A position without a price or a rate is unvalued as a whole; of a fee without a rate, the fee alone.
    """
    realised = unrealised = fees = ZERO
    unvalued: dict[str, None] = {}
    with localcontext(EXACT):
        for position in positions:
            provider, symbol = position.key.provider, position.key.symbol
            base, quote = currencies(symbol)
            factor = rate(market, provider, quote, currency, now, None)
            price = _price(market, provider, symbol) if position.quantity else ZERO
            if factor is None or price is None:
                unvalued[symbol] = None
            else:
                realised += position.realised * factor
                unrealised += (position.quantity * price - position.cost) * factor
            for fee_currency, fee in position.fees.items():
                if fee_currency == base or not fee:
                    continue  # a fee in base is a part of `realised`
                factor = rate(market, provider, fee_currency, currency, now, None)
                if factor is None:
                    unvalued[fee_currency] = None
                else:
                    fees += fee * factor
    return PnlView(currency, realised, unrealised, fees, tuple(unvalued))


def _price(market: Market, provider: str, symbol: str) -> Decimal | None:
    quote = market.quote(provider, symbol)
    return None if quote is None else quote.reference
