"""Loading, fault messages, secrets and schemas of configuration models.

Shared by strategy configs, adapter settings and the gateway's settings.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from types import GenericAlias, NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Secret, SecretBytes, SecretStr, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError, PydanticUndefined, to_jsonable_python

from meltica.errors import ConfigError, suggestion

Model = TypeVar("Model", bound=BaseModel)
Loc = tuple[int | str, ...]
"""The location of a value: the keys and list indices that lead to it."""

MASK = "********"
"""Replaces the value of a secret."""

_CONTAINERS = (BaseModel, Mapping, list, tuple, set, frozenset)
SECRETS = (SecretStr, SecretBytes, Secret)
_SECRET = re.compile(
    "secret|passphrase|password|apikey|privatekey|privkey|token|accesskey|credential", re.IGNORECASE
)
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


class Locations:
    """Describes the locations of faults by their key paths; subclasses add files, lines and variables."""

    def describe(self, loc: Loc) -> str:
        """Returns the location as a fault message begins with it."""
        return f"`{dotted(loc)}`"

    def placeholder(self, loc: Loc) -> str | None:  # noqa: ARG002
        """Returns the text to show instead of a confidential value, or None when the value may be shown."""
        return None


def load(cls: type[Model], values: Mapping[str, object], subject: str) -> Model:
    """Validates `values` and returns a `cls`. Raises ConfigError with `subject` and every fault."""
    try:
        return cls.model_validate(read_texts(cls, values))
    except ValidationError as error:
        raise ConfigError(subject, [text for _, text in faults(cls, error.errors())]) from None


def faults(
    cls: type[BaseModel],
    errors: Sequence[ErrorDetails],
    locations: Locations | None = None,
    under: Loc = (),
) -> list[tuple[Loc, str]]:
    """Returns the faults as (location, one line), each location once; `under` is the location of `cls`."""
    locations = locations or Locations()
    causes: dict[Loc, list[str]] = {}
    inputs: dict[Loc, str] = {}
    for detail in errors:
        context = detail.get("ctx", {})
        if detail["type"] == "nested":
            inner = faults(context["model"], context["errors"], locations, (*under, *detail["loc"]))
            causes.update({loc: [text] for loc, text in inner})
            continue
        relative, annotation = _trace(cls, detail)
        loc = (*under, *relative)
        causes.setdefault(loc, []).append(_cause(cls, relative, detail))
        inputs[loc] = _input(annotation, detail, loc, locations)
    return [
        (loc, f"{locations.describe(loc)}{_either(texts)}{inputs[loc]}" if loc in inputs else texts[0])
        for loc, texts in causes.items()
    ]


def unknown_key(cls: type[BaseModel], loc: Loc) -> str | None:
    """Returns the part of a fault message that follows `loc` when models lack this key, else None."""
    annotation: object = cls
    for part in loc[:-1]:
        annotation = _inner(annotation, part)
    owner = model_of(annotation)
    if owner is None or _inner(annotation, loc[-1]) is not None:
        return None
    return f" is unknown{suggestion(str(loc[-1]), keys(owner))}"


def fault(text: str) -> PydanticCustomError:
    """Returns an error for validators whose text is complete, including the value that was given."""
    return PydanticCustomError("fault", "{text}", {"text": text})


def nested(cls: type[BaseModel], error: ValidationError) -> PydanticCustomError:
    """Returns an error for validators that carries the faults of a model chosen at run time."""
    return PydanticCustomError("nested", "does not fit", {"model": cls, "errors": error.errors()})


def mapping(value: object) -> Mapping[str, object]:
    """Returns `value` if it is a mapping, else an empty one."""
    return cast(Mapping[str, object], value) if isinstance(value, Mapping) else {}


def dotted(loc: Loc) -> str:
    """Formats a location as messages show it: `lambdas[2].config.notional`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return text.removeprefix(".") or "(whole)"


def keys(cls: type[BaseModel]) -> dict[str, FieldInfo]:
    """Returns the fields of a model by the keys of the input."""
    return {field.alias or name: field for name, field in cls.model_fields.items()}


