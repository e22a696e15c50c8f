"""Loads the configuration: merges its sources, collects every fault, and records the origin of each value."""

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
from meltica.validation.models import MASK, Loc, Locations, dotted, faults, mapping, masked, unknown_key
from meltica.validation.paths import from_folder
from meltica.validation.section import effectless

CONFIG_PATH: Final = "MELTICA_CONFIG_PATH"
DATABASE_URL: Final = "DATABASE_URL"
START: Final = "given at start"
"""The origin of what the command line sets."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A valid configuration."""

    settings: Settings
    path: Path
    """The config file."""
    base: Path
    """The base of relative paths: the folder of the file, or for the default file the current folder."""
    providers: Mapping[str, ProviderSpec]
    lambdas: Mapping[str, LambdaSpec]
    warnings: tuple[str, ...]
    """One line for each key that is given but has no effect."""
    sources: Mapping[str, str]
    """Key, as in `shown`, -> the origin of its value; only for values that are not defaults."""
    environment: Mapping[str, str] = field(repr=False)
    """The environment, completed by `.env`: the source of MELTICA_HOME and other variables."""
    origins: "Origins" = field(repr=False)
    inputs: "Sources" = field(repr=False)
    """What it was loaded from."""

    def shown(self) -> dict[str, object]:
        """Returns the configuration as JSON with the keys of the file; secrets are masked.

        A value is masked because of its type, its key or its origin.
        """
        blocks = cast(dict[str, object], masked(self.settings))
        for key, specs in (("providers", self.providers), ("lambdas", self.lambdas)):
            entries = cast(dict[str, dict[str, object]], blocks[key])
            blocks[key] = {name: entries[name] | spec.shown() for name, spec in specs.items()}
        return cast(dict[str, object], self._mask(blocks, ()))

    def _mask(self, value: object, loc: Loc) -> object:
        """Masks values for adapters and strategies that come from variables."""
        if isinstance(value, dict):
            keyed = cast(dict[str, object], value)
            return {key: self._mask(inner, (*loc, key)) for key, inner in keyed.items()}
        if isinstance(value, list):
            items = cast(list[object], value)
            return [self._mask(inner, (*loc, number)) for number, inner in enumerate(items)]
        return MASK if _is_free(loc) and self.origins.placeholder(loc) else value


class Origins(Locations):
    """Maps each value to the source that set it and, for the file, to its line."""

    def __init__(self, document: Document, shaped: Shaped, layers: Sequence[Layer]) -> None:
        self._document = document
        self._shaped = shaped
        self._layers = layers

    def where(self, loc: Loc) -> str:
        """Returns the origin of a value, such as `line 12` or `MELTICA_LOG__LEVEL`; empty for a default."""
        for length in range(len(loc), 0, -1):
            for source in self._layers:
                if loc[:length] in source.origins:
                    return source.origins[loc[:length]]
            line = self._document.lines.get(self._shaped.written(loc[:length]))
            if line is not None:
                return f"line {line}"
        return ""

    def written(self, loc: Loc) -> str:
        """Returns a key as it is spelled in the file."""
        return dotted(self._shaped.written(loc))

    def describe(self, loc: Loc) -> str:
        """Returns a key and the origin of its value."""
        where = self.where(loc)
        return f"`{self.written(loc)}` ({where})" if where else f"`{self.written(loc)}`"

    def placeholder(self, loc: Loc) -> str | None:
        """Returns the text to show instead of a value that may be a secret.

        These are values from `${NAME}`, and values that variables set inside an adapter's settings or a
        strategy's config.
        """
        source = next((layer for layer in self._layers if loc in layer.origins), None)
        if source is not None:
            return "the value of this variable" if source.confidential and _is_free(loc) else None
        return self._document.placeholder(self._shaped.written(loc))


class _Merged(InitSettingsSource):
    """The source of lowest priority, which records the merged values of all others."""

    def __init__(self) -> None:
        super().__init__(Settings, {})
        self.values: dict[str, Any] = {}

    def __call__(self) -> dict[str, Any]:
        self.values = self.current_state
        return {}


