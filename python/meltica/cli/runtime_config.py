"""`meltica config get`, `set` and `reset`: the settings of a running gateway."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

import click

from meltica.cli import BadInput
from meltica.cli.gateway import connect, gateway_codes, gateway_options
from meltica.cli.tables import builtins, print_table

_PATH = "/config/runtime"
_PLAN = click.option("--plan", is_flag=True, help="Only show what would change.")


@click.command("get", epilog=gateway_codes("the settings were printed"))
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@gateway_options
def get_settings(keys: tuple[str, ...], as_json: bool, **where: Any) -> None:
    """Show the settings of a gateway, and their sources.

    With KEY, such as `log` or `log.level`, only those.
    """
    with connect(**where) as client:
        _print(builtins(client.runtime_config()), keys, as_json=as_json)


@click.command("set", epilog=gateway_codes("the settings are stored, or the plan was printed"))
@click.argument("changes", nargs=-1, required=True, metavar="KEY=VALUE...")
@_PLAN
@gateway_options
def set_settings(changes: tuple[str, ...], plan: bool, as_json: bool, **where: Any) -> None:
    """Change settings of a gateway, such as `log.level=debug`.

    KEY=VALUE: the VALUE is JSON or text. Other settings are kept.

    Limits (`risk`), `log.level` and `telemetry` apply at once, the others at the
    next start.
    """
    values = dict(map(_change, changes))
    with connect(**where) as client:
        if plan:
            _print_plan(builtins(client.plan("PUT", _PATH, _body(values))), as_json=as_json)
        else:
            changed = client.change_runtime_config(_body(values))
            _print(builtins(changed), tuple(values), as_json=as_json)


@click.command("reset", epilog=gateway_codes("the config file decides, or the plan was printed"))
@click.argument("keys", nargs=-1, metavar="[KEY]...")
@click.option("--all", "everything", is_flag=True, help="All settings and the global limits.")
@_PLAN
@gateway_options
def reset_settings(keys: tuple[str, ...], everything: bool, plan: bool, as_json: bool, **where: Any) -> None:
    """Let the config file decide about settings again.

    KEY is a setting such as `log.level`, or a section such as `log`.
    """
    if bool(keys) == everything:
        raise BadInput("expected keys such as log.level, or --all")
    if any(key.partition(".")[0] == "risk" for key in keys):
        raise BadInput("limits have no reset: change them with `meltica risk limit`, or use --all")
    body = _body(dict.fromkeys(keys))
    with connect(**where) as client:
        if plan:
            method, given = ("DELETE", None) if everything else ("PUT", body)
            _print_plan(builtins(client.plan(method, _PATH, given)), as_json=as_json)
            return
        changed = client.revert_runtime_config() if everything else client.change_runtime_config(body)
        _print(builtins(changed), keys, as_json=as_json)


def _change(text: str) -> tuple[str, object]:
    key, separator, value = text.partition("=")
    if not separator or not all(key.split(".")):
        raise BadInput(f"expected KEY=VALUE such as log.level=debug, saw {text!r}")
    try:
        # A number stays text: a float would lose digits.
        return key, json.loads(value, parse_float=str, parse_int=str)
    except ValueError:
        return key, value


def _body(values: Mapping[str, object]) -> dict[str, Any]:
    """Returns values in the form of the config file."""
    body: dict[str, Any] = {}
    for key, value in values.items():
        section = body
        *sections, last = key.split(".")
        for name in sections:
            inner: object = section.setdefault(name, {})
            if not isinstance(inner, dict):
                raise BadInput(f"{key}: {name} has a value of its own")
            section = cast(dict[str, Any], inner)
        if last in section:
            raise BadInput(f"{key} is given twice, or with its section")
        section[last] = value
    return {"config": body}


def _print(found: Mapping[str, Any], keys: tuple[str, ...], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(found))
        return
    sources, waiting = found["sources"], found["restartRequired"]
    rows = [
        (key, value, _source(sources, key), "restart required" if key in waiting else "")
        for key, value in _rows(found["config"])
        if not keys or any(f"{key}.".startswith(f"{each}.") for each in keys)
    ]
    print_table(("key", "value", "source", "applies"), rows, "no setting has this key")
    for warning in found["warnings"]:
        click.echo(f"Warning: {warning}", err=True)
    if "fault" in found:
        click.echo(f"Warning: {found['fault']}", err=True)


def _print_plan(found: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(found))
        return
    rows = [(key, change.get("before"), change.get("after")) for key, change in found["changes"].items()]
    print_table(("key", "before", "after"), rows, "nothing would change")


def _source(sources: Mapping[str, str], key: str) -> str:
    """Returns where a value is from; a part of a limit has the source of the limit."""
    while key:
        if key in sources:
            return sources[key]
        key = key.rpartition(".")[0]
    return "default"


def _rows(values: Mapping[str, Any], under: str = "") -> Iterator[tuple[str, object]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _rows(cast(Mapping[str, Any], value), f"{under}{key}.")
        else:
            yield f"{under}{key}", value
