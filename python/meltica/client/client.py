"""The client: one method for each request that the commands make, and `request` for any other.

Responses are the schemas of `meltica.api`; keys that a newer gateway adds are ignored.
"""

import re
import ssl
from collections.abc import Generator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeVar
from urllib.parse import quote, urlencode

import httpx
import msgspec

from meltica.api.audit import AuditEntries
from meltica.api.backup import Backup, Restored
from meltica.api.configuration import RuntimeSnapshot
from meltica.api.envelope import Failure, Plan, Removed
from meltica.api.instances import InstanceDetail, InstanceLogLines, Instances
from meltica.api.modules import (
    ModuleFaults,
    ModuleUpload,
    RefreshResult,
    RefreshTargets,
    StrategyModule,
    StrategyModules,
    TagAssigned,
    TagTarget,
    UploadResult,
)
from meltica.api.providers import ProviderDetail, Providers, RemovedProvider
from meltica.api.risk import RiskLimitsOfScopes, RiskStatus
from meltica.api.tokens import CreatedToken, NewToken, Token, Tokens
from meltica.api.traces import SlowDeliveries
from meltica.api.version import Version
from meltica.api.why import Why
from meltica.client.trading import TradingRequests
from meltica.errors import MelticaError

_BACKUP: Final = "/context/backup"
_SETTINGS: Final = "/config/runtime"
_TOKEN: Final = re.compile("[!-~]*")
T = TypeVar("T")

TIMEOUT: Final = 10.0
"""Seconds; the control plane responds within 7."""
FAULTY: Final = 422


class StreamedEvent(NamedTuple):
    """An event of a stream."""

    kind: str
    data: dict[str, Any]
    id: int | None
    """Where another stream can resume; None for states."""


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


class ModuleRefused(ApiError):
    """An uploaded module has faults; nothing was stored."""

    def __init__(self, status: int, found: ModuleFaults) -> None:
        super().__init__(status, Failure(error=found.message, code=found.code))
        self.diagnostics = found.diagnostics


