"""The settings of a running gateway: those of the config file, and those that were set while it ran.

1. Settings are in the database before they apply. The level of the log and telemetry apply at once, the
   others at the next start of the gateway.
2. A setting replaces the one of the file until that is edited. Environment and command line come before it.
3. What a gateway needs to reach its database, and what decides who may use the machine, is only in the file.
4. Stored settings that are not valid together with the file do not apply: the gateway runs with the file.

Risk limits have a store of their own, and providers and lambdas are not settings.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, cast

from meltica.errors import ConfigError, Conflict
from meltica.persistence.stores.audit import Act, acting_as
from meltica.persistence.stores.configuration import KEY, ConfigurationRow, ConfigurationStore
from meltica.persistence.stores.limits import Document, LimitsStore
from meltica.settings.environment import Layer
from meltica.settings.loading import Loaded
from meltica.settings.model import Settings
from meltica.validation.models import Loc, keys, masked
from meltica.validation.section import effectless

log = logging.getLogger("meltica.configuration")

SOURCE: Final = "set over REST"
OTHERS: Final = frozenset({"providers", "lambdas", "risk", "notifications"})
"""Keys of the file that are not settings here: they have stores of their own, or decide who learns what."""
FIXED: Final = (
    "database",
    "log.format",
    "log.file",
    "log.maxSize",
    "log.maxFiles",
    "apiServer.auth",
    "apiServer.tls",
    "apiServer.tokenFolder",
    "strategies.directory",
    "strategies.upload",
)
"""3: keys, or sections, that are only in the file."""
PATHS: Final = frozenset(
    {
        "log.file",
        "apiServer.tls.certificate",
        "apiServer.tls.key",
        "apiServer.tokenFolder",
        "strategies.directory",
        "database.home",
    }
)
"""Paths of the machine, which are not shown."""

Values = dict[str, Any]
"""Key, such as `log.level` -> its value as JSON."""


def settings_of(settings: Settings) -> Values:
    """Returns the settings that are shown; absent ones are left out, and secrets are masked."""
    sections = cast(dict[str, Any], masked(settings))
    found = {
        key_of(loc): value for loc, value in leaves({n: v for n, v in sections.items() if n not in OTHERS})
    }
    return {key: value for key, value in found.items() if value is not None and key not in PATHS}


def leaves(values: Mapping[str, Any], under: Loc = ()) -> Iterable[tuple[Loc, Any]]:
    """Yields the location of each value, and the value."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(cast(Mapping[str, Any], value), (*under, key))
        else:
            yield (*under, key), value


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns values in the form of the config file."""
    document: dict[str, Any] = {}
    for key, value in values.items():
        section = document
        *sections, last = key.split(".")
        for name in sections:
            section = section.setdefault(name, {})
        section[last] = value
    return document


def key_of(loc: Loc) -> str:
    """Returns the key at a location."""
    return ".".join(map(str, loc))


def unedited(file: Loaded, settings: Values, stated: Values) -> Values:
    """2: returns the settings whose key was not edited in the file since; `stated` is what it had then."""
    inputs = file.inputs
    return {k: v for k, v in settings.items() if stated.get(k) == inputs.stated(tuple(k.split(".")))}


def layer(values: Values) -> Layer:
    """Returns stored settings as a source of the configuration."""
    return Layer(nested(values), {tuple(key.split(".")): SOURCE for key in values})


def is_fixed(key: str) -> bool:
    """3: returns whether a key is only in the file."""
    return any(key == fixed or key.startswith(f"{fixed}.") for fixed in FIXED)


def has_effect(key: str) -> bool:
    """Returns whether a key has any effect."""
    return not effectless(Settings, nested({key: "given"}))


class RuntimeConfiguration:
    """The settings that this process runs with, and those of its next start."""

    def __init__(self, loaded: Loaded, store: ConfigurationStore) -> None:
        """`loaded` is the configuration without what is stored."""
        self.store = store
        self.file = loaded
        self.loaded = loaded
        """The configuration that this process started with."""
        self.fault: str | None = None
        """4: why stored settings do not apply."""
        self.on_change: Callable[[Settings], object] = lambda _: None
        """Called with the settings of this process when some of them changed."""
        self._next = loaded
        self._lock = asyncio.Lock()

    @property
    def next(self) -> Loaded:
        """The configuration of the next start, as far as it is known."""
        return self._next

    @property
    def settings(self) -> Settings:
        """The settings of this process (1)."""
        started, wanted = self.loaded.settings, self._next.settings
        level = started.log.model_copy(update={"level": wanted.log.level})
        return started.model_copy(update={"log": level, "telemetry": wanted.telemetry})

    @property
    def row(self) -> ConfigurationRow | None:
        """What is stored."""
        return self.store.find(KEY)

    @property
    def stored(self) -> Values:
        """2: the stored settings whose key was not edited in the file."""
        row = self.row
        return {} if row is None else unedited(self.file, row.settings, row.configured)

    def restart_required(self, wanted: Settings | None = None) -> list[str]:
        """Returns the keys that a restart changes: they are set, and this process runs with other values."""
        before, after = settings_of(self.settings), settings_of(wanted or self._next.settings)
        live = ("log.level", *(key for key in after if key.startswith("telemetry.")))
        changed = (key for key in {*before, *after} if before.get(key) != after.get(key))
        return sorted(key for key in changed if key not in live and has_effect(key))

    async def load(self) -> None:
        """Lets this process start with what is stored. Raises DatabaseError."""
        row = self.row
        if row is not None:
            kept = self.stored
            edited = sorted(row.settings.keys() - kept.keys())
            for key in edited:
                log.warning("`%s`: the config file was edited and replaces what was set over REST", key)
            if edited:
                with acting_as(Act("config file")):
                    await self.store.set(*self.documents(kept))
        self._read()
        self.loaded = self._next
        for key in sorted(self.stored) if self.fault is None else ():
            log.info("`%s` was set over REST to %s", key, self.stored[key])
        self.on_change(self.settings)

    def documents(self, values: Values) -> tuple[Values, Values]:
        """Returns what the store is to have."""
        stated = {key: self.file.inputs.stated(tuple(key.split("."))) for key in values}
        return values, {key: value for key, value in stated.items() if value is not None}

    async def change(
        self,
        values: Values | None,
        limits: tuple[Document, Document] | None,
        limits_store: LimitsStore,
        action: str,
    ) -> None:
        """Stores settings and risk limits together, for the holder of `changing`; None keeps them.

        Raises DatabaseUnavailable and its subclasses, and DatabaseError.
        """
        settings = None if values is None else self.documents(values)
        await self.store.set_with_limits(settings, limits, limits_store, action)
        await self.adopt()

    @asynccontextmanager
    async def changing(self) -> AsyncGenerator[None]:
        """Keeps other changes out. Raises Conflict during another one, and DatabaseError."""
        if self._lock.locked():
            raise Conflict("configuration: another change is in progress; retry when it is done")
        async with self._lock:
            if self.store.in_doubt:
                await self.store.load()
                await self.adopt()
            yield

    def discard_unrecorded(self) -> list[str]:
        """Drops nothing: settings are in the database before they apply."""
        return []

    async def adopt(self) -> None:
        """Applies what the database has: another gateway may have set it, or its answer was lost."""
        self._read()
        self.on_change(self.settings)

    def _read(self) -> None:
        self.fault, self._next = None, self.file
        stored = self.stored
        try:
            if stored:
                self._next = self.file.inputs.load(layer(stored))
        except ConfigError as error:
            texts = "; ".join(error.faults)
            self.fault = (
                f"what was set over REST is not valid with the config file and does not apply: {texts}"
            )
            log.error("%s; change it with `meltica config set`, or correct the file", self.fault)


SECTIONS: Final = tuple(key for key in keys(Settings) if key not in OTHERS)
"""The sections that are shown, beside `risk`."""
