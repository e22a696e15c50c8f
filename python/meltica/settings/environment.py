"""Environment variables: the key path in capitals, `MELTICA_` before it, `__` between keys.

`apiServer.addr` is MELTICA_APISERVER__ADDR. In the name of a provider or lambda, `-` and `.` become `_`. Case
does not matter, and an empty variable counts as not set.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from json import JSONDecodeError, loads
from pathlib import Path
from typing import Any, Final, cast, get_args, get_origin

from meltica.adapters import registry
from meltica.errors import ConfigError, nearest
from meltica.lambdas.callbacks import KINDS
from meltica.settings.entries import ProviderEntry
from meltica.settings.model import Settings
from meltica.settings.shape import shape
from meltica.validation.models import Loc, alternatives, dotted, keys, mapping, model_of

PREFIX: Final = "MELTICA_"
OTHERS: Final = {
    "MELTICA_CONFIG_PATH": "the config file",
    "MELTICA_HOME": "folder of what the gateway keeps",
    "MELTICA_PG_BIN": "folder of PostgreSQL's programs",
    "MELTICA_SECRET_KEY": "key that secrets are encrypted with",
    "MELTICA_SECRET_KEY_FILE": "file that holds that key",
}
"""Variables that are no keys of the configuration."""


@dataclass
class Layer:
    """Values from one source, and for each that was given, where."""

    values: dict[str, object] = field(default_factory=dict[str, object])
    origins: dict[Loc, str] = field(default_factory=dict[Loc, str])
    concealed: bool = False
    """Whether what it gives to adapters and strategies is not shown."""
    faults: list[str] = field(default_factory=list[str])


def read_dotenv(path: Path) -> tuple[dict[str, str], list[str]]:
    """Returns the variables of a `.env` file, as they stand, and what is wrong with it."""
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
        faults.append(f"{path}: is no UTF-8 text, at byte {error.start}")
    return variables, faults


def variable(loc: Loc) -> str:
    """Returns the variable that sets a key."""
    return PREFIX + "__".join(re.sub("[^A-Za-z0-9_]", "_", str(part)).upper() for part in loc)


def variables(values: Mapping[str, object]) -> dict[str, list[tuple[Loc, object]]]:
    """Returns every variable that sets a key, with the key and its type.

    `values` are those of the config file: the names of its providers and lambdas are keys too.
    """
    found: dict[str, list[tuple[Loc, object]]] = {}
    for loc, annotation in _walk(Settings, values, ()):
        found.setdefault(variable(loc), []).append((loc, annotation))
    return found


def layer(environment: Mapping[str, str], values: Mapping[str, object], where: str = "") -> Layer:
    """Returns what variables set; `where` is added to their names in faults and origins."""
    made = Layer(concealed=True)
    known = variables(values)
    given: list[tuple[Loc, object, str, str]] = []
    taken: dict[Loc, str] = {}
    for name, text in environment.items():
        upper = name.upper()
        if not upper.startswith(PREFIX) or upper in OTHERS:
            continue
        said = f"`{name}`{where}"
        matches = known.get(upper) or _of_config(upper, known)
        if len(matches) != 1:
            made.faults.append(f"{said} {_unclear(upper, known, matches)}")
            continue
        loc, annotation = matches[0]
        if loc in taken:
            made.faults.append(f"{said} sets the same key as `{taken[loc]}`; keep one")
        taken[loc] = name
        if text:
            given.append((loc, annotation, text, name))
    # From the outside in, so that a variable for one key wins over one for the whole block.
    for loc, annotation, text, name in sorted(given, key=lambda item: len(item[0])):
        value: object = text
        if _holds_keys(annotation):
            try:
                value = loads(text)
            except (JSONDecodeError, RecursionError):
                made.faults.append(f'`{name}`{where}: expected JSON such as {{"key": "value"}}')
                continue
        shaped = shape(_nested(loc, value))
        made.faults.extend(f"`{dotted(at)}` ({name}{where}){text}" for at, text in shaped.faults)
        _merge(made.values, shaped.values)
        made.origins.update(dict.fromkeys(_places(loc, shaped.values), f"{name}{where}"))
    return made


def _unclear(name: str, known: Mapping[str, object], matches: list[tuple[Loc, object]]) -> str:
    if matches:
        return f"may mean {' or '.join(f'`{part}`' for loc, _ in matches for part in loc[1:2])}; rename one"
    rest = name.removeprefix(PREFIX)
    candidates = [other.removeprefix(PREFIX) for other in (*known, *OTHERS)]
    begun = [other for other in candidates if len(rest) > 2 and other.startswith(rest)]
    close = min(begun, key=len) if begun else nearest(rest, candidates)
    if close is not None:
        return f"names no key; did you mean `{PREFIX}{close}`?"
    return "names no key; `meltica config show` lists them"


def _of_config(name: str, known: Mapping[str, list[tuple[Loc, object]]]) -> list[tuple[Loc, object]]:
    """Returns the key of a lambda's config, which may be one that the file does not give."""
    for other, matches in known.items():
        loc = matches[0][0]
        if len(loc) == 3 and loc[0] == "lambdas" and loc[2] == "config" and name.startswith(f"{other}__"):
            rest = name.removeprefix(f"{other}__").lower().split("__")
            return [((*found, *rest), Any) for found, _ in matches] if all(rest) else []
    return []


