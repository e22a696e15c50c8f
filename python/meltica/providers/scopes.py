"""Symbols of a scope from which no event comes."""

from collections.abc import Iterable, Iterator, Mapping

from meltica.model.symbols import ANY
from meltica.providers.manager import ProviderManager

NOT_LISTED = "does not list the symbol"
EMITTED = "meltica"
"""The provider name of events that lambdas emit."""


def scope_faults(scope: Mapping[str, Iterable[str]], providers: ProviderManager) -> dict[str, str]:
    """Returns why no event comes from a symbol, by `provider symbol`.

    Symbols are compared with the instruments of the provider's last start; before it, none is unknown.
    """
    found: dict[str, str] = {}
    for provider, symbol, reason in _faults(scope, providers):
        found[f"{provider} {symbol}"] = reason
    return found


def unlisted(scope: Mapping[str, Iterable[str]], providers: ProviderManager) -> list[str]:
    """Returns the faults that do not end when providers start: each names its symbol."""
    return [
        f"{symbol}: {reason}"
        for name, symbol, reason in _faults(scope, providers)
        if NOT_LISTED in reason or name not in providers
    ]


def _faults(scope: Mapping[str, Iterable[str]], providers: ProviderManager) -> Iterator[tuple[str, str, str]]:
    listed = {provider.name: provider for provider in providers.all()}
    for name, symbols in scope.items():
        if name == EMITTED:
            continue
        provider = listed.get(name)
        known: set[str] = (
            set() if provider is None else {str(each["symbol"]) for each in provider.instruments}
        )
        for symbol in symbols:
            if provider is None:
                yield name, symbol, f"provider `{name}` unavailable: it does not exist"
            elif symbol != ANY and known and symbol not in known:
                yield name, symbol, f"provider `{name}` {NOT_LISTED}"
            elif not provider.running:
                yield name, symbol, f"provider `{name}` unavailable: it is {provider.actual}"
