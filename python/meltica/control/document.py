"""Completes the OpenAPI document with what the signatures of handlers do not show.

1. Query parameters that a handler lists in its options, and headers that every operation reads or some do.
2. Bodies that are read as a model of Pydantic, and headers of responses.
3. Descriptions: of operations, schemas and keys from docstrings, of keys that several schemas have from
   `api.keys`, of parameters and tags from the tables here.
"""

import ast
import inspect
import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from textwrap import dedent
from typing import Any, Final, cast

from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute
from msgspec import Struct
from pydantic import BaseModel

from meltica.api.instances import BulkRequest, InstanceRequest
from meltica.api.keys import DESCRIPTIONS
from meltica.api.providers import ProviderRequest
from meltica.control.bodies import QUERY

Document = dict[str, Any]
REFERENCE: Final = "#/components/schemas/{model}"
FLAGS: Final[Document] = {"type": "string", "enum": ["0", "1", "false", "true"]}

TAGS: Final = {
    "adapters": "The installed adapters: the code that speaks the protocol of a venue.",
    "audit": "Who changed what and when.",
    "backup": "Backups of what was configured while the gateway ran, and their restore.",
    "balances": "What an account has, and whose it is.",
    "configuration": "The settings of the gateway, beside providers and instances.",
    "description": "This document, and the version of the gateway.",
    "events": "A stream of what happens.",
    "health": "Probes, and metrics for Prometheus.",
    "instances": "Runs of strategies, called lambdas in the configuration.",
    "orders": "Orders and their fills.",
    "outbox": "Events, and the consumers that wait for them.",
    "positions": "What each instance holds.",
    "providers": "Configured adapters: connections to venues and accounts.",
    "risk": "Limits, halts and refusals.",
    "strategies": "Strategies and their settings.",
    "strategy modules": "Uploaded sources of strategies, their revisions and tags.",
    "tokens": "The tokens of clients.",
}
QUERIES: Final = {
    "start": (FLAGS, "1 starts what ran when the backup was made."),
    "accounts": ({"type": "string"}, "With `start`: the providers of these instances, separated by commas."),
}
"""Query parameters that handlers read from the request: name -> schema and description."""
PARAMETERS: Final = {
    "aggregateID": "Only events of this order, provider, instance or scope.",
    "aggregateType": "Only events of this kind: `order`, `fill`, `balance`, `risk` or `lifecycle`.",
    "allowOrphan": "Whether the last tag of a revision may be deleted.",
    "consumer": "Only events that this consumer did not receive yet, with the state of this delivery.",
    "currency": "Only entries in this currency.",
    "dead": "Only dead letters, or only others.",
    "delivered": "Instead, events that all consumers have received.",
    "hash": "Only modules that have this revision, as `sha256:` and 64 hex digits.",
    "id": "The id. Case counts.",
    "identifier": "The identifier of the adapter. Case counts.",
    "includeStopped": "Also instances that do not run.",
    "instance": "Only those of this instance.",
    "kind": "Only entries of this kind.",
    "lastEventId": "The stream goes on after this event.",
    "level": "Only lines of this level or above.",
    "limit": "How many at most; all without it.",
    "mode": "Only those of this mode.",
    "name": "The name.",
    "offset": "How many are left out at the beginning.",
    "orderId": "Only fills of this order.",
    "provider": "Only those at this provider.",
    "rule": "Only refusals by this rule.",
    "runningOnly": "Only modules of which an instance runs.",
    "selector": "`name`, `name:tag`, `name@hash` or a hash.",
    "strategy": "Only the module of this name, in any case.",
    "subject": "Only changes of this subject.",
    "symbol": "Only those of this symbol.",
    "tag": "The tag. Case counts.",
}
"""Descriptions of parameters that have none."""
HEADERS: Final = {
    "streamEvents": ("Last-Event-ID", "The id of the last event: the stream goes on after it."),
    "getBackup": ("X-Meltica-Passphrase", "Encrypts the secrets, which the backup has only then."),
    "restoreBackup": ("X-Meltica-Passphrase", "Decrypts the secrets of the backup."),
    "getConfigBackup": ("X-Meltica-Passphrase", "Encrypts the secrets, which the backup has only then."),
    "restoreConfigBackup": ("X-Meltica-Passphrase", "Decrypts the secrets of the backup."),
}
"""Operation -> a header that it reads, and its description."""
BODIES: Final[dict[str, tuple[type[BaseModel], list[str]]]] = {
    "createProvider": (ProviderRequest, ["name", "adapter"]),
    "updateProvider": (ProviderRequest, []),
    "createInstance": (InstanceRequest, ["id", "strategy", "scope"]),
    "updateInstance": (InstanceRequest, []),
    "startInstances": (BulkRequest, ["instances"]),
    "stopInstances": (BulkRequest, ["instances"]),
}
"""Operation -> the model of its body, and the keys that it requires."""
VERSIONED: Final = {
    "getProvider": ("200",),
    "createProvider": ("202",),
    "updateProvider": ("200", "202"),
    "getInstance": ("200",),
    "createInstance": ("201",),
    "updateInstance": ("200", "202"),
    "getModule": ("200",),
    "uploadModule": ("201",),
    "updateModule": ("200",),
    "getRiskLimits": ("200",),
    "updateRiskLimits": ("200",),
    "getRuntimeConfig": ("200",),
    "updateRuntimeConfig": ("200",),
    "revertRuntimeConfig": ("200",),
    "getBackup": ("200",),
    "restoreBackup": ("200",),
    "getConfigBackup": ("200",),
    "restoreConfigBackup": ("200",),
}
"""Operation -> the responses that have an `ETag`."""
LOCATED: Final = {"createProvider": "202", "startProvider": "202", "flattenScope": "202"}
"""Operation -> the response that has a `Location`."""
REQUEST_ID: Final = "X-Meltica-Request-Id"
SENT: Final = {
    "ETag": "The version of what is configured.",
    "Location": "Where to look at the result.",
    "Retry-After": "Seconds after which a repetition may succeed.",
    "WWW-Authenticate": "How to authenticate.",
    "Allow": "The methods of the path, if the method is not one of them.",
}
"""Headers of responses, with their descriptions."""
ERRORS: Final = {
    "Unauthenticated": "WWW-Authenticate",
    "TooMany": "Retry-After",
    "Unavailable": "Retry-After",
    "Error": "Allow",
}
"""Response of every operation -> a header that it may have."""
IGNORED: Final = "Other keys that GET answers are ignored."
LITESTAR: Final = ("Request fulfilled, document follows", "Document created, URL follows", "Stream Response")
"""Descriptions of responses that have none."""
DONE: Final = {"200": "The result", "201": "What was created", "204": "Done"}
TICKET: Final = "ticket"
_RAISES = re.compile(r"\s*(?:Raises|Blocks)\b.*", re.S)


