"""`meltica status`: what a running gateway does, on one screen."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from meltica.cli.gateway import REFUSED, connect, gateway_codes, gateway_options

if TYPE_CHECKING:
    from meltica.client import Client


@click.command(
    epilog=gateway_codes(
        "everything that should run runs, and nothing is halted", _3="something is not as desired"
    )
)
@gateway_options
def status(url: str | None, home: Path | None, token_folder: Path | None, as_json: bool) -> int:
    """Show providers, instances, halts, faults and pending settings."""
    with connect(url, home, token_folder) as client:
        shown = _collect(client)
    if as_json:
        click.echo(json.dumps(shown))
    else:
        _print(shown)
    return REFUSED if shown["faults"] or shown["halts"] else 0


def _collect(client: "Client") -> dict[str, Any]:
    import msgspec

    version, risk = client.version(), client.risk_status()
    shown = {
        "url": client.url,
        "version": version.version,
        "environment": version.environment,
        "faults": client.readiness(),
        "halts": risk.halts,
        "restartRequired": client.runtime_config().restart_required,
        "providers": [
            {"name": each.name, "adapter": each.adapter, "status": each.status}
            for each in client.providers().providers
        ],
        "instances": [
            {"id": each.id, "strategy": each.strategy_identifier, "status": each.status}
            for each in client.instances().instances
        ],
    }
    return msgspec.to_builtins(shown)


def _print(shown: dict[str, Any]) -> None:
    click.echo(f"Meltica {shown['version']} ({shown['environment']}) at {shown['url']}")
    _table("providers", [(each["name"], each["adapter"], each["status"]) for each in shown["providers"]])
    _table("instances", [(each["id"], each["strategy"], each["status"]) for each in shown["instances"]])
    _table("halts", [(halt["scope"], f"by {halt['haltedBy']}", halt["reason"]) for halt in shown["halts"]])
    _table("faults", [*shown["faults"].items()])
    if shown["restartRequired"]:
        click.echo(f"restart required: {', '.join(shown['restartRequired'])}")


def _table(title: str, rows: list[tuple[str, ...]]) -> None:
    click.echo(f"{title}:{'' if rows else ' none'}")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        click.echo("  " + "  ".join([*cells, row[-1]]))
