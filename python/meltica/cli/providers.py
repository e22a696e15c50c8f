"""`meltica providers`: lists, starts and stops providers."""

import json
from collections.abc import Callable
from typing import Any

import click

from meltica.cli.gateway import connect, gateway_codes, gateway_options
from meltica.cli.tables import print_details, print_table


@click.group()
def providers() -> None:
    """List, start and stop providers."""


@providers.command("list", epilog=gateway_codes("the providers were printed"))
@gateway_options
def list_providers(as_json: bool, **where: Any) -> None:
    """List all providers."""
    import msgspec

    with connect(**where) as client:
        found = client.providers().providers
    if as_json:
        click.echo(json.dumps({"providers": msgspec.to_builtins(found)}))
        return
    rows = [
        (
            each.name,
            each.adapter,
            each.status,
            each.instrument_count,
            each.dependent_instances or [],
            each.startup_error or each.connection_error or each.route_error or "",
        )
        for each in found
    ]
    headings = ("name", "adapter", "status", "instruments", "instances", "error")
    print_table(headings, rows, "no provider exists")


@providers.command(epilog=gateway_codes("the provider was printed"))
@click.argument("name")
@gateway_options
def show(name: str, as_json: bool, **where: Any) -> None:
    """Show one provider with its settings and counters; `--json` also shows its instruments."""
    import msgspec

    with connect(**where) as client:
        shown = msgspec.to_builtins(client.provider(name))
    if as_json:
        click.echo(json.dumps(shown))
        return
    shown["adapter"] = shown["adapter"]["identifier"]
    del shown["instruments"]
    print_details(shown)


def _action(name: str, text: str) -> Callable[..., None]:
    @providers.command(name, help=text, epilog=gateway_codes("done, or under way: the status says it"))
    @click.argument("provider")
    @gateway_options
    def act(provider: str, as_json: bool, **where: Any) -> None:
        import msgspec

        with connect(**where) as client:
            detail = client.act_on_provider(provider, name)
        if as_json:
            click.echo(json.dumps(msgspec.to_builtins(detail)))
        else:
            click.echo(f"{provider} is {detail.status}")

    return act


start = _action("start", "Start a provider.")
stop = _action("stop", "Cancel the live orders at a provider, and stop it.")
