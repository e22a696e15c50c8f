"""`Reconnection`: lets a command that follows a gateway go on after a restart of the gateway."""

import time
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from meltica.cli.failures import CommandFailed

MINUTES: Final = 5
"""How long the gateway may be gone."""
PAUSE: Final = 1.0
"""Seconds between two attempts."""
GONE: Final = f"no gateway responded, or it was gone for {MINUTES} min"


class Reconnection:
    """The connection of one command. Its messages go to stderr."""

    def __init__(self) -> None:
        self._was_connected = False
        self._lost_at: float | None = None

    def connected(self) -> None:
        """Records that the gateway has responded."""
        if self._lost_at is not None:
            click.echo("connected again", err=True)
        self._was_connected, self._lost_at = True, None

    def lost(self, reason: str) -> None:
        """Waits before the next attempt, after a response that ends early."""
        if self._lost_at is None:
            self._lost_at = time.monotonic()
            click.echo(f"{reason}; trying again for {MINUTES} min", err=True)
        time.sleep(PAUSE)

    def failed(self, error: "CommandFailed") -> None:
        """Waits before the next attempt. Raises an error that no attempt can mend, or that lasts too long."""
        from meltica.client import ApiError, Unreachable

        cause, since = error.__cause__, self._lost_at
        is_temporary = isinstance(cause, Unreachable) or (isinstance(cause, ApiError) and cause.status == 503)
        is_over = since is not None and time.monotonic() - since > MINUTES * 60
        if not self._was_connected or is_over or not is_temporary:
            raise error
        self.lost(str(error))
