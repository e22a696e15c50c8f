"""`/refusals`: orders and amendments that were refused before anything left. Times are milliseconds."""

from msgspec import UNSET, UnsetType

from meltica.api.envelope import Schema
from meltica.model.enums import Mode

Text = str | UnsetType


class Refusal(Schema, frozen=True, kw_only=True):
    """One refusal, or the first of several ones of an instance and rule within a short time."""

    id: int
    instance: str
    mode: Mode
    revision: Text = UNSET
    provider: str
    symbol: str
    order_id: Text = UNSET
    """Of a refused amendment, or of an order that was refused after it got its id."""
    rule: str
    message: str
    seen: Text = UNSET
    limit: Text = UNSET
    verdict: Text = UNSET
    """What it led to as a breach: `counted`, `cooldown` or `halt`; absent if the rule does not count."""
    count: int
    """How many refusals it stands for."""
    refused_at: int
    last_refused_at: int


class Refusals(Schema, frozen=True, kw_only=True):
    """Refusals, the latest first."""

    refusals: list[Refusal]
    count: int
    """How many entries this response has."""
    cursor: Text = UNSET
    """Where the next page begins; absent on the last one."""


class RefusalCount(Schema, frozen=True, kw_only=True):
    """The refusals of one instance by one rule."""

    instance: str
    mode: Mode
    rule: str
    count: int
    last_refused_at: int


class RefusalCounts(Schema, frozen=True, kw_only=True):
    """Counts by instance, mode and rule, the latest refused first."""

    counts: list[RefusalCount]
    total: int
