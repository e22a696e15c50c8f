"""Which market data a stream has, by the parameters of its request."""

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Final

from meltica.control.streams.market_events import MARKET, MarketRoute
from meltica.errors import suggestion
from meltica.http.errors import HttpError
from meltica.model.symbols import canonical

if TYPE_CHECKING:
    from meltica.providers.manager import Provider, ProviderManager

MAX_ROUTES: Final = 64
"""Most routes of one stream."""


def market_routes(
    providers: "ProviderManager", kinds: Iterable[str], names: Collection[str], symbols: Collection[str]
) -> frozenset[MarketRoute]:
    """Returns the routes of the market kinds among `kinds`: none without such a kind.

    - `names`: the providers; without one, all that list the symbol.
    - `symbols`: at least one.

    Raises HttpError for a provider or symbol from which no event can come.
    """
    chosen = [kind for kind in kinds if kind in MARKET]
    if not chosen:
        return frozenset()
    if not symbols:
        raise _invalid(f"`symbol`: {', '.join(chosen)} need one, such as `symbol=BTC-USDT`")
    for name in names:
        if name not in providers:
            known = [each.name for each in providers.all()]
            raise _invalid(f"`provider`: {name[:80]!r} is unknown{suggestion(name, known)}")
    selected = [each for each in providers.all() if not names or each.name in names]
    pairs = [(name, symbol) for symbol in symbols for name, symbol in _sources(selected, symbol, bool(names))]
    routes = frozenset(MarketRoute(name, kind, symbol) for name, symbol in pairs for kind in chosen)
    if len(routes) > MAX_ROUTES:
        text = f"{len(routes)} kinds of symbols, but a stream has at most {MAX_ROUTES}; open several"
        raise _invalid(f"`symbol`: {text}")
    return routes


class Listings:
    """The symbols of providers, read once from each list of instruments."""

    def __init__(self) -> None:
        self._read: dict[str, tuple[object, frozenset[str]]] = {}

    def excludes(self, provider: "Provider", symbol: str) -> bool:
        """Returns whether a provider lists instruments, and a symbol is not among them."""
        found = self._read.get(provider.name)
        if found is None or found[0] is not provider.instruments:
            found = self._read[provider.name] = provider.instruments, _listed(provider)
        return bool(found[1]) and symbol not in found[1]


def _sources(providers: "list[Provider]", text: str, named: bool) -> list[tuple[str, str]]:
    """Returns the providers of a symbol, with its canonical name."""
    try:
        symbol = canonical(text)
    except ValueError as error:
        raise _invalid(f"`symbol`: {error}") from None
    listed = {each.name: _listed(each) for each in providers}
    missing = [name for name, symbols in listed.items() if symbols and symbol not in symbols]
    if missing and (named or len(missing) == len(listed)):
        known = {name for symbols in listed.values() for name in symbols}
        raise _invalid(f"`symbol`: {', '.join(missing)} does not list {symbol}{suggestion(symbol, known)}")
    # A provider that has not started yet may list the symbol; it counts only if no other one does.
    found = [name for name, symbols in listed.items() if symbol in symbols]
    unknown = [name for name, symbols in listed.items() if not symbols]
    return [(name, symbol) for name in (list(listed) if named else found or unknown)]


def _listed(provider: "Provider") -> frozenset[str]:
    return frozenset(str(each["symbol"]) for each in provider.instruments)


def _invalid(text: str) -> HttpError:
    return HttpError(400, "invalid_parameter", text)