def complete(document: Document, app: Litestar) -> None:
    """Adds what the signatures of handlers do not show."""
    components = document["components"]
    id_of_request = {"description": "The id of the request, as it is in the log.", "required": True}
    components["headers"] = {"RequestId": {**id_of_request, "schema": {"type": "string"}}}
    components["securitySchemes"][TICKET] = {
        "type": "apiKey",
        "in": "query",
        "name": TICKET,
        "description": "A ticket of `/events/tickets`, which opens one stream.",
    }
    document["tags"] = [{"name": name, "description": text} for name, text in TAGS.items()]
    handlers = _handlers(app)
    _describe(components["schemas"])
    for item in document["paths"].values():
        for operation in item.values():
            handler = handlers[operation["operationId"]]
            operation.setdefault("description", _RAISES.sub("", inspect.cleandoc(handler.fn.__doc__ or "")))
            _add_parameters(operation, handler.opt.get(QUERY, ()))
            _add_headers(operation)
            _add_body(operation, components["schemas"])
    for name, response in components["responses"].items():
        response["headers"] = {REQUEST_ID: {"$ref": "#/components/headers/RequestId"}}
        if name in ERRORS:
            _send(response, ERRORS[name])
    _describe_keys(components["schemas"])


def _handlers(app: Litestar) -> dict[str, HTTPRouteHandler]:
    """Returns the handlers by the id of their operation."""
    return {
        str(handler.operation_id): handler
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        if handler.operation_id is not None
    }


