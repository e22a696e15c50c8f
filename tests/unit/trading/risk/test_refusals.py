"""Rows of refusals: bounded in number whatever is refused, and exact in their counts."""

from collections import Counter
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meltica.errors import OrderRefused
from meltica.model.enums import Mode
from meltica.model.symbols import ANY
from meltica.persistence.stores.trading.rows import Verdict
from meltica.trading.order import Owner
from meltica.trading.risk.breaker import SHOWN
from meltica.trading.risk.limits import InstanceRiskLimits
from meltica.trading.risk.refusals import KEPT, KINDS, OWN_ROWS, WINDOW, Refusal, Refusals
from meltica.trading.risk.rules import Rule
from meltica.trading.risk.scopes import Scope
from meltica.trading.risk.stored import state_rows
from tests.support.risk import BUY, SELL, START, refused, world

OWNERS = [Owner(name, uuid4(), Mode.LIVE) for name in ("a", "b")]


def refusal(time: int, owner: Owner = OWNERS[0], symbol: str = "S", rule: str = "rule") -> Refusal:
    """Returns a refusal."""
    return Refusal(time, owner, uuid4(), "p", symbol, rule, "message", None, None, None)


def test_the_first_refusals_of_an_instance_are_rows_of_their_own_and_further_ones_are_folded() -> None:
    refusals = Refusals()
    many = [refusal(START + number) for number in range(1000)]
    for each in many:
        refusals.add(each)
    assert refusals.take(START + 1000, 100) == many[:OWN_ROWS], "the folded row is not complete yet"
    first = many[OWN_ROWS]
    assert refusals.take(first.time + WINDOW - 1, 100) == []
    assert refusals.take(first.time + WINDOW, 100) == [first._replace(times=990, last=START + 999)]
    # A second later, the next ones are rows of their own again.
    later = refusal(START + WINDOW)
    refusals.add(later)
    assert refusals.take(START + WINDOW, 100) == [later]
    assert refusals.take_all() == []


def test_a_flood_takes_no_row_of_another_instance_and_rows_wait_for_later_commits() -> None:
    refusals = Refusals()
    for number in range(1000):
        refusals.add(refusal(START + number))
    other = refusal(START, OWNERS[1])
    refusals.add(other)
    taken = [refusals.take(START + 1000, 4) for _ in range(4)]
    assert [len(each) for each in taken] == [4, 4, 3, 0]
    assert other in taken[2]
    assert refusals.take(START + 2 * WINDOW, 0) == []


def test_symbols_no_longer_count_when_there_are_very_many() -> None:
    refusals = Refusals()
    for number in range(1000):
        refusals.add(refusal(START, symbol=f"{number}"))
    rows = refusals.take_all()
    assert len(rows) == OWN_ROWS + KINDS + 1
    assert (rows[-1].provider, rows[-1].symbol, rows[-1].times) == (ANY, ANY, 1000 - OWN_ROWS - KINDS)


def test_waiting_rows_are_bounded_while_nothing_is_written() -> None:
    refusals = Refusals()
    for number in range(2 * KEPT):
        refusals.add(refusal(START + number // 5 * WINDOW))
    rows = refusals.take_all()
    assert len(rows) == KEPT + 1
    assert rows[-1].times == KEPT


def test_a_clock_that_is_set_back_completes_the_rows() -> None:
    refusals = Refusals()
    for _ in range(OWN_ROWS + 2):
        refusals.add(refusal(START))
    assert [each.times for each in refusals.take(START - 3600 * WINDOW, 100)] == [2, *[1] * OWN_ROWS]


def test_a_refusal_is_recorded_once() -> None:
    w = world({"maxOrderSize": 1})
    with pytest.raises(OrderRefused) as caught:
        w.approve(w.request(BUY, 2))
    w.risk.record(w.a, "", "", caught.value, w.now)
    assert len(w.risk.events.take_all()) == 1


def test_breaches_are_bounded_while_nothing_acts_on_them() -> None:
    w = world({"killSwitchEnabled": False})
    for _ in range(1000):
        refused(w, w.request(SELL), Rule.POSITION_TO_SELL)
    [state] = [row for row in state_rows(w.risk, w.now) if row.subject == "a"]
    assert len(state.breaches) == SHOWN


def test_refusals_before_risk_are_breaches_but_not_of_a_paused_instance() -> None:
    w = world({"killSwitchEnabled": True, "maxRiskBreaches": 2})
    scope = Scope.instance(w.a)

    def invalid() -> Verdict | None:
        w.risk.record(w.a, "", "", OrderRefused(Rule.INVALID_ORDER.value, "no number"), w.now)
        [row] = [event for event in w.risk.events.take_all() if isinstance(event, Refusal)]
        return row.verdict

    assert [invalid(), invalid(), invalid()] == [Verdict.COUNTED, Verdict.HALT, None]
    w.risk.resume(scope, "alice", w.now)
    breaker = {"enabled": True, "threshold": 2, "cooldown": "90s"}
    w.risk.registry.set_limits(scope, InstanceRiskLimits.model_validate({"circuitBreaker": breaker}))
    assert [invalid(), invalid(), invalid()] == [Verdict.COUNTED, Verdict.COOLDOWN, None]
    w.now += 90 * WINDOW
    assert invalid() is Verdict.COUNTED


class Model:
    """What was added and what was taken."""

    def __init__(self) -> None:
        self.refusals = Refusals()
        self.added = Counter[tuple[object, ...]]()
        self.taken = Counter[tuple[object, ...]]()
        self.rows = 0

    def add(self, each: Refusal) -> None:
        """Adds a refusal."""
        self.added[each.owner, each.provider, each.symbol, each.rule] += 1
        self.refusals.add(each)

    def take(self, rows: list[Refusal]) -> None:
        """Counts the rows."""
        self.rows += len(rows)
        for each in rows:
            assert each.times == 1 or each.time <= each.last
            self.taken[each.owner, each.provider, each.symbol, each.rule] += each.times


@given(
    st.lists(
        st.tuples(
            st.sampled_from(OWNERS),
            st.sampled_from("ST"),
            st.sampled_from("xyz"),
            st.integers(1, 40),
            st.integers(0, WINDOW),
            st.sampled_from([None, 0, 1, 100]),
        ),
        max_size=30,
    )
)
def test_the_counts_of_any_rows_add_up(steps: list[tuple[Owner, str, str, int, int, int | None]]) -> None:
    model, now = Model(), START
    for owner, symbol, rule, times, pause, most in steps:
        for _ in range(times):
            model.add(refusal(now, owner, symbol, rule))
        now += pause
        if most is not None:
            rows = model.refusals.take(now, most)
            assert len(rows) <= most
            model.take(rows)
    model.take(model.refusals.take_all())
    assert model.taken == model.added
    seconds = (now - START) // WINDOW + 1
    assert model.rows <= 2 * len(OWNERS) * seconds * (OWN_ROWS + 6)