def _walk(annotation: object, values: object, loc: Loc) -> Iterator[tuple[Loc, object]]:
    if loc:
        yield loc, annotation
    known = mapping(values)
    model = model_of(annotation)
    if model is not None:
        for key, described in keys(model).items():
            inner: object = described.annotation
            if model is ProviderEntry and key == "settings":
                inner = _settings_of(known.get("adapter"))
            yield from _walk(inner, known.get(key), (*loc, key))
        return
    inner = _under_any_key(annotation)
    names = dict.fromkeys(known)
    if loc[-1:] == ("policies",):
        names.update(dict.fromkeys(KINDS))
    if inner is not None:
        for name in names:
            yield from _walk(inner, known.get(name), (*loc, name))


def _settings_of(adapter: object) -> object:
    """Returns the type of an adapter's settings, any keys when there is no such adapter."""
    try:
        return registry.adapter(adapter).Settings if isinstance(adapter, str) else dict[str, Any]
    except ConfigError:
        return dict[str, Any]


def _under_any_key(annotation: object) -> object:
    """Returns the type of what stands under any key of a dict, None when the type has no such keys."""
    if annotation is Any:
        return Any
    return next((get_args(kind)[1] for kind in alternatives(annotation) if get_origin(kind) is dict), None)


def _holds_keys(annotation: object) -> bool:
    return annotation is not Any and (
        model_of(annotation) is not None or _under_any_key(annotation) is not None
    )


def _nested(loc: Loc, value: object) -> dict[str, object]:
    for part in reversed(loc):
        value = {str(part): value}
    return cast(dict[str, object], value)


def _places(loc: Loc, values: object) -> Iterator[Loc]:
    """Yields `loc` and every place below it."""
    for part in loc:
        values = cast(Mapping[str, object], values).get(str(part)) if isinstance(values, Mapping) else None
    pending: list[tuple[Loc, object]] = [(loc, values)]
    for at, value in pending:
        yield at
        if isinstance(value, Mapping):
            pending.extend(((*at, key), inner) for key, inner in cast(Mapping[str, object], value).items())


def _merge(into: dict[str, object], values: Mapping[str, object]) -> None:
    for key, value in values.items():
        present = into.get(key)
        if isinstance(present, dict) and isinstance(value, Mapping):
            _merge(cast(dict[str, object], present), cast(Mapping[str, object], value))
        else:
            into[key] = value
