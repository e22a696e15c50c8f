"""`meltica init`."""

import json
from pathlib import Path

import click

from meltica.cli import JSON_HELP, BadInput, exit_codes

# Path in the package -> path in the project.
FILES = {
    "config.yaml": "config.yaml",
    "lambdas/volume_report.py": "lambdas/volume_report.py",
    "tests/test_volume_report.py": "tests/test_volume_report.py",
    "README.md": "README.md",
    "env.example": ".env.example",
    "gitignore": ".gitignore",
}


@click.command(
    epilog=exit_codes({0: "the project was written", 2: "a file exists, or DIR cannot be written"})
)
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--json", "as_json", is_flag=True, help=JSON_HELP)
def init(directory: Path, as_json: bool) -> None:
    """Create a project in DIR: config, strategy, test and README. Does not overwrite files."""
    from importlib.resources import files

    project = files("meltica") / "project"
    present = [str(directory / name) for name in FILES.values() if (directory / name).exists()]
    if present:
        raise BadInput(
            f"nothing was written: it would overwrite {', '.join(present)}; choose another directory"
        )
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
