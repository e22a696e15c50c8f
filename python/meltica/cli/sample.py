"""`meltica sample`."""

from pathlib import Path

import click

from meltica.cli import BadInput


@click.command()
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
def sample(path: Path) -> None:
    """Write a small made-up Binance session to PATH (gzip), to try things with."""
    from meltica import sample as made_up

    try:
        frames = made_up.write(path)
    except OSError as error:
        raise BadInput(f"{path}: cannot be written: {error.strerror}") from error
    click.echo(f"{path}: {frames:,} frames; play them with: meltica replay {path} --codec binance")
