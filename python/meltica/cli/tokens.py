"""`meltica tokens`: creates, lists and revokes the tokens of clients."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from meltica.cli import BadInput
from meltica.cli.database import URL_VARIABLES, open_database
from meltica.cli.gateway import connect, gateway_codes, gateway_options

if TYPE_CHECKING:
    from meltica.persistence.stores.tokens import TokenRow, TokenStore

Result = TypeVar("Result")
Command = TypeVar("Command", bound=Callable[..., object])

SCOPES = ("viewer", "operator", "admin")
OFFLINE_CODES = {
    "_5": "with --offline: the database cannot be started or reached",
    "_6": "with --offline: the schema belongs to another version",
}
ACTOR = "command line"


def _options(command: Command) -> Command:
    command = gateway_options(command)
    command = click.option(
        "--dsn",
        envvar=URL_VARIABLES,
        metavar="URL",
        help="With `--offline`: the database, if it is not embedded.",
    )(command)
    return click.option(
        "--offline", is_flag=True, help="Use the database without the gateway, for example without a token."
    )(command)


@click.group()
def tokens() -> None:
    """Create, list and revoke the tokens of clients."""


@tokens.command(epilog=gateway_codes("the token was created", **OFFLINE_CODES))
@click.argument("name")
@click.option(
    "--scope", type=click.Choice(SCOPES), default="viewer", show_default=True, help="What it may do."
)
@click.option("--expires", metavar="DURATION", help="When it expires, such as `12h`; by default never.")
@_options
def create(name: str, scope: str, expires: str | None, as_json: bool, **where: Any) -> None:
    """Create a token for NAME, and print it.

    It is not stored, and cannot be printed again.
    """
    from meltica.model.access import TokenScope

    until = None if expires is None else datetime.now(UTC) + _duration(expires)
    if where["offline"]:
        made = _offline(where, lambda store: store.create(name, TokenScope(scope), until, ACTOR))
        id, text = made.row.id, made.text
    else:
        from msgspec import UNSET

        from meltica.api.tokens import NewToken

        milliseconds = UNSET if until is None else int(until.timestamp() * 1000)
        with connect(where["url"], where["home"], where["token_folder"]) as client:
            created = client.create_token(
                NewToken(name=name, scope=TokenScope(scope), expires_at=milliseconds)
            )
        id, text = created.token.id, created.secret
    click.echo(json.dumps({"id": id, "name": name, "scope": scope, "secret": text}) if as_json else text)


@tokens.command("list", epilog=gateway_codes("the tokens were printed", **OFFLINE_CODES))
@_options
def list_tokens(as_json: bool, **where: Any) -> None:
    """List all tokens, without their secrets."""
    if where["offline"]:
        found = [_shown(row) for row in _offline(where, lambda store: store.all())]
    else:
        import msgspec

        with connect(where["url"], where["home"], where["token_folder"]) as client:
            found = msgspec.to_builtins(client.tokens().tokens)
    if as_json:
        click.echo(json.dumps({"tokens": found}))
        return
    for token in found:
        click.echo(f"{token['id']}  {token['scope']:<8}  {_state(token):<28}  {token['name']}")


@tokens.command(epilog=gateway_codes("the token was revoked", **OFFLINE_CODES))
@click.argument("id")
@_options
def revoke(id: str, as_json: bool, **where: Any) -> None:
    """Revoke the token ID. A running gateway refuses it from then on, with `--offline` within 5 s."""
    if where["offline"]:
        _offline(where, lambda store: store.revoke(id, ACTOR, keep_admin=False))
    else:
        with connect(where["url"], where["home"], where["token_folder"]) as client:
            client.revoke_token(id)
    click.echo(json.dumps({"id": id, "revoked": True}) if as_json else f"{id} is revoked")


def _offline(where: dict[str, Any], work: "Callable[[TokenStore], Awaitable[Result]]") -> Result:
    async def run(dsn: str) -> Result:
        from meltica.persistence import migrate, upgrade
        from meltica.persistence.database import Database
        from meltica.persistence.stores.tokens import TokenStore

        states = await migrate.status(dsn)
        upgrade.refuse_newer(states, dsn, None)
        upgrade.refuse_pending(states, dsn)
        async with await Database.open(dsn) as database:
            return await work(TokenStore(database))

    home: Path | None = where["home"]
    with open_database(None if home else where["dsn"], home) as dsn:
        return asyncio.run(run(dsn))


def _duration(text: str) -> timedelta:
    from pydantic import TypeAdapter, ValidationError

    from meltica.validation.section import Positive

    try:
        return TypeAdapter[timedelta](Positive).validate_python(text)
    except ValidationError:
        raise BadInput(f"--expires: expected a duration such as 12h, saw {text!r}") from None


def _shown(row: "TokenRow") -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": row.id,
        "name": row.name,
        "scope": row.scope.value,
        "createdAt": int(row.created_at.timestamp() * 1000),
        "createdBy": row.created_by,
    }
    times = {"expiresAt": row.expires_at, "lastUsedAt": row.last_used_at, "revokedAt": row.revoked_at}
    return shown | {name: int(at.timestamp() * 1000) for name, at in times.items() if at is not None}


def _state(token: dict[str, Any]) -> str:
    if "revokedAt" in token:
        return "revoked"
    if "expiresAt" not in token:
        return "valid"
    expires = datetime.fromtimestamp(token["expiresAt"] / 1000, UTC)
    word = "expired" if expires <= datetime.now(UTC) else "expires"
    return f"{word} {expires:%Y-%m-%d %H:%M} UTC"
