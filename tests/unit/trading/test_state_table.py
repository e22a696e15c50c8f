"""The table of states in docs/orders.md, one cell after the other against the state machine."""

import re
from collections.abc import Callable
from decimal import Decimal

import pytest

from meltica.model.enums import OrderState
from meltica.trading.state_machine import MAX_AGE, OrderMachine
from tests.support.paths import ROOT
from tests.unit.trading.orders import SECOND, TIMINGS, fill, machine, open_, report, sent

Event = Callable[[OrderMachine], object]


def in_state(state: OrderState, *, left: bool) -> OrderMachine:
    """Returns the machine of an order in a state; `left` says whether a PENDING order has left."""
    match state:
        case OrderState.PENDING:
            return sent() if left else machine()
        case OrderState.ACK:
            return open_()
        case OrderState.PARTIAL:
            one = open_()
            one.filled(fill("first", 2), 0)
            return one
        case OrderState.UNKNOWN:
            one = sent()
            one.outcome_unknown(0)
            return one
        case OrderState.FILLED:
            one = open_()
            one.filled(fill("first", 10), 0)
            return one
        case _:
            one = open_()
            one.reported(report(state), 0)
            return one


def last_check(one: OrderMachine) -> None:
    one.committed(1)
    one.sending(2, age=MAX_AGE + 1)


def completing(one: OrderMachine) -> None:
    one.filled(fill("last", max(Decimal(1), 10 - one.record.filled_quantity)), 1)


def ended(state: str) -> Event:
    return lambda one: one.reported(report(state, one.record.filled_quantity, time=2), 1)


def not_found(one: OrderMachine) -> None:
    for second in (10, 12):
        one.not_found(second * SECOND, second * SECOND, absent=True)


def forgotten(*, agrees: bool) -> Event:
    def event(one: OrderMachine) -> None:
        not_found(one)
        one.forgotten(13 * SECOND, agrees=agrees)

    return event


def resolve(one: OrderMachine) -> None:
    if one.record.state is OrderState.UNKNOWN:
        one.resolve(OrderState.EXPIRED, "resolved", 1)
    else:
        with pytest.raises(ValueError, match="not resolved"):
            one.resolve(OrderState.EXPIRED, "resolved", 1)


EVENTS: dict[str, Event] = {
    "cancel, before the order leaves": lambda one: one.cancel(1),
    "last check fails, before the order leaves": last_check,
    "cancel, after the order left": lambda one: one.cancel(1),
    "refused by the venue": lambda one: one.refused(1, "lot_size"),
    "outcome of sending unknown": lambda one: one.outcome_unknown(1),
    "restart": lambda one: OrderMachine(one.record, TIMINGS).restored(1),
    "reported open": lambda one: one.reported(
        report("ACK", one.record.filled_quantity, time=2), 2, asked_at=1
    ),
    "fill of a part": lambda one: one.filled(fill("part", 1), 1),
    "fill that completes the order": completing,
    "reported `CANCELLED`, all fills booked": ended("CANCELLED"),
    "reported `EXPIRED`, all fills booked": ended("EXPIRED"),
    "reported `REJECTED`, all fills booked": ended("REJECTED"),
    "reported as ended, fills missing": lambda one: one.reported(
        report("CANCELLED", one.record.filled_quantity + 1, time=2), 1
    ),
    "not found twice, fills and balances agree": forgotten(agrees=True),
    "not found twice, fills and balances differ": forgotten(agrees=False),
    "ended by an operator": resolve,
}


def rows() -> dict[str, dict[str, str]]:
    page = (ROOT / "docs" / "orders.md").read_text(encoding="utf-8")
    table = page.split("## How an order changes")[1].split("\n## ")[0]
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table.splitlines()
        if line.startswith("|") and not re.fullmatch(r"[|-]+", line)
    ]
    states = [cell.strip("`") for cell in lines[0][1:]]
    assert states == [state.value for state in OrderState]
    return {line[0]: dict(zip(states, line[1:], strict=True)) for line in lines[1:]}


def test_the_table_has_every_event() -> None:
    assert list(rows()) == list(EVENTS)


@pytest.mark.parametrize("state", OrderState)
@pytest.mark.parametrize("event", EVENTS)
def test_a_cell_is_what_the_state_machine_does(event: str, state: OrderState) -> None:
    one = in_state(state, left="before the order leaves" not in event)
    EVENTS[event](one)
    expected = rows()[event][state].strip("`")
    assert one.record.state == (expected or state)
