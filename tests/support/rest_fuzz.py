"""Requests that schemathesis generates from the OpenAPI document, sent with tokens of each scope.

Each generated request is sent without a token and with one of each scope. What must hold for every response:

1. A token that is too narrow gets a 403, and none a 401, whatever the request is.
2. The status is none of a server error, and the body is as the document describes it.
3. The text of an error shows nothing of the inside: no trace, path of the server, or SQL.
"""

import random
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

import httpx
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import SearchStrategy
from schemathesis import Case, GenerationMode
from schemathesis.schemas import APIOperation

from meltica.model.access import TokenScope
from tests.support.gateway import Checked, Running

Operation = APIOperation[Any, Any, Any, Any]
Generated = Case[Any]
SCOPES: Final = (None, *TokenScope)
INSIDE: Final = re.compile(
    r"Traceback \(most|File \\?\"|site-packages|psycopg|\bline \d+, in |/(?:usr|home|root|tmp|var|etc|proc)/"
    r"|(?i:\bselect\b.+\bfrom\b|\binsert into\b|\bupdate\b.+\bset\b|\bdelete from\b)"
    r"|(?i:syntax error at or near|relation \\?\")"
)
"""What is inside of a gateway, and no response shows."""


@dataclass
class Fuzz:
    """Sends requests to one gateway. `resources` has parameters that exist: path -> parameters."""

    running: Running
    resources: Mapping[str, Mapping[str, str]]
    sent: int = 0
    answers: dict[str, set[int]] = field(default_factory=dict[str, set[int]])
    """Operation -> statuses for clients that may use it."""
    faults: dict[str, str] = field(default_factory=dict[str, str])
    """One fault of each kind: what is wrong -> the request."""

    def __post_init__(self) -> None:
        document = self.running.client.get("/openapi.json").json()
        self._checked = Checked(document)
        schema = schemathesis.openapi.from_dict(_without_security(document))
        found = cast(Iterable[Any], schema.get_all_operations())  # pyright: ignore[reportUnknownMemberType]
        operations: list[Operation] = [each.ok() for each in found]
        self._operations = [each for each in operations if not is_stream(each.definition.raw)]
        self._session = requests.Session()
        self._session.trust_env = False
        self._tokens: dict[TokenScope | None, dict[str, str]] = {None: {}}
        for scope in TokenScope:
            made = self.running.client.post("/tokens", json={"name": f"fuzz {scope}", "scope": scope.value})
            self._tokens[scope] = {"Authorization": f"Bearer {made.json()['secret']}"}

    def close(self) -> None:
        """Closes the connections."""
        self._session.close()

    def run(self, examples: int, seed: int | None = None) -> None:
        """Sends so many requests of each kind for each operation: always the same ones without a seed."""
        for operation in self._operations:
            for strategy in self._strategies(operation):
                self._send_all(strategy, examples, seed)

    def run_for(self, seconds: float) -> None:
        """Sends requests for some time, with a seed that is printed."""
        seed, until = random.randrange(1 << 32), time.monotonic() + seconds
        while time.monotonic() < until:
            print(f"seed {seed}: {self.sent} requests, {len(self.faults)} faults", flush=True)
            self.run(5, seed)
            seed += 1

    def _strategies(self, operation: Operation) -> Iterator[SearchStrategy[Generated]]:
        """Yields valid requests, with parameters that exist if there are such, and invalid ones."""
        parameters = self.resources.get(operation.path)
        as_strategy = cast(Callable[..., SearchStrategy[Generated]], operation.as_strategy)  # pyright: ignore[reportUnknownMemberType]
        known = None if parameters is None else dict(parameters)
        yield as_strategy(generation_mode=GenerationMode.POSITIVE, path_parameters=known)
        yield as_strategy(generation_mode=GenerationMode.NEGATIVE)

    def _send_all(self, strategy: SearchStrategy[Generated], examples: int, number: int | None) -> None:
        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=number is None,
            phases=[Phase.generate],
            verbosity=Verbosity.quiet,
            suppress_health_check=[
                HealthCheck.too_slow,
                HealthCheck.filter_too_much,
                HealthCheck.data_too_large,
                HealthCheck.large_base_example,
            ],
        )
        @given(case=strategy)
        def send(case: Generated) -> None:
            self._send(case)

        try:
            (send if number is None else seed(number)(send))()
        except Unsatisfiable:  # an operation without parameters has no invalid requests
            return

    def _send(self, case: Generated) -> None:
        operation = cast(dict[str, Any], case.operation.definition.raw)
        for scope in SCOPES:
            answer = case.call(self.running.url, self._session, headers=self._tokens[scope], timeout=30)
            headers = [(name, text) for name, texts in answer.headers.items() for text in texts]
            response = httpx.Response(answer.status_code, headers=headers, content=answer.content)
            self.sent += 1
            fault = self._fault(operation, scope, response)
            if fault is not None:
                kind = f"{case.method} {case.operation.path} as {scope}: {fault}"
                self.faults.setdefault(kind, f"{case.as_curl_command()}\n{response.text[:500]}")

    def _fault(
        self, operation: dict[str, Any], scope: TokenScope | None, response: httpx.Response
    ) -> str | None:
        needed, status = operation.get("x-token-scope"), response.status_code
        if status == 404 and response.json()["code"] == "unknown_path":
            # A name with a slash or a backslash. Without other answers, an operation is missing in `answers`.
            return None
        if needed is not None and (scope is None or not scope.includes(TokenScope(needed))):
            # The body is checked before the scope, and takes no effect.
            refused = (401,) if scope is None else (403, 400, 413, 415)
            return None if status in refused else f"{status}, and it is not permitted"
        self.answers.setdefault(str(operation["operationId"]), set()).add(status)
        if status >= 500 and response.json().get("code") != "not_ready":
            return f"{status}: {response.json().get('code')}"
        shown = INSIDE.search(response.text) if status >= 400 else None
        if shown is not None:
            return f"shows {shown[0]!r}"
        try:
            self._checked.check(operation, status, response)
        except Exception as error:
            return f"{status} is not as documented: {str(error).splitlines()[0][:200]}"
        return None


def is_stream(operation: Mapping[str, Any]) -> bool:
    """Returns whether the response to an operation does not end."""
    return "text/event-stream" in operation["responses"].get("200", {}).get("content", {})


def _without_security(document: dict[str, Any]) -> dict[str, Any]:
    """Otherwise invalid requests would be those with an invalid token, which are limited."""
    items = cast(dict[str, dict[str, dict[str, Any]]], document["paths"])
    paths: dict[str, Any] = {
        path: {method: {**operation, "security": []} for method, operation in item.items()}
        for path, item in items.items()
    }
    return {**document, "paths": paths}
