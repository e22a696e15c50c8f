"""Which symbol and provider a call of a strategy means, within the scope of its instance."""

from collections.abc import Mapping

from meltica.errors import OrderRefused
from meltica.model.symbols import ANY, canonical
from meltica.trading.numbers import INVALID, plain
from meltica.trading.refused import refuse_scope


def provider_in(scope: Mapping[str, tuple[str, ...]], provider: str | None) -> str:
    """Returns a provider of a scope; without a name, its only one. Raises OrderRefused."""
    if provider is not None:
        if provider not in scope:
            refuse_scope(f"{provider} is not in the scope")
        return provider
    if len(scope) != 1:
        raise OrderRefused(INVALID, f"expected `provider=`: the scope has {', '.join(scope)}")
    return next(iter(scope))


def resolve(scope: Mapping[str, tuple[str, ...]], symbol: str, provider: str | None) -> tuple[str, str]:
    """Returns a symbol of a scope and its provider. Raises OrderRefused."""
    if provider is None and len(scope) == 1 and type(symbol) is str:
        [(only, symbols)] = scope.items()
        if symbol in symbols and symbol != ANY:
            return symbol, only
    try:
        symbol = canonical(plain(symbol))
        provider = None if provider is None else plain(provider)
    except (ValueError, TypeError) as error:
        raise OrderRefused(INVALID, str(error)) from None
    if provider is None:
        found = [name for name, symbols in scope.items() if symbol in symbols or ANY in symbols]
        if len(found) == 1:
            return symbol, found[0]
        if not found:
            refuse_scope(f"{symbol} is not in the scope")
    provider = provider_in(scope, provider)
    symbols = scope[provider]
    if symbol not in symbols and ANY not in symbols:
        refuse_scope(f"{symbol} at {provider} is not in the scope")
    return symbol, provider
