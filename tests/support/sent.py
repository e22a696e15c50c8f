"""One request of a table, as it is sent."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.support.gateway import Running

HOST = "127.0.0.1:8880"
JSON = ("content-type", "application/json")

Headers = tuple[tuple[str, str], ...]

CHANGE = "/providers/main/start"
"""A POST that changes nothing: 409, because the provider already runs."""


@dataclass(frozen=True)
class Sent:
    """One request. `headers` are those beside Host, which is `host` unless that is None."""

    name: str
    method: str
    path: str
    headers: Headers = ()
    body: bytes = b""
    host: str | None = HOST
    chunked: bool = False
    authorized: bool = True
    then: Callable[[Running], bool] | None = None
    """What must hold before the next request is sent."""


def get(name: str, path: str, headers: Headers = (), host: str | None = HOST) -> Sent:
    """Returns a GET."""
    return Sent(name, "GET", path, headers, host=host)


def post(
    name: str,
    path: str = CHANGE,
    headers: Headers = (),
    body: bytes = b"",
    then: Callable[[Running], bool] | None = None,
) -> Sent:
    """Returns a POST."""
    return Sent(name, "POST", path, headers, body, then=then)
