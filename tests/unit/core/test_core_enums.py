"""The enums of `meltica.model` have the values of the core, which has its own in Rust."""

import ast
from enum import StrEnum
from typing import Any

import pytest

import meltica
from meltica import _core
from meltica.model.enums import (
    EventKind,
    Liquidity,
    OrderState,
    OrderType,
    OverflowPolicy,
    Side,
    TimeInForce,
)
from tests.unit.core.test_core_docs import STUBS

REPORT: dict[str, Any] = {
    "clientOrderId": "a1",
    "state": "ACK",
    "side": "Buy",
    "orderType": "Limit",
    "quantity": "2",
    "filledQuantity": "0",
}


def report(**fields: object) -> meltica.ExecReport:
    data = {"type": "ExecReport", "provider": "p", "symbol": "BTC-USDT", "payload": {**REPORT, **fields}}
    event = meltica.Event.from_dict(data)
    assert isinstance(event, meltica.ExecReport)
    return event


def test_kinds_are_those_of_the_core() -> None:
    assert tuple(EventKind) == _core.KINDS


@pytest.mark.parametrize(
    ("key", "field", "values"),
    [
        ("state", "state", [state for state in OrderState if state is not OrderState.PENDING]),
        ("side", "side", list(Side)),
        ("timeInForce", "time_in_force", list(TimeInForce)),
        ("liquidity", "liquidity", list(Liquidity)),
        ("orderType", "order_type", list(OrderType)),
    ],
)
def test_a_report_takes_and_returns_every_value(key: str, field: str, values: list[StrEnum]) -> None:
    for value in values:
        assert getattr(report(**{key: value.value}), field) == value


def test_pending_is_not_the_state_of_a_report() -> None:
    with pytest.raises(ValueError, match="order state"):
        report(state=OrderState.PENDING.value)


@pytest.mark.parametrize("policy", OverflowPolicy)
def test_a_host_takes_every_policy(policy: OverflowPolicy) -> None:
    host = _core.Core().host("thread")
    assert host.add("a", callbacks={}, routes=[], policies={"Trade": policy}).state == "created"
    assert host.stop()


def test_every_reason_of_the_stub_exists_and_is_described() -> None:
    tree = ast.parse((STUBS / "events.pyi").read_text(encoding="utf-8"))
    literal = next(node for node in ast.walk(tree) if isinstance(node, ast.Subscript) and is_literal(node))
    reasons: tuple[str, ...] = ast.literal_eval(literal.slice)
    for reason in reasons:
        data = {"type": "MarketStale", "provider": "p", "symbol": "BTC-USDT", "payload": {"reason": reason}}
        event = meltica.Event.from_dict(data)
        assert isinstance(event, meltica.MarketStale)
        assert event.reason == reason
        assert f"- `{reason}`: " in str(meltica.MarketStale.reason.__doc__)


def is_literal(node: ast.Subscript) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id == "Literal"
