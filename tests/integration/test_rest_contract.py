"""Requests that schemathesis generates for each operation, valid and invalid, with tokens of each scope.

`nox -s contract` sends others for five minutes: it sets MELTICA_CONTRACT_SECONDS. Hostile values of each
parameter and of each key are sent too.
"""

import json
import os
import re
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx
import pytest

from meltica.runtime.lifecycle import InstanceState
from tests.integration.control_requests import MODULE
from tests.support.gateway import Running
from tests.support.rest_fuzz import INSIDE, Fuzz, is_stream
from tests.support.trading_history import OPEN, write_history

SECONDS: Final = float(os.environ.get("MELTICA_CONTRACT_SECONDS", "0"))
RESOURCES: Final = {
    "/adapters/": {"identifier": "test-venue"},
    "/providers/": {"name": "spare"},
    "/strategy/instances/": {"id": "unloaded"},
    "/orders/": {"id": str(OPEN.id)},
    "/strategies/modules/{selector}": {"selector": "grid:1"},
    "/strategies/modules/{name}": {"name": "grid", "tag": "latest"},
    "/strategies/": {"name": "Watcher"},
}
"""Begin of a path with parameters -> parameters of something that exists."""

Document = dict[str, Any]


@pytest.fixture(scope="module", name="document")
def _document(control: Running) -> Document:
    """The document of a gateway that has orders and a module."""
    control.until(lambda: control.gateway.providers.get("main").running)
    write_history(control)
    assert control.client.post("/strategies/modules", json={"source": MODULE.decode()}).status_code == 201
    return control.client.get("/openapi.json").json()


@pytest.fixture(name="admin")
def _admin(control: Running) -> Generator[httpx.Client]:
    """A client that does not check responses."""
    with httpx.Client(base_url=control.url, headers=control.authorization, timeout=30) as client:
        yield client


def existing(path: str) -> dict[str, str]:
    """Returns parameters of a path; those of something that exists if there is such."""
    nothing = dict[str, str]()
    found = next((given for begin, given in RESOURCES.items() if path.startswith(begin)), nothing)
    return {name: found.get(name, "1") for name in re.findall(r"\{(\w+)\}", path)}


@pytest.mark.timeout(SECONDS + 300)
def test_generated_requests_find_no_fault(control: Running, document: Document) -> None:
    paths = document["paths"]
    known = {path: existing(path) for path in paths if any(path.startswith(begin) for begin in RESOURCES)}
    with closing(Fuzz(control, {path: given for path, given in known.items() if given})) as fuzz:
        if SECONDS:
            fuzz.run_for(SECONDS)
        else:
            fuzz.run(1)
    operations = sum(not is_stream(each) for item in paths.values() for each in item.values())
    assert len(fuzz.answers) == operations
    assert fuzz.sent >= operations * 4
    assert not fuzz.faults, "\n".join(f"{kind}\n{request}" for kind, request in fuzz.faults.items())
    # The gateway still works.
    assert control.client.get("/providers").status_code == 200


TEXTS: Final = (
    *("\0", "a\0b", "", " ", "/", "%", "\N{ZERO WIDTH NO-BREAK SPACE}", "\U0010ffff", '"', "\\", "${HOME}"),
    *("'; drop table tokens; --", "x" * 20_000, "-1", "0", "1" * 400, "1e400", "NaN", "true", "null", "[]"),
    *(str(1 << 31), str(1 << 63), str(-(1 << 63) - 1), str(10**30), "2026-11-30T10:00:00Z"),
)
"""Hostile values of any parameter."""
VALUES: Final = ('"a\\u0000b"', '"\\ud800"', '""', "-1", "1e400", "1" * 400, str(1 << 63), "[]", "{}", "true")
"""Hostile values of any key."""
BODIES: Final = (
    *(json.dumps(text) for text in TEXTS if len(text) < 1000),
    *VALUES,
    *("1.5", "-0", "1" * 5000, "[[]]", '{"": ""}', '{"a": {"a": [1e400]}}', "null", '["\\u0000"]'),
)
"""Hostile bodies."""


def fault(answer: httpx.Response, text: str) -> str | None:
    """Returns what is wrong with the response to a hostile value."""
    shown = INSIDE.search(answer.text.replace(text, "")) if answer.status_code >= 400 else None
    if answer.status_code >= 500 or shown:
        return f"{answer.status_code}: {answer.text[:300]}"
    return None


