"""`meltica init`."""

import json
from pathlib import Path

import click

from meltica.cli import EXIT_CODES, BadInput

# Where the file stands in the package -> where it is written.
FILES = {
    "config.yaml": "config.yaml",
    "lambdas/volume_report.py": "lambdas/volume_report.py",
    "tests/test_volume_report.py": "tests/test_volume_report.py",
    "README.md": "README.md",
    "env.example": ".env.example",
    "gitignore": ".gitignore",
}


@click.command(epilog=EXIT_CODES)
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def init(directory: Path, as_json: bool) -> None:
    """Write a project to DIR: a config, a sample strategy with its test, a README. Nothing is overwritten."""
    from importlib.resources import files

    project = files("meltica") / "project"
    present = [str(directory / name) for name in FILES.values() if (directory / name).exists()]
    if present:
        raise BadInput(f"nothing was written, because it would overwrite {', '.join(present)}")
    try:
        for source, name in FILES.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8", newline="\n") as file:
                file.write(project.joinpath(source).read_text(encoding="utf-8"))
            if not as_json:
                click.echo(f"wrote {path}")
    except OSError as error:
        raise BadInput(f"{error.filename or directory}: cannot be written: {error.strerror}") from error
    if as_json:
        written = [str(directory / name) for name in FILES.values()]
        click.echo(json.dumps({"directory": str(directory), "written": written}))
        return
    click.echo("\nnext:")
    if directory != Path():
        click.echo(f"  cd {directory}")
    click.echo("  meltica config check --config config.yaml")
    click.echo("  meltica replay --sample --lambda lambdas/volume_report.py --speed 10")
    click.echo("  meltica serve --config config.yaml")
