"""Instruments as the events carry them."""

from decimal import Decimal

import pytest

from meltica.model.instruments import Instrument
from meltica.simulator.catalogue import instrument


def test_the_rules_of_the_payload_are_read_exactly() -> None:
    found = Instrument.from_payload(instrument("BTC-USDT"))
    assert found == Instrument(
        symbol="BTC-USDT",
        type="spot",
        base="BTC",
        quote="USDT",
        price_increment=Decimal("0.01"),
        quantity_increment=Decimal("0.0001"),
        min_quantity=Decimal("0.0001"),
        max_quantity=Decimal(1000),
        min_notional=Decimal(10),
    )


@pytest.mark.parametrize("value", ["", "abc", "0", "-1", "NaN", "Infinity"])
def test_a_rule_that_is_not_above_zero_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="priceIncrement"):
        Instrument.from_payload({**instrument("BTC-USDT"), "priceIncrement": value})
