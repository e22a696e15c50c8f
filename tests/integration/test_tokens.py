"""Tokens: what each scope may use, revocation, expiry, and the database away."""

import asyncio
import itertools
import re
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import httpx
import pytest
from click.testing import CliRunner, Result
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.types import HTTPScope

from meltica.cli import cli
from meltica.control import authentication
from meltica.control.access import Principal
from meltica.control.app import CONTROLLERS
from meltica.control.authentication import ADMIN_SECONDS, FAILURE_SECONDS, FAILURES, Authenticator
from meltica.errors import AlreadyExists, Conflict, MelticaError, NotFound
from meltica.http.errors import HttpError
from meltica.model.access import TokenScope
from meltica.persistence.access_folder import AccessFolder
from meltica.persistence.database import Database
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.persistence.stores.audit import AuditLog
from meltica.persistence.stores.tokens import NewToken, TokenStore
from tests.integration.test_control_health import hanging
from tests.support.gateway import Running

PUBLIC = {"/health/live", "/health/serving"}


_numbers = itertools.count()


def created(control: Running, scope: str, **more: object) -> dict[str, str]:
    """Creates a token; returns the header with it."""
    response = control.client.post(
        "/tokens", json={"name": f"a {scope} {next(_numbers)}", "scope": scope, **more}
    )
    assert response.status_code == 201, response.text
    return {"authorization": f"Bearer {response.json()['secret']}"}


def id_of(headers: dict[str, str]) -> str:
    return headers["authorization"].split("_")[1]


OPERATOR = {
    *(
        "cancelOrders",
        "cancelOrder",
        "queryOrder",
        "resolveOrder",
        "flattenScope",
        "haltScope",
        "resumeScope",
    ),
    *("updateRiskLimits", "bookDifference", "adoptOrder", "disownOrder", "releasePositions"),
    *("startProvider", "stopProvider", "createInstance", "updateInstance", "refreshStrategies"),
    *("startInstance", "stopInstance", "restartInstance", "startInstances", "stopInstances"),
    "retryDeadLetters",
}
ADMIN = {
    *("listTokens", "createToken", "revokeToken", "listAudit", "getBackup", "restoreBackup"),
    *("createProvider", "updateProvider", "deleteProvider", "deleteInstance"),
    *("deleteOutboxEvent", "dropDeadLetters"),
    *("updateRuntimeConfig", "revertRuntimeConfig", "getConfigBackup", "restoreConfigBackup"),
    *("uploadModule", "updateModule", "deleteModule", "setModuleTag", "deleteModuleTag"),
}
"""Every operation that is not here is read by viewers, or public. Add one with the reason for its scope."""
VIEWER = {"issueEventTicket"}
"""Operations of viewers that change nothing that is kept, although they are not reads."""


def test_the_scope_of_each_operation_is_the_one_of_the_table(control: Running) -> None:
    document = control.client.get("/openapi.json").json()
    operations = {
        operation["operationId"]: (method, path, operation.get("x-token-scope"))
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }
    assert operations.keys() >= OPERATOR | ADMIN
    for id, (method, path, scope) in operations.items():
        expected = "admin" if id in ADMIN else "operator" if id in OPERATOR else "viewer"
        assert scope == (None if path in PUBLIC else expected), (id, method, path)
        assert method == "get" or scope in ("operator", "admin") or id in VIEWER, (id, method, path)


def test_every_handler_is_in_the_document_and_in_the_walk() -> None:
    handlers = [
        handler
        for controller in CONTROLLERS
        for handler in vars(controller).values()
        if isinstance(handler, BaseRouteHandler)
    ]
    assert len(handlers) > 50
    for handler in handlers:
        assert isinstance(handler, HTTPRouteHandler), handler
        assert handler.operation_id is not None, handler
        assert handler.include_in_schema is not False, handler


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/TOKENS"),
        ("GET", "//tokens"),
        ("GET", "/tokens/"),
        ("GET", "/health/live/../../tokens"),
        ("GET", "/health/live/%2e%2e/%2e%2e/tokens"),
        ("GET", "/health/live;/tokens"),
        ("GET", "/tokens?x=/health/live"),
        ("HEAD", "/tokens"),
        ("GET", "http://localhost/tokens"),
        ("POST", "/tokens"),
        ("PROPFIND", "/tokens"),
    ],
)
def test_no_spelling_of_a_path_opens_it(control: Running, method: str, path: str) -> None:
    viewer = created(control, "viewer")["authorization"]
    tricks = {
        "X-HTTP-Method-Override": "GET",
        "X-Original-URL": "/health/live",
        "X-Rewrite-URL": "/health/live",
        "X-Forwarded-For": "127.0.0.1",
        "X-Forwarded-User": "admin",
    }
    for authorization in ({}, {"Authorization": viewer}):
        connection = HTTPConnection(*control.gateway.api.address, timeout=20)
        connection.putrequest(method, path)
        for name, text in (tricks | authorization).items():
            connection.putheader(name, text)
        connection.endheaders()
        with connection.getresponse() as answer:
            body = answer.read()
        connection.close()
        assert answer.status in (401, 403, 404, 405), (path, answer.status)
        assert b"createdAt" not in body


