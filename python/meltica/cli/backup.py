"""`meltica backup`: saves what is configured to a file, and restores it."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from meltica.cli import BadInput
from meltica.cli.gateway import connect, gateway_codes, gateway_options
from meltica.cli.tables import print_details

Command = TypeVar("Command", bound=Callable[..., object])

VARIABLE: Final = "MELTICA_BACKUP_PASSPHRASE"


def _passphrase_option(command: Command) -> Command:
    return click.option(
        "--passphrase",
        "ask",
        is_flag=True,
        help=f"Prompt for the passphrase of the secrets; without it, {VARIABLE} has the passphrase, if any.",
    )(command)


@click.group()
def backup() -> None:
    """Save what is configured to a file, and restore it.

    Secrets are in the file only with a passphrase, encrypted under it.
    """


@backup.command(epilog=gateway_codes("the backup was saved", _2="FILE exists, or cannot be written"))
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@_passphrase_option
@gateway_options
def save(file: Path, force: bool, ask: bool, as_json: bool, **where: Any) -> None:
    """Save a backup to FILE, which only its owner can read."""
    if file.exists() and not force:
        raise BadInput(f"{file} exists; --force replaces it")
    passphrase = _passphrase(ask=ask, confirm=True)
    with connect(**where) as client:
        content = client.backup(passphrase)
    try:
        _write(file, content)
    except OSError as error:
        raise BadInput(f"{file} not written: {error.strerror}") from None
    document = json.loads(content)
    counts = {key: len(document[key]) for key in ("providers", "lambdas", "modules")}
    result = {"file": str(file), **counts, "secrets": "secrets" in document}
    if as_json:
        click.echo(json.dumps(result))
    else:
        print_details(result)


@backup.command(
    epilog=gateway_codes("the backup was restored, or planned", _2="FILE cannot be read", _4="a start failed")
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dry-run", "--plan", "dry_run", is_flag=True, help="Only print what would change.")
@click.option("--start", is_flag=True, help="Start what ran when the backup was made.")
@click.option(
    "--accounts",
    metavar="NAME,NAME",
    default="",
    help="With --start: the providers on whose accounts instances will trade.",
)
@_passphrase_option
@gateway_options
def restore(
    file: Path, dry_run: bool, start: bool, accounts: str, ask: bool, as_json: bool, **where: Any
) -> int:
    """Restore the backup in FILE: completely, or nothing.

    Providers and instances that are not in it are deleted, what changes is stopped, and nothing is started
    without --start.
    """
    import msgspec

    passphrase = _passphrase(ask=ask, confirm=False)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise BadInput(f"{file} not read: {error.strerror}") from None
    with connect(**where) as client:
        names = [name.strip() for name in accounts.split(",") if name.strip()]
        if dry_run:
            shown = msgspec.to_builtins(client.plan_restore(content, passphrase))
        else:
            shown = msgspec.to_builtins(client.restore(content, passphrase, start=start, accounts=names))
    if as_json:
        click.echo(json.dumps(shown))
    elif dry_run:
        _print_plan(shown)
    else:
        print_details(shown)
    return 4 if shown.get("failed") else 0


def _print_plan(plan: dict[str, Any]) -> None:
    if not plan["changes"]:
        click.echo("nothing would change")
    for key, change in plan["changes"].items():
        kind = "deleted" if "after" not in change else "updated" if "before" in change else "created"
        about = change["after"] if key in ("stopped", "skipped", "missingSecrets") else kind
        click.echo(f"{key}: {about if isinstance(about, str) else json.dumps(about)}")


def _passphrase(*, ask: bool, confirm: bool) -> str | None:
    if ask:
        return str(click.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm, err=True))
    return os.environ.get(VARIABLE) or None


def _write(file: Path, content: bytes) -> None:
    """Writes a file as a whole. Raises OSError."""
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:  # noqa: PTH123
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
