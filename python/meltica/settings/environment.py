"""Environment variables that set keys of the configuration.

The name is the key path in capitals with the prefix `MELTICA_` and `__` between keys: `apiServer.addr` is
MELTICA_APISERVER__ADDR. In names of providers and lambdas, `-` and `.` become `_`. Names are
case-insensitive, and an empty variable counts as unset.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from json import JSONDecodeError, loads
from pathlib import Path
from typing import Any, Final, cast, get_args, get_origin

from meltica.adapters import registry
from meltica.errors import ConfigError, nearest
from meltica.lambdas.definition import KINDS
from meltica.settings.entries import ProviderEntry
from meltica.settings.model import Settings
from meltica.settings.shape import shape
from meltica.validation.models import Loc, alternatives, dotted, keys, mapping, model_of

PREFIX: Final = "MELTICA_"
OTHERS: Final = {
    "MELTICA_CA_FILE": "certificate of the authority that commands accept the gateway's from",
    "MELTICA_CONFIG_PATH": "the config file",
    "MELTICA_HOME": "folder of the gateway's data",
    "MELTICA_PG_BIN": "folder of PostgreSQL's programs",
    "MELTICA_SECRET_KEY": "key that encrypts stored secrets",
    "MELTICA_SECRET_KEY_FILE": "file that contains this key",
}
"""Variables with the prefix that do not set a key of the configuration."""


@dataclass
class Layer:
    """The values of one source of the configuration, with the origin of each."""

    values: dict[str, object] = field(default_factory=dict[str, object])
    origins: dict[Loc, str] = field(default_factory=dict[Loc, str])
    confidential: bool = False
    """Whether values for adapters and strategies are masked in output."""
    faults: list[str] = field(default_factory=list[str])


def read_dotenv(path: Path) -> tuple[dict[str, str], list[str]]:
    """Returns the variables of a `.env` file, without interpolation, and the faults of the file."""
    from dotenv.parser import parse_stream

    variables: dict[str, str] = {}
    faults: list[str] = []
    try:
        with path.open(encoding="utf-8-sig") as file:
            for binding in parse_stream(file):
                if binding.error or (binding.key and binding.value is None):
                    faults.append(f"{path}, line {binding.original.line}: expected NAME=value")
                elif binding.key and binding.value is not None:
                    variables[binding.key] = binding.value
    except FileNotFoundError:
        return {}, []
    except OSError as error:
        faults.append(f"{path}: cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        faults.append(f"{path}: is not valid UTF-8 at byte {error.start}")
    return variables, faults


def variable(loc: Loc) -> str:
    """Returns the name of the variable that sets a key."""
    return PREFIX + "__".join(re.sub("[^A-Za-z0-9_]", "_", str(part)).upper() for part in loc)


def variables(values: Mapping[str, object]) -> dict[str, list[tuple[Loc, object]]]:
    """Returns the name of every variable that sets a key, with the key and its type.

    `values` are those of the config file: the names of its providers and lambdas are part of key paths.
    """
    by_name: dict[str, list[tuple[Loc, object]]] = {}
    for loc, annotation in _walk(Settings, values, ()):
        by_name.setdefault(variable(loc), []).append((loc, annotation))
    return by_name


def layer(environment: Mapping[str, str], values: Mapping[str, object], where: str = "") -> Layer:
    """Returns the values that variables set; faults and origins append `where` to their names."""
    result = Layer(confidential=True)
    valid = variables(values)
    given: list[tuple[Loc, object, str, str]] = []
    taken: dict[Loc, str] = {}
    for name, text in environment.items():
        upper = name.upper()
        if not upper.startswith(PREFIX) or upper in OTHERS:
            continue
        label = f"`{name}`{where}"
        matches = valid.get(upper) or _lambda_config_key(upper, valid)
        if len(matches) != 1:
            result.faults.append(f"{label} {_name_fault(upper, valid, matches)}")
            continue
        loc, annotation = matches[0]
        if loc in taken:
            result.faults.append(f"{label} sets the same key as `{taken[loc]}`; keep one")
        taken[loc] = name
        if text:
            given.append((loc, annotation, text, name))
    # Shortest key path first, so that a variable for one key overrides a variable for its whole section.
    for loc, annotation, text, name in sorted(given, key=lambda item: len(item[0])):
        value: object = text
        if _holds_keys(annotation):
            try:
                value = loads(text)
            except (JSONDecodeError, RecursionError):
                result.faults.append(f'`{name}`{where}: expected JSON such as {{"key": "value"}}')
                continue
        shaped = shape(_nested(loc, value))
        result.faults.extend(f"`{dotted(at)}` ({name}{where}){text}" for at, text in shaped.faults)
        _merge(result.values, shaped.values)
        result.origins.update(dict.fromkeys(_subtree(loc, shaped.values), f"{name}{where}"))
    return result


def _name_fault(name: str, valid: Mapping[str, object], matches: list[tuple[Loc, object]]) -> str:
    if matches:
        names = " or ".join(f"`{part}`" for loc, _ in matches for part in loc[1:2])
        return f"is ambiguous: it sets a key of {names}; rename one"
    rest = name.removeprefix(PREFIX)
    candidates = [other.removeprefix(PREFIX) for other in (*valid, *OTHERS)]
    longer = [other for other in candidates if len(rest) > 2 and other.startswith(rest)]
    close = min(longer, key=len) if longer else nearest(rest, candidates)
    if close is not None:
        return f"does not match any key; did you mean `{PREFIX}{close}`?"
    return "does not match any key; `meltica config show` lists them"


def _lambda_config_key(name: str, valid: Mapping[str, list[tuple[Loc, object]]]) -> list[tuple[Loc, object]]:
    """Returns the key in a lambda's config that a variable sets, even if the file does not give this key."""
    for prefix, matches in valid.items():
        loc = matches[0][0]
        if len(loc) == 3 and loc[0] == "lambdas" and loc[2] == "config" and name.startswith(f"{prefix}__"):
            rest = name.removeprefix(f"{prefix}__").lower().split("__")
            return [((*config, *rest), Any) for config, _ in matches] if all(rest) else []
    return []


