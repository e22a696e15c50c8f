"""The command line. Each command's imports stand inside it, so that `meltica --help` stays fast."""

import importlib
import sys
from typing import NoReturn, cast

import click

COMMANDS = {
    "serve": "meltica.cli.serve.command:serve",
    "doctor": "meltica.cli.doctor:doctor",
    "replay": "meltica.cli.replay.command:replay",
    "init": "meltica.cli.init:init",
    "config": "meltica.cli.config:config",
    "sample": "meltica.cli.sample:sample",
    "bench": "meltica.cli.bench:bench",
    "version": "meltica.cli.version:version",
    "db": "meltica.cli.db:db",
    "venue": "meltica.cli.venue.command:venue",
}

EXIT_CODES = """\b
Exit codes:
  0    ran to its end; callbacks that raised are counted and shown
  1    unexpected failure inside Meltica
  2    bad usage or input: an option, a file, a lambda, a config
  3    a lambda failed: it could not start, got stuck, or raised too often
  4    a recording is damaged; what came before the damage was replayed
  5    the database cannot be started or reached
  6    a migration, dump or restore failed, or the schema is not that of this version
  7    another gateway holds the database
  8    the address is taken or cannot be listened on
  9    doctor: something keeps a gateway from running
  130  interrupted, or left at once by a second signal
"""


class BadInput(click.ClickException):
    """What the user gave cannot be used: one line, exit code 2."""

    exit_code = 2


class _Commands(click.Group):
    """Imports a command only when it is asked for."""

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


@click.group(cls=_Commands, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """A gateway for people who run crypto trading strategies in Python."""


def main() -> NoReturn:
    """Runs the command line and exits with its code."""
    try:
        code = cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has gone; there is nobody to tell.
        sys.stderr.close()
        sys.exit(0)
    sys.exit(code if isinstance(code, int) else 0)
