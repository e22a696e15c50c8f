"""`meltica instances`: lists, creates, changes, starts, stops, restarts and deletes strategy instances."""

import json
from collections.abc import Callable
from typing import Any

import click

from meltica.cli import BadInput
from meltica.cli.gateway import connect, gateway_codes, gateway_options
from meltica.cli.json_input import read_object
from meltica.cli.tables import echo_details, print_deletion, print_table

PATH = "/strategy/instances"


@click.group()
def instances() -> None:
    """Create, change, start, stop and delete instances."""


@instances.command("list", epilog=gateway_codes("the instances were printed"))
@gateway_options
def list_instances(as_json: bool, **where: Any) -> None:
    """List all instances."""
    import msgspec

    with connect(**where) as client:
        found = client.instances().instances
    if as_json:
        click.echo(json.dumps({"instances": msgspec.to_builtins(found)}))
        return
    rows = [
        (
            each.id,
            each.strategy_selector or each.strategy_identifier,
            each.status,
            each.providers,
            "paper" if each.dry_run else "live",
            each.last_error or "",
        )
        for each in found
    ]
    print_table(("id", "strategy", "status", "providers", "orders", "last error"), rows, "no instance exists")


@instances.command(epilog=gateway_codes("the instance was printed"))
@click.argument("id")
@gateway_options
def show(id: str, as_json: bool, **where: Any) -> None:
    """Show the instance ID with its config, scope and counters."""
    with connect(**where) as client:
        echo_details(client.instance(id), as_json=as_json)


@instances.command(epilog=gateway_codes("the instance was created, or the plan was printed"))
@click.argument("id")
@click.option("--strategy", "selector", required=True, help="A selector, such as `grid` or `grid:1.0.0`.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    metavar="PROVIDER=SYMBOL[,SYMBOL...]",
    help="A provider and its symbols, such as `main=BTC-USDT,ETH-USDT`; can be repeated.",
)
@click.option("--config", metavar="JSON", help="Config of the strategy: an object, or `@FILE`.")
@click.option("--host", type=click.Choice(("thread", "shared")), help="What runs its callbacks.")
@click.option("--on-stop", type=click.Choice(("cancel", "keep")), help="What a stop does with its orders.")
@click.option("--live", is_flag=True, help="Its orders go to the venues of its scope, not to paper accounts.")
@click.option("--plan", is_flag=True, help="Only show what would change.")
@gateway_options
def create(
    id: str,
    selector: str,
    scopes: tuple[str, ...],
    config: str | None,
    host: str | None,
    on_stop: str | None,
    live: bool,
    plan: bool,
    as_json: bool,
    **where: Any,
) -> None:
    """Create the instance ID. It is stopped: see `start`."""
    strategy: dict[str, Any] = {"selector": selector}
    if config is not None:
        strategy["config"] = read_object("--config", config)
    body: dict[str, Any] = {"id": id, "strategy": strategy, "scope": _scope(scopes)}
    body |= {name: value for name, value in (("host", host), ("onStop", on_stop)) if value is not None}
    if live:
        body["dryRun"] = False
    with connect(**where) as client:
        shown = client.plan("POST", PATH, body) if plan else client.create_instance(body)
        echo_details(shown, as_json=as_json)


@instances.command(epilog=gateway_codes("the config was changed, or the plan was printed"))
@click.argument("id")
@click.option("--config", required=True, metavar="JSON", help="The whole config: an object, or `@FILE`.")
@click.option("--plan", is_flag=True, help="Only show what would change.")
@gateway_options
def update(id: str, config: str, plan: bool, as_json: bool, **where: Any) -> None:
    """Replace the config of the instance ID. One that runs is restarted."""
    values = read_object("--config", config)
    with connect(**where) as client:
        change = client.plan_instance_change if plan else client.change_instance
        echo_details(change(id, values), as_json=as_json)


@instances.command(epilog=gateway_codes("the instance was deleted"))
@click.argument("id")
@gateway_options
def delete(id: str, as_json: bool, **where: Any) -> None:
    """Stop the instance ID and delete it.

    One with open orders or a position is refused.
    """
    with connect(**where) as client:
        status = client.delete_instance(id).status
    print_deletion("id", id, status, as_json=as_json)


def _action(name: str, text: str) -> Callable[..., None]:
    @instances.command(name, help=text, epilog=gateway_codes("done, or under way: the status says it"))
    @click.argument("id")
    @gateway_options
    def act(id: str, as_json: bool, **where: Any) -> None:
        with connect(**where) as client:
            detail = client.act_on_instance(id, name)
        if as_json:
            echo_details(detail, as_json=True)
        else:
            click.echo(f"{id} is {detail.status}")

    return act


start = _action("start", "Start the instance ID.")
stop = _action("stop", "Stop the instance ID.")
restart = _action("restart", "Restart the instance ID. One that does not run is started.")


def _scope(texts: tuple[str, ...]) -> dict[str, dict[str, list[str]]]:
    scope: dict[str, dict[str, list[str]]] = {}
    for text in texts:
        provider, separator, symbols = text.partition("=")
        provider = provider.strip()
        names = [symbol.strip() for symbol in symbols.split(",") if symbol.strip()]
        if not separator or not provider or not names:
            raise BadInput(f"--scope: expected PROVIDER=SYMBOL such as main=BTC-USDT, saw {text!r}")
        if provider in scope:
            raise BadInput(f"--scope: provider `{provider}` is given twice; join its symbols by commas")
        scope[provider] = {"symbols": names}
    return scope