class Sources:
    """The sources of a configuration, which are read once."""

    def __init__(
        self, config: Path | None, overrides: Mapping[str, object], environ: Mapping[str, str]
    ) -> None:
        """Raises ConfigError for a file that cannot be used as a whole."""
        self.path, self.base, remark = _find(config, environ)
        self._dotenv, dotenv_faults = read_dotenv(self.base / ".env")
        from_dotenv = {name: text for name, text in self._dotenv.items() if not environ.get(name)}
        self.environment = {**environ, **from_dotenv}
        try:
            self._document = read(self.path, self.environment)
        except ConfigError as error:
            file_faults = [f"{fault}{remark}" for fault in error.faults]
            raise ConfigError(str(self.path), [*file_faults, *dotenv_faults]) from None
        self._shaped = shape(self._document.values)
        self._unset = [loc for loc in _leaves(overrides) if _at(overrides, loc) is None]
        self._above = (
            _overrides(overrides),
            layer(environ, self._shaped.values),
            layer(from_dotenv, self._shaped.values, " in .env"),
            _database_url(self.environment),
        )
        self._faults = [*dotenv_faults, *(fault for one in self._above for fault in one.faults)]

    def above(self, loc: Loc) -> str | None:
        """Returns the origin of a value that comes before those set over REST; None without one."""
        return next((one.origins[loc] for one in self._above if loc in one.origins), None)

    def stated(self, loc: Loc) -> object:
        """Returns what the file states for a key; None if nothing."""
        return _at(self._shaped.values, loc)

    def check(self, stored: Layer) -> tuple[Settings | None, list[tuple[Loc, str]]]:
        """Validates the settings with those that were set over REST; returns them and the faults."""
        settings, _, found = _validate(self._values(stored), Locations())
        return settings, found

    def load(self, stored: Layer | None = None) -> Loaded:
        """Returns the configuration, with what was set over REST. Raises ConfigError with every fault."""
        stored = stored or Layer()
        path, base, shaped, document = self.path, self.base, self._shaped, self._document
        origins = Origins(document, shaped, (*self._above, stored))
        settings, merged, model_faults = _validate(self._values(stored), origins)
        folder = _folder(merged, base)
        syntax_faults = [*document.faults, *shaped.faults]
        unreadable = {loc for loc, _ in syntax_faults}
        located = [
            *((loc, f"{_describe(document, loc)}{text}") for loc, text in syntax_faults),
            *_unknown_nulls(shaped, origins),
            *(fault for fault in model_faults if shaped.written(fault[0]) not in unreadable),
            *(
                fault
                for fault in manifest_faults(merged, folder, origins)
                if shaped.written(fault[0]) not in unreadable
            ),
        ]
        if settings is None or located or self._faults:
            ordered = sorted(
                located, key=lambda fault: _line(document, shaped.written(fault[0])) or sys.maxsize
            )
            texts = dict.fromkeys(text for _, text in ordered)
            raise ConfigError(str(path), map(_printable, [*texts, *self._faults]))
        settings = anchored(settings, base)
        return Loaded(
            settings=settings,
            path=path,
            base=base,
            providers=provider_specs(settings, base),
            lambdas=lambda_specs(settings, folder),
            warnings=tuple(map(_printable, _warnings(merged, self._dotenv, origins))),
            sources={dotted(loc): _source(origins, path, loc) for loc in _leaves(merged)},
            environment=self.environment,
            origins=origins,
            inputs=self,
        )

    def _values(self, stored: Layer) -> list[Mapping[str, object]]:
        """Returns the values of all sources, the highest priority first."""
        first, *others = (one.values for one in (*self._above, stored))
        return [first, *(_without(one, self._unset) for one in (*others, self._shaped.values))]


def load(
    config: Path | None = None,
    overrides: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
) -> Loaded:
    """Loads the configuration from all sources.

    In order of priority, these are `overrides`, the environment, `.env`, DATABASE_URL, the file and the
    defaults. The file is `config`, else the one in MELTICA_CONFIG_PATH, else the default file of Meltica.
    `overrides` has the keys of the file; None in it unsets a key, whatever other sources give. Strategies are
    not imported; `check_lambdas` does that.

    Raises ConfigError with every fault.
    """
    return Sources(config, overrides or {}, os.environ if environ is None else environ).load()


