"""Exact amounts as text."""

from decimal import Decimal


def amount_text(amount: Decimal) -> str:
    """Returns an amount with all its digits, without trailing zeros and exponent: `-1.4543665`, `1000`."""
    text = format(amount, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
