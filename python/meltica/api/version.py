"""`/version`: the running build."""

from meltica.api.envelope import Schema


class Version(Schema, frozen=True, kw_only=True):
    """The running build, and the start of this run."""

    version: str
    """The version of Meltica."""
    build: str
    """How the core was built: `dev`, `release`, `dist` or `custom`."""
    target: str
    """The platform that the core was built for."""
    python: str
    """The version of Python."""
    environment: str
    """The name of the environment."""
    service_name: str
    """The name of the gateway in telemetry."""
    started_at: int
    """Milliseconds since 1970."""