def schema(cls: type[BaseModel]) -> list[dict[str, object]]:
    """Returns `{name, type, description, default?, required}` of each field; secrets have no default.

    A default has a form in which it may be given.
    """
    rows: list[dict[str, object]] = []
    for name, field in keys(cls).items():
        row: dict[str, object] = {
            "name": name,
            "type": word(field.annotation),
            "description": field.description or "",
        }
        default = cast(object, field.get_default(call_default_factory=True, validated_data={}))
        if default is not PydanticUndefined and default is not None and not is_secret(name, field.annotation):
            row["default"] = _default(field, default)
        row["required"] = field.is_required()
        rows.append(row)
    return rows


def _default(field: FieldInfo, value: object) -> object:
    # Text is a given form already, and the serializer of the field may expect its type.
    if isinstance(value, str | int | float):
        return to_jsonable_python(value)
    # By the type alone: an instance of the model would run code of its author. In a list, since a
    # configuration is refused beside a model.
    kind: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    listed: Any = GenericAlias(list, (kind,))
    adapter: TypeAdapter[list[object]] = TypeAdapter(listed, config=ConfigDict(arbitrary_types_allowed=True))
    return adapter.dump_python([value], mode="json")[0]


def masked(values: object) -> object:
    """Converts values to JSON with every secret, recognized by its type or by its key, as ********."""
    return _as_json(values, "", hide=True)


def revealed(values: object) -> object:
    """Converts values to JSON with every secret in clear text: for immediate encryption, never for logs."""
    return _as_json(values, "", hide=False)


def is_secret(name: str, annotation: object) -> bool:
    """Returns whether a field is a secret, by its type or by its key."""
    return bool(_SECRET.search(re.sub("[-_ ]", "", name))) or any(
        isinstance(kind, type) and issubclass(kind, SECRETS)
        for kind in (get_origin(part) or part for part in alternatives(annotation))
    )


def word(annotation: object) -> str:
    """Returns the name of a type in schemas: string, int, float, bool, decimal, duration, list or object."""
    parts = alternatives(annotation)
    words = {_word(part) for part in parts}
    if words == {"int", "float"}:
        return "float"
    return words.pop() if len(words) == 1 else "string"


