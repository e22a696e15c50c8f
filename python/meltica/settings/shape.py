"""Brings the ways in which a manifest may be written into one: lambdas by id, adapters by name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from meltica.errors import suggestion
from meltica.validation.models import Loc

FREE = frozenset({"settings", "config"})
"""Keys of an entry under which null is a value, and any key may stand."""


@dataclass
class Shaped:
    """Values in one form. `moved` says where what stands under a key now was written."""

    values: dict[str, object]
    moved: dict[Loc, Loc] = field(default_factory=dict[Loc, Loc])
    faults: list[tuple[Loc, str]] = field(default_factory=list[tuple[Loc, str]])

    def written(self, loc: Loc) -> Loc:
        """Returns where a value was written."""
        for length in range(len(loc), 0, -1):
            if loc[:length] in self.moved:
                return self.moved[loc[:length]] + loc[length:]
        return loc


def shape(values: Mapping[str, object]) -> Shaped:
    """Returns values in the one form that the model takes; what is null counts as not given."""
    shaped = Shaped({key: value for key, value in values.items() if value is not None})
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
            shaped.values[key] = without_nulls(value)
    return shaped


def without_nulls(value: object, free: frozenset[str] = frozenset()) -> object:
    """Returns a value without keys whose value is null, except under `free` keys."""
    if not isinstance(value, Mapping):
        return value
    known = cast(Mapping[str, object], value)
    return {
        key: inner if key in free else without_nulls(inner)
        for key, inner in known.items()
        if inner is not None
    }


def _provider(shaped: Shaped, name: str, entry: object) -> object:
    entry = without_nulls(entry, FREE)
    if not isinstance(entry, dict):
        return entry
    known = cast(dict[str, object], entry)
    adapter = known.get("adapter")
    if not isinstance(adapter, Mapping):
        return known
    # The form {adapter: {identifier, config}}.
    loc: Loc = ("providers", name)
    parts = dict(cast(Mapping[str, object], adapter))
    known = {key: value for key, value in known.items() if key != "adapter"}
    for part, key in (("identifier", "adapter"), ("config", "settings")):
        if part not in parts:
            continue
        if key in known:
            shaped.faults.append(((*loc, key), f" is given here and as `adapter.{part}`; keep one"))
        known[key] = parts.pop(part)
        shaped.moved[(*loc, key)] = (*loc, "adapter", part)
    for part in parts:
        hint = suggestion(part, ("identifier", "config"))
        shaped.faults.append(((*loc, "adapter", part), f" is unknown{hint}"))
    return known


def _listed(shaped: Shaped, entries: list[object]) -> dict[str, object]:
    named: dict[str, object] = {}
    for number, entry in enumerate(entries):
        written: Loc = ("lambdas", number)
        known = without_nulls(entry, FREE)
        # An entry without a usable id goes on under another, so that its other faults are told as well.
        id = f"lambdas.{number}"
        if not isinstance(known, dict):
            shaped.faults.append((written, ": expected keys with values: id, strategy, scope and others"))
            continue
        known = cast(dict[str, object], known)
        if "id" not in known:
            shaped.faults.append(((*written, "id"), " is required and was not given"))
        elif not isinstance(known["id"], str):
            shaped.faults.append(((*written, "id"), f": expected a text, saw {known['id']!r}"))
        elif known["id"] in named:
            first = shaped.moved["lambdas", known["id"]][1]
            shaped.faults.append(
                ((*written, "id"), f": `{known['id']}` is the id of lambdas[{first}] already")
            )
        else:
            id = known["id"]
        shaped.moved["lambdas", id] = written
        named[id] = {key: value for key, value in known.items() if key != "id"}
    return named


def _lambda(shaped: Shaped, id: str, entry: object) -> object:
    known = without_nulls(entry, FREE)
    if not isinstance(known, dict):
        return known
    known = cast(dict[str, object], known)
    if known.get("id", id) != id:
        shaped.faults.append(
            (("lambdas", id, "id"), f": expected the key it stands under, `{id}`, saw {known['id']!r}")
        )
    return {key: value for key, value in known.items() if key != "id"}
