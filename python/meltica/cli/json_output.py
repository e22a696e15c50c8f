"""Keeps stdout for JSON: everything else that writes to it, strategies included, reaches stderr."""

import contextlib
import io
import json
import os
import sys
import threading
from typing import Any

import click


class JsonOutput:
    """Prints JSON lines to the stdout that the process started with.

    `reserve` points file descriptor 1 at stderr, for `print`, C code and child processes alike, and for the
    rest of the process: code that runs at exit does not reach stdout either. The lines are written to a
    duplicate, so a strategy may close `sys.stdout` or descriptor 1.
    """

    def __init__(self) -> None:
        self._fd: int | None = None
        self._late: threading.Thread | None = None
        """Prints a line of `write_soon`."""

    @classmethod
    def reserve(cls) -> "JsonOutput":
        """Reserves stdout; does nothing where `sys.stdout` is not descriptor 1, as in tests."""
        output = cls()
        if not _is_descriptor(1):
            return output
        sys.stdout.flush()
        output._fd = os.dup(1)
        try:
            os.dup2(2, 1)
        except OSError:
            # The process has no stderr.
            with open(os.devnull, "wb") as null:  # noqa: PTH123
                os.dup2(null.fileno(), 1)
        return output

    @property
    def descriptor(self) -> int | None:
        """The file descriptor that the lines go to; None where stdout is not reserved."""
        return self._fd

    def write(self, value: object) -> None:
        """Prints a value as one line. Raises OSError when the reader of stdout has closed it."""
        if self._late is not None:
            self._late.join()
        self._write(value)

    def write_soon(self, value: object) -> None:
        """Prints a value on a thread of its own: the reader of stdout may be suspended, or have closed it."""

        def work() -> None:
            with contextlib.suppress(OSError):
                self._write(value)

        self._late = threading.Thread(target=work, name="meltica-stdout", daemon=True)
        self._late.start()

    def _write(self, value: object) -> None:
        line = json.dumps(value)
        if self._fd is None:
            click.echo(line)
            return
        rest = memoryview(line.encode() + b"\n")
        while rest:
            rest = rest[os.write(self._fd, rest) :]


def _is_descriptor(number: int) -> bool:
    with contextlib.suppress(AttributeError, ValueError, io.UnsupportedOperation):
        return sys.stdout.fileno() == number
    return False


class JsonLinesCommand(click.Command):
    """A command whose `--json` ends with one line on every exit, usage errors included."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parses the arguments. Raises UsageError."""
        as_json = "--json" in args
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            if as_json:
                click.echo(json.dumps(_usage(error)))
            raise

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command. Raises what it raises."""
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            if ctx.params.get("as_json"):
                click.echo(json.dumps(_usage(error)))
            raise


def _usage(error: click.ClickException) -> dict[str, object]:
    return {"event": "failed", "part": "usage", "error": error.format_message(), "exit_code": error.exit_code}
