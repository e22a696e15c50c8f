"""`meltica api`: sends one request to a running gateway."""

from pathlib import Path

import click

from meltica.cli.gateway import DENIED, REFUSED, connect, gateway_codes, gateway_options
from meltica.cli.json_input import read_text

METHODS = ("GET", "POST", "PUT", "DELETE")


@click.command(epilog=gateway_codes("the gateway responded with 2xx"))
@click.argument("method", type=click.Choice(METHODS, case_sensitive=False))
@click.argument("path")
@click.option("--data", metavar="JSON", help="Body of the request, or `@FILE`.")
@gateway_options
def api(
    method: str,
    path: str,
    data: str | None,
    url: str | None,
    home: Path | None,
    token_folder: Path | None,
    as_json: bool,
) -> int:
    """Send METHOD PATH to a running gateway, and print its response.

    Address and token are found by themselves. MELTICA_TOKEN replaces the token. JSON is indented without
    `--json`.
    """
    if not path.startswith("/"):
        raise click.UsageError(f"expected a path such as /providers, saw {path!r}")
    body = None if data is None else read_text("--data", data).encode()
    with connect(url, home, token_folder) as client:
        response = client.request(method.upper(), path, body)
    click.echo(_text(response.text, as_json=as_json))
    if response.is_success:
        return 0
    return DENIED if response.status_code in (401, 403) else REFUSED


def _text(text: str, *, as_json: bool) -> str:
    import json

    if as_json:
        return text
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text
