"""What every route that takes a body has in common.

1. Keys that only answers have are ignored, so what GET answers may be sent back.
2. Any other key that the route does not read is a fault, and so is a value that is not valid.
3. All faults are reported at once, each with the path of its key. A null counts as absent, except in settings
   of adapters and in limits, where it deletes.
4. A change takes no query parameter but those that it declares, each once.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from litestar import Request
from msgspec import Struct
from pydantic import BaseModel, ValidationError

from meltica.errors import suggestion
from meltica.http.errors import HttpError
from meltica.validation.models import Loc, dotted, faults, keys

if TYPE_CHECKING:
    from litestar.connection import ASGIConnection
    from litestar.handlers import BaseRouteHandler

QUERY: Final = "query"
"""Option of a handler that changes something: the query parameters that it takes."""
READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
ANSWERED: Final = frozenset({"metadata", "usage", "links", "createdAt", "updatedAt"})
"""Keys of answers of other servers, which their clients send back."""

Model = TypeVar("Model", bound=BaseModel)
One = TypeVar("One")
Other = TypeVar("Other")


def invalid(found: Iterable[tuple[Loc, str]]) -> HttpError:
    """Returns the error for a body with faults, each at its location."""
    listed = {dotted(loc): text for loc, text in found}
    return HttpError(400, "validation_failed", f"nothing changed: {'; '.join(listed.values())}", listed)


def bad_parameter(name: str, text: str) -> HttpError:
    """Returns the error for a parameter of a query, a path or a header."""
    text = f"`{name}`: {text}"
    return HttpError(400, "invalid_parameter", text, {name: text})


def checked(first: Callable[[], One], second: Callable[[], Other]) -> tuple[One, Other]:
    """Returns the values of two keys of a body. Raises HttpError with the faults of both."""
    found: dict[str, str] = {}
    values: list[Any] = []
    for check in (first, second):
        try:
            values.append(check())
        except HttpError as error:
            found |= error.faults or {}
    if found:
        raise invalid(((path,), text) for path, text in found.items())
    return values[0], values[1]


def read_body(cls: type[Model], body: Mapping[str, Any], answer: type[Struct]) -> Model:
    """Returns a body as a `cls`; `answer` is what GET answers. Raises HttpError with every fault."""
    ignored = ({*answer.__struct_encode_fields__} | ANSWERED) - keys(cls).keys()
    given = {key: value for key, value in body.items() if key not in ignored and value is not None}
    try:
        return cls.model_validate(given)
    except ValidationError as error:
        raise invalid(faults(cls, error.errors())) from None


async def refuse_unknown(request: Request[Any, Any, Any], cls: type[Struct], answer: type[Struct]) -> None:
    """Raises HttpError for keys that neither `cls` has, which is the body, nor `answer`, what GET answers."""
    body = await request.json()
    taken = set(cls.__struct_encode_fields__)
    unknown = set(body) - taken - {*answer.__struct_encode_fields__} - ANSWERED
    if unknown:
        raise invalid(((key,), f"`{key}` is unknown{suggestion(key, taken)}") for key in sorted(unknown))


def refuse_query(connection: "ASGIConnection[Any, Any, Any, Any]", handler: "BaseRouteHandler") -> None:
    """A guard of the application that raises HttpError for query parameters that a change does not take."""
    if cast(dict[str, object], connection.scope).get("method") in READS:
        return
    taken: Iterable[str] = handler.opt.get(QUERY, ())
    for name, values in connection.query_params.dict().items():
        if len(values) > 1:
            text = f"nothing changed: query parameter `{name[:80]}` is given several times; give it once"
            raise HttpError(400, "invalid_parameter", text)
    unknown = [name for name in connection.query_params if name not in taken]
    if unknown:
        texts = {name: f"`{name}` is unknown{suggestion(name, taken)}" for name in unknown}
        text = f"nothing changed: query parameter {'; '.join(texts.values())}"
        raise HttpError(400, "invalid_parameter", text, texts)