def test_no_route_is_open_to_a_client_beyond_its_scope(control: Running) -> None:
    document = control.client.get("/openapi.json").json()
    narrow = {scope: created(control, scope) for scope in ("viewer", "operator")}
    clients: dict[str | None, dict[str, str]] = {None: {}, **narrow}
    scopes = [None, *(scope.value for scope in TokenScope)]
    with httpx.Client(base_url=control.url, timeout=20) as client:
        for path, item in document["paths"].items():
            for method, operation in item.items():
                needed = operation.get("x-token-scope")
                assert (needed is None) == (path in PUBLIC)
                for scope, headers in clients.items():
                    if scopes.index(scope) >= scopes.index(needed):
                        continue
                    # The body is not read: it is not even JSON.
                    body = None if method == "get" else b"{"
                    kinds = {each["name"]: each["schema"] for each in operation.get("parameters", ())}
                    numbers = {name: "1" for name, kind in kinds.items() if kind.get("type") == "integer"}
                    url = re.sub(
                        r"\{(\w+)\}", lambda match, given=numbers: given.get(match[1], str(UUID(int=1))), path
                    )
                    answer = client.request(method, url, headers=headers, content=body)
                    if scope is not None and body is not None:
                        assert answer.status_code == 415
                        answer = client.request(method, url, headers=headers)
                    expected = (401, "unauthenticated") if scope is None else (403, "forbidden")
                    assert (answer.status_code, answer.json()["code"]) == expected, (method, path, scope)


def test_a_revoked_token_ends_at_once_and_the_last_admin_stays(control: Running) -> None:
    viewer = created(control, "viewer")
    assert control.client.get("/providers", headers=viewer).status_code == 200
    own = id_of(control.authorization)
    revoked = control.client.delete(f"/tokens/{id_of(viewer)}")
    assert revoked.status_code == 200
    assert "revokedAt" in revoked.json()
    refused = control.client.get("/providers", headers=viewer)
    assert refused.status_code == 401
    assert "was revoked; `meltica tokens create --offline`" in refused.json()["error"]
    again = control.client.delete(f"/tokens/{id_of(viewer)}")
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    last = control.client.delete(f"/tokens/{own}")
    assert (last.status_code, last.json()["code"]) == (409, "conflict")
    assert "it is the last one with the scope admin" in last.json()["error"]
    # One that ends soon does not count.
    soon = int((datetime.now(UTC) + timedelta(hours=1)).timestamp() * 1000)
    admin = created(control, "admin", expiresAt=soon)
    assert control.client.delete(f"/tokens/{own}").status_code == 409
    # It makes none that outlives it.
    longer = {"name": "x", "expiresAt": soon + 1}
    for body in (longer, {"name": "x"}):
        refused = control.client.post("/tokens", json=body, headers=admin)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    shorter = control.client.post("/tokens", json={"name": "x", "expiresAt": soon - 1}, headers=admin)
    assert shorter.status_code == 201
    rows = control.submit(AuditLog(control.gateway.database).latest(3)).result(10)
    assert [(row.action, row.subject) for row in rows] == [
        ("token.create", shorter.json()["token"]["id"]),
        ("token.create", id_of(admin)),
        ("token.revoke", id_of(viewer)),
    ]
    assert rows[0].actor.endswith(f" (token {id_of(admin)})")
    assert "hash" not in str(rows[0].after)


