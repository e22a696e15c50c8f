"""Cases of the contract: a request, and the status and code that answer it."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import Any

import httpx
import msgspec
import psycopg
from psycopg.sql import SQL, Identifier

from tests.support.gateway import Running
from tests.support.rest_schemas import Failure

Condition = Callable[[Running], bool]
NONE: Mapping[str, str] = {}


@dataclass(frozen=True)
class Case:
    """One request. `request` is its method and path; `code` that of an error, empty without one."""

    request: str
    status: int
    code: str = ""
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    then: Condition | None = None
    """What must hold before the next request is sent."""

    @property
    def method(self) -> str:
        """Method of the request."""
        return self.request.partition(" ")[0]

    @property
    def path(self) -> str:
        """Path of the request, with its query."""
        return self.request.partition(" ")[2]


def case(
    request: str, status: int, code: str = "", body: Any = None, then: Condition | None = None, **headers: str
) -> Case:
    """Returns a case; a header `if_match` is sent as `if-match`."""
    return Case(
        request, status, code, body, {name.replace("_", "-"): text for name, text in headers.items()}, then
    )


def conditional(*cases: Case) -> tuple[Case, ...]:
    """Returns cases; before each change, its plan, and the same change of another version."""
    found: dict[str, list[Case]] = {}
    for index, each in enumerate(cases):
        path = each.request.partition("?")[0]
        is_change = each.method != "GET" and each.status < 300 and path != "POST /events/tickets"
        if not is_change or path in found:
            found[str(index)] = [each]
            continue
        plan = f"{each.request}{'&' if '?' in each.request else '?'}plan=1"
        stale = replace(
            each, status=412, code="precondition_failed", headers={"if-match": '"other"'}, then=None
        )
        found[path] = [replace(each, request=plan, status=200, then=None), stale, each]
    return tuple(chain(*found.values()))


def run(
    running: Running, cases: Iterable[Case], names: Mapping[str, str] = NONE, *, together: bool = False
) -> None:
    """Sends requests, one after another or together; fails with all of them that are answered otherwise.

    `names` are those that the cases have as `$name`.
    """
    named = [_named(each, names) for each in cases]
    if together:
        with ThreadPoolExecutor(len(named)) as pool:
            faults = list(pool.map(partial(_fault, running), named))
    else:
        faults = [_fault(running, each) for each in named]
    assert not any(faults), "\n".join(fault for fault in faults if fault)


def _named(each: Case, names: Mapping[str, str]) -> Case:
    text = json.dumps([each.request, each.body])
    for name, value in names.items():
        text = text.replace(f"${name}", value)
    request, body = json.loads(text)
    return replace(each, request=request, body=body)


def _fault(running: Running, each: Case) -> str | None:
    fault = _sent(running, each)
    if fault is not None:
        return f"{each.request} {each.body or ''}: expected {each.status} {each.code}, saw {fault}"
    condition = each.then
    if condition is not None:
        running.until(lambda: condition(running))
    return None


def _sent(running: Running, each: Case) -> str | None:
    """Returns the fault of an answer. The hook of the client compares it with the document."""
    if each.path.startswith("/events?") and each.status == 200:
        with httpx.stream("GET", running.url + each.path, headers=running.authorization) as stream:
            kind = stream.headers.get("content-type", "")
            is_stream = stream.status_code == 200 and kind.startswith("text/event-stream")
            return None if is_stream else f"{stream.status_code} {kind}"
    try:
        answer = running.client.request(each.method, each.path, json=each.body, headers=each.headers)
    except Exception as error:
        return f"another answer than the document describes: {str(error).splitlines()[0]}"
    return answer_fault(answer, each.status, each.code)


def answer_fault(answer: httpx.Response, status: int, code: str) -> str | None:
    """Returns what is wrong with an answer; None if it has a status and a code."""
    seen = f"{answer.status_code} {answer.text[:300]}"
    if answer.status_code != status:
        return seen
    if status < 400:
        return None
    return (
        None
        if answer.json().get("code", answer.json().get("error")) == code and _is_failure(answer)
        else seen
    )


def _is_failure(answer: httpx.Response) -> bool:
    try:
        return bool(msgspec.json.decode(answer.content, type=Failure).error)
    except msgspec.ValidationError:  # the faults of a module
        return answer.status_code == 422


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yields method, path and description of each operation."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


def is_restored(running: Running) -> bool:
    """Returns whether no restore goes on."""
    return not running.gateway.context.restoring.locked()


def provider(name: str, state: str) -> Condition:
    """Returns the condition that a provider has a state."""
    return lambda running: running.gateway.providers.get(name).actual.value == state


def instance(id: str, state: str) -> Condition:
    """Returns the condition that an instance has a state."""
    return lambda running: running.gateway.instances.get(id).actual.value == state


def stored(running: Running) -> dict[str, list[str]]:
    """Returns what all tables have, except when a token was last used."""
    with psycopg.connect(running.gateway.database.dsn) as connection:
        names = connection.execute(
            "select table_name from information_schema.tables where table_schema = current_schema()"
        ).fetchall()
        return {
            name: sorted(
                map(
                    str,
                    connection.execute(
                        SQL("select (to_jsonb(t) - 'last_used_at')::text from {} t").format(Identifier(name))
                    ),
                )
            )
            for (name,) in names
        }
