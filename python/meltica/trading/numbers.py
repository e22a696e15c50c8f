"""Numbers and texts of orders: from what a strategy passes to plain, valid values.

Subclasses become plain values here, because later their methods would run under the lock of trading.
"""

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from numbers import Rational
from typing import TYPE_CHECKING

from meltica.errors import OrderRefused
from meltica.model.enums import Side, TimeInForce
from meltica.model.instruments import Instrument
from meltica.trading.exact import add, divide, floor_to, is_multiple, multiply, subtract

if TYPE_CHECKING:
    from meltica.trading.risk.market import Quote

INVALID = "invalid_order"
TOLERANCE = Decimal("1e-9")
"""Relative change of a float above which rounding has to be requested with `round=True`."""

MOST_SECONDS = 366 * 24 * 3600
MOST_TAG = 256
"""Limit of a tag, in bytes."""

_LONGEST = 60
_LIFETIMES = {each.value: each for each in TimeInForce}


def decimal(name: str, value: object) -> Decimal:
    """Returns a number above zero as an exact decimal; a float counts by its shortest representation.

    Raises OrderRefused, rule `invalid_order`, for anything else.
    """
    if isinstance(value, Decimal):
        number = Decimal(value)
    elif isinstance(value, bool) or not isinstance(value, (int, float, str)):
        # Fractions and numbers of other libraries could be converted in several ways.
        kind = (
            "a fraction" if isinstance(value, Rational) and not isinstance(value, int) else repr(value)[:80]
        )
        raise OrderRefused(INVALID, f"{name}: expected a Decimal, str, int or float, saw {kind}")
    else:
        text = repr(value) if isinstance(value, float) else str(value)
        try:
            number = Decimal(text) if text.isascii() and len(text) <= _LONGEST and "_" not in text else None
        except InvalidOperation:
            number = None
        if number is None:
            raise OrderRefused(INVALID, f"{name}: expected a decimal number, saw {text[:80]!r}")
    if not number.is_finite() or number <= 0 or not -28 <= number.adjusted() <= 28:
        raise OrderRefused(INVALID, f"{name}: expected a number above 0, saw {str(value)[:80]}", value)
    return number


def nanoseconds_of(name: str, seconds: object) -> int:
    """Returns a duration of at most 366 days in nanoseconds. Raises OrderRefused, rule `invalid_order`."""
    number = decimal(name, seconds)
    if number > MOST_SECONDS:
        raise OrderRefused(INVALID, f"{name}: expected at most {MOST_SECONDS} seconds, saw {number}", number)
    return max(1, int(number * 10**9))


def plain(text: str) -> str:
    """Returns a text as a plain `str`."""
    return str.__str__(text)


def time_in_force_of(text: object) -> TimeInForce:
    """Returns how long an order lives. Raises OrderRefused, rule `invalid_order`."""
    if isinstance(text, str) and text in _LIFETIMES:
        return _LIFETIMES[text]
    raise OrderRefused(INVALID, f"time_in_force: expected one of {', '.join(TimeInForce)}, saw {text!r}")


def tag_of(value: object) -> str | None:
    """Returns the tag of an order, at most 256 bytes. Raises OrderRefused, rule `invalid_order`."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise OrderRefused(INVALID, f"tag: expected a str, saw {type(value).__name__}")
    tag = plain(value)
    try:
        size = len(tag.encode())
    except UnicodeEncodeError:
        raise OrderRefused(INVALID, f"tag: expected valid Unicode, saw {tag[:40]!a}") from None
    if size > MOST_TAG or "\0" in tag:
        raise OrderRefused(INVALID, f"tag: expected at most {MOST_TAG} bytes without NUL, saw {tag[:40]!a}")
    return tag


def quantity_of(instrument: Instrument, value: object, *, may_round: bool) -> Decimal:
    """Returns a quantity; see `_on_step`. Rounds down."""
    number = decimal("quantity", value)
    return _on_step(number, instrument.quantity_increment, value, up=False, may_round=may_round)


def price_of(instrument: Instrument, side: Side, value: object, *, may_round: bool) -> Decimal:
    """Returns a price; see `_on_step`. Rounds down to buy and up to sell."""
    number = decimal("price", value)
    return _on_step(number, instrument.price_increment, value, up=side is Side.SELL, may_round=may_round)


def quantity_for(instrument: Instrument, cost: object, price: Decimal) -> Decimal:
    """Returns the quantity on the lot size that a cost in the quote currency buys at a price."""
    quantity = divide(decimal("cost", cost), price)
    step = instrument.quantity_increment
    return quantity if step is None else floor_to(quantity, step)


def amount_of(
    instrument: Instrument,
    side: Side,
    quantity: object,
    cost: object,
    limit: Decimal | None,
    *,
    may_round: bool,
    quote: Callable[[], "Quote | None"],
    sellable: Callable[[], Decimal],
) -> Decimal:
    """Returns the quantity of an order that is given as a quantity, a cost, or as all that is sellable.

    Raises OrderRefused, rule `invalid_order`, or `no_market_price` if a cost needs a price.
    """
    if (quantity is None) == (cost is None):
        raise OrderRefused(INVALID, "expected either a quantity or `cost=`")
    if cost is not None:
        price = limit
        if price is None and (current := quote()) is not None:
            price = current.ask if side is Side.BUY else current.bid
        if price is None or price <= 0:
            raise OrderRefused("no_market_price", f"{instrument.symbol} has no price to convert `cost`")
        return quantity_for(instrument, cost, price)
    if quantity == "all":
        if side is Side.BUY:
            raise OrderRefused(INVALID, "buy: expected a quantity or `cost=`, saw 'all'")
        return sellable()
    return quantity_of(instrument, quantity, may_round=may_round)


def _on_step(number: Decimal, step: Decimal | None, value: object, *, up: bool, may_round: bool) -> Decimal:
    """Returns a number on an increment, if rounding was requested or changes a float by almost nothing.

    Otherwise, the number stays as it is, and risk refuses it with the nearest valid value.
    """
    if step is None or is_multiple(number, step):
        return number
    below = floor_to(number, step)
    above = add(below, step)
    if isinstance(value, float):
        nearest = below if subtract(number, below) <= subtract(above, number) else above
        if abs(subtract(nearest, number)) <= multiply(number, TOLERANCE):
            return nearest
    if not may_round:
        return number
    return above if up else below
