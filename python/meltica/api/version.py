"""`/version`: the running build."""

from meltica.api.envelope import Schema


class Version(Schema, frozen=True, kw_only=True):
    """What runs here."""

    version: str
    build: str
    """How the core was built: `dev`, `release`, `dist` or `custom`."""
    target: str
    """What it was built for."""
    python: str
    environment: str
    service_name: str
    started_at: int
    """Milliseconds."""
