"""What configs of strategies and settings of adapters share: loading with good errors, and schemas."""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from types import NoneType, UnionType
from typing import Annotated, Literal, TypeVar, Union, cast, get_args, get_origin

from pydantic import BaseModel, Secret, SecretBytes, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticUndefined, to_jsonable_python

from meltica.errors import ConfigError, suggestion

Model = TypeVar("Model", bound=BaseModel)

_WORDS: tuple[tuple[type, str], ...] = (
    (bool, "bool"),
    (int, "int"),
    (float, "float"),
    (Decimal, "decimal"),
    (timedelta, "duration"),
    (str, "string"),
    (PurePath, "string"),
    (Enum, "string"),
    (SecretStr, "string"),
    (SecretBytes, "string"),
    (dict, "object"),
    (BaseModel, "object"),
    (list, "list"),
    (tuple, "list"),
    (set, "list"),
    (frozenset, "list"),
)


def load(cls: type[Model], values: Mapping[str, object], what: str) -> Model:
    """Returns a validated `cls`. Raises ConfigError naming `what` and every fault."""
    try:
        return cls.model_validate(_read_texts(cls, values))
    except ValidationError as error:
        raise ConfigError(what, [_fault(cls, detail) for detail in error.errors()]) from None


def schema(cls: type[BaseModel]) -> list[dict[str, object]]:
    """Returns `{name, type, description, default?, required}` of each field, without secrets' defaults."""
    rows: list[dict[str, object]] = []
    for name, field in cls.model_fields.items():
        row: dict[str, object] = {
            "name": name,
            "type": word(field.annotation),
            "description": field.description or "",
        }
        default = cast(object, field.get_default(call_default_factory=True, validated_data={}))
        if default is not PydanticUndefined and default is not None and not _is_secret(field.annotation):
            row["default"] = to_jsonable_python(default)
        row["required"] = field.is_required()
        rows.append(row)
    return rows


def word(annotation: object) -> str:
    """Returns the plain word for a type: string, int, float, bool, decimal, duration, list or object."""
    parts = _alternatives(annotation)
    words = {_word(part) for part in parts}
    if words == {"int", "float"}:
        return "float"
    return words.pop() if len(words) == 1 else "string"


def _word(annotation: object) -> str:
    if get_origin(annotation) is Literal:
        kinds = {type(cast(object, value)) for value in get_args(annotation)}
        return _word(kinds.pop()) if len(kinds) == 1 else "string"
    kind = get_origin(annotation) or annotation
    if isinstance(kind, type):
        for known, name in _WORDS:
            if issubclass(kind, known):
                return name
    return "object"


def _alternatives(annotation: object) -> list[object]:
    """Returns the members of a union without None, and what `Annotated` annotates."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _alternatives(get_args(annotation)[0])
    if origin is Union or origin is UnionType:
        return [part for arg in get_args(annotation) if arg is not NoneType for part in _alternatives(arg)]
    return [annotation]


def _is_secret(annotation: object) -> bool:
    return any(
        isinstance(kind, type) and issubclass(kind, SecretStr | SecretBytes | Secret)
        for kind in (get_origin(part) or part for part in _alternatives(annotation))
    )


def _read_texts(cls: type[BaseModel], values: Mapping[str, object]) -> dict[str, object]:
    """Reads texts given for lists and objects: JSON, or for lists words between commas."""
    read: dict[str, object] = {}
    for key, value in values.items():
        field = cls.model_fields.get(key)
        read[key] = _read_text(field, value) if field is not None else value
    return read


def _read_text(field: FieldInfo, value: object) -> object:
    kind = word(field.annotation)
    inner = next(
        (p for p in _alternatives(field.annotation) if isinstance(p, type) and issubclass(p, BaseModel)), None
    )
    if isinstance(value, str) and kind in ("list", "object"):
        return _read_json(value, kind)
    if inner is not None and isinstance(value, Mapping):
        return _read_texts(inner, cast(Mapping[str, object], value))
    return value


def _read_json(value: str, kind: str) -> object:
    from json import JSONDecodeError, loads

    try:
        read = cast(object, loads(value))
    except JSONDecodeError:
        return [part.strip() for part in value.split(",") if part.strip()] if kind == "list" else value
    return [read] if kind == "list" and not isinstance(read, list) else cast(object, read)


def _fault(cls: type[BaseModel], detail: ErrorDetails) -> str:
    path = ".".join(str(part) for part in detail["loc"]) or "(whole)"
    if detail["type"] == "extra_forbidden":
        known = list(_model_at(cls, detail["loc"][:-1]).model_fields)
        return f"`{path}` is unknown{suggestion(str(detail['loc'][-1]), known)}"
    if detail["type"] == "missing":
        return f"`{path}` is required and was not given"
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    message = message[:1].lower() + message[1:]
    field = _field_at(cls, detail["loc"])
    seen = cast(object, detail["input"])
    shown = "" if field is not None and _is_secret(field.annotation) else f", saw {_short(seen)}"
    return f"`{path}`: {message}{shown}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _model_at(cls: type[BaseModel], path: tuple[int | str, ...]) -> type[BaseModel]:
    """Returns the model that the keys of `path` lead to, as far as models go."""
    for part in path:
        field = cls.model_fields.get(str(part))
        if field is not None:
            models = (
                p for p in _alternatives(field.annotation) if isinstance(p, type) and issubclass(p, BaseModel)
            )
            cls = next(models, cls)
    return cls


def _field_at(cls: type[BaseModel], path: tuple[int | str, ...]) -> FieldInfo | None:
    return _model_at(cls, path[:-1]).model_fields.get(str(path[-1])) if path else None
