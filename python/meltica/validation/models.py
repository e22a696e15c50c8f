"""What configs, adapter settings and the gateway's own settings share: loading, faults, secrets, schemas."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from types import NoneType, UnionType
from typing import Annotated, Literal, TypeVar, Union, cast, get_args, get_origin

from pydantic import BaseModel, Secret, SecretBytes, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError, PydanticUndefined, to_jsonable_python

from meltica.errors import ConfigError, suggestion

Model = TypeVar("Model", bound=BaseModel)
Loc = tuple[int | str, ...]
"""Where a value stands: the keys, and the positions in lists, that lead to it."""

MASK = "********"
"""What a secret reads as."""

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


class Places:
    """How faults speak of places: here by the path alone. Settings also know files, lines and variables."""

    def name(self, loc: Loc) -> str:
        """Returns what a fault begins with."""
        return f"`{dotted(loc)}`"

    def conceals(self, loc: Loc) -> str | None:  # noqa: ARG002
        """Returns what to show in place of a value that must not be shown."""
        return None


def load(cls: type[Model], values: Mapping[str, object], what: str) -> Model:
    """Returns a validated `cls`. Raises ConfigError naming `what` and every fault."""
    try:
        return cls.model_validate(read_texts(cls, values))
    except ValidationError as error:
        raise ConfigError(what, [text for _, text in faults(cls, error.errors())]) from None


def faults(
    cls: type[BaseModel], errors: Sequence[ErrorDetails], places: Places | None = None, under: Loc = ()
) -> list[tuple[Loc, str]]:
    """Returns what is wrong as (place, one line), each place once; `under` is where `cls` itself stands."""
    places = places or Places()
    found: dict[Loc, list[str]] = {}
    shown: dict[Loc, str] = {}
    for detail in errors:
        inner = detail.get("ctx", {})
        if detail["type"] == "nested":
            deeper = faults(inner["model"], inner["errors"], places, (*under, *detail["loc"]))
            found.update({loc: [text] for loc, text in deeper})
            continue
        loc, annotation = _trace(cls, detail)
        place = (*under, *loc)
        found.setdefault(place, []).append(_said(cls, loc, detail))
        shown[place] = _seen(annotation, detail, place, places)
    return [
        (place, f"{places.name(place)}{_either(texts)}{shown[place]}" if place in shown else texts[0])
        for place, texts in found.items()
    ]


def told(text: str) -> PydanticCustomError:
    """Returns an error for validators whose text says all there is to say, what was seen included."""
    return PydanticCustomError("told", "{text}", {"text": text})


def nested(cls: type[BaseModel], error: ValidationError) -> PydanticCustomError:
    """Returns an error for validators that stands for the faults of a model found at run time."""
    return PydanticCustomError("nested", "does not fit", {"model": cls, "errors": error.errors()})


def mapping(value: object) -> Mapping[str, object]:
    """Returns a mapping as it is, an empty one for anything else."""
    return cast(Mapping[str, object], value) if isinstance(value, Mapping) else {}


def dotted(loc: Loc) -> str:
    """Returns a place as it is written in messages: `lambdas[2].config.notional`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return text.removeprefix(".") or "(whole)"


def keys(cls: type[BaseModel]) -> dict[str, FieldInfo]:
    """Returns the fields of a model by the key each is given under."""
    return {field.alias or name: field for name, field in cls.model_fields.items()}


def schema(cls: type[BaseModel]) -> list[dict[str, object]]:
    """Returns `{name, type, description, default?, required}` of each field, without secrets' defaults."""
    rows: list[dict[str, object]] = []
    for name, field in keys(cls).items():
        row: dict[str, object] = {
            "name": name,
            "type": word(field.annotation),
            "description": field.description or "",
        }
        default = cast(object, field.get_default(call_default_factory=True, validated_data={}))
        if default is not PydanticUndefined and default is not None and not is_secret(name, field.annotation):
            row["default"] = to_jsonable_python(default)
        row["required"] = field.is_required()
        rows.append(row)
    return rows


