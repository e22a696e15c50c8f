"""`meltica venue`: the simulated exchange as a process of its own."""

import json
from pathlib import Path
from typing import Any

import click

ENDPOINT = "http://127.0.0.1:8890"

SERVE_CODES = """\b
Exit codes:
  0    stopped as asked
  1    unexpected failure inside Meltica
  2    bad usage or input: an option, the file
  8    the address is taken or cannot be listened on
  130  left at once by a second signal
"""
LEDGER_CODES = """\b
Exit codes:
  0    printed
  1    what is at the endpoint does not answer as a venue does
  2    bad usage: an option
  130  interrupted
"""


@click.group()
def venue() -> None:
    """Serve a simulated exchange, or read its ledger."""


@venue.command(epilog=SERVE_CODES)
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Market, accounts and rate limit, as docs/venue.md has them; one account `main` by default.",
)
@click.option("--seed", type=click.IntRange(0, (1 << 64) - 1), help="Of the market; wins over the file.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8890, show_default=True, help="0 takes a free one."
)
@click.option("--speed", type=float, help="The market's seconds in one of the wall's; wins over the file.")
@click.option("--json", "as_json", is_flag=True, help="JSON lines on stdout: when it is ready, how it ended.")
def serve(path: Path | None, seed: int | None, port: int, speed: float | None, as_json: bool) -> int:
    """Serve a simulated exchange on loopback until Ctrl-C or SIGTERM."""
    from meltica.cli.failures import refuse
    from meltica.errors import ConfigError
    from meltica.venue import config

    given = {"seed": seed, "speed": speed}
    try:
        settings = config.load(path, {name: value for name, value in given.items() if value is not None})
    except ConfigError as error:
        return refuse(error, as_json)
    from meltica.cli.venue.run import run

    return run(settings, port, as_json=as_json)


@venue.command(epilog=LEDGER_CODES)
@click.option("--endpoint", default=ENDPOINT, show_default=True, help="Where the venue is served.")
@click.option("--json", "as_json", is_flag=True, help="As the venue says it.")
def ledger(endpoint: str, as_json: bool) -> None:
    """Print where all the money of a venue is."""
    known = _ask(endpoint)
    if as_json:
        click.echo(json.dumps(known))
        return
    from meltica.cli.replay.summary import show_ledger

    show_ledger(known)


def _ask(endpoint: str) -> dict[str, Any]:
    """Returns the ledger of a venue. Raises a click exception that says what went wrong."""
    import httpx

    from meltica.cli import BadInput

    try:
        answer = httpx.get(f"{endpoint.rstrip('/')}/v1/ledger", timeout=10, trust_env=False)
        answer.raise_for_status()
        return answer.json()
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise BadInput(
            f"--endpoint: expected an address such as {ENDPOINT}, saw {endpoint!r}: {error}"
        ) from None
    except (httpx.HTTPError, ValueError) as error:
        raise click.ClickException(f"{endpoint} does not answer as a venue does: {error}") from None
