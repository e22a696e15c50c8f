"""Instruments: what a venue trades, and its rules for orders."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from meltica.model.symbols import currencies, is_spot

_RULES = (
    "price_increment",
    "quantity_increment",
    "min_quantity",
    "max_quantity",
    "min_notional",
    "max_notional",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """An instrument and the rules that its orders meet. A rule that the venue does not state is None."""

    symbol: str
    type: str = "spot"
    base: str
    quote: str
    price_increment: Decimal | None = None
    """The tick size."""
    quantity_increment: Decimal | None = None
    """The lot size."""
    min_quantity: Decimal | None = None
    max_quantity: Decimal | None = None
    min_notional: Decimal | None = None
    """In the quote currency."""
    max_notional: Decimal | None = None
    """In the quote currency."""
    halted: bool = False
    """Whether the venue has halted trading in it."""

    @classmethod
    def from_payload(cls, payload: Mapping[str, object]) -> "Instrument":
        """Reads an instrument from `InstrumentUpdate.instrument`.

        Raises ValueError for a rule that is not a decimal above 0, and for a contract of the type `spot`.
        """
        symbol = str(payload["symbol"])
        base, quote = currencies(symbol)
        rules = {name: _rule(payload, name) for name in _RULES}
        halted = payload.get("halted", False) is not False
        kind = str(payload.get("type", "spot"))
        if kind == "spot" and not is_spot(symbol):
            raise ValueError(f"instrument {symbol}: type: expected that of a contract, saw {kind!r}")
        return cls(symbol=symbol, type=kind, base=base, quote=quote, halted=halted, **rules)


def _rule(payload: Mapping[str, object], name: str) -> Decimal | None:
    first, *others = name.split("_")
    key = first + "".join(word.capitalize() for word in others)
    given = payload.get(key)
    if given is None:
        return None
    try:
        value = Decimal(str(given))
    except InvalidOperation:
        value = None
    if value is None or not value.is_finite() or value <= 0:
        raise ValueError(f"instrument {payload['symbol']}: {key}: expected a decimal above 0, saw {given!r}")
    return value
