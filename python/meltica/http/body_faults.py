"""Every fault of a body. The decoder ends at the first one, so a body that it refuses is checked by key."""

import re
from collections.abc import Iterator
from typing import Any, Union, cast, get_args, get_origin

import msgspec

from meltica.errors import suggestion

_PLACE = re.compile(r"^(?P<text>.*?)(?: - at `\$(?P<path>.*)`)?$", re.S)


def body_faults(kind: Any, content: bytes) -> dict[str, str]:
    """Returns the faults of a body by the path of their key; empty if it is not JSON, or has none."""
    try:
        return dict(_faults(kind, msgspec.json.decode(content), ""))
    except msgspec.DecodeError:
        return {}


def _faults(kind: Any, value: Any, path: str) -> Iterator[tuple[str, str]]:
    struct = _struct(kind)
    if struct is None or not isinstance(value, dict):
        try:
            msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            place = _PLACE.match(str(error))
            assert place is not None
            at = f"{path}{place['path'] or ''}".removeprefix(".")
            yield at, f"`{at}`: {place['text']}" if at else place["text"]
        return
    given, inner = cast(dict[str, Any], value), f"{path}." if path else ""
    fields = {each.encode_name: each for each in msgspec.structs.fields(struct)}
    if struct.__struct_config__.forbid_unknown_fields:
        for name in given.keys() - fields.keys():
            yield f"{inner}{name}", f"`{inner}{name}` is unknown{suggestion(name, fields)}"
    for name, field in fields.items():
        if name in given:
            yield from _faults(field.type, given[name], f"{inner}{name}")
        elif field.required:
            yield f"{inner}{name}", f"`{inner}{name}` is required and was not given"


def _struct(kind: Any) -> type[msgspec.Struct] | None:
    """Returns the struct that a type is, or is a union with; None for others."""
    kinds = get_args(kind) if get_origin(kind) in (Union, type(int | None)) else (kind,)
    found = [each for each in kinds if isinstance(each, type) and issubclass(each, msgspec.Struct)]
    return found[0] if len(found) == 1 else None