class Client:
    """Sends requests to one gateway: `with Client("http://127.0.0.1:8880", token) as client`.

    `ca_file` has the certificate of the authority that signed the gateway's, if it is not a public one.
    """

    def __init__(
        self, url: str, token: str | None = None, timeout: float = TIMEOUT, ca_file: str | None = None
    ) -> None:
        headers = {"x-meltica-client": "python"}
        if token is not None:
            if not _TOKEN.fullmatch(token):
                # Not shown: it may be a token with a line break beside it.
                text = "no request sent: the token is not valid: expected `mk_ID_SECRET`, without spaces"
                raise ApiError(401, Failure(error=text, code="unauthenticated"))
            headers["authorization"] = f"Bearer {token}"
        self.url = url.rstrip("/")
        # Settings of proxies are ignored: they would get the token.
        try:
            verify = True if ca_file is None else ssl.create_default_context(cafile=ca_file)
        except OSError as error:  # also an SSLError
            raise Unreachable(f"certificates of {ca_file} not read: {error}") from error
        self._http = httpx.Client(headers=headers, timeout=timeout, trust_env=False, verify=verify)
        self.trading = TradingRequests(self._sent)
        """Orders, positions, balances, refusals and the outbox."""

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

    def request(
        self, method: str, path: str, body: bytes | None = None, passphrase: str | None = None
    ) -> httpx.Response:
        """Returns the response to any request, also one that was refused. Raises Unreachable."""
        headers = {} if body is None else {b"content-type": b"application/json"}
        if passphrase is not None:
            headers[b"x-meltica-passphrase"] = passphrase.encode()
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

    def provider(self, name: str) -> ProviderDetail:
        """Returns one provider."""
        return self._get(f"/providers/{_part(name)}", ProviderDetail)

    def create_provider(self, new: Mapping[str, Any]) -> ProviderDetail:
        """Creates a provider, which starts in the background; `new` is the body of docs/rest.md."""
        return self._sent("POST", "/providers", new, ProviderDetail)

    def change_provider(
        self, name: str, settings: Mapping[str, Any], *, same_account: bool = False
    ) -> ProviderDetail:
        """Changes the settings of a provider; one that runs is restarted in the background.

        `same_account` states that they select the same account, also with another key.
        """
        query = "?sameAccount=true" if same_account else ""
        return self._sent("PUT", f"/providers/{_part(name)}{query}", {"settings": settings}, ProviderDetail)

    def plan_provider_change(self, name: str, settings: Mapping[str, Any]) -> Plan:
        """Returns what `change_provider` would change."""
        return self.plan("PUT", f"/providers/{_part(name)}", {"settings": settings})

    def delete_provider(self, name: str) -> RemovedProvider:
        """Stops a provider and deletes it; its status is `removing` while it still stops."""
        return self._sent("DELETE", f"/providers/{_part(name)}", None, RemovedProvider)

    def act_on_provider(self, name: str, action: str) -> ProviderDetail:
        """Starts or stops a provider: `start` or `stop`."""
        return self._sent("POST", f"/providers/{_part(name)}/{action}", None, ProviderDetail)

    def instances(self) -> Instances:
        """Returns all instances."""
        return self._get("/strategy/instances", Instances)

    def instance(self, id: str) -> InstanceDetail:
        """Returns one instance."""
        return self._get(f"/strategy/instances/{_part(id)}", InstanceDetail)

    def create_instance(self, new: Mapping[str, Any]) -> InstanceDetail:
        """Creates an instance, stopped; `new` is the body of docs/rest.md."""
        return self._sent("POST", "/strategy/instances", new, InstanceDetail)

    def change_instance(self, id: str, config: Mapping[str, Any]) -> InstanceDetail:
        """Replaces the config of an instance; one that runs is restarted."""
        body = {"id": id, "strategy": {"config": config}}
        return self._sent("PUT", f"/strategy/instances/{_part(id)}", body, InstanceDetail)

    def plan_instance_change(self, id: str, config: Mapping[str, Any]) -> Plan:
        """Returns what `change_instance` would change."""
        body = {"id": id, "strategy": {"config": config}}
        return self.plan("PUT", f"/strategy/instances/{_part(id)}", body)

    def plan(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Plan:
        """Returns what a change would do, without making it."""
        return self._sent(method, f"{path}?plan=1", body, Plan)

    def delete_instance(self, id: str) -> Removed:
        """Stops an instance and deletes it; its status is `removing` while it still stops."""
        return self._sent("DELETE", f"/strategy/instances/{_part(id)}", None, Removed)

    def act_on_instance(self, id: str, action: str) -> InstanceDetail:
        """Starts, stops or restarts an instance: `start`, `stop` or `restart`."""
        return self._sent("POST", f"/strategy/instances/{_part(id)}/{action}", None, InstanceDetail)

    def modules(self) -> StrategyModules:
        """Returns all uploaded modules."""
        return self._get("/strategies/modules", StrategyModules)

    def module(self, selector: str) -> StrategyModule:
        """Returns the module of a selector: `name`, `name:tag`, `name@hash` or a hash."""
        return self._get(f"/strategies/modules/{_part(selector)}", StrategyModule)

    def module_source(self, selector: str) -> bytes:
        """Returns the exact source of a revision."""
        response = self.request("GET", f"/strategies/modules/{_part(selector)}/source")
        return response.content if response.is_success else self._decoded(response, bytes)

    def upload_module(self, new: ModuleUpload) -> UploadResult:
        """Stores a module. Raises ModuleRefused with its faults."""
        response = self.request("POST", "/strategies/modules", msgspec.json.encode(new))
        if response.status_code == FAULTY:
            raise ModuleRefused(FAULTY, msgspec.json.decode(response.content, type=ModuleFaults))
        return self._decoded(response, UploadResult)

    def set_tag(self, name: str, tag: str, hash: str, *, refresh: bool) -> TagAssigned:
        """Moves a tag to a revision; `refresh` moves the instances that it selects."""
        path = f"/strategies/modules/{_part(name)}/tags/{_part(tag)}"
        return self._sent("PUT", path, TagTarget(hash=hash, refresh=refresh), TagAssigned)

    def refresh_modules(self, names: Sequence[str] = ()) -> RefreshResult:
        """Moves instances, those of some modules or all, to the revisions that their tags select."""
        return self._sent("POST", "/strategies/refresh", RefreshTargets(strategies=[*names]), RefreshResult)

    def delete_module(self, selector: str) -> None:
        """Deletes a module or one of its revisions."""
        response = self.request("DELETE", f"/strategies/modules/{_part(selector)}")
        if not response.is_success:
            self._decoded(response, bytes)

    def instance_logs(self, id: str, after: int = 0, level: str = "debug") -> InstanceLogLines:
        """Returns the last log lines of an instance, those after a number."""
        path = f"/strategy/instances/{_part(id)}/logs?after={after}&level={level}"
        return self._get(path, InstanceLogLines)

    def slowest(self) -> SlowDeliveries:
        """Returns the slowest deliveries of the last minute, the slowest first."""
        return self._get("/deliveries/slowest", SlowDeliveries)

    def why(self, id: str) -> Why:
        """Returns why an instance gets no event, or why its orders do not go out."""
        return self._get(f"/strategy/instances/{_part(id)}/why", Why)

    def risk_status(self) -> RiskStatus:
        """Returns what is halted or wrong."""
        return self._get("/risk/status", RiskStatus)

    def risk_limits(self) -> RiskLimitsOfScopes:
        """Returns the limits of all scopes."""
        return self._get("/risk/limits", RiskLimitsOfScopes)

    def change_risk_limits(self, changed: Mapping[str, Any]) -> RiskLimitsOfScopes:
        """Changes limits; `changed` is the body of docs/rest.md. Returns those of all scopes."""
        return self._sent("PUT", "/risk/limits", changed, RiskLimitsOfScopes)

    def runtime_config(self) -> RuntimeSnapshot:
        """Returns the settings of the gateway."""
        return self._get(_SETTINGS, RuntimeSnapshot)

    def change_runtime_config(self, changed: Mapping[str, Any]) -> RuntimeSnapshot:
        """Changes settings; `changed` is the body of docs/rest.md. Returns all of them."""
        return self._sent("PUT", _SETTINGS, changed, RuntimeSnapshot)

    def revert_runtime_config(self) -> RuntimeSnapshot:
        """Reverts all settings to the config file, and returns them."""
        return self._sent("DELETE", _SETTINGS, None, RuntimeSnapshot)

    def backup(self, passphrase: str | None = None) -> bytes:
        """Returns the file of a backup; with a passphrase, it has the secrets."""
        response = self.request("GET", _BACKUP, passphrase=passphrase)
        self._decoded(response, Backup)
        return response.content

    def restore(
        self, content: bytes, passphrase: str | None = None, *, start: bool, accounts: Iterable[str] = ()
    ) -> Restored:
        """Restores a backup, and starts what ran if the accounts that it trades on are named."""
        query = f"?{urlencode({'start': 'true', 'accounts': ','.join(accounts)})}" if start else ""
        return self._decoded(self.request("POST", _BACKUP + query, content, passphrase), Restored)

    def plan_restore(self, content: bytes, passphrase: str | None = None) -> Plan:
        """Returns what a restore would change."""
        return self._decoded(self.request("POST", f"{_BACKUP}?plan=1", content, passphrase), Plan)

    def tokens(self) -> Tokens:
        """Returns all tokens."""
        return self._get("/tokens", Tokens)

    def create_token(self, new: NewToken) -> CreatedToken:
        """Creates a token."""
        return self._sent("POST", "/tokens", new, CreatedToken)

    def revoke_token(self, id: str) -> Token:
        """Revokes a token."""
        return self._sent("DELETE", f"/tokens/{_part(id)}", None, Token)

    def audit(self, **filters: str | int | None) -> AuditEntries:
        """Returns changes, the latest first; the filters are the query parameters of `/audit`."""
        given = {name: value for name, value in filters.items() if value is not None}
        return self._get(f"/audit?{urlencode(given)}", AuditEntries)

    def events(self, query: Mapping[str, Any], last: int | None = None) -> Generator[StreamedEvent]:
        """Yields the events of one stream until it ends; `query` has the parameters of `/events`.

        To resume, open another one with the last `id` that is not None.
        """
        given = {name: value for name, value in query.items() if value is not None}
        headers = {} if last is None else {"last-event-id": str(last)}
        # The gateway sends a comment every 15 s.
        timeout = httpx.Timeout(TIMEOUT, read=60.0)
        try:
            with self._http.stream(
                "GET", f"{self.url}/events", params=given, headers=headers, timeout=timeout
            ) as response:
                if not response.is_success:
                    response.read()
                    self._decoded(response, dict)
                yield from _events(response.iter_lines())
        except httpx.HTTPError as error:
            raise Unreachable(f"the stream of {self.url} has ended: {error}") from error

    def _get(self, path: str, kind: type[T]) -> T:
        return self._decoded(self.request("GET", path), kind)

    def _sent(self, method: str, path: str, body: object, kind: type[T]) -> T:
        content = None if body is None else msgspec.json.encode(body)
        return self._decoded(self.request(method, path, content), kind)

    def _decoded(self, response: httpx.Response, kind: type[T]) -> T:
        try:
            if response.is_success:
                return msgspec.json.decode(response.content, type=kind)
            failure: Any = msgspec.json.decode(response.content, type=Failure)
        except msgspec.DecodeError as error:
            raise Unreachable(f"{self.url} is not a gateway of this version: {error}") from error
        raise ApiError(response.status_code, failure)


def _part(text: str) -> str:
    """Returns a name as one part of a path."""
    return quote(text, safe="")


def _events(lines: Iterable[str]) -> Generator[StreamedEvent]:
    """Yields Server-Sent Events; comments are left out."""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if line:
            fields[name] = value
        elif "event" in fields:
            id = int(fields["id"]) if "id" in fields else None
            yield StreamedEvent(fields["event"], msgspec.json.decode(fields["data"]), id)
            fields = {}
