"""Puts the configuration together: every source, every fault, and where each value comes from."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, cast

from pydantic import ValidationError
from pydantic_settings import InitSettingsSource

from meltica.errors import ConfigError
from meltica.settings.document import Document, read
from meltica.settings.environment import Layer, layer, read_dotenv
from meltica.settings.manifest import (
    LambdaSpec,
    ProviderSpec,
    anchored,
    lambda_specs,
    manifest_faults,
    provider_specs,
    strategy_faults,
)
from meltica.settings.model import Settings
from meltica.settings.shape import Shaped, shape
from meltica.validation.models import MASK, Loc, Places, dotted, faults, mapping, masked
from meltica.validation.paths import from_folder
from meltica.validation.section import effectless

CONFIG_PATH: Final = "MELTICA_CONFIG_PATH"
DATABASE_URL: Final = "DATABASE_URL"


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A configuration without faults."""

    settings: Settings
    path: Path
    """The config file."""
    base: Path
    """Where relative paths start: the file's folder, for the file that comes with Meltica the current one."""
    providers: Mapping[str, ProviderSpec]
    lambdas: Mapping[str, LambdaSpec]
    warnings: tuple[str, ...]
    """One line for each key that is given and does nothing."""
    sources: Mapping[str, str]
    """Key, as in `shown`, -> where its value comes from; for those that are not defaults."""
    environment: Mapping[str, str] = field(repr=False)
    """The environment, with `.env` for what is unset or empty: what to look up MELTICA_HOME and others in."""
    places: "Origins" = field(repr=False)

    def shown(self) -> dict[str, object]:
        """Returns all of it in the form of the file, as JSON. Secrets are masked by type, name and origin."""
        blocks = cast(dict[str, object], masked(self.settings))
        blocks["providers"] = {name: spec.shown() for name, spec in self.providers.items()}
        blocks["lambdas"] = {id: spec.shown() for id, spec in self.lambdas.items()}
        return cast(dict[str, object], self._concealed(blocks, ()))

    def _concealed(self, value: object, loc: Loc) -> object:
        """Masks what adapters and strategies get from variables."""
        if isinstance(value, dict):
            keyed = cast(dict[str, object], value)
            return {key: self._concealed(inner, (*loc, key)) for key, inner in keyed.items()}
        if isinstance(value, list):
            items = cast(list[object], value)
            return [self._concealed(inner, (*loc, number)) for number, inner in enumerate(items)]
        return MASK if _is_free(loc) and self.places.conceals(loc) else value


class Origins(Places):
    """Knows which source a value comes from and, for the file, in which line it stands."""

    def __init__(self, document: Document, shaped: Shaped, layers: Sequence[Layer]) -> None:
        self._document = document
        self._shaped = shaped
        self._layers = layers

    def where(self, loc: Loc) -> str:
        """Returns where a value comes from: `line 12`, `MELTICA_LOG__LEVEL`; empty when nobody gave it."""
        for length in range(len(loc), 0, -1):
            for above in self._layers:
                if loc[:length] in above.origins:
                    return above.origins[loc[:length]]
            line = self._document.lines.get(self._shaped.written(loc[:length]))
            if line is not None:
                return f"line {line}"
        return ""

    def written(self, loc: Loc) -> str:
        """Returns a key as the file writes it."""
        return dotted(self._shaped.written(loc))

    def name(self, loc: Loc) -> str:
        """Returns a key and where it was given."""
        where = self.where(loc)
        return f"`{self.written(loc)}` ({where})" if where else f"`{self.written(loc)}`"

    def conceals(self, loc: Loc) -> str | None:
        """Returns what to say in place of a value from `${NAME}`, or from a variable to a key that is free.

        Nothing says of these that they are no secrets.
        """
        above = next((one for one in self._layers if loc in one.origins), None)
        if above is not None:
            return "what it holds" if above.concealed and _is_free(loc) else None
        return self._document.concealed(self._shaped.written(loc))


class _Merged(InitSettingsSource):
    """Stands below all other sources and keeps what they come to together."""

    def __init__(self) -> None:
        super().__init__(Settings, {})
        self.values: dict[str, Any] = {}

    def __call__(self) -> dict[str, Any]:
        self.values = self.current_state
        return {}


def load(
    config: Path | None = None,
    overrides: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
) -> Loaded:
    """Returns the configuration: overrides, then the environment, `.env`, DATABASE_URL, the file, defaults.

    The file is `config`, else what MELTICA_CONFIG_PATH names, else the one that comes with Meltica.
    `overrides` has the form of the file; None in it unsets a key, whatever other sources say. Strategies are
    not loaded here, but by `check_lambdas`.

    Raises ConfigError with every fault.
    """
    environ = os.environ if environ is None else environ
    path, base, remark = _find(config, environ)
    dotenv, dotenv_faults = read_dotenv(base / ".env")
    below = {name: text for name, text in dotenv.items() if not environ.get(name)}
    environment = {**environ, **below}
    try:
        document = read(path, environment)
    except ConfigError as error:
        faults_of_file = [f"{fault}{remark}" for fault in error.faults]
        raise ConfigError(str(path), [*faults_of_file, *dotenv_faults]) from None
    shaped = shape(document.values)
    layers = (
        _overrides(overrides or {}),
        layer(environ, shaped.values),
        layer(below, shaped.values, " in .env"),
        _database_url(environment),
    )
    origins = Origins(document, shaped, layers)
    unset = [loc for loc in _leaves(overrides or {}) if _at(overrides or {}, loc) is None]
    below_overrides = (*(one.values for one in layers[1:]), shaped.values)
    values = [layers[0].values, *(_without(one, unset) for one in below_overrides)]
    settings, merged, model_faults = _validate(values, origins)
    folder = _folder(merged, base)
    as_written = [*document.faults, *shaped.faults]
    unread = {loc for loc, _ in as_written}
    found = [
        *((loc, f"{_name(document, loc)}{text}") for loc, text in as_written),
        *(fault for fault in model_faults if shaped.written(fault[0]) not in unread),
        *(
            fault
            for fault in manifest_faults(merged, folder, origins)
            if shaped.written(fault[0]) not in unread
        ),
    ]
    others = [*dotenv_faults, *(fault for one in layers for fault in one.faults)]
    if settings is None or found or others:
        ordered = sorted(found, key=lambda fault: _line(document, shaped.written(fault[0])) or sys.maxsize)
        raise ConfigError(str(path), map(_printable, [*dict.fromkeys(text for _, text in ordered), *others]))
    settings = anchored(settings, base)
    return Loaded(
        settings=settings,
        path=path,
        base=base,
        providers=provider_specs(settings, base),
        lambdas=lambda_specs(settings, folder),
        warnings=tuple(map(_printable, _warnings(merged, dotenv, origins))),
        sources={dotted(loc): _source(origins, path, loc) for loc in _leaves(merged)},
        environment=environment,
        places=origins,
    )