def masked(values: object) -> object:
    """Returns values as JSON, with every secret as ********: by its type, or by what its key is called."""
    return _as_json(values, "", hide=True)


def revealed(values: object) -> object:
    """Returns values as JSON, with every secret in clear: for what is encrypted at once, never for logs."""
    return _as_json(values, "", hide=False)


def is_secret(name: str, annotation: object) -> bool:
    """Whether a value is a secret, by its type or by what its key is called."""
    return bool(_SECRET.search(re.sub("[-_ ]", "", name))) or any(
        isinstance(kind, type) and issubclass(kind, SECRETS)
        for kind in (get_origin(part) or part for part in alternatives(annotation))
    )


def word(annotation: object) -> str:
    """Returns the plain word for a type: string, int, float, bool, decimal, duration, list or object."""
    parts = alternatives(annotation)
    words = {_word(part) for part in parts}
    if words == {"int", "float"}:
        return "float"
    return words.pop() if len(words) == 1 else "string"


def alternatives(annotation: object) -> list[object]:
    """Returns the members of a union without None, and what `Annotated` annotates."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return alternatives(get_args(annotation)[0])
    if origin is Union or origin is UnionType:
        return [part for arg in get_args(annotation) if arg is not NoneType for part in alternatives(arg)]
    return [annotation]


def model_of(annotation: object) -> type[BaseModel] | None:
    """Returns the model that an annotation holds, if it holds one."""
    parts = alternatives(annotation)
    return next((part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)), None)


def read_texts(cls: type[BaseModel], values: Mapping[str, object]) -> dict[str, object]:
    """Reads texts given for lists and objects: JSON, or for lists words between commas."""
    known = keys(cls)
    return {key: _read_text(known[key], value) if key in known else value for key, value in values.items()}


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
        for known, name in _WORDS:
            if issubclass(kind, known):
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
        read = cast(object, loads(value))
    except (JSONDecodeError, RecursionError):
        return [part.strip() for part in value.split(",") if part.strip()] if kind == "list" else value
    return [read] if kind == "list" and not isinstance(read, list) else cast(object, read)


def _said(cls: type[BaseModel], loc: Loc, detail: ErrorDetails) -> str:
    """Returns what follows the place's name."""
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
    """Returns what the members of a union said, as one."""
    first, *others = dict.fromkeys(texts)
    return " or ".join([first, *(text.removeprefix(": ") for text in others)])


def _seen(annotation: object, detail: ErrorDetails, place: Loc, places: Places) -> str:
    """Returns what was seen, as far as it may be shown: never a secret, nor a container that may hold one."""
    if detail["type"] in ("extra_forbidden", "missing", "told"):
        return ""
    value = cast(object, detail["input"])
    concealed = places.conceals(place)
    if concealed is not None:
        return f", saw {concealed}"
    if any(is_secret(str(part), None) for part in place) or is_secret("", annotation):
        return ""
    if isinstance(value, Mapping | list | tuple | set) or word(annotation) == "object":
        return f", saw {_kind(cast(object, value))}"
    text = repr(value)
    return f", saw {text if len(text) <= 80 else text[:77] + '...'}"


def _kind(value: object) -> str:
    if isinstance(value, str):
        return "a text"
    if isinstance(value, Mapping):
        return "keys with values"
    return "a list" if isinstance(value, list | tuple | set) else repr(value)


def _model_at(cls: type[BaseModel], loc: Loc) -> type[BaseModel]:
    annotation: object = cls
    for part in loc:
        annotation = _inner(annotation, part)
    return model_of(annotation) or cls


def _trace(cls: type[BaseModel], detail: ErrorDetails) -> tuple[Loc, object]:
    """Returns the place of an error without the names pydantic gives to a union's members, and its type."""
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
    """Returns the type of what stands under a key or position, None when there is nothing such."""
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
