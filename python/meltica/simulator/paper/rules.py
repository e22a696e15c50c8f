"""What a paper venue checks before it accepts an order; the reasons are those of the matching engine."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple, Self

from meltica.errors import OrderRefused
from meltica.model.symbols import currencies


class Rules(NamedTuple):
    """The rules of one instrument. Absent limits do not apply."""

    base: str
    quote: str
    price_increment: Decimal | None = None
    quantity_increment: Decimal | None = None
    min_quantity: Decimal | None = None
    max_quantity: Decimal | None = None
    min_notional: Decimal | None = None

    @classmethod
    def of(cls, instrument: Mapping[str, Any]) -> Self:
        """Returns the rules of an instrument in the form of `InstrumentUpdate.instrument`."""

        def decimal(key: str) -> Decimal | None:
            text = instrument.get(key)
            return None if text is None else Decimal(str(text))

        base, quote = currencies(instrument["symbol"])
        return cls(
            instrument.get("baseCurrency", base),
            instrument.get("quoteCurrency", quote),
            decimal("priceIncrement"),
            decimal("quantityIncrement"),
            decimal("minQuantity"),
            decimal("maxQuantity"),
            decimal("minNotional"),
        )

    def check(self, quantity: Decimal, price: Decimal | None, reference: Decimal | None) -> None:
        """Raises OrderRefused for the first broken rule. A market order is valued at the reference price."""
        if not quantity > 0:
            raise OrderRefused("invalid_quantity", f"expected a quantity above 0, saw {quantity}")
        if price is not None and not price > 0:
            raise OrderRefused("invalid_price", f"expected a price above 0, saw {price}")
        if price is not None and _between(price, self.price_increment):
            raise OrderRefused("tick_size", f"expected a multiple of {self.price_increment}, saw {price}")
        if _between(quantity, self.quantity_increment):
            raise OrderRefused(
                "lot_size", f"expected a multiple of {self.quantity_increment}, saw {quantity}"
            )
        if self.min_quantity is not None and quantity < self.min_quantity:
            raise OrderRefused("min_quantity", f"expected {self.min_quantity} or more, saw {quantity}")
        if self.max_quantity is not None and quantity > self.max_quantity:
            raise OrderRefused("max_quantity", f"expected {self.max_quantity} or less, saw {quantity}")
        value = price if price is not None else reference
        if self.min_notional is not None and value is not None and value * quantity < self.min_notional:
            notional = value * quantity
            raise OrderRefused("min_notional", f"expected {self.min_notional} or more, saw {notional}")


def _between(value: Decimal, increment: Decimal | None) -> bool:
    return increment is not None and increment > 0 and value % increment != 0
