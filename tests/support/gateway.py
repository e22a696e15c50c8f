"""A gateway on a separate event loop, and a client that checks each response against the OpenAPI document."""

import asyncio
import itertools
import shutil
import ssl
import threading
from collections.abc import Callable, Coroutine, Generator, Mapping
from concurrent.futures import Future
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psycopg
from jsonschema import Draft202012Validator
from jsonschema.protocols import Validator
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from meltica.gateway.gateway import Gateway
from meltica.http.responses import SECURITY_HEADERS
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.settings import load
from tests.conftest import folder_for_server

T = TypeVar("T")
ELSEWHERE = (408, 421, 431, 500)
"""Statuses of requests that do not reach an operation, or fail in it: the `default` of the document."""

_numbers = itertools.count()


class Running:
    """A running gateway."""

    def __init__(self, gateway: Gateway, loop: asyncio.AbstractEventLoop) -> None:
        self.gateway = gateway
        self.loop = loop
        self.url = gateway.url
        token = gateway.access.folder.token()
        self.authorization = {} if token is None else {"authorization": f"Bearer {token}"}
        self.actor = "anonymous" if token is None else f"first start (token {token.split('_')[1]})"
        """The name of the client in the audit."""
        certificate = gateway.settings.api_server.tls.certificate
        verify = True if certificate is None else ssl.create_default_context(cafile=certificate)
        self.client = httpx.Client(
            base_url=self.url, timeout=20, headers=self.authorization, verify=verify, trust_env=False
        )
        if not _document:  # the same for all gateways, and slow to make
            _document.update(self.client.get("/openapi.json").raise_for_status().json())
        self.client.event_hooks = {"response": [Checked(_document)]}

    def submit(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Runs a coroutine on the gateway's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def until(self, condition: Callable[[], bool]) -> None:
        """Waits until a condition holds."""

        async def poll() -> None:
            while not condition():
                await asyncio.sleep(0.01)

        self.submit(asyncio.wait_for(poll(), 20)).result()

    def settle(self) -> None:
        """Waits until all providers and instances have started, and their states and events are written."""
        gateway = self.gateway

        def is_idle() -> bool:
            pending, parts = (
                gateway.state_writer.is_pending,
                [*gateway.providers.all(), *gateway.instances.all()],
            )
            changing = any(
                part.actual in ("starting", "stopping")
                or (part.desired, part.actual) == ("running", "pending")
                for part in parts
            )
            return not changing and not any(
                [
                    *(pending("provider", provider.name) for provider in gateway.providers.all()),
                    *(pending("instance", instance.id) for instance in gateway.instances.all()),
                ]
            )

        self.until(is_idle)


UNDOCUMENTED = {
    *("content-type", "content-length", "date", "connection", "transfer-encoding", "vary"),
    *(name.decode() for name, _ in SECURITY_HEADERS),
}
"""Headers that HTTP defines, and those of every response that are for browsers."""


_document: dict[str, Any] = {}


class Checked:
    """Checks the status, the types and the keys of each response against the OpenAPI document."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self.schema = schema
        self.components = {
            name: {"additionalProperties": False, **component}
            for name, component in schema["components"]["schemas"].items()
        }
        self._paths = {tuple(path.strip("/").split("/")): item for path, item in schema["paths"].items()}

    def __call__(self, response: httpx.Response) -> None:
        response.read()
        method, path = response.request.method, response.request.url.raw_path.decode()
        if method == "HEAD":  # the response to GET, without its body
            assert not response.content
            return
        operation = self.operation(method, path)
        if operation is None:
            assert response.status_code not in range(200, 300) or method == "OPTIONS"
            return
        self.check(operation, response.status_code, response)

    def operation(self, method: str, path: str) -> dict[str, Any] | None:
        """Returns the operation of a request, or None for an undocumented one."""
        parts = path.partition("?")[0].strip("/").split("/")
        matches = [item for template, item in self._paths.items() if _matches(template, parts)]
        return next((item[method.lower()] for item in matches if method.lower() in item), None)

    def documented(self, operation: dict[str, Any], status: int) -> dict[str, Any] | None:
        """Returns the documented response of an operation."""
        responses = operation["responses"]
        key = "default" if status in ELSEWHERE and str(status) not in responses else str(status)
        found: dict[str, Any] | None = responses.get(key)
        if found is None or "$ref" not in found:
            return found
        return self.schema["components"]["responses"][found["$ref"].rpartition("/")[2]]

    def check(self, operation: dict[str, Any], status: int, response: httpx.Response) -> None:
        """Raises AssertionError or ValidationError for a response that is not documented."""
        documented = self.documented(operation, status)
        assert documented is not None, f"{status} is not documented"
        self.check_headers(documented, response.headers)
        if status == 204:
            assert not response.content
            return
        kind = response.headers["content-type"].partition(";")[0]
        if kind != "application/json":
            assert kind in documented["content"] or kind == "application/openmetrics-text"
            return
        schema = {**documented["content"][kind]["schema"], "components": {"schemas": self.components}}
        validator: Validator = Draft202012Validator(schema)
        validator.validate(response.json())  # pyright: ignore[reportUnknownMemberType]

    def check_headers(self, documented: dict[str, Any], headers: httpx.Headers) -> None:
        """Raises AssertionError for headers that are not documented, or documented and not sent."""
        described: dict[str, Any] = documented["headers"]
        shown = {name.lower() for name in headers if not name.lower().startswith("access-control-")}
        undocumented = shown - {name.lower() for name in described} - UNDOCUMENTED
        assert not undocumented, f"{undocumented} are not documented"
        common: dict[str, Any] = self.schema["components"]["headers"]
        for name, header in described.items():
            whole = common[header["$ref"].rpartition("/")[2]] if "$ref" in header else header
            assert name in headers or not whole["required"], f"{name} was not sent"


def _matches(template: tuple[str, ...], parts: list[str]) -> bool:
    return len(template) == len(parts) and all(
        k == p or (k.startswith("{") and p) for k, p in zip(template, parts, strict=True)
    )


@contextmanager
def database(cluster: EmbeddedPostgres) -> Generator[str]:
    """Yields an empty database."""
    name = f"gateway{next(_numbers)}"
    with psycopg.connect(cluster.dsn, autocommit=True) as connection:
        connection.execute(SQL("create database {} template template0").format(Identifier(name)))
        yield make_conninfo(cluster.dsn, dbname=name)
        connection.execute(SQL("drop database {} with (force)").format(Identifier(name)))


@contextmanager
def running(
    config: Path, dsn: str, environ: Mapping[str, str] | None = None, **overrides: Any
) -> Generator[Running]:
    """Starts a gateway, and stops it at the end unless the test has done so."""
    # Not in `config.parent`: a test may have several gateways there, each on a database of its own.
    tokens = folder_for_server()
    api = {"addr": "127.0.0.1:0", "tokenFolder": str(tokens / "access"), **overrides.pop("apiServer", {})}
    settings = {"database": {"dsn": dsn}, "apiServer": api, **overrides}
    gateway = Gateway(load(config, settings, environ={"TEST_REGION": "eu-1", **(environ or {})}))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="test-gateway")
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(gateway.start(), loop).result(60)
        running = Running(gateway, loop)
        with closing(running.client):
            yield running
    finally:
        asyncio.run_coroutine_threadsafe(gateway.stop(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        shutil.rmtree(tokens)
