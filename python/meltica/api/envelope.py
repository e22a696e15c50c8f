"""What all schemas share: the base, the error envelope, and how absent values are left out.

`docs/rest.md` explains the JSON. A key whose value is UNSET is absent; nothing is null.
"""

from typing import Any, cast

from msgspec import UNSET, Struct, UnsetType

JsonObject = dict[str, Any]
"""An object whose keys an adapter or a strategy defines."""


class Schema(Struct, rename="camel", frozen=True, kw_only=True):
    """An object with camelCase keys."""


class Failure(Schema, frozen=True, kw_only=True, tag_field="status", tag="error"):
    """What every answer but 2xx holds."""

    error: str
    """For people."""
    code: str
    """For programs; does not change."""
    faults: dict[str, str] | UnsetType = UNSET
    """With `not_ready`: what is wrong, by part."""


def optional(value: str | None) -> str | UnsetType:
    """Returns a text, or UNSET for none."""
    return UNSET if value is None or value == "" else value


def without_nulls(value: object) -> Any:
    """Returns JSON whose objects have no null in them."""
    if isinstance(value, dict):
        keyed = cast(dict[str, object], value)
        return {key: without_nulls(inner) for key, inner in keyed.items() if inner is not None}
    if isinstance(value, list):
        return [without_nulls(inner) for inner in cast(list[object], value)]
    return value
