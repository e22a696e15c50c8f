"""`/strategy/instances/{id}/executions`: the fills of an instance, in the spelling of the contract.

Times are milliseconds since the epoch; amounts are exact, as text.
"""

from typing import Any, Self

import msgspec
from msgspec import UNSET, Struct, UnsetType

from meltica.api import contract
from meltica.api.envelope import JsonObject, Schema
from meltica.model.enums import FillRule, Liquidity, Mode, Side


class Execution(Struct, rename=dict(contract.FILL), frozen=True, kw_only=True):
    """A fill."""

    order_id: str
    """The id of its order."""
    execution_id: str
    """The id of the venue, unique for its order."""
    provider: str
    instance: str
    mode: Mode
    symbol: str
    side: Side
    quantity: str
    """In the base currency."""
    price: str
    """In the quote currency."""
    fee: str | UnsetType = UNSET
    """In the currency of the fee; negative for a rebate, absent if it is not known."""
    fee_currency: str | UnsetType = UNSET
    """The currency of the fee."""
    liquidity: Liquidity | UnsetType = UNSET
    """Whether the order was in the book before; absent if it is not known."""
    rule: FillRule | UnsetType = UNSET
    """The rule by which a paper account filled; absent for fills of a venue."""
    trade_id: str | UnsetType = UNSET
    """The venue's id of the trade."""
    traded_at: int
    """When it traded, of the venue."""
    recovered: bool
    """Whether the fill was found by reconciling."""
    metadata: JsonObject
    """What the adapter adds."""
    created_at: int

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        """Returns the schema of a fill with our names and types."""
        return msgspec.convert(contract.fill_to_contract(values), cls)


class Executions(Schema, frozen=True, kw_only=True):
    """Fills, the latest first."""

    executions: list[Execution]
    """The fills of this page."""
    count: int
    """How many fills this response has."""
    cursor: str | UnsetType = UNSET
    """Where the next page begins; absent on the last one."""
