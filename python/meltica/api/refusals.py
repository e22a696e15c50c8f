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
    """The revision of a shadow; absent for the instance itself."""
    provider: str
    symbol: str
    order_id: Text = UNSET
    """Id of the refused order, or of that of a refused amendment; absent in rows of earlier versions."""
    rule: str
    """The rule that refused."""
    message: str
    """Text for people."""
    seen: Text = UNSET
    """What the rule saw; absent without a number."""
    limit: Text = UNSET
    """Its limit; absent without one."""
    verdict: Text = UNSET
    """What it led to as a breach: `counted`, `cooldown` or `halt`; absent if the rule does not count."""
    count: int
    """How many refusals it stands for."""
    refused_at: int
    """When the first of them was refused, in milliseconds."""
    last_refused_at: int
    """When the last of them was refused, in milliseconds."""


class Refusals(Schema, frozen=True, kw_only=True):
    """Refusals, the latest first."""

    refusals: list[Refusal]
    """The refusals of this page."""
    count: int
    """How many entries this response has."""
    cursor: Text = UNSET
    """Where the next page begins; absent on the last one."""


class RefusalCount(Schema, frozen=True, kw_only=True):
    """The refusals of one instance by one rule."""

    instance: str
    mode: Mode
    rule: str
    """The rule that refused."""
    count: int
    """How many orders it refused."""
    last_refused_at: int
    """When it refused the latest one, in milliseconds."""


class RefusalCounts(Schema, frozen=True, kw_only=True):
    """Counts by instance, mode and rule, the latest refused first."""

    counts: list[RefusalCount]
    """By instance, mode and rule."""
    total: int
    """How many orders were refused."""