def test_no_value_of_a_parameter_is_a_server_error(document: Document, admin: httpx.Client) -> None:
    sent, faults = 0, dict[str, str]()
    for path, item in document["paths"].items():
        for method, operation in item.items():
            for parameter in operation.get("parameters", []):
                name = parameter["name"]
                for text in TEXTS:
                    query = {name: text} if parameter["in"] == "query" else {}
                    given = existing(path) | ({name: text} if parameter["in"] == "path" else {})
                    url = path.format(**{key: quote(value, safe="") for key, value in given.items()})
                    sent_as = "head" if is_stream(operation) else method
                    found = fault(admin.request(sent_as, url, params=query), text)
                    if found is not None:
                        faults[f"{method} {path} {name}"] = f"{text[:80]!r} {found}"
                    sent += 1
    assert sent > 1000
    assert not faults, "\n".join(f"{at}: {found}" for at, found in faults.items())


def test_no_value_of_a_key_is_a_server_error(document: Document, admin: httpx.Client) -> None:
    sent, faults = 0, dict[str, str]()
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if "requestBody" not in operation:
                continue
            url = path.format(**existing(path))
            for body in bodies(document, operation["requestBody"]["content"]["application/json"]["schema"]):
                headers = {"content-type": "application/json"}
                found = fault(admin.request(method, url, content=body.encode(), headers=headers), "")
                if found is not None:
                    faults[f"{method} {path} {found}"] = body[:200]
                sent += 1
    assert sent > 1000
    assert not faults, "\n".join(f"{at}: {body}" for at, body in faults.items())


def bodies(document: Document, schema: dict[str, Any]) -> Iterator[str]:
    """Yields bodies that are hostile as a whole, or in one key beside valid ones."""
    yield from BODIES
    whole = document["components"]["schemas"][schema["$ref"].split("/")[-1]] if "$ref" in schema else schema
    keys = [*whole.get("properties", ("id", "instances", "strategy", "scope", "config", "risk"))]
    valid = {"name": "x", "reason": "x", "state": "REJECTED", "mode": "paper", "scope": "provider:spare"}
    for key in keys:
        others = {name: text for name, text in valid.items() if name in keys and name != key}
        # The `scope` of a token is another thing than that of trading.
        others = {name: text for name, text in others.items() if name != "scope" or "expiresAt" not in keys}
        rest = [f"{json.dumps(name)}: {json.dumps(text)}" for name, text in others.items()]
        for value in VALUES:
            yield "{" + ", ".join([*rest, f"{json.dumps(key)}: {value}"]) + "}"


@pytest.mark.parametrize(
    "text",
    [
        "Traceback (most recent call last)",
        '{"error":"File \\"/srv/x.py\\""}',
        "cannot read /home/ops/meltica/key.pem",
        "insert into tokens (id) values (1)",
        'relation "tokens" does not exist',
        "psycopg.errors.UndefinedTable",
    ],
)
def test_the_check_finds_the_inside_of_a_gateway(text: str) -> None:
    assert INSIDE.search(text)


def test_no_answer_shows_a_folder_of_the_server(
    control: Running, document: Document, admin: httpx.Client, config: Path
) -> None:
    file = config.parent / "strategies.py"
    text = file.read_text()
    try:
        for broken in ("(", "x = 1\n", None):
            if broken is None:
                file.unlink()
            else:
                file.write_text(broken)
            answer = admin.post("/strategy/instances/unloaded/start")
            assert (answer.status_code, answer.json()["code"]) == (400, "start_failed")
            assert "strategies.py" in answer.text
            assert str(config.parent) not in answer.text
            assert control.gateway.instances.get("unloaded").actual is InstanceState.FAILED
            for path, item in document["paths"].items():
                # The audit has what was declared, for administrators.
                if "get" in item and path != "/audit" and not is_stream(item["get"]):
                    url = path.format(**existing(path))
                    assert str(config.parent) not in admin.get(url).text, url
    finally:
        file.write_text(text)


def test_an_operator_cannot_run_a_file_of_the_server(control: Running, tmp_path: Path) -> None:
    mark, code = tmp_path / "mark", tmp_path / "code.py"
    code.write_text(
        f"import meltica\nopen({str(mark)!r}, 'w').close()\n"
        "class Code(meltica.Lambda):\n    def on_trade(self, trade): pass\n"
    )
    made = control.client.post("/tokens", json={"name": "x", "scope": "operator"}).json()["secret"]
    folder = control.gateway.loaded.base
    scope = {"main": {"symbols": ["BTC-USDT"]}}
    names = (str(code), os.path.relpath(code, folder), f"~/{code.name}", "os:system", "os")
    for name in (*names, *(f"{name}:Code" for name in names)):
        for key in ("identifier", "selector", "tag", "hash"):
            body = {"id": "x", "scope": scope, "strategy": {"identifier": "x", key: name}}
            headers = {"authorization": f"Bearer {made}"}
            answer = control.client.post("/strategy/instances", json=body, headers=headers)
            assert answer.status_code in (400, 404), answer.text
    assert not mark.exists()
