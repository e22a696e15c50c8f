"""`/strategy/instances/{id}/positions`: the positions of an instance. Amounts are exact, as text."""

from msgspec import UNSET, UnsetType

from meltica.api.envelope import Schema
from meltica.model.enums import Mode


class Position(Schema, frozen=True, kw_only=True):
    """What the fills of an instance in one symbol add up to."""

    instance: str
    uid: str
    """The creation of the instance that the position belongs to."""
    mode: Mode
    revision: str | UnsetType = UNSET
    """The revision of a shadow; absent for the instance itself."""
    provider: str
    symbol: str
    quantity: str
    """In the base currency; below zero if fees in that currency exceed what was bought."""
    cost: str
    """What the open quantity cost, in the quote currency."""
    average_price: str | UnsetType = UNSET
    """`cost` / `quantity`; absent for a flat position."""
    realised_pnl: str
    """In the quote currency; fees in other currencies than the base currency are not in it."""
    fees: dict[str, str]
    """Sum of the fees by currency; negative for rebates."""


class Positions(Schema, frozen=True, kw_only=True):
    """Positions, by mode, provider and symbol."""

    positions: list[Position]
    """The positions of this page."""
    count: int
    cursor: str | UnsetType = UNSET
    """Where the next page begins; absent on the last one."""
