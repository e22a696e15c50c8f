"""The short form: one second beside each hostile instance."""

import pytest

from tests.isolation.hostile import HOSTILE
from tests.isolation.innocent import beside


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_an_innocent_instance_receives_every_trade(name: str) -> None:
    outcome = beside(name, 1.0)
    assert outcome.complete, outcome
