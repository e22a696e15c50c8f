"""Decimal arithmetic that never rounds and does not depend on the decimal context of the thread.

Orders are created on the threads of strategies, and a strategy may set the precision of its thread. The
operators `+ - * /`, unary minus and `abs` round to that precision; comparisons do not.
"""

from collections.abc import Iterable
from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow

ZERO = Decimal(0)

_FAULTS = [InvalidOperation, DivisionByZero, Overflow]
EXACT = Context(prec=400, traps=[*_FAULTS, Inexact])
"""For code with many operations: while it is the context of the thread, operators are exact too."""

_ROUNDED = Context(prec=400, traps=_FAULTS)
_QUOTIENTS = Context(prec=34, traps=_FAULTS)


def add(one: Decimal, other: Decimal) -> Decimal:
    """Returns the sum."""
    return EXACT.add(one, other)


def subtract(one: Decimal, other: Decimal) -> Decimal:
    """Returns the first less the second."""
    return EXACT.subtract(one, other)


def multiply(one: Decimal, other: Decimal) -> Decimal:
    """Returns the product."""
    return EXACT.multiply(one, other)


def negate(number: Decimal) -> Decimal:
    """Returns the number with the other sign; zero stays zero."""
    return EXACT.subtract(ZERO, number)


def total(numbers: Iterable[Decimal]) -> Decimal:
    """Returns the sum of all numbers."""
    result = ZERO
    for number in numbers:
        result = EXACT.add(result, number)
    return result


def divide(one: Decimal, other: Decimal) -> Decimal:
    """Returns the quotient, rounded to 34 significant digits: not every quotient is a decimal."""
    return _QUOTIENTS.divide(one, other)


def share(amount: Decimal, part: Decimal, whole: Decimal, places: Decimal) -> Decimal:
    """Returns `amount x part / whole`, rounded to the exponent of `places`; the amount if part = whole."""
    if part == whole:
        return amount
    return _ROUNDED.quantize(_ROUNDED.divide(EXACT.multiply(amount, part), whole), places)


def floor_to(number: Decimal, step: Decimal) -> Decimal:
    """Returns the largest multiple of a step that does not exceed a number of at least zero."""
    return EXACT.multiply(_ROUNDED.divide_int(number, step), step)


def is_multiple(number: Decimal, step: Decimal) -> bool:
    """Returns whether a number of at least zero is a multiple of a step."""
    return not _ROUNDED.remainder(number, step)
