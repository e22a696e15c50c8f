"""The client: one method for each request that the commands make, and `request` for any other.

Responses are the schemas of `meltica.api`; keys that a newer gateway adds are ignored.
"""

from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from meltica.api.envelope import Failure
from meltica.api.instances import Instances
from meltica.api.providers import Providers
from meltica.api.risk import RiskStatus
from meltica.api.tokens import CreatedToken, NewToken, Token, Tokens
from meltica.api.version import Version
from meltica.errors import MelticaError

T = TypeVar("T")

TIMEOUT: Final = 10.0
"""Seconds; the control plane responds within 7."""


class Unreachable(MelticaError):
    """No gateway responded at the URL."""


class ApiError(MelticaError):
    """The gateway refused a request; `code` is one of docs/rest.md."""

    def __init__(self, status: int, failure: Failure) -> None:
        super().__init__(failure.error)
        self.status = status
        self.code = failure.code
        self.faults: dict[str, str] = failure.faults or {}

    @property
    def denied(self) -> bool:
        """Whether the token is missing, not valid, or too narrow."""
        return self.status in (401, 403)


class Client:
    """Sends requests to one gateway: `with Client("http://127.0.0.1:8880", token) as client`."""

    def __init__(self, url: str, token: str | None = None, timeout: float = TIMEOUT) -> None:
        headers = {"x-meltica-client": "python"}
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        self.url = url.rstrip("/")
        # Settings of proxies are ignored: they would get the token.
        self._http = httpx.Client(headers=headers, timeout=timeout, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def request(self, method: str, path: str, body: bytes | None = None) -> httpx.Response:
        """Returns the response to any request, also one that was refused. Raises Unreachable."""
        headers = {} if body is None else {"content-type": "application/json"}
        try:
            return self._http.request(method, self.url + path, content=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            cause = str(error) or type(error).__name__
            raise Unreachable(f"no gateway responded at {self.url}: {cause}") from error

    def version(self) -> Version:
        """Returns the running build. Raises ApiError and Unreachable, as all methods do."""
        return self._get("/version", Version)

    def readiness(self) -> dict[str, str]:
        """Returns what keeps the gateway from being ready, by part."""
        try:
            self._get("/health/ready", dict)
        except ApiError as error:
            if error.code != "not_ready":
                raise
            return error.faults
        return {}

    def providers(self) -> Providers:
        """Returns all providers."""
        return self._get("/providers", Providers)

    def instances(self) -> Instances:
        """Returns all instances."""
        return self._get("/strategy/instances", Instances)

    def risk_status(self) -> RiskStatus:
        """Returns what is halted or wrong."""
        return self._get("/risk/status", RiskStatus)

    def tokens(self) -> Tokens:
        """Returns all tokens."""
        return self._get("/tokens", Tokens)

    def create_token(self, new: NewToken) -> CreatedToken:
        """Creates a token."""
        return self._decoded(self.request("POST", "/tokens", msgspec.json.encode(new)), CreatedToken)

    def revoke_token(self, id: str) -> Token:
        """Revokes a token."""
        return self._decoded(self.request("DELETE", f"/tokens/{quote(id, safe='')}"), Token)

    def _get(self, path: str, kind: type[T]) -> T:
        return self._decoded(self.request("GET", path), kind)

    def _decoded(self, response: httpx.Response, kind: type[T]) -> T:
        try:
            if response.is_success:
                return msgspec.json.decode(response.content, type=kind)
            failure: Any = msgspec.json.decode(response.content, type=Failure)
        except msgspec.DecodeError as error:
            raise Unreachable(f"{self.url} is not a gateway of this version: {error}") from error
        raise ApiError(response.status_code, failure)
