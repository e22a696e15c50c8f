"""The options of commands that use a running gateway, and how they find its address and a token."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import click

from meltica.cli import JSON_HELP, exit_codes

if TYPE_CHECKING:
    from meltica.client import Client
    from meltica.errors import MelticaError
    from meltica.persistence.access_folder import AccessFolder

Command = TypeVar("Command", bound=Callable[..., object])

DEFAULT: Final = "http://127.0.0.1:8880"
CA_FILE: Final = "MELTICA_CA_FILE"
REFUSED: Final = 3
UNREACHABLE: Final = 9
DENIED: Final = 10
URL: Final = click.option(
    "--url",
    envvar="MELTICA_URL",
    metavar="URL",
    help=f"Address of the gateway; default: the one in its token folder, else {DEFAULT}.",
)
TOKEN_FOLDER: Final = click.option(
    "--token-folder",
    envvar="MELTICA_APISERVER__TOKENFOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder that `apiServer.tokenFolder` names.",
)
CODES: Final = {
    REFUSED: "the gateway refused the request",
    UNREACHABLE: "no gateway responded",
    DENIED: "the token is missing, not valid, or its scope is too narrow",
    130: "interrupted",
}


def gateway_codes(success: str, **codes: str) -> str:
    """Returns the table of exit codes of a command that uses a gateway."""
    return exit_codes({0: success, **CODES, **{int(code[1:]): text for code, text in codes.items()}})


def gateway_options(command: Command) -> Command:
    """Adds the options that select a gateway, and `--json`."""
    options = (
        URL,
        click.option(
            "--home",
            type=click.Path(file_okay=False, path_type=Path),
            help="Directory of the gateway's embedded PostgreSQL, which has the token folder.",
        ),
        TOKEN_FOLDER,
        click.option("--json", "as_json", is_flag=True, help=JSON_HELP),
    )
    for option in reversed(options):
        command = option(command)
    return command


@contextmanager
def connect(url: str | None, home: Path | None, token_folder: Path | None) -> Generator["Client"]:
    """Yields a client with the token of MELTICA_TOKEN or of the token folder; errors become exit codes."""
    import os

    from meltica.client import Client
    from meltica.errors import MelticaError

    try:
        folder = find_folder(home, token_folder)
        token = os.environ.get("MELTICA_TOKEN") or folder.token()
        with Client(url or folder.url() or DEFAULT, token, ca_file=os.environ.get(CA_FILE)) as client:
            yield client
    except MelticaError as error:
        raise failed(error) from error


def failed(error: "MelticaError", remedy: str | None = None) -> click.ClickException:
    """Returns what ends a command whose request failed: its text and exit code."""
    from meltica.cli.failures import CommandFailed
    from meltica.client import ApiError, Unreachable

    if isinstance(error, Unreachable):
        return CommandFailed(error, UNREACHABLE, remedy)
    if isinstance(error, ApiError):
        return CommandFailed(error, DENIED if error.denied else REFUSED, remedy)
    return CommandFailed(error, remedy=remedy)


def find_folder(home: Path | None, token_folder: Path | None, dsn: str | None = None) -> "AccessFolder":
    """Returns the token folder of the selected gateway. Raises MelticaError."""
    import os

    from meltica.cli.database import URL_VARIABLES
    from meltica.persistence.access_folder import AccessFolder

    if dsn is None and home is None:
        dsn = next((value for name in URL_VARIABLES if (value := os.environ.get(name))), None)
    return AccessFolder.of(dsn, home, token_folder)
