"""`/openapi.json`: the OpenAPI document of all routes, made from the types of their handlers."""

import json
from pathlib import Path
from typing import Any, cast

from litestar import Controller, Litestar, Request, Router, get
from litestar.datastructures import State
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.routes import BaseRoute
from litestar.types import ControllerRouterHandler

from meltica import _core
from meltica.api.envelope import Failure, Plan
from meltica.control.access import VIEWER, planned_of, scopes_of
from meltica.control.document import TICKET, complete
from meltica.model.access import TokenScope
from meltica.runtime.threads import call


def response(status: int, body: type[object], description: str) -> dict[int, ResponseSpec]:
    """Returns one of the `responses` of a route. Its example is a recorded one, never an invented one."""
    return {status: ResponseSpec(body, generate_examples=False, description=description)}


NOT_FOUND = response(404, Failure, "The name does not exist")
CONFLICT = response(409, Failure, "The request conflicts with the current state")
VENUE = response(502, Failure, "The venue refused the request or did not answer")
PRECONDITION = response(412, Failure, "Another version is configured")
PLANNED_TEXT = "What would change, with `plan=1`"
PLANNED = response(200, Plan, PLANNED_TEXT)

ERRORS: dict[str, tuple[str, str]] = {
    "400": ("Invalid", "Something given is not valid, or an instance cannot start"),
    "401": ("Unauthenticated", "The request has no valid token"),
    "403": (
        "Forbidden",
        "The scope of the token is too narrow, or the request comes from a page of another origin",
    ),
    "413": ("BodyTooLarge", "The body is too large"),
    "415": ("NotJson", "The body is not JSON"),
    "429": ("TooMany", "The client sends too many requests, or its address too many invalid tokens"),
    "503": ("Unavailable", "Not now: the database or its lock is unavailable, or the gateway is stopping"),
    "default": ("Error", "408, 421, 431 or 500: the request did not reach the operation, or it failed"),
}
"""Responses of every operation: status -> name and description. Clients that only read get no 403."""
PUBLIC_ERRORS = ("400", "503", "default")
"""Those of operations that need no token and take no body."""

PLAN_PARAMETER = {
    "name": "plan",
    "in": "query",
    "description": "1: answer what would change, and change nothing.",
    "schema": {"type": "string", "enum": ["0", "1", "false", "true"]},
}
IF_MATCH_PARAMETER = {
    "name": "If-Match",
    "in": "header",
    "description": "The `ETag` that is to be changed; 412 if another version, or none, is configured.",
    "schema": {"type": "string"},
}
PRECONDITION_FAILED = {
    "description": "Another version is configured",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Failure"}}},
}
DESCRIPTION = """The control plane of a Meltica gateway.

The body of every response except 2xx is a `Failure`. Optional keys are absent, never null. Times are in
milliseconds since 1970.
"""


TOKEN = "token"
TOKENS = """A token, in the header `Authorization: Bearer TOKEN`. The scope that an operation needs is its
`x-token-scope`; an operation without one needs no token."""
EXAMPLES = Path(__file__).with_name("examples.json")
"""Operation -> status -> a response of a gateway in the tests, which write this file."""


class OpenApiController(Controller):
    """The document of all routes, this one included."""

    path = "/openapi.json"
    tags = ["description"]
    guards = [VIEWER]

    @get(summary="This document", operation_id="openapi")
    async def openapi(self, request: Request[object, object, State]) -> dict[str, Any]:
        """Returns the document; the first request makes it, on a thread of its own."""
        store = request.app.state
        if "openapi" not in store:
            app = request.app
            store["openapi"] = await call(
                lambda: _corrected(app.openapi_schema.to_schema(), app), "meltica-openapi"
            )
        return cast(dict[str, Any], store["openapi"])


class _NoPages(Router):
    """Takes none of the pages that Litestar would serve at /schema."""

    def register(self, value: ControllerRouterHandler) -> list[BaseRoute]:  # noqa: ARG002
        return []


