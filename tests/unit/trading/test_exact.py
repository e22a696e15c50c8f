from decimal import Decimal, Inexact, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meltica.trading import exact

NUMBERS = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20, places=18)


@given(NUMBERS, NUMBERS)
def test_arithmetic_ignores_the_precision_of_the_thread(one: Decimal, other: Decimal) -> None:
    with localcontext() as wide:
        wide.prec = 300
        expected = (one + other, one - other, one * other, -one)
    with localcontext() as narrow:
        narrow.prec = 3
        seen = exact.add(one, other), exact.subtract(one, other), exact.multiply(one, other)
        negated = exact.negate(one)
        total = exact.total([one, other, one])
    assert (*seen, negated) == expected
    assert exact.subtract(total, exact.multiply(one, Decimal(2))) == other


def test_what_would_round_raises() -> None:
    with pytest.raises(Inexact):
        exact.add(Decimal("1e300"), Decimal("1e-300"))


def test_minus_zero_is_zero() -> None:
    assert str(exact.negate(exact.ZERO)) == "0"


@given(NUMBERS.filter(bool), NUMBERS, st.integers(1, 50))
def test_shares_add_up(amount: Decimal, whole: Decimal, parts: int) -> None:
    left, quantity = amount, Decimal(parts)
    for _ in range(parts):
        taken = exact.share(left, Decimal(1), quantity, Decimal("1e-18"))
        left, quantity = exact.subtract(left, taken), exact.subtract(quantity, Decimal(1))
    assert left == 0


@given(st.integers(0, 10**24), st.integers(1, 10**9), st.integers(0, 8))
def test_floors_are_multiples_of_the_step(number: int, step: int, places: int) -> None:
    of, by = Decimal(number).scaleb(-places), Decimal(step).scaleb(-places)
    floored = exact.floor_to(of, by)
    assert floored == Decimal(number // step * step).scaleb(-places)


@pytest.mark.parametrize(
    ("number", "step", "expected"),
    [("0", "0.01", True), ("99.99", "0.01", True), ("99.995", "0.01", False), ("1e28", "1e-18", True)],
)
def test_a_multiple_of_a_step(number: str, step: str, expected: bool) -> None:
    assert exact.is_multiple(Decimal(number), Decimal(step)) is expected
