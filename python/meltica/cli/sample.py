"""`meltica sample`."""

import json
from pathlib import Path

import click

from meltica.cli import JSON_HELP, BadInput, exit_codes


@click.command(
    epilog=exit_codes({0: "the session was written", 2: "invalid option, or PATH cannot be written"})
)
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--json", "as_json", is_flag=True, help=JSON_HELP)
def sample(path: Path, as_json: bool) -> None:
    """Write a small generated Binance session to PATH, as gzip."""
    from meltica.adapters.replay import sample as generated

    try:
        frames = generated.write(path)
    except OSError as error:
        raise BadInput(f"{path}: cannot be written: {error.strerror}") from error
    if as_json:
        click.echo(json.dumps({"path": str(path), "frames": frames, "codec": "binance"}))
        return
    click.echo(f"{path}: {frames:,} frames; replay them with: meltica replay {path} --codec binance")
