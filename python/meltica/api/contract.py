"""The REST contract's spellings of orders, executions, balances and reports, the only place that has them.

Everywhere else these values have the names of `meltica.model` and of the SQL columns. Each thing has a
table of pairs (our name, the contract's name) and two functions, one for each way. To the contract, amounts
become text, times whole milliseconds since the epoch, and absent values are left out, since the contract's
optional fields may not be null. From the contract, keys without a pair are ignored. Reports are JSON on both
sides: only their keys change.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import Any
from uuid import UUID

from meltica.model.amounts import amount_text

Pairs = tuple[tuple[str, str], ...]

ORDER: Pairs = (
    ("id", "id"),
    ("provider", "provider"),
    ("instance", "strategyInstance"),
    ("client_order_id", "clientOrderId"),
    ("symbol", "symbol"),
    ("side", "side"),
    ("mode", "mode"),
    ("order_type", "type"),
    ("time_in_force", "timeInForce"),
    ("post_only", "postOnly"),
    ("reduce_only", "reduceOnly"),
    ("quantity", "quantity"),
    ("price", "price"),
    ("limit_price", "limitPrice"),
    ("filled_quantity", "filledQuantity"),
    ("average_price", "averagePrice"),
    ("fees", "fees"),
    ("state", "state"),
    ("reason", "reason"),
    ("cancel_wanted", "cancelWanted"),
    ("tag", "tag"),
    ("venue_order_id", "externalReference"),
    ("expires_at", "expiresAt"),
    ("intent_at", "placedAt"),
    ("sent_at", "sentAt"),
    ("acknowledged_at", "acknowledgedAt"),
    ("ended_at", "completedAt"),
    ("metadata", "metadata"),
    ("created_at", "createdAt"),
    ("updated_at", "updatedAt"),
)

FILL: Pairs = (
    ("order_id", "orderId"),
    ("provider", "provider"),
    ("instance", "strategyInstance"),
    ("mode", "mode"),
    ("symbol", "symbol"),
    ("side", "side"),
    ("execution_id", "executionId"),
    ("quantity", "quantity"),
    ("price", "price"),
    ("fee", "fee"),
    ("fee_currency", "feeAsset"),
    ("liquidity", "liquidity"),
    ("rule", "rule"),
    ("trade_id", "tradeId"),
    ("traded_at", "tradedAt"),
    ("recovered", "recovered"),
    ("metadata", "metadata"),
    ("created_at", "createdAt"),
)

BALANCE: Pairs = (
    ("provider", "provider"),
    ("mode", "mode"),
    ("currency", "asset"),
    ("total", "total"),
    ("available", "available"),
    ("snapshot_at", "snapshotAt"),
    ("metadata", "metadata"),
    ("created_at", "createdAt"),
    ("updated_at", "updatedAt"),
)

EXEC_REPORT: Pairs = (
    ("clientOrderId", "clientOrderId"),
    ("venueOrderId", "exchangeOrderId"),
    ("state", "state"),
    ("side", "side"),
    ("orderType", "orderType"),
    ("timeInForce", "timeInForce"),
    ("price", "price"),
    ("quantity", "quantity"),
    ("filledQuantity", "filledQuantity"),
    ("remainingQuantity", "remainingQty"),
    ("averagePrice", "avgFillPrice"),
    ("fee", "commissionAmount"),
    ("feeCurrency", "commissionAsset"),
    ("reason", "rejectReason"),
    ("executionId", "executionId"),
    ("lastQuantity", "lastQuantity"),
    ("lastPrice", "lastPrice"),
    ("liquidity", "liquidity"),
    ("lastFee", "lastFee"),
    ("lastFeeCurrency", "lastFeeCurrency"),
)

MILLISECOND = 10**6
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_AMOUNTS = frozenset(
    {
        "quantity",
        "price",
        "limit_price",
        "filled_quantity",
        "average_price",
        "fee",
        "total",
        "available",
    }
)
_TIMES = frozenset(
    {"intent_at", "sent_at", "acknowledged_at", "ended_at", "expires_at", "traded_at", "snapshot_at"}
)
"""Nanoseconds of ours, milliseconds of the contract."""
_DATES = frozenset({"created_at", "updated_at"})


def order_to_contract(order: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an order in the contract's spelling."""
    return _to_contract(ORDER, order)


def order_from_contract(order: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an order in our names."""
    return _from_contract(ORDER, order)


def fill_to_contract(fill: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a fill as the contract's execution."""
    return _to_contract(FILL, fill)


def fill_from_contract(execution: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an execution of the contract in our names."""
    return _from_contract(FILL, execution)


def balance_to_contract(balance: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a balance in the contract's spelling."""
    return _to_contract(BALANCE, balance)


def balance_from_contract(balance: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a balance in our names."""
    return _from_contract(BALANCE, balance)


def exec_report_to_contract(report: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the payload of an `ExecReport`, as `Event.to_dict` has it, in the contract's spelling."""
    _check_known(EXEC_REPORT, report)
    return {theirs: report[ours] for ours, theirs in EXEC_REPORT if report.get(ours) is not None}


def exec_report_from_contract(report: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the payload of an `ExecReport` in our names."""
    return {ours: report[theirs] for ours, theirs in EXEC_REPORT if report.get(theirs) is not None}


def _check_known(pairs: Pairs, values: Mapping[str, Any]) -> None:
    unknown = values.keys() - {ours for ours, _ in pairs}
    if unknown:
        raise ValueError(f"expected fields that the contract has, saw {', '.join(sorted(unknown))}")


def _to_contract(pairs: Pairs, values: Mapping[str, Any]) -> dict[str, Any]:
    _check_known(pairs, values)
    return {
        theirs: _value_to_contract(ours, values[ours])
        for ours, theirs in pairs
        if values.get(ours) is not None
    }


def _from_contract(pairs: Pairs, values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        ours: _value_from_contract(ours, values[theirs])
        for ours, theirs in pairs
        if values.get(theirs) is not None
    }


def _value_to_contract(name: str, value: Any) -> Any:
    if name in _AMOUNTS:
        return amount_text(Decimal(value))
    if name == "fees":
        return {currency: amount_text(Decimal(fee)) for currency, fee in value.items()}
    if name in _TIMES:
        return value // MILLISECOND
    if name in _DATES:
        return (value - EPOCH) // timedelta(milliseconds=1)
    if isinstance(value, UUID):
        return str(value)
    return value.value if isinstance(value, Enum) else value


def _value_from_contract(name: str, value: Any) -> Any:
    if name in _AMOUNTS:
        return _amount(name, value)
    if name == "fees":
        return {currency: _amount(name, fee) for currency, fee in value.items()}
    if name in _TIMES:
        return value * MILLISECOND
    if name in _DATES:
        return EPOCH + timedelta(milliseconds=value)
    return value


def _amount(name: str, value: Any) -> Decimal:
    """Returns an amount. A number that is not text may have lost digits, and is refused."""
    try:
        amount = Decimal(value) if isinstance(value, str) else None
    except InvalidOperation:
        amount = None
    if amount is None or not amount.is_finite():
        raise ValueError(f"{name}: expected a decimal as text, saw {value!r}")
    return amount