def openapi_config() -> OpenAPIConfig:
    """Returns what Litestar needs to describe the routes of its application."""
    return OpenAPIConfig(
        title="Meltica",
        version=_core.__version__,
        description=DESCRIPTION,
        components=Components(
            security_schemes={TOKEN: SecurityScheme(type="http", scheme="bearer", description=TOKENS)}
        ),
        render_plugins=[JsonRenderPlugin()],
        openapi_router=_NoPages("/schema", route_handlers=[]),
    )


def _corrected(schema: dict[str, Any], app: Litestar) -> dict[str, Any]:
    """Returns a document with ordered paths, scopes, our error envelope, and no false alternatives."""
    scopes, planned = scopes_of(app), planned_of(app)
    examples = json.loads(EXAMPLES.read_bytes())
    schema["components"]["responses"] = {
        name: {
            "description": text,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Failure"}}},
        }
        for name, text in ERRORS.values()
    }
    # Litestar's order of paths is that of its own bookkeeping.
    schema["paths"] = dict(sorted(schema["paths"].items()))
    for path in schema["paths"].values():
        for method, operation in path.items():
            body = operation.get("requestBody", {})
            if {"type": "null"} in _json_schema(body).get("oneOf", []):
                body["required"] = False
            if operation["operationId"] in planned:
                _add_plan(operation)
            scope = scopes[operation["operationId"]]
            operation["security"] = [] if scope is None else [{TOKEN: []}]
            if scope is not None:
                operation["x-token-scope"] = scope
            reads = method == "get" and scope is TokenScope.VIEWER
            errors = {
                status: {"$ref": f"#/components/responses/{name}"}
                for status, (name, _) in ERRORS.items()
                if (status in PUBLIC_ERRORS if scope is None else not (reads and status == "403"))
            }
            operation["responses"] = dict(sorted((operation["responses"] | errors).items()))
            for status, body in examples.get(operation["operationId"], {}).items():
                operation["responses"][status]["content"]["application/json"]["example"] = body
            if operation["operationId"] == "streamEvents":
                operation["security"].append({TICKET: []})
    schema = _without_false_alternatives(schema)
    complete(schema, app)
    return schema


def _add_plan(operation: dict[str, Any]) -> None:
    """Declares what every change takes and answers: `plan`, `If-Match`, a plan, and 412."""
    operation.setdefault("parameters", []).extend([PLAN_PARAMETER, IF_MATCH_PARAMETER])
    responses = operation["responses"]
    done = responses.setdefault("200", {"description": PLANNED_TEXT})
    content = done.setdefault("content", {}).setdefault("application/json", {})
    reference = {"$ref": "#/components/schemas/Plan"}
    if (schema := content.get("schema", reference)) != reference:
        # Not `oneOf`: a schema without a type includes the plan.
        content["schema"] = {"anyOf": [schema, reference]}
    else:
        content["schema"] = reference
    responses.setdefault("412", PRECONDITION_FAILED)


def _json_schema(body: dict[str, Any]) -> dict[str, Any]:
    """Returns the schema of a body of JSON, empty without one."""
    return body.get("content", {}).get("application/json", {}).get("schema", {})


def _without_false_alternatives(value: Any) -> Any:
    if isinstance(value, dict):
        items = cast(dict[str, Any], value)
        # A parameter that may be absent is never null.
        choices = [each for each in cast(list[Any], items.get("oneOf", [])) if each != {"type": "null"}]
        if "oneOf" in items:
            items = {**items, "oneOf": choices}
        if len(choices) == 1:
            items = {k: v for k, v in items.items() if k != "oneOf"} | cast(dict[str, Any], choices[0])
        return {key: _without_false_alternatives(inner) for key, inner in items.items()}
    if isinstance(value, list):
        return [_without_false_alternatives(inner) for inner in cast(list[Any], value)]
    return value
