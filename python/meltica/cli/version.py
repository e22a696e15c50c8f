"""`meltica version`."""

import json
import platform
import sys

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def version(as_json: bool) -> None:
    """Say which Meltica, Python and platform this is."""
    from meltica import _core

    known = {
        "meltica": _core.__version__,
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": f"{sys.platform}-{platform.machine()}",
        "build": _core.BUILD_PROFILE,
        "target": _core.BUILD_TARGET,
    }
    if as_json:
        click.echo(json.dumps(known))
        return
    for name, value in known.items():
        click.echo(f"{name:<15}{value}")
