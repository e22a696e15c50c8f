"""`meltica config`."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from meltica.cli import CONFIG_HELP, JSON_HELP, exit_codes
from meltica.cli.runtime_config import get_settings, reset_settings, set_settings

if TYPE_CHECKING:
    from meltica.settings import Loaded

_FILE = click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=CONFIG_HELP,
)
_JSON = click.option("--json", "as_json", is_flag=True, help=JSON_HELP)


@click.group()
def config() -> None:
    """Show and check the configuration, and change settings."""


config.add_command(get_settings)
config.add_command(set_settings)
config.add_command(reset_settings)


@config.command(epilog=exit_codes({0: "shown", 2: "invalid config or option"}))
@_FILE
@_JSON
def show(path: Path | None, as_json: bool) -> int:
    """Show every setting with its value and source. Secrets are shown as ********."""
    loaded = _load(path, as_json)
    if loaded is None:
        return 2
    if as_json:
        document = {"path": str(loaded.path), "settings": loaded.shown(), "sources": dict(loaded.sources)}
        click.echo(json.dumps({**document, "warnings": list(loaded.warnings)}, indent=2))
        return 0
    rows = [(key, _text(value), loaded.sources.get(key, "default")) for key, value in _rows(loaded.shown())]
    widths = [min(40, max(len(row[column]) for row in rows)) for column in (0, 1)]
    for key, value, source in rows:
        click.echo(f"{key:<{widths[0]}}  {value:<{widths[1]}}  {source}")
    _warn(loaded)
    return 0


@config.command(epilog=exit_codes({0: "the config is valid", 2: "the config or an option is invalid"}))
@_FILE
@_JSON
def check(path: Path | None, as_json: bool) -> int:
    """Validate the configuration and list all faults. Imports the modules of the strategies."""
    loaded = _load(path, as_json)
    if loaded is None:
        return 2
    from meltica.settings import check_lambdas

    faults = check_lambdas(loaded)
    if faults or as_json:
        _report(str(loaded.path), faults, loaded.warnings, as_json)
    if not faults and not as_json:
        click.echo(f"{loaded.path}: no faults")
        _warn(loaded)
    return 2 if faults else 0


def _load(path: Path | None, as_json: bool) -> "Loaded | None":
    """Returns the configuration, or None after its faults were printed."""
    from meltica.errors import ConfigError
    from meltica.settings import load

    try:
        return load(path)
    except ConfigError as error:
        _report(error.subject, error.faults, (), as_json)
        return None


def _report(
    path: str, faults: "list[str] | tuple[str, ...]", warnings: tuple[str, ...], as_json: bool
) -> None:
    if as_json:
        report = {"path": path, "ok": not faults, "faults": list(faults), "warnings": list(warnings)}
        click.echo(json.dumps(report, indent=2))
        return
    count = f"{len(faults)} faults" if len(faults) > 1 else "1 fault"
    click.echo(f"Error: {path}: {count}", err=True)
    for fault in faults:
        click.echo(f"  {fault}", err=True)


def _warn(loaded: "Loaded") -> None:
    for warning in loaded.warnings:
        click.echo(f"Warning: {warning}", err=True)


def _rows(values: Mapping[str, object], under: str = "") -> Iterator[tuple[str, object]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _rows(cast(dict[str, object], value), f"{under}{key}.")
        else:
            yield f"{under}{key}", value


def _text(value: object) -> str:
    return "-" if value is None else value if isinstance(value, str) else json.dumps(value)
