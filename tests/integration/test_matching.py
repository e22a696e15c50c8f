"""Recorded taker orders of an exchange: makers in time order, a taker, and the published trades."""

import json
from decimal import Decimal
from typing import Any

import pytest

from meltica.simulator import MatchingEngine
from tests.conftest import shared

CASES = "data/matching/cases.jsonl"


@pytest.fixture(scope="module")
def cases() -> list[dict[str, Any]]:
    folder = shared()
    path = folder / CASES if folder else None
    if path is None or not path.is_file():
        pytest.skip(f"needs the recorded orders in ../shared/{CASES}, which is absent")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_recorded_taker_trades_as_recorded(cases: list[dict[str, Any]]) -> None:
    assert len(cases) == 84
    for case in cases:
        engine = MatchingEngine()
        open_quantity: dict[str, Decimal] = {}
        for maker in case["makers_in_time_order"]:
            assert engine.submit(maker["id"], maker["side"], maker["qty"], maker["price"]) == []
            open_quantity[maker["id"]] = Decimal(maker["qty"])
        taker = case["taker"]
        fills = engine.submit(taker["id"], taker["side"], taker["qty"], taker["limit"])
        actual = [(fill.maker_order_id, fill.price, fill.quantity) for fill in fills]
        trades = case["expected_trades"]
        expected = [(trade["maker"], Decimal(trade["price"]), Decimal(trade["qty"])) for trade in trades]
        assert actual == expected
        assert {fill.taker_order_id for fill in fills} <= {taker["id"]}
        assert engine.remaining(taker["id"]) == Decimal(case["taker_remaining"])
        for fill in fills:
            open_quantity[str(fill.maker_order_id)] -= fill.quantity
        assert {maker: engine.remaining(maker) for maker in open_quantity} == open_quantity