class Clock:
    """A monotonic clock that the test advances."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class World:
    """The tokens of a database and what authenticates with them."""

    def __init__(self, url: str, database: Database) -> None:
        self.url = url
        self.store = TokenStore(database)
        self.clock = Clock()
        self.authenticator = Authenticator(self.store, self.clock)

    async def client(self, token: str, address: str = "10.0.0.1", **scope: Any) -> Principal:
        headers = [(b"authorization", f"Bearer {token}".encode())]
        whole = {"method": "GET", "headers": headers, "client": (address, 1), **scope}
        return await self.authenticator(cast(HTTPScope, whole))

    async def refusal(self, token: str, address: str = "10.0.0.1") -> tuple[int, str]:
        with pytest.raises(HttpError) as caught:
            await self.client(token, address)
        return caught.value.status, str(caught.value)


@pytest.fixture(name="world")
async def _world(database_url: str) -> AsyncGenerator[World]:
    async with await Database.open(database_url) as database:
        yield World(database_url, database)


def invalid(number: int) -> str:
    return f"mk_{number:012}_{'0' * 64}"


async def test_a_token_created_beside_the_gateway_is_valid_at_once(world: World) -> None:
    await world.authenticator.read()
    made = await world.store.create("laptop", TokenScope.OPERATOR, None, "tests")
    principal = await world.client(made.text)
    assert (principal.actor, principal.scope) == (f"laptop (token {made.row.id})", TokenScope.OPERATOR)
    wrong = made.text[:-1] + ("0" if made.text[-1] != "0" else "1")
    assert (await world.refusal(wrong))[0] == 401
    assert made.row.hash not in made.text.encode()


async def test_an_expired_token_is_refused_without_a_read(world: World) -> None:
    made = await world.store.create("x", TokenScope.ADMIN, datetime.now(UTC) - timedelta(seconds=1), "tests")
    status, text = await world.refusal(made.text)
    assert status == 401
    assert f"token `{made.row.id}` expired at " in text


async def test_a_revocation_beside_the_gateway_is_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication, "REFRESH_SECONDS", 0.01)
    made = await world.store.create("x", TokenScope.ADMIN, None, "tests")
    await world.client(made.text)
    world.authenticator.start()
    await world.store.revoke(made.row.id, "tests", keep_admin=False)
    async with asyncio.timeout(20):
        while True:
            try:
                await world.client(made.text)
            except HttpError as error:
                assert "was revoked" in str(error)
                break
            await asyncio.sleep(0.01)
    await world.authenticator.stop()
    [row] = await world.store.all()
    assert row.last_used_at is not None


async def test_an_address_with_many_failures_is_refused_before_the_look_up(world: World) -> None:
    made = await world.store.create("x", TokenScope.VIEWER, None, "tests")
    await world.client(made.text)
    for number in range(FAILURES):
        assert (await world.refusal(invalid(number)))[0] == 401
    fresh = await world.store.create("y", TokenScope.VIEWER, None, "tests")
    assert await world.refusal(fresh.text) == (429, "too many invalid tokens from 10.0.0.1: retry after 60 s")
    assert (await world.refusal("not a token"))[0] == 429
    # Valid tokens and other addresses are not affected.
    assert (await world.client(made.text)).scope is TokenScope.VIEWER
    assert (await world.client(fresh.text, "10.0.0.2")).scope is TokenScope.VIEWER
    world.clock.now += FAILURE_SECONDS
    assert (await world.refusal(invalid(0)))[0] == 401


async def test_addresses_of_one_network_share_the_limit(world: World) -> None:
    for number in range(FAILURES):
        assert (await world.refusal(invalid(number), f"2001:db8::{number:x}"))[0] == 401
    assert (await world.refusal(invalid(0), "2001:db8::ffff"))[0] == 429
    assert (await world.refusal(invalid(0), "2001:db8:0:1::1"))[0] == 401
    for number in range(FAILURES):
        await world.refusal(invalid(number), f"::ffff:10.1.1.{number % 2}")
    assert (await world.refusal(invalid(0), "10.1.1.0"))[0] == 401


async def test_known_tokens_are_valid_while_the_database_hangs(
    world: World, cluster: EmbeddedPostgres
) -> None:
    made = await world.store.create("x", TokenScope.ADMIN, None, "tests")
    other = await world.store.create("y", TokenScope.VIEWER, None, "tests")
    assert (await world.client(made.text)).confirmed
    unread = Authenticator(world.store, world.clock)
    with hanging(cluster):
        assert (await world.client(made.text)).confirmed
        world.clock.now += ADMIN_SECONDS + 1
        assert not (await world.client(made.text)).confirmed
        world.authenticator = unread
        status, text = await world.refusal(other.text)
    assert (status, text) == (503, "token not checked: the database is unavailable; retry later")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_a_change_without_a_token_is_refused_before_its_body(world: World, method: str) -> None:
    scope: dict[str, Any] = {"method": method, "headers": [], "client": ("10.0.0.1", 1)}
    with pytest.raises(HttpError, match="it has no token"):
        await world.authenticator(cast(HTTPScope, scope))


async def test_only_the_last_admin_is_kept_and_two_at_once_do_not_both_go(world: World) -> None:
    first = await world.store.create("a", TokenScope.ADMIN, None, "tests")
    second = await world.store.create("b", TokenScope.ADMIN, None, "tests")
    ends = await asyncio.gather(
        *(world.store.revoke(each.row.id, "tests", keep_admin=True) for each in (first, second)),
        return_exceptions=True,
    )
    assert sorted(type(end).__name__ for end in ends) == ["Conflict", "TokenRow"]
    with pytest.raises(NotFound):
        await world.store.revoke("nope", "tests", keep_admin=True)
    left = next(row for row in await world.store.all() if row.revoked_at is None)
    with pytest.raises(Conflict, match="--offline"):
        await world.store.revoke(left.id, "tests", keep_admin=True)
    await world.store.revoke(left.id, "tests", keep_admin=False)


async def test_the_first_start_writes_a_private_token(world: World, tmp_path: Path) -> None:
    folder = AccessFolder(tmp_path / "home" / "access")
    assert folder.token() is None
    assert await world.store.create_first(folder.save_token)
    token = folder.token()
    assert token is not None
    assert (await world.client(token)).scope is TokenScope.ADMIN
    assert folder.header.read_text() == f"Authorization: Bearer {token}\n"
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in folder.path.iterdir()} == {
        "token": "0o600",
        "header": "0o600",
    }
    assert folder.path.stat().st_mode & 0o777 == 0o700
    assert not await world.store.create_first(folder.save_token)
    assert folder.token() == token
    folder.save_url("http://127.0.0.1:1")
    folder.save_url("http://127.0.0.1:2")
    assert folder.url() == "http://127.0.0.1:2"


async def test_a_token_that_cannot_be_written_is_not_created(world: World, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    link = tmp_path / "link"
    link.symlink_to(elsewhere)
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    for path, cause in ((link, "Not a directory|symbolic links"), (shared, "chmod 700")):
        with pytest.raises(MelticaError, match=cause):
            await world.store.create_first(AccessFolder(path).save_token)
    assert await world.store.all() == []
    assert not [*elsewhere.iterdir()]


async def test_a_token_of_another_database_is_kept_beside_the_new_one(world: World, tmp_path: Path) -> None:
    folder = AccessFolder(tmp_path / "access")
    folder.save_token(invalid(1))
    target = tmp_path / "target"
    target.write_text("precious")
    (folder.path / "token").unlink()
    (folder.path / "token").symlink_to(target)
    assert await world.store.create_first(folder.save_token)
    assert target.read_text() == "precious"
    assert (folder.path / "token.old").is_symlink()
    assert (await world.client(folder.token() or "")).scope is TokenScope.ADMIN


async def test_the_commands_work_without_a_gateway(world: World) -> None:
    async def run(*arguments: str) -> Result:
        command = ["tokens", *arguments, "--offline", "--dsn", world.url]
        return await asyncio.to_thread(lambda: CliRunner().invoke(cli, command, standalone_mode=False))

    text = (await run("create", "rescue", "--scope", "admin", "--expires", "12h")).stdout.strip()
    principal = await world.client(text)
    assert (principal.scope, principal.expires_at is not None) == (TokenScope.ADMIN, True)
    id = text.split("_")[1]
    listed = (await run("list")).stdout
    assert re.fullmatch(rf"{id}  admin     expires 20\S+ \S+ UTC  +rescue\n", listed), listed
    assert text not in listed
    assert (await run("revoke", id)).stdout == f"{id} is revoked\n"
    assert f"{id}  admin     revoked" in (await run("list")).stdout
    again = await run("revoke", id)
    assert again.exception is not None
    assert f"token `{id}` is revoked already" in str(again.exception)
    assert "expected a duration" in str((await run("create", "x", "--expires", "soon")).exception)


async def test_a_name_belongs_to_one_token_that_can_be_used(world: World) -> None:
    create = partial(world.store.create, "laptop", TokenScope.VIEWER, None, "tests")
    ends = await asyncio.gather(create(), create(), create(), return_exceptions=True)
    made = [end for end in ends if isinstance(end, NewToken)]
    refused = [str(end) for end in ends if isinstance(end, AlreadyExists)]
    assert (len(made), len(refused)) == (1, 2)
    assert made[0].row.id in refused[0]
    await world.store.revoke(made[0].row.id, "tests", keep_admin=True)
    soon = datetime.now(UTC)
    assert (await world.store.create("laptop", TokenScope.VIEWER, soon, "tests")).row.expires_at == soon
    await create()
