"""Requests that every operation refuses in the same way."""

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any, NamedTuple

import httpx

from meltica.http.request_gate import MAX_BODY
from tests.contract.rest.cases import answer_fault, operations
from tests.contract.rest.test_rules import filled
from tests.integration.control_requests import UNKNOWN_TOKEN
from tests.support.gateway import Checked, Running

UNKNOWN = {"authorization": f"Bearer {UNKNOWN_TOKEN}"}
JSON = {"content-type": "application/json"}


class Refused(NamedTuple):
    """A request that is refused. `headers` replace the token of an administrator, if they have one."""

    status: int
    code: str
    headers: dict[str, str]
    query: str = ""
    body: bytes = b""
    without_token: bool = False


RESTORES = ("restoreBackup", "restoreConfigBackup")


def common(method: str, operation: dict[str, Any]) -> set[int]:
    """Returns the statuses that every operation has; one that only reads has no 403."""
    scope = operation.get("x-token-scope")
    if scope is None:
        return {400, 503}
    reads = method == "GET" and scope == "viewer"
    return {400, 401, 413, 415, 429, 503} | (set() if reads else {403})


def refused(method: str, operation: dict[str, Any], viewer: str) -> Iterator[Refused]:
    """Yields requests that an operation refuses. `viewer` is a token."""
    scope = operation.get("x-token-scope")
    large = MAX_BODY * (64 if operation["operationId"] in RESTORES else 1) + 1
    yield Refused(400, "bad_request", {}, "?x=%00")
    if scope is None:
        yield Refused(400, "unexpected_body", {**JSON, **UNKNOWN}, body=b"{}", without_token=True)
        return
    yield Refused(401, "unauthenticated", {}, "?x=%00", without_token=True)
    yield (
        Refused(400, "bad_json", JSON, body=b"{")
        if large < 2 * MAX_BODY
        else Refused(400, "backup_damaged", JSON, body=b"{")
    )
    yield Refused(401, "unauthenticated", {}, without_token=True)
    yield Refused(401, "unauthenticated", {"authorization": "Basic x"})
    if method != "GET":
        yield Refused(403, "cross_origin", {"sec-fetch-site": "cross-site"})
    if scope != "viewer":
        yield Refused(403, "forbidden", {"authorization": f"Bearer {viewer}"})
    yield Refused(413, "body_too_large", {**JSON, "content-length": str(large)})
    yield Refused(415, "unsupported_media_type", {"content-type": "text/plain"}, body=b"{}")


class Sender:
    """Sends each of such requests to each operation of a gateway, and checks the answers."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._document = running.client.get("/openapi.json").json()
        self._checked = Checked(self._document)
        self.faults: list[str] = []

    def send_all(self, viewer: str) -> None:
        """Sends what operations refuse while the gateway works."""
        for method, path, operation in operations(self._document):
            for each in refused(method, operation, viewer):
                self.send(method, path, operation, each)

    def send_to_all(self, each: Refused) -> None:
        """Sends a request to all operations that need a token."""
        for method, path, operation in operations(self._document):
            if "x-token-scope" in operation:
                self.send(method, path, operation, each)

    def send(self, method: str, path: str, operation: dict[str, Any], each: Refused) -> None:
        """Sends one request. The client of a body that is announced only stops after the answer."""
        connection = HTTPConnection(*self._running.gateway.api.address, timeout=20)
        connection.putrequest(method, filled(path, self._document["paths"][path]) + each.query)
        own = {} if each.without_token else self._running.authorization
        headers = {"content-length": str(len(each.body)), **own, **each.headers}
        for name, text in headers.items():
            connection.putheader(name, text)
        connection.endheaders(each.body)
        with connection.getresponse() as response:
            answer = httpx.Response(response.status, headers=response.getheaders(), content=response.read())
        connection.close()
        fault = answer_fault(answer, each.status, each.code)
        if fault is None:
            self._checked.check(operation, answer.status_code, answer)
        else:
            self.faults.append(
                f"{method} {path} {json.dumps(each.headers)[:60]}: expected {each.status}, saw {fault}"
            )
