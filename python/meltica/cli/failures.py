"""Maps errors to one line of text and an exit code."""

import contextlib
from typing import TYPE_CHECKING

import click

from meltica.errors import (
    AddressInUse,
    ConfigError,
    DatabaseError,
    DatabaseUnavailable,
    GatewayAlreadyRunning,
    MelticaError,
)

if TYPE_CHECKING:
    from meltica.cli.json_output import JsonOutput

CODES: tuple[tuple[type[MelticaError], int], ...] = (
    (ConfigError, 2),
    (DatabaseUnavailable, 5),
    (GatewayAlreadyRunning, 7),
    (DatabaseError, 6),
    (AddressInUse, 8),
    (MelticaError, 1),
)


class CommandFailed(click.ClickException):
    """Ends a command with the text of an error, perhaps a remedy, and its exit code."""

    def __init__(self, error: MelticaError, code: int | None = None, remedy: str | None = None) -> None:
        super().__init__(str(error) if remedy is None else f"{error}; {remedy}")
        code = code or next(code for kind, code in CODES if isinstance(error, kind))
        self.exit_code = code  # pyright: ignore[reportAttributeAccessIssue]


def refuse(error: ConfigError, output: "JsonOutput | None") -> int:
    """Prints every fault of a configuration; returns the exit code."""
    if output is not None:
        line = {"event": "failed", "part": "configuration", "faults": list(error.faults), "exit_code": 2}
        output.write({**line, "error": str(error)})
    if len(error.faults) == 1:
        complain(f"Error: {error}")
        return 2
    complain(f"Error: {error.subject}: {len(error.faults)} faults", *(f"  {fault}" for fault in error.faults))
    return 2


def complain(*lines: str) -> None:
    """Prints lines to stderr. The exit code is the same if it is closed, or on a full disk."""
    with contextlib.suppress(OSError):
        for line in lines:
            click.echo(line, err=True)
