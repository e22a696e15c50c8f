"""`meltica version`."""

import json
import platform
import sys

import click

from meltica.cli import JSON_HELP, exit_codes


@click.command(epilog=exit_codes({0: "shown"}))
@click.option("--json", "as_json", is_flag=True, help=JSON_HELP)
def version(as_json: bool) -> None:
    """Show the versions of Meltica, Python and the platform."""
    from meltica import _core

    versions = {
        "meltica": _core.__version__,
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": f"{sys.platform}-{platform.machine()}",
        "build": _core.BUILD_PROFILE,
        "target": _core.BUILD_TARGET,
    }
    if as_json:
        click.echo(json.dumps(versions))
        return
    for name, value in versions.items():
        click.echo(f"{name:<15}{value}")
