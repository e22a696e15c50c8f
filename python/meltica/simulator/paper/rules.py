"""What a paper venue checks before it accepts an order; the reasons are those of the matching engine."""

from decimal import Decimal

from meltica.errors import OrderRefused
from meltica.model.instruments import Instrument


def check(rules: Instrument, quantity: Decimal, price: Decimal | None, reference: Decimal | None) -> None:
    """Raises OrderRefused for the first broken rule. A market order is valued at the reference price."""
    if not quantity > 0:
        raise OrderRefused("invalid_quantity", f"expected a quantity above 0, saw {quantity}")
    if price is not None and not price > 0:
        raise OrderRefused("invalid_price", f"expected a price above 0, saw {price}")
    if price is not None and _between(price, rules.price_increment):
        raise OrderRefused("tick_size", f"expected a multiple of {rules.price_increment}, saw {price}")
    if _between(quantity, rules.quantity_increment):
        raise OrderRefused("lot_size", f"expected a multiple of {rules.quantity_increment}, saw {quantity}")
    if rules.min_quantity is not None and quantity < rules.min_quantity:
        raise OrderRefused("min_quantity", f"expected {rules.min_quantity} or more, saw {quantity}")
    if rules.max_quantity is not None and quantity > rules.max_quantity:
        raise OrderRefused("max_quantity", f"expected {rules.max_quantity} or less, saw {quantity}")
    value = price if price is not None else reference
    if rules.min_notional is not None and value is not None and value * quantity < rules.min_notional:
        notional = value * quantity
        raise OrderRefused("min_notional", f"expected {rules.min_notional} or more, saw {notional}")


def _between(value: Decimal, increment: Decimal | None) -> bool:
    return increment is not None and increment > 0 and value % increment != 0
