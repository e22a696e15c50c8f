"""The waterfall of an order, from rows: differences within one clock, and nothing for what did not happen."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET

from meltica.cli.trace import duration
from meltica.control.traces import SPANS, trace_of
from meltica.model.enums import Mode, OrderState
from meltica.persistence.stores.trading.queries import StoredFill, StoredRefusal
from meltica.persistence.stores.trading.rows import Trigger, TriggerEvent

ID = UUID(int=7)
WALL = 1_767_225_600_000_000_000
EVENT = TriggerEvent(
    sequence=5,
    kind="Trade",
    provider="main",
    symbol="BTC-USDT",
    venue_time=WALL + 30,
    received_time=WALL + 10,
    # The clock of trading is an hour behind that of the wall, which was set.
    received_at=100,
    dispatched_at=104,
    read_at=109,
)
TRIGGER = Trigger(callback_at=115, event=EVENT)


@dataclass
class Stored:
    """The columns of an order that a trace reads."""

    id: UUID = ID
    instance: str = "a"
    mode: Mode = Mode.LIVE
    provider: str = "main"
    symbol: str = "BTC-USDT"
    state: OrderState = OrderState.FILLED
    reason: str | None = None
    trigger: Trigger | None = TRIGGER
    intent_at: int = 122
    approved_at: int | None = 130
    committed_at: int | None = 139
    sent_at: int | None = 149
    acknowledged_at: int | None = 160
    ended_at: int | None = 200


def order(**columns: Any) -> Any:
    return Stored(**columns)


def fill(booked_at: int | None, report: int, *, recovered: bool = False) -> StoredFill:
    values = {"order_id": ID, "execution_id": str(report), "provider": "main", "instance": "a"}
    values |= {"quantity": "1", "price": "50", "traded_at": 1, "booked_at": booked_at, "report": report}
    values |= {"mode": "live", "symbol": "BTC-USDT", "side": "Buy", "created_at": "2026-01-01T00:00:00Z"}
    return msgspec.convert({**values, "recovered": recovered}, StoredFill)


def refusal(**columns: Any) -> StoredRefusal:
    values = {
        "id": 1,
        "instance": "a",
        "uid": UUID(int=1),
        "mode": "live",
        "provider": "main",
        "rule": "size",
    }
    values |= {"symbol": "BTC-USDT", "order_id": ID, "message": "too large", "seen": "5", "limit": "2"}
    return msgspec.convert({**values, "refused_at": 131, "last_refused_at": 131, **columns}, StoredRefusal)


def steps(*rows: Any) -> list[tuple[str, Any]]:
    return [(each.step, each.after_ns) for each in trace_of(*rows).steps]


def test_each_step_has_the_time_since_the_one_before_it() -> None:
    trace = trace_of(order(), [fill(205, 2), fill(190, 1)], [])
    assert [(each.step, each.after_ns) for each in trace.steps] == [
        ("venue", UNSET),
        ("received", -20),
        ("dispatched", 4),
        ("read", 5),
        ("callback", 6),
        ("intent", 7),
        ("approved", 8),
        ("committed", 9),
        ("sent", 10),
        ("acknowledged", 11),
        ("filled", 30),
        ("filled", 15),
    ]
    assert {each.step: each.span for each in trace.steps[1:]}.items() <= SPANS.items()
    assert (trace.work_ns, trace.wait_ns, trace.venue_ns) == (4 + 7 + 8, 5 + 6 + 9 + 10, 11)


def test_a_step_that_was_not_reached_is_absent() -> None:
    sent = order(state=OrderState.PENDING, acknowledged_at=None, ended_at=None)
    assert steps(sent, [], [])[-1] == ("sent", 10)
    rejected = order(state=OrderState.REJECTED, sent_at=None, acknowledged_at=None, ended_at=145)
    assert steps(rejected, [], [])[-2:] == [("committed", 9), ("ended", 6)]


def test_an_order_without_an_event_begins_with_its_callback_or_its_request() -> None:
    timed = order(trigger=Trigger(callback_at=115))
    assert steps(timed, [], [])[:2] == [("callback", UNSET), ("intent", 7)]
    assert trace_of(timed, [], []).event is UNSET
    assert steps(order(trigger=None), [], [])[:2] == [("intent", UNSET), ("approved", 8)]


def test_an_event_without_a_time_of_the_venue_begins_with_its_receipt() -> None:
    unstamped = Trigger(callback_at=115, event=msgspec.structs.replace(EVENT, venue_time=None))
    assert steps(order(trigger=unstamped), [], [])[:2] == [("received", UNSET), ("dispatched", 4)]


def test_an_order_of_an_earlier_version_has_no_time_of_approval_and_fills() -> None:
    """It had one reading of the clock for request and approval, and none for its fills."""
    earlier = order(trigger=None, approved_at=122)
    found = steps(earlier, [fill(None, 1)], [])
    assert found == [("intent", UNSET), ("committed", 17), ("sent", 10), ("acknowledged", 11), ("ended", 40)]


def test_a_refused_order_ends_with_the_rule_that_refused_it() -> None:
    trace = trace_of(None, [], [refusal(intent_at=122, trigger=TRIGGER)])
    assert [(each.step, each.after_ns) for each in trace.steps][-2:] == [("intent", 7), ("refused", 9)]
    assert (trace.id, trace.state, trace.reason) == (str(ID), UNSET, "size")
    [why] = trace.refusals
    assert (why.rule, why.seen, why.limit) == ("size", "5", "2")
    assert steps(None, [], [refusal()]) == [("refused", UNSET)]


def test_a_refused_amendment_is_beside_its_order() -> None:
    trace = trace_of(order(), [], [refusal()])
    assert (trace.state, trace.reason) == (OrderState.FILLED, UNSET)
    assert [each.rule for each in trace.refusals] == ["size"]


def test_a_recovered_fill_is_marked() -> None:
    *_, last = trace_of(order(), [fill(300, 1, recovered=True)], []).steps
    assert (last.step, last.recovered, last.quantity, last.price) == ("filled", True, "1", "50")


def test_durations_have_a_sign_and_a_unit() -> None:
    assert [duration(ns) for ns in (0, 999, -1_200, 1_500_000, -2_000_000_000)] == [
        "0 ns",
        "999 ns",
        "-1.2 us",
        "1.5 ms",
        "-2.0 s",
    ]
