"""`meltica venue`: the venue server."""

import json
from pathlib import Path
from typing import Any

import click

from meltica.cli import BadInput, exit_codes
from meltica.cli.json_output import JsonLinesCommand, JsonOutput

ENDPOINT = "http://127.0.0.1:8890"

SERVE_CODES = exit_codes(
    {
        0: "stopped by a signal",
        2: "invalid config or option",
        8: "the address is in use, or cannot be bound",
        130: "ended immediately by a second signal",
    }
)
LEDGER_CODES = exit_codes({0: "shown", 1: "the endpoint is not a venue", 130: "interrupted"})


@click.group()
def venue() -> None:
    """Run a simulated exchange, or show its ledger."""


@venue.command(cls=JsonLinesCommand, epilog=SERVE_CODES)
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Market, accounts and rate limit (docs/venue.md); default: one account, `main`.",
)
@click.option("--seed", type=click.IntRange(0, (1 << 64) - 1), help="Seed of the market; overrides the file.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8890,
    show_default=True,
    help="Port to listen on; 0 takes a free port.",
)
@click.option("--speed", type=float, help="Seconds of the market's clock per second; overrides the file.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print JSON lines to stdout when the venue is ready and when it has stopped.",
)
def serve(path: Path | None, seed: int | None, port: int, speed: float | None, as_json: bool) -> int:
    """Run a simulated exchange on loopback until Ctrl-C or SIGTERM."""
    from meltica.cli.failures import refuse
    from meltica.errors import ConfigError
    from meltica.venue import config

    given = {"seed": seed, "speed": speed}
    try:
        settings = config.load(path, {name: value for name, value in given.items() if value is not None})
    except ConfigError as error:
        return refuse(error, JsonOutput() if as_json else None)
    from meltica.cli.venue.run import run

    return run(settings, port, as_json=as_json)


@venue.command(epilog=LEDGER_CODES)
@click.option("--endpoint", default=ENDPOINT, show_default=True, help="Address of the venue.")
@click.option("--json", "as_json", is_flag=True, help="Print the response of the venue.")
def ledger(endpoint: str, as_json: bool) -> None:
    """Show the balances of all accounts of a venue, and their sum."""
    response = _get_ledger(endpoint)
    if as_json:
        click.echo(json.dumps(response))
        return
    from meltica.cli.replay.summary import show_ledger

    show_ledger(response)


def _get_ledger(endpoint: str) -> dict[str, Any]:
    """Returns the ledger of a venue. Raises a click exception with the cause."""
    import httpx

    try:
        response = httpx.get(f"{endpoint.rstrip('/')}/v1/ledger", timeout=10, trust_env=False)
        response.raise_for_status()
        return response.json()
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise BadInput(
            f"--endpoint: expected an address such as {ENDPOINT}, saw {endpoint!r}: {error}"
        ) from None
    except (httpx.HTTPError, ValueError) as error:
        raise click.ClickException(
            f"{endpoint} does not respond as a venue: {error}; start it with `meltica venue serve`"
        ) from None