def _header(name: str, description: str) -> Document:
    shown = {"name": name, "in": "header", "description": description, "required": False}
    return {**shown, "schema": {"type": "string"}}


def _add_parameters(operation: Document, query: Iterable[str]) -> None:
    """1: adds parameters that a handler reads from the request, and descriptions."""
    parameters: list[Document] = operation.setdefault("parameters", [])
    declared = {each["name"] for each in parameters}
    for name in query:
        if name not in declared:
            schema, text = QUERIES[name]
            extra = {"description": text, "required": False, "schema": schema}
            parameters.append({"name": name, "in": "query", **extra})
    for each in parameters:
        if not each.get("description"):
            each["description"] = PARAMETERS[each["name"]]
    if operation["operationId"] in HEADERS:
        parameters.append(_header(*HEADERS[operation["operationId"]]))
    parameters.append(_header(REQUEST_ID, "Copied to the response and to the log."))


def _add_headers(operation: Document) -> None:
    """2: adds the headers of responses."""
    id, responses = operation["operationId"], operation["responses"]
    plans = any(each["name"] == "plan" for each in operation["parameters"])
    for status, response in responses.items():
        if "$ref" in response:
            continue
        response["headers"] = {REQUEST_ID: {"$ref": "#/components/headers/RequestId"}}
        for kind in response.get("content", {}).values():
            kind["schema"] = kind["schema"] or {"type": "string"}
        if response["description"] in LITESTAR:
            response["description"] = DONE[status]
        if status in VERSIONED.get(id, ()):
            _send(response, "ETag", required=True)
        elif status == "412" or (status == "200" and plans):
            _send(response, "ETag")
        if LOCATED.get(id) == status:
            _send(response, "Location", required=True)


def _send(response: Document, name: str, *, required: bool = False) -> None:
    """Declares a header of a response."""
    shown = {"description": SENT[name], "required": required, "schema": {"type": "string"}}
    response["headers"][name] = shown


def _add_body(operation: Document, schemas: Document) -> None:
    """2: adds the body of an operation, and to the schemas what it refers to."""
    match operation["operationId"]:
        case "updateRiskLimits":
            schema = _limits_body(schemas)
        case "updateRuntimeConfig":
            schema = _settings_body(schemas)
        case "restoreBackup" | "restoreConfigBackup" as id:
            passphrase = {"type": "string", "description": "Instead of the header."}
            form = "Backup" if id == "restoreBackup" else "ConfigBackup"
            properties = schemas[form]["properties"] | {"passphrase": passphrase}
            schema = {"type": "object", "properties": properties}
        case id if id in BODIES:
            model, required = BODIES[id]
            schema = _model(model, schemas) | ({"required": required} if required else {})
        case _:
            return
    body: Document = {"content": {"application/json": {"schema": schema}}, "required": True}
    if operation["operationId"].startswith(("create", "update")):
        body["description"] = IGNORED
    operation["requestBody"] = body


def _model(model: type[BaseModel], schemas: Document) -> Document:
    """Returns a reference to the schema of a model, which is added with those that it refers to."""
    made = _plain(model.model_json_schema(by_alias=True, ref_template=REFERENCE))
    made.pop("required", None)
    schemas.update(made.pop("$defs", {}))
    schemas[model.__name__] = made
    return {"$ref": REFERENCE.format(model=model.__name__)}


def _plain(value: Any) -> Any:
    """Returns a schema of Pydantic without titles, defaults and nulls, which count as absent."""
    if isinstance(value, list):
        return [_plain(each) for each in cast(list[Any], value)]
    if not isinstance(value, dict):
        return value
    items = {
        key: _plain(each)
        for key, each in cast(Document, value).items()
        if key not in ("default", "additionalProperties") or each is True or isinstance(each, dict)
        if key != "title" or isinstance(each, dict)
    }
    choices = [each for each in items.pop("anyOf", []) if each != {"type": "null"}]
    if len(choices) == 1:
        return choices[0] | items
    return {**items, "anyOf": choices} if choices else items


