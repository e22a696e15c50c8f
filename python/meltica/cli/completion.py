"""`meltica completion`: prints the script that completes commands and options in a shell."""

from typing import TYPE_CHECKING

import click

from meltica.cli import INTERNAL, exit_codes

if TYPE_CHECKING:
    from click.shell_completion import ShellComplete

SHELLS = ("bash", "zsh", "fish")


@click.command(epilog=exit_codes({0: "the script was printed"}))
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the completion script of SHELL.

    In ~/.bashrc and ~/.zshrc: `eval "$(meltica completion bash)"`, with the name of the shell. In
    ~/.config/fish/config.fish: `meltica completion fish | source`.
    """
    from click.shell_completion import get_completion_class

    from meltica.cli import cli

    kind: type[ShellComplete] | None = get_completion_class(shell)
    if kind is None:
        raise click.ClickException(f"{INTERNAL}: no completion for {shell}")
    click.echo(kind(cli, {}, "meltica", "_MELTICA_COMPLETE").source())
