"""`meltica risk`: halts and resumes trading, and shows what is halted.

1. A halt is sent to the gateway, which acts at once, also while its database is unavailable.
2. If no gateway halts, and for a resume, the change is written to the database. A gateway reads the halts
   within a second, and in each of its commits, so a halt also stops one that does not respond.
"""

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meltica.cli import BadInput, exit_codes
from meltica.cli.database import Command, database_options, open_database
from meltica.cli.flatten import flatten
from meltica.cli.gateway import CODES, DENIED, TOKEN_FOLDER, UNREACHABLE, URL, failed
from meltica.cli.limits import limit, limits
from meltica.cli.refusals import refusals
from meltica.cli.usage import usage

if TYPE_CHECKING:
    from meltica.api.operations import ScopeChange
    from meltica.client import Client
    from meltica.persistence.stores.trading.halts import HaltStore
    from meltica.persistence.stores.trading.rows import HaltScope

CONFIRM_SECONDS = 5.0
"""How long a change waits until the gateway shows it."""
ANSWER_SECONDS = 8.0
"""How long the gateway may take to answer."""
POLL = 0.1
BEFORE = "; it was halted before"
DATABASE_CODES = {
    5: "the database cannot be started or reached",
    6: "the schema belongs to another version, or the database refused the change",
    130: "interrupted",
}
CHANGE_CODES = exit_codes(
    {
        0: "recorded, and confirmed by the gateway unless `--offline`",
        3: "recorded, but not confirmed: no gateway responded, or it still shows another state; halted, but"
        " not recorded yet; or refused, because the scope does not exist",
        **DATABASE_CODES,
    }
)
STATUS_CODES = exit_codes(
    {
        0: "nothing is halted or wrong",
        3: "something is",
        UNREACHABLE: CODES[UNREACHABLE],
        DENIED: CODES[DENIED],
        **DATABASE_CODES,
    }
)


def _gateway_options(command: Command) -> Command:
    command = URL(TOKEN_FOLDER(command))
    return click.option(
        "--offline", is_flag=True, help="Use the database alone, for example while the gateway hangs."
    )(command)


def _change_options(command: Command) -> Command:
    command = _gateway_options(database_options(command))
    command = click.option("--by", metavar="NAME", help="Who acts; by default this user.")(command)
    command = click.option("--reason", metavar="TEXT", default="none given", help="Why; recorded.")(command)
    return click.argument("scope", default="global")(command)


@click.group()
def risk() -> None:
    """Halt, resume and flatten trading, and change limits."""


risk.add_command(flatten)
risk.add_command(limits)
risk.add_command(limit)
risk.add_command(usage)
risk.add_command(refusals)


@risk.command(epilog=CHANGE_CODES)
@_change_options
def halt(**options: Any) -> int:
    """Halt SCOPE, and cancel its open orders.

    Only orders that reduce a position pass until `resume`.

    SCOPE is `global` (the default), `provider:NAME` or `instance:ID`.
    """
    return _change(halted=True, **options)


@risk.command(epilog=CHANGE_CODES)
@_change_options
def resume(**options: Any) -> int:
    """Resume SCOPE: its orders leave again.

    They do not if another of their scopes is halted.

    SCOPE is `global` (the default), `provider:NAME` or `instance:ID`.
    """
    return _change(halted=False, **options)


@risk.command(epilog=STATUS_CODES)
@_gateway_options
@database_options
def status(
    offline: bool,
    url: str | None,
    token_folder: Path | None,
    database: str | None,
    home: Path | None,
    as_json: bool,
) -> int:
    """Show the halts, and the faults of trading.

    With `--offline`, show the halts alone.
    """
    if offline:
        with open_database(database, home) as dsn:
            shown: dict[str, Any] = {"halts": asyncio.run(_stored_halts(dsn))}
    else:
        shown = _status_of(_client(url, database, home, token_folder))
    if as_json:
        click.echo(json.dumps(shown))
    else:
        _print(shown)
    return 3 if shown["halts"] or shown.get("faults") else 0


def _change(
    *,
    halted: bool,
    scope: str,
    reason: str,
    by: str | None,
    offline: bool,
    url: str | None,
    token_folder: Path | None,
    database: str | None,
    home: Path | None,
    as_json: bool,
) -> int:
    kind, subject = _parse(scope)
    client = None if offline else _client(url, database, home, token_folder)
    if halted and client is not None:
        done = _halt_at_gateway(client, scope, reason if by is None else f"{reason} (by {by})")
        if done is not None:
            return _show_halted(done, as_json=as_json)
    with open_database(database, home) as dsn:
        changed = asyncio.run(_record(dsn, kind, subject, reason, by or user(), halted=halted))
    confirmed = None if client is None else _wait_confirmed(client, scope, halted=halted)
    state = "halted" if halted else "resumed"
    if as_json:
        result = {"scope": scope, "state": state, "changed": changed}
        click.echo(json.dumps(result if confirmed is None else {**result, "confirmed": confirmed}))
    else:
        already = "" if changed else (BEFORE if halted else "; it was not halted")
        click.echo(f"{scope} is {state}{already}")
    if client is not None and not confirmed:
        click.echo(
            f"Error: not confirmed by a gateway at {client.url}; one that runs acts within 1 s", err=True
        )
        return 3
    return 0


