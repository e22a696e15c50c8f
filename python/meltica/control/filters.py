"""Filters of lists by instance, provider and symbol: a misspelt one must not look like an empty list.

1. A symbol is taken in any form that configs take, such as `btc/usdt`; another text is a 400.
2. A name that neither is configured nor has rows is a 400, which names the nearest. What has rows can be
   listed after its instance or provider was removed. Only an empty list looks for rows.
"""

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from meltica.control.bodies import bad_parameter
from meltica.errors import nearest, suggestion
from meltica.model.symbols import canonical

if TYPE_CHECKING:
    from meltica.control.services import ControlServices


class Filters:
    """The filters of one request."""

    def __init__(
        self,
        services: "ControlServices",
        *,
        instances: Collection[str] = (),
        providers: Collection[str] = (),
        symbols: Collection[str] = (),
    ) -> None:
        """1: raises HttpError for a text that is not a symbol."""
        self._services = services
        self._names = {"instance": instances, "provider": providers}
        self.symbols = frozenset(self._canonical(text) for text in symbols)

    @classmethod
    def of(
        cls,
        services: "ControlServices",
        *,
        instance: str | None = None,
        provider: str | None = None,
        symbol: str | None = None,
    ) -> "Filters":
        """Returns the filters of a list, of each at most one. Raises HttpError."""
        found = ([] if text is None else [text] for text in (instance, provider, symbol))
        instances, providers, symbols = found
        return cls(services, instances=instances, providers=providers, symbols=symbols)

    @property
    def symbol(self) -> str | None:
        """The symbol in its canonical form."""
        return next(iter(self.symbols), None)

    async def refuse_unknown(self, *, stored: bool = True) -> None:
        """2: raises HttpError. Without `stored`, rows do not count."""
        for kind, names in (*self._names.items(), ("symbol", self.symbols)):
            known = self._known(kind)
            for name in names:
                if name in known or (kind == "symbol" and not known):
                    continue
                if not stored or not await self._services.trading.queries.has_rows(kind, name):
                    raise bad_parameter(kind, f"{name[:80]!r} is unknown{suggestion(name, known)}")

    def _canonical(self, text: str) -> str:
        try:
            return canonical(text.strip())
        except ValueError as error:
            close = nearest(text.strip().upper(), self._known("symbol"))
            hint = "" if close is None or "did you mean" in str(error) else f"; did you mean `{close}`?"
            raise bad_parameter("symbol", f"{error}{hint}") from None

    def _known(self, kind: str) -> set[str]:
        services = self._services
        if kind == "provider":
            return {each.name for each in services.providers.all()}
        if kind == "symbol":
            lists: Iterable[Iterable[object]] = (
                (row["symbol"] for row in each.instruments) for each in services.providers.all()
            )
            return {str(symbol) for symbols in lists for symbol in symbols}
        manager = services.instances
        return {each.id for each in manager.all()} | {row.id for row in manager.absent()}


__all__ = ["Filters"]
