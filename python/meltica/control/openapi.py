"""`/openapi.json`: the schema of all routes, made from their types."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, cast

from litestar import Litestar, get
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig, ResponseSpec
from litestar.openapi.spec import Components

from meltica import _core
from meltica.api.envelope import Failure
from meltica.runtime.threads import call

NOT_FOUND = {404: ResponseSpec(Failure, generate_examples=False, description="There is none of that name")}
CONFLICT = {
    409: ResponseSpec(Failure, generate_examples=False, description="It does not fit the present state")
}
UNAVAILABLE = {
    503: ResponseSpec(
        Failure, generate_examples=False, description="The database, or the gateway, cannot do it now"
    )
}

DESCRIPTION = """The control plane of a Meltica gateway.

Every answer but 2xx is a `Failure`. Optional keys are absent, never null. Times are milliseconds since 1970.
"""


def routes(handlers: Callable[[], Sequence[HTTPRouteHandler]]) -> list[HTTPRouteHandler]:
    """Returns the handler that describes itself and all others, which `handlers` makes."""

    @cache
    def schema() -> dict[str, Any]:
        config = OpenAPIConfig(
            title="Meltica", version=_core.__version__, description=DESCRIPTION, components=Components()
        )
        # An application that serves nobody: with a schema, Litestar would put pages of its own at /schema.
        described = Litestar([*handlers(), *routes(handlers)], openapi_config=config, logging_config=None)
        return _true(described.openapi_schema.to_schema())

    @get("/openapi.json", summary="This description", operation_id="openapi", tags=["description"])
    async def openapi() -> dict[str, Any]:
        return await call(schema, "meltica-openapi")

    return [openapi]


def _true(schema: dict[str, Any]) -> dict[str, Any]:
    """Returns a schema that says of errors what is so, and of one alternative that it is none."""
    failure = {
        "description": "Why not",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Failure"}}},
    }
    for path in schema["paths"].values():
        for operation in path.values():
            operation["responses"].pop("400", None)
            operation["responses"]["default"] = failure
    return cast(dict[str, Any], _plain(schema))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        known = cast(dict[str, Any], value)
        only = known.get("oneOf")
        if isinstance(only, list) and len(cast(list[Any], only)) == 1:
            known = {k: v for k, v in known.items() if k != "oneOf"} | cast(dict[str, Any], only[0])
        return {key: _plain(inner) for key, inner in known.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in cast(list[Any], value)]
    return value