def check_lambdas(loaded: Loaded) -> list[str]:
    """Returns what is wrong with the strategies and configs of the lambdas. Runs the strategies' modules."""
    return [
        _printable(text) for spec in loaded.lambdas.values() for text in strategy_faults(spec, loaded.places)
    ]


def shipped(name: str) -> Path:
    """Returns a config file that comes with Meltica: `default`, `example` or `ci`."""
    return Path(str(files("meltica"))) / "config" / f"{name}.yaml"


def _find(config: Path | None, environ: Mapping[str, str]) -> tuple[Path, Path, str]:
    """Returns the config file, where relative paths start, and what to add when it cannot be used."""
    named = environ.get(CONFIG_PATH)
    if config is None and not named:
        return shipped("default"), Path.cwd(), ""
    path = config or Path(named or "")
    return path, path.absolute().parent, "" if config else f"; {CONFIG_PATH} names it"


def _overrides(values: Mapping[str, object]) -> Layer:
    shaped = shape(values)
    origins = dict.fromkeys(_leaves(shaped.values), "given at start")
    return Layer(shaped.values, origins, faults=[f"`{dotted(loc)}`{text}" for loc, text in shaped.faults])


def _database_url(environment: Mapping[str, str]) -> Layer:
    dsn = environment.get(DATABASE_URL)
    return Layer({"database": {"dsn": dsn}}, {("database", "dsn"): DATABASE_URL}) if dsn else Layer()


def _validate(
    values: Sequence[Mapping[str, object]], places: Places
) -> tuple[Settings | None, dict[str, Any], list[tuple[Loc, str]]]:
    """Returns what sources, the highest first, come to: as settings, as plain values, and as faults."""
    merged = _Merged()
    sources = (*(InitSettingsSource(Settings, dict(one)) for one in values), merged)
    try:
        settings = Settings(_build_sources=(sources, {}))  # pyright: ignore[reportCallIssue]
        return settings, merged.values, []
    except ValidationError as error:
        return None, merged.values, faults(Settings, error.errors(), places)


def _folder(merged: Mapping[str, object], base: Path) -> Path:
    """Returns where the files of strategies start."""
    directory = mapping(merged.get("strategies")).get("directory")
    return from_folder(base, Path(directory)) if isinstance(directory, str | Path) else base


def _warnings(merged: Mapping[str, object], dotenv: Mapping[str, str], origins: Origins) -> Iterator[str]:
    for loc, why in effectless(Settings, merged).items():
        yield f"{origins.name(loc)} has no effect: {why}"
    if CONFIG_PATH in dotenv:
        yield f"`{CONFIG_PATH}` in .env has no effect: .env stands beside the config, which is found before"


def _printable(text: str) -> str:
    """Returns a text that is one line and does nothing to a terminal, whatever keys and paths it tells of."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _is_free(loc: Loc) -> bool:
    """Whether an adapter or a strategy says what a key means."""
    return loc[2:3] in (("settings",), ("config",))


def _leaves(values: Mapping[str, object], under: Loc = ()) -> Iterator[Loc]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(cast(Mapping[str, object], value), (*under, key))
        else:
            yield (*under, key)


def _at(values: Mapping[str, object], loc: Loc) -> object:
    """Returns the value at a key path; None where it is absent."""
    return reduce(lambda inner, key: mapping(inner).get(str(key)), loc, cast(object, values))


def _without(values: Mapping[str, object], unset: Iterable[Loc]) -> Mapping[str, object]:
    """Returns values without the keys at some paths."""
    first = {loc[0] for loc in unset if len(loc) == 1}
    return {
        key: _without(cast("Mapping[str, object]", value), [loc[1:] for loc in unset if loc[:1] == (key,)])
        if isinstance(value, Mapping)
        else value
        for key, value in values.items()
        if key not in first
    }


def _source(origins: Origins, path: Path, loc: Loc) -> str:
    where = origins.where(loc)
    return f"{path.name}:{where.removeprefix('line ')}" if where.startswith("line ") else where


def _name(document: Document, written: Loc) -> str:
    """Returns a key as it is written, and its line."""
    line = _line(document, written)
    return f"`{dotted(written)}` (line {line})" if line else f"`{dotted(written)}`"


def _line(document: Document, written: Loc) -> int:
    """Returns the line of a value, or of what it would stand in."""
    lengths = range(len(written), 0, -1)
    return next((document.lines[written[:n]] for n in lengths if written[:n] in document.lines), 0)
