"""`meltica risk limits` and `meltica risk limit`: show and change limits of a running gateway."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

import click

from meltica.cli import BadInput
from meltica.cli.gateway import connect, gateway_codes, gateway_options
from meltica.cli.tables import print_table

KEYS = {"provider": "providers", "instance": "instances"}
"""Kind of a scope -> the key with its limits."""


@click.command(epilog=gateway_codes("the limits were printed"))
@gateway_options
def limits(as_json: bool, **where: Any) -> None:
    """Show the limits of all scopes."""
    import msgspec

    with connect(**where) as client:
        _print(msgspec.to_builtins(client.risk_limits()), as_json=as_json)


@click.command(epilog=gateway_codes("the limits apply, or the plan was printed"))
@click.argument("scope")
@click.argument("changes", nargs=-1, required=True, metavar="KEY=VALUE...")
@click.option("--plan", is_flag=True, help="Only show what would change.")
@gateway_options
def limit(scope: str, changes: tuple[str, ...], plan: bool, as_json: bool, **where: Any) -> None:
    """Change limits of SCOPE, such as `maxOrderSize=0.5`.

    SCOPE is `global`, `provider:NAME` or `instance:ID`. Each KEY=VALUE is a limit and its new value, as JSON
    or text. An empty value removes the limit. Other limits are kept.
    """
    import msgspec

    body = _body(scope, dict(map(_change, changes)))
    with connect(**where) as client:
        if not plan:
            _print(msgspec.to_builtins(client.change_risk_limits(body)), as_json=as_json)
            return
        found = msgspec.to_builtins(client.plan("PUT", "/risk/limits", body))
    if as_json:
        click.echo(json.dumps(found))
        return
    rows = [row for name, change in found["changes"].items() for row in _changed(name, change)]
    print_table(("scope", "limit", "before", "after"), rows, "nothing would change")


def _changed(scope: str, change: Mapping[str, Any]) -> Iterator[tuple[object, ...]]:
    before, after = (cast(dict[str, object], change.get(side) or {}) for side in ("before", "after"))
    for name in {**before, **after}:
        if before.get(name) != after.get(name):
            yield scope, name, _text(before.get(name)), _text(after.get(name))


def _change(text: str) -> tuple[str, object]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise BadInput(f"expected KEY=VALUE such as maxOrderSize=0.5, saw {text!r}")
    if not value:
        return key, None
    try:
        # A number stays text: a float would lose digits.
        return key, json.loads(value, parse_float=str, parse_int=str)
    except ValueError:
        return key, value


def _body(scope: str, changed: dict[str, object]) -> dict[str, object]:
    kind, _, name = scope.partition(":")
    if scope == "global":
        return {"limits": changed}
    if kind not in KEYS or not name:
        raise BadInput(f"expected `global`, `provider:NAME` or `instance:ID`, saw {scope!r}")
    return {KEYS[kind]: {name: changed}}


def _print(shown: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(shown))
        return
    scopes = {"global": shown["limits"]}
    for kind, key in KEYS.items():
        scopes |= {f"{kind}:{name}": values for name, values in shown[key].items()}
    rows = [(scope, name, _text(value)) for scope, values in scopes.items() for name, value in values.items()]
    print_table(("scope", "limit", "value"), rows, "no scope has a limit")


def _text(value: object) -> object:
    if not isinstance(value, Mapping):
        return value
    return ", ".join(f"{name} {_text(each)}" for name, each in cast(Mapping[str, object], value).items())
