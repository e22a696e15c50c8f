"""`meltica sample`."""

import json
from pathlib import Path

import click

from meltica.cli import BadInput


@click.command()
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def sample(path: Path, as_json: bool) -> None:
    """Write a small made-up Binance session to PATH (gzip), to try things with."""
    from meltica.adapters.replay import sample as made_up

    try:
        frames = made_up.write(path)
    except OSError as error:
        raise BadInput(f"{path}: cannot be written: {error.strerror}") from error
    if as_json:
        click.echo(json.dumps({"path": str(path), "frames": frames, "codec": "binance"}))
        return
    click.echo(f"{path}: {frames:,} frames; play them with: meltica replay {path} --codec binance")
