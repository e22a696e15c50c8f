"""The base of all schemas, the error envelope, and helpers that leave out absent values.

`docs/rest.md` explains the JSON. A key whose value is UNSET is absent; nothing is null.
"""

from typing import Any, Literal, cast

from msgspec import UNSET, Struct, UnsetType

JsonObject = dict[str, Any]
"""An object with keys that an adapter or a strategy defines."""


class Schema(Struct, rename="camel", frozen=True, kw_only=True):
    """An object with camelCase keys."""


class Failure(Schema, frozen=True, kw_only=True, tag_field="status", tag="error"):
    """The body of every response except 2xx."""

    error: str
    """Text for people."""
    code: str
    """Code for programs; never reworded."""
    faults: dict[str, str] | UnsetType = UNSET
    """With `not_ready`: the faults, by part. Else the faults of a request, by the path of their key."""


class Change(Schema, frozen=True, kw_only=True):
    """One difference between what is configured and what would be."""

    before: Any = UNSET
    """What is configured; absent for what does not exist."""
    after: Any = UNSET
    """What would be; absent for what would be deleted."""


class Plan(Schema, frozen=True, kw_only=True):
    """What a change would do. Nothing was changed."""

    effect: str
    """`create`, `update`, `delete`, the name of an action such as `cancel`, or `none`."""
    changes: dict[str, Change]
    """What differs, by key."""
    etag: str | UnsetType = UNSET
    """The version after the change; of a deletion, the one that would be deleted. Absent without versions."""


class Removed(Schema, frozen=True, kw_only=True):
    """The answer to a deletion; `removing` while what ran still stops."""

    id: str
    status: Literal["removed", "removing"] = "removed"
    """`removing` while it still stops; it is a 404 afterwards."""


def optional(value: str | None) -> str | UnsetType:
    """Returns a text, or UNSET for None and the empty text."""
    return UNSET if value is None or value == "" else value


def without_nulls(value: object) -> Any:
    """Returns JSON without the keys whose value is null."""
    if isinstance(value, dict):
        keyed = cast(dict[str, object], value)
        return {key: without_nulls(inner) for key, inner in keyed.items() if inner is not None}
    if isinstance(value, list):
        return [without_nulls(inner) for inner in cast(list[object], value)]
    return value
