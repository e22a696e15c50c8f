"""`/health`: whether the process responds, serves requests, and is ready."""

from meltica.api.envelope import Schema


class Live(Schema, frozen=True, kw_only=True, tag_field="status", tag="live"):
    """The process responds."""


class Serving(Schema, frozen=True, kw_only=True, tag_field="status", tag="serving"):
    """The gateway responds to requests."""


class Ready(Schema, frozen=True, kw_only=True, tag_field="status", tag="ready"):
    """The gateway is ready."""