def _limits_body(schemas: Document) -> Document:
    """Returns the body of a change of limits: those of the global scope, or those of several scopes."""
    limits: Document = {}
    for name, schema in schemas["RiskLimits"]["properties"].items():
        whole = schemas["CircuitBreaker"] if "$ref" in schema else schema
        shown = {key: value for key, value in whole.items() if key in ("type", "properties", "items")}
        text = f"{schema['description']} Null removes the limit."
        limits[name] = {**shown, "type": [whole["type"], "null"], "description": text}
    text = "Changes of the limits of one scope; an absent limit is kept."
    schemas["LimitsChange"] = {"type": "object", "properties": limits, "description": text}
    change = {"$ref": REFERENCE.format(model="LimitsChange")}
    scopes = {"type": "object", "additionalProperties": change}
    of_global = {name: schema for name, schema in limits.items() if name != "capital"}
    properties = of_global | {
        "limits": change | {"description": "Changes of the global scope."},
        "providers": scopes | {"description": "Changes by name of a provider."},
        "instances": scopes | {"description": "Changes by id of an instance."},
    }
    description = (
        "Without `limits`, `providers` and `instances`, limits of the global scope. Keys in any case."
    )
    return {"type": "object", "properties": properties, "description": description}


def _settings_body(schemas: Document) -> Document:
    """Returns the body of a change of settings: sections, or what GET answers."""
    section = {"type": ["object", "null"], "description": "What changes; null reverts the whole section."}
    properties: Document = dict.fromkeys(schemas["RuntimeConfig"]["properties"], section)
    properties |= {
        "environment": {"type": ["string", "null"], "description": "Null reverts it."},
        "risk": {
            "$ref": REFERENCE.format(model="LimitsChange"),
            "description": "Changes of the global limits.",
        },
    }
    whole = {"type": "object", "properties": properties}
    wrapped = {**whole, "description": "The settings as GET answers them, in place of all other keys."}
    return {**whole, "properties": {**properties, "config": wrapped, "runtime": wrapped}}


def _describe(schemas: Document) -> None:
    """3: adds the docstrings of schemas and of their attributes."""
    for cls in _subclasses(Struct):
        schema = schemas.get(cls.__name__)
        if schema is None or not cls.__module__.startswith("meltica.api."):
            continue
        schema["description"] = inspect.cleandoc(cls.__doc__ or "")
        names = dict(zip(cls.__struct_fields__, cls.__struct_encode_fields__, strict=True))
        for base in cls.__mro__:
            documented = _attribute_docstrings(base) if base.__module__.startswith("meltica.api.") else {}
            for field, text in documented.items():
                schema["properties"][names[field]].setdefault("description", text)


def _describe_keys(schemas: Document) -> None:
    """3: adds descriptions of keys that several schemas have, where there is none."""
    for schema in schemas.values():
        for key, shown in schema.get("properties", {}).items():
            if key in DESCRIPTIONS:
                shown.setdefault("description", DESCRIPTIONS[key])


def _subclasses(cls: type[Struct]) -> Iterator[type[Struct]]:
    for each in cls.__subclasses__():
        yield each
        yield from _subclasses(each)


def _attribute_docstrings(cls: type) -> dict[str, str]:
    """Returns the docstrings of the attributes of a class, by their names."""
    (definition,) = ast.parse(dedent(inspect.getsource(cls))).body
    found: dict[str, str] = {}
    body = cast(ast.ClassDef, definition).body
    for before, after in pairwise(body):
        if isinstance(before, ast.AnnAssign) and isinstance(after, ast.Expr):
            name, text = before.target, after.value
            if isinstance(name, ast.Name) and isinstance(text, ast.Constant) and isinstance(text.value, str):
                found[name.id] = inspect.cleandoc(text.value)
    return found
