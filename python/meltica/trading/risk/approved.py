"""Requests of orders, and their approvals, which only risk can make."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple, NoReturn, Self, cast
from uuid import UUID

from meltica.model.enums import OrderType, Side, TimeInForce
from meltica.trading.order import Owner

_new = cast("Callable[[type, tuple[object, ...]], object]", getattr(tuple, "__new__"))  # noqa: B009


class OrderRequest(NamedTuple):
    """An order that a strategy requests. Its numbers are Decimals already."""

    order_id: UUID
    owner: Owner
    provider: str
    symbol: str
    side: Side
    order_type: OrderType
    quantity: Decimal
    price: Decimal | None = None
    """None for a market order."""
    time_in_force: TimeInForce = TimeInForce.GTC
    post_only: bool = False
    reduce_only: bool = False


class _Order(NamedTuple):
    order_id: UUID
    owner: Owner
    provider: str
    symbol: str
    side: Side
    quantity: Decimal
    limit_price: Decimal
    """What is sent: a market order has the edge of the price band."""
    time_in_force: TimeInForce
    post_only: bool
    reduce_only: bool
    approved_at: int


class _Amendment(NamedTuple):
    order_id: UUID
    quantity: Decimal
    """The new whole quantity, fills included."""
    limit_price: Decimal
    approved_at: int


class _OnlyRisk(tuple[Any, ...]):
    __slots__ = ()

    def __new__(cls, *_values: object, **_fields: object) -> Self:
        raise TypeError(f"{cls.__name__}: only risk approves orders; use the order that `Risk` returned")

    @classmethod
    def _make(cls, iterable: object) -> NoReturn:  # noqa: ARG003
        cls()
        raise AssertionError

    def _replace(self, **_fields: object) -> NoReturn:
        type(self)()
        raise AssertionError


class ApprovedOrder(_OnlyRisk, _Order):
    """An order that risk approved and reserved. It cannot be made or changed elsewhere."""

    __slots__ = ()


class ApprovedAmendment(_OnlyRisk, _Amendment):
    """An amendment that risk approved and reserved. It cannot be made or changed elsewhere."""

    __slots__ = ()


def approved_order(*values: object) -> ApprovedOrder:
    """Makes an approval. Only for `meltica.trading.risk`."""
    return cast(ApprovedOrder, _new(ApprovedOrder, values))


def approved_amendment(*values: object) -> ApprovedAmendment:
    """Makes the approval of an amendment. Only for `meltica.trading.risk`."""
    return cast(ApprovedAmendment, _new(ApprovedAmendment, values))