def alternatives(annotation: object) -> list[object]:
    """Returns the members of a union except None; `Annotated` is unwrapped."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return alternatives(get_args(annotation)[0])
    if origin is Union or origin is UnionType:
        return [part for arg in get_args(annotation) if arg is not NoneType for part in alternatives(arg)]
    return [annotation]


def model_of(annotation: object) -> type[BaseModel] | None:
    """Returns the first model among the alternatives of an annotation, or None."""
    parts = alternatives(annotation)
    return next((part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)), None)


def read_texts(cls: type[BaseModel], values: Mapping[str, object]) -> dict[str, object]:
    """Parses strings given for lists and objects: as JSON, or for lists as comma-separated words."""
    fields = keys(cls)
    return {key: _read_text(fields[key], value) if key in fields else value for key, value in values.items()}


def _as_json(value: object, name: str, *, hide: bool) -> object:
    if hide and value is not None and is_secret(name, type(value)):
        return MASK
    if isinstance(value, BaseModel):
        return dict(_fields_as_json(value, hide=hide))
    if isinstance(value, Mapping):
        keyed = cast(Mapping[object, object], value)
        return {str(key): _as_json(inner, str(key), hide=hide) for key, inner in keyed.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_as_json(inner, name, hide=hide) for inner in cast(Sequence[object], value)]
    return to_jsonable_python(cast(object, value.get_secret_value() if isinstance(value, SECRETS) else value))


def _fields_as_json(model: BaseModel, *, hide: bool) -> Iterator[tuple[str, object]]:
    plain = model.model_dump(mode="json", by_alias=True)
    for name, field in type(model).model_fields.items():
        key, value = field.alias or name, cast(object, getattr(model, name))
        simple = not isinstance(value, (*_CONTAINERS, *SECRETS)) and not (hide and is_secret(key, None))
        yield key, plain[key] if simple else _as_json(cast(object, value), key, hide=hide)


def _word(annotation: object) -> str:
    if get_origin(annotation) is Literal:
        kinds = {type(cast(object, value)) for value in get_args(annotation)}
        return _word(kinds.pop()) if len(kinds) == 1 else "string"
    kind = get_origin(annotation) or annotation
    if isinstance(kind, type):
        for base, name in _WORDS:
            if issubclass(kind, base):
                return name
    return "object"


def _read_text(field: FieldInfo, value: object) -> object:
    kind, inner = word(field.annotation), model_of(field.annotation)
    if isinstance(value, str) and kind in ("list", "object"):
        return _read_json(value, kind)
    if inner is not None and isinstance(value, Mapping):
        return read_texts(inner, cast(Mapping[str, object], value))
    return value


def _read_json(value: str, kind: str) -> object:
    from json import JSONDecodeError, loads

    try:
        parsed = cast(object, loads(value))
    except (JSONDecodeError, RecursionError):
        return [part.strip() for part in value.split(",") if part.strip()] if kind == "list" else value
    return [parsed] if kind == "list" and not isinstance(parsed, list) else cast(object, parsed)


def _cause(cls: type[BaseModel], loc: Loc, detail: ErrorDetails) -> str:
    """Returns the part of a fault message that follows the location."""
    match detail["type"]:
        case "extra_forbidden":
            owner = _model_at(cls, loc[:-1])
            return f" is unknown{suggestion(str(loc[-1]), keys(owner))}"
        case "missing":
            return " is required and was not given"
        case "model_type" | "model_attributes_type" | "dict_type":
            return ": expected keys with values"
        case _:
            message = detail["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
            return f": {message[:1].lower()}{message[1:]}"


def _either(texts: Sequence[str]) -> str:
    """Joins the causes that the members of a union reported."""
    first, *others = dict.fromkeys(texts)
    return " or ".join([first, *(text.removeprefix(": ") for text in others)])


def _input(annotation: object, detail: ErrorDetails, loc: Loc, locations: Locations) -> str:
    """Describes the value that was given; never shows a secret, or a container that may hold one."""
    if detail["type"] in ("extra_forbidden", "missing", "fault"):
        return ""
    value = cast(object, detail["input"])
    placeholder = locations.placeholder(loc)
    if placeholder is not None:
        return f", saw {placeholder}"
    if any(is_secret(str(part), None) for part in loc) or is_secret("", annotation):
        return ""
    if isinstance(value, Mapping | list | tuple | set) or word(annotation) == "object":
        return f", saw {_kind(cast(object, value))}"
    text = repr(value)
    return f", saw {text if len(text) <= 80 else text[:77] + '...'}"


def _kind(value: object) -> str:
    if isinstance(value, str):
        return "a string"
    if isinstance(value, Mapping):
        return "keys with values"
    return "a list" if isinstance(value, list | tuple | set) else repr(value)


def _model_at(cls: type[BaseModel], loc: Loc) -> type[BaseModel]:
    annotation: object = cls
    for part in loc:
        annotation = _inner(annotation, part)
    return model_of(annotation) or cls


def _trace(cls: type[BaseModel], detail: ErrorDetails) -> tuple[Loc, object]:
    """Returns the location of an error, without pydantic's labels of union members, and its annotation."""
    annotation: object = cls
    kept: list[int | str] = []
    for number, part in enumerate(detail["loc"], 1):
        inner = _inner(annotation, part)
        if inner is not None:
            kept.append(part)
            annotation = inner
        elif detail["type"] == "extra_forbidden" and number == len(detail["loc"]):
            kept.append(part)
    return tuple(kept), annotation


def _inner(annotation: object, part: int | str) -> object:
    """Returns the annotation of the value under a key or index, or None if it does not exist."""
    return next(_inners(annotation, part), None)


def _inners(annotation: object, part: int | str) -> Iterator[object]:
    for option in alternatives(annotation):
        if isinstance(option, type) and issubclass(option, BaseModel):
            field = keys(option).get(str(part))
            if field is not None:
                yield field.annotation
        origin, args = get_origin(option), get_args(option)
        if isinstance(origin, type) and issubclass(origin, dict) and part != "[key]":
            yield args[1]
        elif isinstance(origin, type) and issubclass(origin, list | tuple | set) and isinstance(part, int):
            yield args[0]
