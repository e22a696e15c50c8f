"""The contract's spellings: each pair, both ways, and in one file alone."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from meltica.api import contract
from meltica.model.enums import FillRule, Liquidity, Mode, OrderState, OrderType, Side, TimeInForce

ROOT = Path(__file__).parents[3]
NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
MILLISECONDS = 1767323045678

TIME = MILLISECONDS * 10**6
# Our name, our value, the contract's name, the contract's value.
Row = tuple[str, Any, str, Any]
ORDER: list[Row] = [
    ("id", "00000000-0000-0000-0000-000000000001", "id", "00000000-0000-0000-0000-000000000001"),
    ("provider", "p", "provider", "p"),
    ("instance", "i", "strategyInstance", "i"),
    ("client_order_id", "a1", "clientOrderId", "a1"),
    ("symbol", "BTC-USDT", "symbol", "BTC-USDT"),
    ("side", Side.BUY, "side", "Buy"),
    ("mode", Mode.PAPER, "mode", "paper"),
    ("order_type", OrderType.LIMIT, "type", "Limit"),
    ("time_in_force", TimeInForce.GTC, "timeInForce", "GTC"),
    ("post_only", True, "postOnly", True),
    ("reduce_only", False, "reduceOnly", False),
    ("quantity", Decimal("0.1"), "quantity", "0.1"),
    ("price", Decimal("1E+3"), "price", "1000"),
    ("limit_price", Decimal("1000"), "limitPrice", "1000"),
    ("filled_quantity", Decimal("1E-9"), "filledQuantity", "0.000000001"),
    ("average_price", Decimal("999.5"), "averagePrice", "999.5"),
    ("fees", {"BNB": Decimal("-1E-3")}, "fees", {"BNB": "-0.001"}),
    ("state", OrderState.PARTIAL, "state", "PARTIAL"),
    ("reason", "late", "reason", "late"),
    ("cancel_wanted", True, "cancelWanted", True),
    ("tag", "quote", "tag", "quote"),
    ("venue_order_id", "x", "externalReference", "x"),
    ("expires_at", TIME, "expiresAt", MILLISECONDS),
    ("intent_at", TIME, "placedAt", MILLISECONDS),
    ("sent_at", TIME, "sentAt", MILLISECONDS),
    ("acknowledged_at", TIME, "acknowledgedAt", MILLISECONDS),
    ("ended_at", TIME, "completedAt", MILLISECONDS),
    ("metadata", {"a": 1}, "metadata", {"a": 1}),
    ("created_at", NOW, "createdAt", MILLISECONDS),
    ("updated_at", NOW, "updatedAt", MILLISECONDS),
]
FILL: list[Row] = [
    ("order_id", "00000000-0000-0000-0000-000000000001", "orderId", "00000000-0000-0000-0000-000000000001"),
    ("provider", "p", "provider", "p"),
    ("instance", "i", "strategyInstance", "i"),
    ("mode", Mode.LIVE, "mode", "live"),
    ("symbol", "BTC-USDT", "symbol", "BTC-USDT"),
    ("side", Side.SELL, "side", "Sell"),
    ("execution_id", "e1", "executionId", "e1"),
    ("quantity", Decimal(1), "quantity", "1"),
    ("price", Decimal(2), "price", "2"),
    ("fee", Decimal("-0.001"), "fee", "-0.001"),
    ("fee_currency", "USDT", "feeAsset", "USDT"),
    ("liquidity", Liquidity.MAKER, "liquidity", "maker"),
    ("rule", FillRule.QUEUE, "rule", "queue"),
    ("trade_id", "t1", "tradeId", "t1"),
    ("traded_at", TIME, "tradedAt", MILLISECONDS),
    ("recovered", False, "recovered", False),
    ("metadata", {}, "metadata", {}),
    ("created_at", NOW, "createdAt", MILLISECONDS),
]
BALANCE: list[Row] = [
    ("provider", "p", "provider", "p"),
    ("mode", Mode.PAPER, "mode", "paper"),
    ("currency", "USDT", "asset", "USDT"),
    ("total", Decimal(5), "total", "5"),
    ("available", Decimal("4"), "available", "4"),
    ("snapshot_at", TIME, "snapshotAt", MILLISECONDS),
    ("metadata", {}, "metadata", {}),
    ("created_at", NOW, "createdAt", MILLISECONDS),
    ("updated_at", NOW, "updatedAt", MILLISECONDS),
]
EXEC_REPORT: list[Row] = [
    ("clientOrderId", "a1", "clientOrderId", "a1"),
    ("venueOrderId", "x", "exchangeOrderId", "x"),
    ("state", "PARTIAL", "state", "PARTIAL"),
    ("side", "Buy", "side", "Buy"),
    ("orderType", "Limit", "orderType", "Limit"),
    ("timeInForce", "GTC", "timeInForce", "GTC"),
    ("price", "1", "price", "1"),
    ("quantity", "2", "quantity", "2"),
    ("filledQuantity", "1", "filledQuantity", "1"),
    ("remainingQuantity", "1", "remainingQty", "1"),
    ("averagePrice", "1", "avgFillPrice", "1"),
    ("fee", "0.1", "commissionAmount", "0.1"),
    ("feeCurrency", "USDT", "commissionAsset", "USDT"),
    ("reason", "late", "rejectReason", "late"),
    ("executionId", "7", "executionId", "7"),
    ("lastQuantity", "1", "lastQuantity", "1"),
    ("lastPrice", "1", "lastPrice", "1"),
    ("liquidity", "taker", "liquidity", "taker"),
    ("lastFee", "0.1", "lastFee", "0.1"),
    ("lastFeeCurrency", "USDT", "lastFeeCurrency", "USDT"),
]
Way = Callable[[Mapping[str, Any]], dict[str, Any]]
THINGS: list[tuple[contract.Pairs, list[Row], Way, Way]] = [
    (contract.ORDER, ORDER, contract.order_to_contract, contract.order_from_contract),
    (contract.FILL, FILL, contract.fill_to_contract, contract.fill_from_contract),
    (contract.BALANCE, BALANCE, contract.balance_to_contract, contract.balance_from_contract),
    (
        contract.EXEC_REPORT,
        EXEC_REPORT,
        contract.exec_report_to_contract,
        contract.exec_report_from_contract,
    ),
]
each_thing = pytest.mark.parametrize(
    ("pairs", "rows", "to", "back"), THINGS, ids=["order", "fill", "balance", "report"]
)


@each_thing
def test_each_pair_both_ways(pairs: contract.Pairs, rows: list[Row], to: Way, back: Way) -> None:
    assert pairs == tuple((ours, theirs) for ours, _, theirs, _ in rows)
    ours = {name: value for name, value, _, _ in rows}
    theirs = {name: value for _, _, name, value in rows}
    sent = to(ours)
    assert sent == theirs
    assert {type(value) for value in sent.values()} <= {str, int, bool, dict}
    assert back(theirs) == ours


@each_thing
def test_absent_values_are_left_out_and_unknown_ones_refused(
    pairs: contract.Pairs, rows: list[Row], to: Way, back: Way
) -> None:
    name, value, contract_name, contract_value = rows[0]
    absent: dict[str, Any] = {ours: None for ours, _ in pairs}
    assert to({**absent, name: value}) == {contract_name: contract_value}
    assert back({contract_name: contract_value, pairs[1][1]: None, "more": 1}) == {name: value}
    with pytest.raises(ValueError, match="expected fields that the contract has, saw more"):
        to({"more": 1})


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1,5", 0.1, 1, True])
def test_an_amount_that_is_not_a_decimal_text_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="total: expected a decimal as text"):
        contract.balance_from_contract({"total": value})


def test_ids_of_rows_become_text() -> None:
    assert contract.order_to_contract({"id": UUID(int=1)}) == {"id": str(UUID(int=1))}


def test_no_other_file_has_the_contracts_spellings() -> None:
    spellings = (
        "strategyInstance|externalReference|feeAsset|exchangeOrderId|remainingQty|avgFillPrice|commission|"
        "rejectReason|exchange_order_id|remaining_qty|avg_fill_price|reject_reason|external_reference"
    )
    files = [
        path
        for folder in ("python", "crates", "docs")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".pyi", ".rs", ".md", ".json", ".yaml", ".toml"}
    ]
    found = {path.relative_to(ROOT).as_posix() for path in files if re.search(spellings, path.read_text())}
    # The examples are recorded responses, and the guide shows some.
    examples = {"python/meltica/control/routes/examples.json", "docs/lambdas-api.md"}
    assert found == {"python/meltica/api/contract.py", *examples}