def check_lambdas(loaded: Loaded) -> list[str]:
    """Imports the strategies of the lambdas and returns the faults of their classes and configs."""
    return [
        _printable(text) for spec in loaded.lambdas.values() for text in strategy_faults(spec, loaded.origins)
    ]


def shipped(name: str) -> Path:
    """Returns the path of a config file that is part of Meltica: `default`, `example` or `ci`."""
    return Path(str(files("meltica"))) / "config" / f"{name}.yaml"


def _find(config: Path | None, environ: Mapping[str, str]) -> tuple[Path, Path, str]:
    """Returns the config file, the base of relative paths, and a remark for errors about the file."""
    from_environment = environ.get(CONFIG_PATH)
    if config is None and not from_environment:
        return shipped("default"), Path.cwd(), ""
    path = config or Path(from_environment or "")
    return path, path.absolute().parent, "" if config else f"; the path is from {CONFIG_PATH}"


def _overrides(values: Mapping[str, object]) -> Layer:
    shaped = shape(values)
    origins = dict.fromkeys(_leaves(shaped.values), START)
    return Layer(shaped.values, origins, faults=[f"`{dotted(loc)}`{text}" for loc, text in shaped.faults])


def _database_url(environment: Mapping[str, str]) -> Layer:
    dsn = environment.get(DATABASE_URL)
    return Layer({"database": {"dsn": dsn}}, {("database", "dsn"): DATABASE_URL}) if dsn else Layer()


def _validate(
    values: Sequence[Mapping[str, object]], locations: Locations
) -> tuple[Settings | None, dict[str, Any], list[tuple[Loc, str]]]:
    """Merges sources, the highest priority first; returns settings, plain values and faults."""
    merged = _Merged()
    sources = (*(InitSettingsSource(Settings, dict(one)) for one in values), merged)
    try:
        settings = Settings(_build_sources=(sources, {}))  # pyright: ignore[reportCallIssue]
        return settings, merged.values, []
    except ValidationError as error:
        return None, merged.values, faults(Settings, error.errors(), locations)


def _unknown_nulls(shaped: Shaped, origins: Origins) -> Iterator[tuple[Loc, str]]:
    """Yields a fault for each unknown key that was given without a value."""
    for loc in shaped.nulls:
        cause = unknown_key(Settings, loc)
        if cause is not None:
            yield loc, f"{origins.describe(loc)}{cause}"


def _folder(merged: Mapping[str, object], base: Path) -> Path:
    """Returns the folder that paths of strategies are relative to."""
    directory = mapping(merged.get("strategies")).get("directory")
    return from_folder(base, Path(directory)) if isinstance(directory, str | Path) else base


def _warnings(merged: Mapping[str, object], dotenv: Mapping[str, str], origins: Origins) -> Iterator[str]:
    for loc, why in effectless(Settings, merged).items():
        yield f"{origins.describe(loc)} has no effect: {why}"
    if CONFIG_PATH in dotenv:
        yield f"`{CONFIG_PATH}` in .env has no effect: .env is read from the folder of the config file"


def _printable(text: str) -> str:
    """Escapes characters of keys and paths that would break a line or control a terminal."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _is_free(loc: Loc) -> bool:
    """Returns whether a key belongs to an adapter's settings or a strategy's config."""
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


def _describe(document: Document, written: Loc) -> str:
    """Returns a key as it is spelled in the file, and its line."""
    line = _line(document, written)
    return f"`{dotted(written)}` (line {line})" if line else f"`{dotted(written)}`"


def _line(document: Document, written: Loc) -> int:
    """Returns the line of a value or, if it is missing, of the innermost section around it."""
    lengths = range(len(written), 0, -1)
    return next((document.lines[written[:n]] for n in lengths if written[:n] in document.lines), 0)
