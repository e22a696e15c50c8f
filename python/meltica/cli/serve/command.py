"""`meltica serve`."""

import contextlib
import signal
from pathlib import Path
from typing import Any, cast

import click

from meltica.cli import CONFIG_HELP, HOME_HELP, BadInput, at_home, exit_codes
from meltica.cli.json_output import JsonLinesCommand, JsonOutput

CODES = exit_codes(
    {
        0: "stopped by a signal, in order",
        2: "invalid config or option",
        1: "internal error in Meltica, or a provider did not stop in time",
        3: "a lambda did not stop in time",
        5: "the database cannot be started, reached or stopped, or the last states were not written",
        6: "a migration failed, or the schema belongs to another version",
        7: "another gateway holds the database",
        8: "the address is in use, or cannot be bound",
        130: "ended immediately by a second signal",
    }
)


@click.command(cls=JsonLinesCommand, epilog=CODES)
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=CONFIG_HELP,
)
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    help=HOME_HELP,
)
@click.option("--port", type=click.IntRange(0, 65535), help="Port of the control plane; 0 takes a free port.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set a key, as in `--set database.maxConns=4`; overrides file and environment. Repeatable.",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print JSON lines to stdout when the gateway is ready and when it has stopped.",
)
def serve(
    path: Path | None, home: Path | None, port: int | None, settings: tuple[str, ...], as_json: bool
) -> int:
    """Run the gateway until Ctrl-C or SIGTERM. A second signal ends it immediately."""
    from meltica import settings as configuration
    from meltica.cli.failures import refuse
    from meltica.errors import ConfigError

    overrides = _overrides(home, port, settings)
    output = JsonOutput.reserve() if as_json else None
    _stop_by_signals(output)
    try:
        loaded = configuration.load(path, overrides)
    except ConfigError as error:
        return refuse(error, output)
    from meltica.cli.serve.run import run

    return run(loaded, output)


def _stop_by_signals(output: JsonOutput | None) -> None:
    """Ends the process at a signal while nothing has started; loading the config may run slow strategies."""
    from meltica.cli.screen import leave, signals

    def stop(*_: object) -> None:
        if output is not None:
            with contextlib.suppress(OSError):
                output.write({"event": "stopped", "exit_code": 0})
        leave(0)

    for number in signals():
        signal.signal(number, stop)


def _overrides(home: Path | None, port: int | None, settings: tuple[str, ...]) -> dict[str, Any]:
    """Returns what was given on the command line, in the form of the config file."""
    import yaml

    values = at_home(home)
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
