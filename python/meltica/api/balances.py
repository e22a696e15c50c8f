"""`/providers/{name}/balances`: the history of an account's balances, in the spelling of the contract.

Times are milliseconds since the epoch; amounts are exact, as text.
"""

from typing import Any, Self

import msgspec
from msgspec import UNSET, Struct, UnsetType

from meltica.api import contract
from meltica.api.envelope import JsonObject, Schema
from meltica.model.enums import Mode


class Balance(Struct, rename=dict(contract.BALANCE), frozen=True, kw_only=True):
    """A balance as the venue reported it."""

    provider: str
    mode: Mode
    currency: str
    """The currency."""
    total: str
    """All of it."""
    available: str
    """What open orders do not hold."""
    snapshot_at: int
    """The time as of which the amounts are true, of the venue."""
    metadata: JsonObject
    """What the adapter adds."""
    created_at: int
    updated_at: int

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        """Returns the schema of a balance with our names and types."""
        return msgspec.convert(contract.balance_to_contract(values), cls)


class Balances(Schema, frozen=True, kw_only=True):
    """Balances, the latest first: a history, or with `latest` one for each mode and currency."""

    balances: list[Balance]
    """The balances of this page."""
    count: int
    """How many balances this response has."""
    cursor: str | UnsetType = UNSET
    """Where the next page begins; absent on the last one."""
