"""`meltica serve`."""

from pathlib import Path
from typing import Any, cast

import click

from meltica.cli import EXIT_CODES, BadInput


@click.command(epilog=EXIT_CODES)
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The config file; else MELTICA_CONFIG_PATH, else the one that comes with Meltica.",
)
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the gateway's own PostgreSQL lives; then a configured DSN is not used.",
)
@click.option("--port", type=click.IntRange(0, 65535), help="Port of the control plane; 0 takes a free one.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="A setting, as in `--set database.maxConns=4`; wins over file and environment. May be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="JSON lines on stdout: when it is ready, how it ended.")
def serve(
    path: Path | None, home: Path | None, port: int | None, settings: tuple[str, ...], as_json: bool
) -> int:
    """Run the gateway until Ctrl-C or SIGTERM: an orderly stop. A second signal ends it at once."""
    from meltica import settings as configuration
    from meltica.cli.failures import refuse
    from meltica.errors import ConfigError

    try:
        loaded = configuration.load(path, _overrides(home, port, settings))
    except ConfigError as error:
        return refuse(error, as_json)
    from meltica.cli.serve.run import run

    return run(loaded, as_json=as_json)


def _overrides(home: Path | None, port: int | None, settings: tuple[str, ...]) -> dict[str, Any]:
    """Returns what was given on the command line, in the form of the config file."""
    import yaml

    values: dict[str, Any] = {}
    if home is not None:
        values["database"] = {"home": str(home.absolute()), "dsn": None}
    if port is not None:
        values["apiServer"] = {"addr": f"127.0.0.1:{port}"}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not all(key.split(".")):
            raise BadInput(f"--set: expected KEY=VALUE such as log.level=debug, saw {setting!r}")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            value = text
        block = values
        *blocks, last = key.split(".")
        for name in blocks:
            inner: object = block.setdefault(name, {})
            if not isinstance(inner, dict):
                raise BadInput(f"--set {key}: another --set gives {name} a value of its own")
            block = cast("dict[str, Any]", inner)
        block[last] = value
    return values
