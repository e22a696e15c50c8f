"""`/version`: the running build."""

from meltica.api.envelope import Schema


class Version(Schema, frozen=True, kw_only=True):
    """The running build, and the start of this run."""

    version: str
    build: str
    """How the core was built: `dev`, `release`, `dist` or `custom`."""
    target: str
    """The platform that the core was built for."""
    python: str
    environment: str
    service_name: str
    started_at: int
    """Milliseconds since 1970."""