def _halt_at_gateway(client: "Client", scope: str, reason: str) -> "ScopeChange | None":
    """Halts a scope over REST; returns None if no gateway does. Raises ClickException for a wrong scope."""
    from meltica.client import ApiError
    from meltica.errors import MelticaError

    try:
        return client.trading.halt(scope, reason)
    except MelticaError as error:
        if isinstance(error, ApiError) and error.status in (400, 404):
            raise failed(error) from None
        click.echo(f"Warning: not halted over REST: {error}", err=True)
        return None


def _show_halted(done: "ScopeChange", *, as_json: bool) -> int:
    from msgspec import UNSET

    if as_json:
        changed = {} if done.changed is UNSET else {"changed": done.changed}
        click.echo(json.dumps({"scope": done.scope, "state": "halted", **changed, "confirmed": True}))
    else:
        click.echo(f"{done.scope} is halted{BEFORE if done.changed is False else ''}")
    if done.recorded is False:
        text = "not recorded yet: the database is unavailable; the gateway records it when it responds"
        click.echo(f"Error: {text}", err=True)
        return 3
    return 0


def _parse(text: str) -> "tuple[HaltScope, str]":
    from meltica.persistence.stores.trading.rows import HaltScope

    kind, _, subject = text.partition(":")
    if kind not in list(HaltScope) or bool(subject) == (kind == HaltScope.GLOBAL):
        raise BadInput(f"expected `global`, `provider:NAME` or `instance:ID`, saw `{text}`")
    return HaltScope(kind), subject


def user() -> str:
    """Returns the name of this user for the record of a change."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without a user
        return "command line"


async def _record(dsn: str, kind: "HaltScope", subject: str, reason: str, by: str, *, halted: bool) -> bool:
    """Writes a change; returns False if the scope is in that state already."""
    async with _halt_store(dsn) as store:
        return await (store.halt if halted else store.clear)(kind, subject, reason, by)


async def _stored_halts(dsn: str) -> list[dict[str, Any]]:
    """Returns the active halts in the form of `/risk/status`."""
    async with _halt_store(dsn) as store:
        active = await store.active()
    return [
        {
            "scope": f"{each.scope}:{each.subject}" if each.subject else each.scope.value,
            "rule": each.rule,
            "reason": each.reason,
            "haltedBy": each.halted_by,
            "haltedAt": int(each.halted_at.timestamp() * 1000),
            **({} if each.mode is None else {"mode": each.mode.value}),
        }
        for each in active
    ]


@asynccontextmanager
async def _halt_store(dsn: str) -> "AsyncGenerator[HaltStore]":
    """Yields the halts of a database. Raises MigrationError if its schema belongs to another version."""
    from meltica.persistence import migrate, upgrade
    from meltica.persistence.database import Database
    from meltica.persistence.stores.trading.halts import HaltStore

    states = await migrate.status(dsn)
    upgrade.refuse_newer(states, dsn, None)
    upgrade.refuse_pending(states, dsn)
    async with await Database.open(dsn) as database:
        yield HaltStore(database)


def _wait_confirmed(client: "Client", scope: str, *, halted: bool) -> bool:
    """Waits until the gateway shows a scope as halted, or no longer; returns whether it does."""
    deadline = time.monotonic() + CONFIRM_SECONDS
    while True:
        try:
            shown = _status_of(client)
        except click.ClickException:
            return False
        # A halt of one mode is not yet the one that concerns both.
        if (
            any(each["scope"] == scope and not (halted and "mode" in each) for each in shown["halts"])
            == halted
        ):
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL)


def _client(url: str | None, database: str | None, home: Path | None, folder: Path | None) -> "Client":
    """Returns a client of the gateway on the selected database."""
    import os

    from meltica.cli.failures import CommandFailed
    from meltica.cli.gateway import CA_FILE, DEFAULT, find_folder
    from meltica.client import Client
    from meltica.errors import MelticaError

    try:
        access = find_folder(home, folder, None if home else database)
        token = os.environ.get("MELTICA_TOKEN") or access.token()
        return Client(url or access.url() or DEFAULT, token, ANSWER_SECONDS, os.environ.get(CA_FILE))
    except MelticaError as error:
        raise CommandFailed(error) from error


def _status_of(client: "Client") -> dict[str, Any]:
    import msgspec

    from meltica.errors import MelticaError

    try:
        return msgspec.to_builtins(client.risk_status())
    except MelticaError as error:
        raise failed(error, "use --offline to read the database") from None


def _print(shown: dict[str, Any]) -> None:
    for halt in shown["halts"]:
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(halt["haltedAt"] / 1000))
        where = f"{halt['scope']} ({halt['mode']})" if "mode" in halt else halt["scope"]
        click.echo(f"{where}: halted by {halt['haltedBy']} since {since}: {halt['reason']}")
    for fault in shown.get("faults", ()):
        names = " ".join(str(fault[name]) for name in ("provider", "mode", "subject") if name in fault)
        click.echo(f"{fault['kind']}{': ' if names else ''}{names}: {fault['detail']}")
    if not shown["halts"]:
        click.echo("nothing is halted")
