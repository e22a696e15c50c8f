"""`/audit`: who changed what and when. Times are milliseconds."""

from msgspec import UNSET, UnsetType

from meltica.api.envelope import JsonObject, Schema


class AuditEntry(Schema, frozen=True, kw_only=True):
    """One change, without secrets."""

    id: int
    """Its number, without gaps."""
    acted_at: int
    """When it took effect."""
    actor: str
    """The client: the name and id of its token, or what acted by itself."""
    action: str
    """What was done, such as `provider.start`."""
    subject: str
    """What it was done to, such as `provider main`."""
    before: JsonObject | UnsetType = UNSET
    """What differs, as it was; absent for what was created."""
    after: JsonObject | UnsetType = UNSET
    """What differs, as it is; absent for what was deleted."""
    hash: str
    """It covers the entry and the hash of the one before."""


class AuditEntries(Schema, frozen=True, kw_only=True):
    """Changes, the latest first."""

    entries: list[AuditEntry]
    """The entries of this page."""
    count: int
    """How many entries this response has."""
    cursor: str | UnsetType = UNSET
    """Returns the entries before these; absent if these are the last."""
