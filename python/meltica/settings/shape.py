"""Normalizes the alternative spellings of a manifest: lambdas keyed by id, adapters by identifier."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

from meltica.errors import suggestion
from meltica.validation.models import Loc

FREE = frozenset({"settings", "config"})
"""Keys of an entry whose contents the adapter or strategy defines: any key is allowed, null is a value."""


@dataclass
class Shaped:
    """Normalized values. `moved` maps the normalized location of a value to its location in the file."""

    values: dict[str, object]
    moved: dict[Loc, Loc] = field(default_factory=dict[Loc, Loc])
    faults: list[tuple[Loc, str]] = field(default_factory=list[tuple[Loc, str]])
    nulls: list[Loc] = field(default_factory=list[Loc])
    """Normalized locations of keys that were removed because their value is null."""

    def written(self, loc: Loc) -> Loc:
        """Returns the location of a value in the file."""
        for length in range(len(loc), 0, -1):
            if loc[:length] in self.moved:
                return self.moved[loc[:length]] + loc[length:]
        return loc


def shape(values: Mapping[str, object]) -> Shaped:
    """Normalizes values to the form that the model accepts; null counts as not given."""
    shaped = Shaped({key: value for key, value in values.items() if value is not None})
    shaped.nulls.extend((key,) for key, value in values.items() if value is None)
    for key, value in shaped.values.items():
        if key == "providers" and isinstance(value, Mapping):
            entries = cast(Mapping[str, object], value)
            shaped.values[key] = {name: _provider(shaped, name, entry) for name, entry in entries.items()}
        elif key == "lambdas" and isinstance(value, list):
            shaped.values[key] = _listed(shaped, cast(list[object], value))
        elif key == "lambdas" and isinstance(value, Mapping):
            named = cast(Mapping[str, object], value)
            shaped.values[key] = {id: _lambda(shaped, id, entry) for id, entry in named.items()}
        else:
            shaped.nulls.extend(_nulls(value, (key,)))
            shaped.values[key] = without_nulls(value)
    return shaped


def _nulls(value: object, loc: Loc, free: frozenset[str] = frozenset()) -> Iterator[Loc]:
    """Yields the locations of the keys that `without_nulls` removes."""
    if isinstance(value, Mapping):
        for key, inner in cast(Mapping[str, object], value).items():
            if inner is None and key not in free:
                yield (*loc, key)
            elif key not in free:
                yield from _nulls(inner, (*loc, key))


def without_nulls(value: object, free: frozenset[str] = frozenset()) -> object:
    """Removes keys whose value is null, except under `free` keys."""
    if not isinstance(value, Mapping):
        return value
    return {
        key: inner if key in free else without_nulls(inner)
        for key, inner in cast(Mapping[str, object], value).items()
        if inner is not None
    }


def _provider(shaped: Shaped, name: str, entry: object) -> object:
    shaped.nulls.extend(_nulls(entry, ("providers", name), FREE))
    entry = without_nulls(entry, FREE)
    if not isinstance(entry, dict):
        return entry
    keyed = cast(dict[str, object], entry)
    adapter = keyed.get("adapter")
    if not isinstance(adapter, Mapping):
        return keyed
    # The form {adapter: {identifier, config}}.
    loc: Loc = ("providers", name)
    parts = dict(cast(Mapping[str, object], adapter))
    normalized = {key: value for key, value in keyed.items() if key != "adapter"}
    for part, key in (("identifier", "adapter"), ("config", "settings")):
        if part not in parts:
            continue
        if key in normalized:
            shaped.faults.append(((*loc, key), f" is given here and as `adapter.{part}`; keep one"))
        normalized[key] = parts.pop(part)
        shaped.moved[(*loc, key)] = (*loc, "adapter", part)
    for part in parts:
        hint = suggestion(part, ("identifier", "config"))
        shaped.faults.append(((*loc, "adapter", part), f" is unknown{hint}"))
    return normalized


def _listed(shaped: Shaped, entries: list[object]) -> dict[str, object]:
    named: dict[str, object] = {}
    for number, entry in enumerate(entries):
        written: Loc = ("lambdas", number)
        keyed = without_nulls(entry, FREE)
        # An entry without a usable id gets a substitute, so that its other faults are reported as well.
        id = f"lambdas.{number}"
        if not isinstance(keyed, dict):
            shaped.faults.append((written, ": expected keys with values: id, strategy, scope and others"))
            continue
        keyed = cast(dict[str, object], keyed)
        if "id" not in keyed:
            shaped.faults.append(((*written, "id"), " is required and was not given"))
        elif not isinstance(keyed["id"], str):
            shaped.faults.append(((*written, "id"), f": expected a string, saw {keyed['id']!r}"))
        elif keyed["id"] in named:
            first = shaped.moved["lambdas", keyed["id"]][1]
            shaped.faults.append(
                ((*written, "id"), f": `{keyed['id']}` is the id of lambdas[{first}] already")
            )
        else:
            id = keyed["id"]
        shaped.moved["lambdas", id] = written
        shaped.nulls.extend(loc for loc in _nulls(entry, ("lambdas", id), FREE) if loc[2:] != ("id",))
        named[id] = {key: value for key, value in keyed.items() if key != "id"}
    return named


def _lambda(shaped: Shaped, id: str, entry: object) -> object:
    shaped.nulls.extend(loc for loc in _nulls(entry, ("lambdas", id), FREE) if loc[2:] != ("id",))
    keyed = without_nulls(entry, FREE)
    if not isinstance(keyed, dict):
        return keyed
    keyed = cast(dict[str, object], keyed)
    if keyed.get("id", id) != id:
        shaped.faults.append(
            (("lambdas", id, "id"), f": expected the key of the entry, `{id}`, saw {keyed['id']!r}")
        )
    return {key: value for key, value in keyed.items() if key != "id"}
