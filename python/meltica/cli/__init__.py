"""The command line. Each command imports its modules when it runs, so that `meltica --help` stays fast."""

import contextlib
import importlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, cast

import click

from meltica import __version__

COMMANDS = {
    "serve": "meltica.cli.serve.command:serve",
    "doctor": "meltica.cli.doctor:doctor",
    "replay": "meltica.cli.replay.command:replay",
    "codec": "meltica.cli.codec:codec",
    "init": "meltica.cli.init:init",
    "config": "meltica.cli.config:config",
    "sample": "meltica.cli.sample:sample",
    "bench": "meltica.cli.bench:bench",
    "version": "meltica.cli.version:version",
    "db": "meltica.cli.db:db",
    "risk": "meltica.cli.risk:risk",
    "status": "meltica.cli.gateway_status:status",
    "strategies": "meltica.cli.strategies:strategies",
    "instances": "meltica.cli.instances:instances",
    "providers": "meltica.cli.providers:providers",
    "orders": "meltica.cli.orders:orders",
    "slowest": "meltica.cli.slowest:slowest",
    "trace": "meltica.cli.trace:trace",
    "positions": "meltica.cli.positions:positions",
    "balances": "meltica.cli.balances:balances",
    "outbox": "meltica.cli.outbox:outbox",
    "logs": "meltica.cli.logs:logs",
    "why": "meltica.cli.why:why",
    "api": "meltica.cli.api:api",
    "tokens": "meltica.cli.tokens:tokens",
    "secrets": "meltica.cli.secrets:secrets",
    "backup": "meltica.cli.backup:backup",
    "audit": "meltica.cli.audit:audit",
    "events": "meltica.cli.events:events",
    "venue": "meltica.cli.venue.command:venue",
    "completion": "meltica.cli.completion:completion",
}

INTERNAL = "internal error in Meltica"

CONFIG_HELP = "Config file; default: MELTICA_CONFIG_PATH, else the shipped config."
HOME_HELP = "Directory of the embedded PostgreSQL; overrides a configured DSN."
JSON_HELP = "Print one JSON object to stdout."


def exit_codes(codes: Mapping[int, str]) -> str:
    """Returns the table of exit codes for a command's help; 1 and 2 have defaults."""
    table = {1: INTERNAL, 2: "invalid option", **codes}
    return "\b\nExit codes:\n" + "\n".join(f"  {code:<4} {table[code]}" for code in sorted(table))


def at_home(home: Path | None) -> dict[str, Any]:
    """Returns the settings that `--home` overrides: the embedded PostgreSQL in that directory is used."""
    return {} if home is None else {"database": {"home": str(home.absolute()), "dsn": None}}


class BadInput(click.ClickException):
    """Invalid input from the user: one line, exit code 2."""

    exit_code = 2


class _Commands(click.Group):
    """Imports a command when it is first used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        target = COMMANDS.get(cmd_name)
        if target is None:
            return None
        module, _, name = target.partition(":")
        return cast(click.Command, getattr(importlib.import_module(module), name))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            from meltica.errors import suggestion

            raise click.UsageError(
                f"no such command `{args[0]}`{suggestion(args[0], COMMANDS)}", ctx
            ) from None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="meltica", message="%(prog)s %(version)s")
def cli() -> None:
    """A gateway for crypto trading strategies written in Python.

    `meltica COMMAND --help` lists the options and exit codes of a command.
    """


def main() -> NoReturn:
    """Runs the command line and exits with its code."""
    _open_standard_streams()
    try:
        _refuse_unreadable_variables()
        code = cli.main(standalone_mode=False)
    except click.ClickException as error:
        # The exit code is the same if stderr is closed, or on a full disk.
        with contextlib.suppress(OSError):
            error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of stdout has closed it, so the output has no destination.
        sys.stderr.close()
        sys.exit(0)
    sys.exit(code if isinstance(code, int) else 0)


def _refuse_unreadable_variables() -> None:
    """Raises BadInput for a variable with bytes that are not UTF-8: nothing could send, print or store it."""
    for name, value in os.environ.items():
        if name.startswith("MELTICA_") or name == "DATABASE_URL":
            try:
                value.encode()
            except UnicodeEncodeError:
                raise BadInput(f"the variable {name} is not valid UTF-8") from None


def _open_standard_streams() -> None:
    """Opens /dev/null for each standard stream that the caller closed.

    Otherwise a socket or a file gets its descriptor, and what is written to the stream reaches that socket.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            # `open` takes the lowest free descriptor, and the lower ones are open.
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, open(number, "r" if number == 0 else "w", closefd=False))  # noqa: SIM115