def _walk(annotation: object, values: object, loc: Loc) -> Iterator[tuple[Loc, object]]:
    if loc:
        yield loc, annotation
    given = mapping(values)
    model = model_of(annotation)
    if model is not None:
        for key, info in keys(model).items():
            inner: object = info.annotation
            if model is ProviderEntry and key == "settings":
                inner = _settings_of(given.get("adapter"))
            yield from _walk(inner, given.get(key), (*loc, key))
        return
    inner = _dict_value_type(annotation)
    names = dict.fromkeys(given)
    if loc[-1:] == ("policies",):
        names.update(dict.fromkeys(KINDS))
    if inner is not None:
        for name in names:
            yield from _walk(inner, given.get(name), (*loc, name))


def _settings_of(adapter: object) -> object:
    """Returns the type of an adapter's settings, or a dict of any keys when the adapter does not exist."""
    try:
        return registry.adapter(adapter).Settings if isinstance(adapter, str) else dict[str, Any]
    except ConfigError:
        return dict[str, Any]


def _dict_value_type(annotation: object) -> object:
    """Returns the value type of a dict annotation, or None for any other annotation."""
    if annotation is Any:
        return Any
    return next((get_args(kind)[1] for kind in alternatives(annotation) if get_origin(kind) is dict), None)


def _holds_keys(annotation: object) -> bool:
    return annotation is not Any and (
        model_of(annotation) is not None or _dict_value_type(annotation) is not None
    )


def _nested(loc: Loc, value: object) -> dict[str, object]:
    for part in reversed(loc):
        value = {str(part): value}
    return cast(dict[str, object], value)


def _subtree(loc: Loc, values: object) -> Iterator[Loc]:
    """Yields `loc` and every location below it."""
    for part in loc:
        values = cast(Mapping[str, object], values).get(str(part)) if isinstance(values, Mapping) else None
    pending: list[tuple[Loc, object]] = [(loc, values)]
    for at, value in pending:
        yield at
        if isinstance(value, Mapping):
            pending.extend(((*at, key), inner) for key, inner in cast(Mapping[str, object], value).items())


def _merge(into: dict[str, object], values: Mapping[str, object]) -> None:
    for key, value in values.items():
        current = into.get(key)
        if isinstance(current, dict) and isinstance(value, Mapping):
            _merge(cast(dict[str, object], current), cast(Mapping[str, object], value))
        else:
            into[key] = value
