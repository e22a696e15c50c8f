"""`/health`: whether the process responds, and whether the gateway is ready."""

from meltica.api.envelope import Schema


class Live(Schema, frozen=True, kw_only=True, tag_field="status", tag="live"):
    """The process responds."""


class Ready(Schema, frozen=True, kw_only=True, tag_field="status", tag="ready"):
    """The gateway is ready."""
