"""`meltica providers`: lists, creates, changes, starts, stops and deletes providers."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from meltica.cli.gateway import connect, gateway_codes, gateway_options
from meltica.cli.json_input import read_object
from meltica.cli.tables import echo_details, print_deletion, print_details, print_table

if TYPE_CHECKING:
    from meltica.api.providers import ProviderDetail


@click.group()
def providers() -> None:
    """Create, change, start, stop and delete providers."""


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
    """Show the provider NAME with its settings and counters.

    `--json` also shows its instruments.
    """
    import msgspec

    with connect(**where) as client:
        shown = msgspec.to_builtins(client.provider(name))
    if as_json:
        click.echo(json.dumps(shown))
        return
    shown["adapter"] = shown["adapter"]["identifier"]
    del shown["instruments"]
    print_details(shown)


@providers.command(epilog=gateway_codes("the provider was created, or the plan was printed"))
@click.argument("name")
@click.option("--adapter", required=True, help="The identifier of an adapter, such as `fake`.")
@click.option("--settings", metavar="JSON", help="Settings of the adapter: an object, or `@FILE`.")
@click.option("--disabled", is_flag=True, help="Leave it stopped.")
@click.option("--plan", is_flag=True, help="Only show what would change.")
@gateway_options
def create(
    name: str, adapter: str, settings: str | None, disabled: bool, plan: bool, as_json: bool, **where: Any
) -> None:
    """Create the provider NAME, which starts in the background.

    Put secrets into a file: `--settings @FILE`. Other users can read the arguments of a command.
    """
    values = {} if settings is None else read_object("--settings", settings)
    body = {"name": name, "adapter": {"identifier": adapter, "config": values}, "enabled": not disabled}
    with connect(**where) as client:
        if plan:
            echo_details(client.plan("POST", "/providers", body), as_json=as_json)
        else:
            _print_state(name, client.create_provider(body), as_json=as_json)


@providers.command(epilog=gateway_codes("the settings were changed, or the plan was printed"))
@click.argument("name")
@click.option("--settings", required=True, metavar="JSON", help="The settings: an object, or `@FILE`.")
@click.option("--same-account", is_flag=True, help="The settings select the same account as before.")
@click.option("--plan", is_flag=True, help="Only show what would change.")
@gateway_options
def update(name: str, settings: str, same_account: bool, plan: bool, as_json: bool, **where: Any) -> None:
    """Change the settings of the provider NAME.

    One that runs is restarted, unless only `checksum` changes: that applies at once. Absent secrets are kept.
    """
    values = read_object("--settings", settings)
    with connect(**where) as client:
        if plan:
            echo_details(client.plan_provider_change(name, values), as_json=as_json)
        else:
            _print_state(
                name, client.change_provider(name, values, same_account=same_account), as_json=as_json
            )


@providers.command(epilog=gateway_codes("the provider was deleted"))
@click.argument("name")
@gateway_options
def delete(name: str, as_json: bool, **where: Any) -> None:
    """Stop the provider NAME and delete it. One that an instance uses is refused."""
    with connect(**where) as client:
        status = client.delete_provider(name).status
    print_deletion("name", name, status, as_json=as_json)


def _action(name: str, text: str) -> Callable[..., None]:
    @providers.command(name, help=text, epilog=gateway_codes("done, or under way: the status says it"))
    @click.argument("provider", metavar="NAME")
    @gateway_options
    def act(provider: str, as_json: bool, **where: Any) -> None:
        with connect(**where) as client:
            _print_state(provider, client.act_on_provider(provider, name), as_json=as_json)

    return act


def _print_state(name: str, detail: "ProviderDetail", *, as_json: bool) -> None:
    if as_json:
        echo_details(detail, as_json=True)
    else:
        click.echo(f"{name} is {detail.status}")


start = _action("start", "Start the provider NAME.")
stop = _action("stop", "Cancel the live orders at the provider NAME, and stop it.")
