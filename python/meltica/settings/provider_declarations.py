"""Providers that are declared over REST: checked as in the config file, with their secrets encrypted.

1. A setting whose value contains a secret is encrypted as a whole; in the row it reads as `********`.
2. In what is given, `********` keeps the stored value, and so does the absence of a secret. Null deletes.
3. A provider whose secrets cannot be decrypted, or whose adapter is not installed, exists and cannot start.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError

from meltica.api.envelope import without_nulls
from meltica.errors import ConfigError
from meltica.persistence.secrets import key_lost
from meltica.persistence.stores.providers import ProviderRecord
from meltica.providers.spec import ProviderSpec
from meltica.settings.entries import ProviderEntry
from meltica.settings.manifest import anchored
from meltica.validation.models import MASK, Loc, Locations, dotted, faults, masked, revealed
from meltica.validation.section import AdapterSettings

if TYPE_CHECKING:
    from meltica.persistence.secrets import SecretKeySource

ADAPTER: Loc = ("adapter", "identifier")
CONFIG: Loc = ("adapter", "config")
Found = list[tuple[Loc, str]]


class InvalidDeclaration(Exception):
    """A declaration has faults."""

    def __init__(self, found: Found) -> None:
        super().__init__("; ".join(text for _, text in found))
        self.found = found


class ProviderDeclarations:
    """Makes specs of the rows of providers, and rows of what is given."""

    def __init__(self, base: Path, keys: "SecretKeySource") -> None:
        """Paths in settings are relative to `base`."""
        self._base = base
        self._keys = keys

    def spec(self, record: ProviderRecord) -> ProviderSpec:
        """Returns the spec of a provider; 3: one that cannot start has a fault."""
        try:
            settings, fault = self._entry(record.adapter, self._revealed(record)).settings, None
        except (ConfigError, InvalidDeclaration) as error:
            faults = error.faults if isinstance(error, ConfigError) else (str(error),)
            settings, fault = AdapterSettings(), "; ".join(faults)
        return ProviderSpec(
            name=record.name,
            adapter=record.adapter,
            settings=anchored(settings, self._base),
            fault=fault,
        )

    def shown(self, record: ProviderRecord, spec: ProviderSpec) -> dict[str, Any]:
        """Returns the settings of a provider with their defaults; secrets are masked."""
        if spec.fault is not None:
            return record.settings
        return cast(dict[str, Any], masked(spec.settings))

    def secrets(self, record: ProviderRecord) -> dict[str, Any]:
        """Returns the secrets of a provider in clear text. Raises ConfigError if they cannot be decrypted."""
        return {key: self._decrypted(record, key) for key in record.secrets}

    def differs(self, given: Mapping[str, Any], shown: Mapping[str, Any]) -> bool:
        """Returns whether settings are others than those that GET answers."""
        if any(value is None and shown.get(key) is not None for key, value in given.items()):
            return True
        return without_nulls(cleaned(given)) != without_nulls(cleaned(shown))

    def created(
        self, name: str, adapter: str, given: Mapping[str, Any], *, plan: bool = False
    ) -> ProviderRecord:
        """Returns the row of a new provider; a `plan` of one is not stored.

        Raises InvalidDeclaration with every fault, and MelticaError.
        """
        empty = ProviderRecord(name=name, adapter=adapter)
        return self._record(empty, self._merged(empty, given, {}), plan=plan)

    def changed(
        self,
        stored: ProviderRecord,
        given: Mapping[str, Any],
        shown: Mapping[str, Any],
        *,
        plan: bool = False,
    ) -> ProviderRecord:
        """Returns the row of a provider with other settings, or `stored` if the adapter would get the same.

        `shown` is what GET answers.

        Raises InvalidDeclaration with every fault, and MelticaError.
        """
        if not self.differs(given, shown):
            return stored
        record = self._record(stored, self._merged(stored, given, shown), plan=plan)
        old, new = self.spec(stored), self.spec(record)
        same = old.fault is None and new.fault is None and old.settings == new.settings
        return stored if same else record

    def _merged(
        self, stored: ProviderRecord, given: Mapping[str, Any], shown: Mapping[str, Any]
    ) -> dict[str, Any]:
        """2: returns settings in clear text: those that are given, and those that are kept."""
        found: Found = []
        given, answered = cleaned(given), without_nulls(cleaned(shown))
        kept = {key for key in stored.secrets if key not in given or has_mask(given[key])}
        clear = {key: value for key, value in stored.settings.items() if key not in stored.secrets}
        for key in sorted(kept):
            try:
                clear[key] = self._decrypted(stored, key)
            except ConfigError as error:
                found += [((*CONFIG, key), text) for text in error.faults]
        merged = {key: clear[key] for key in kept if key not in given and key in clear}
        for key, value in given.items():
            # What GET answers has the defaults, too.
            is_default = key not in stored.settings and without_nulls(value) == answered.get(key)
            if value is None or is_default:
                continue
            merged[key] = _unmasked(value, clear.get(key))
            if has_mask(merged[key]) and (key in clear or key not in kept):
                text = f"`{dotted((*CONFIG, key))}`: {MASK} keeps a stored value, and none is stored"
                found.append(((*CONFIG, key), text))
        if found:
            raise InvalidDeclaration(found)
        return merged

    def _record(self, stored: ProviderRecord, settings: dict[str, Any], *, plan: bool) -> ProviderRecord:
        """1: returns the row of a provider with settings that are in clear text."""
        values = self._entry(stored.adapter, settings).settings
        hidden = cast(dict[str, Any], masked(values))
        clear = cast(dict[str, Any], revealed(values))
        names = {key for key in settings if hidden.get(key) != clear.get(key)}
        secrets: dict[str, str] = {}
        keys = self._keys.for_encryption(create=not plan) if names else None
        for key in sorted(names):
            assert keys is not None
            unchanged = (
                stored.key_id == keys.first
                and key in stored.secrets
                and self._decrypted(stored, key) == settings[key]
            )
            secrets[key] = stored.secrets[key] if unchanged else keys.encrypt(stored.name, key, settings[key])
        return ProviderRecord(
            name=stored.name,
            adapter=stored.adapter,
            settings={key: MASK if key in names else value for key, value in settings.items()},
            secrets=secrets,
            key_id=None if keys is None else keys.first,
            origin=stored.origin,
            enabled=stored.enabled,
        )

    def _entry(self, adapter: str, settings: Mapping[str, Any]) -> ProviderEntry:
        try:
            return ProviderEntry.model_validate({"adapter": adapter, "settings": settings})
        except ValidationError as error:
            found = faults(ProviderEntry, error.errors(), _BodyLocations())
            raise InvalidDeclaration([(_in_body(loc), text) for loc, text in found]) from None

    def _revealed(self, record: ProviderRecord) -> dict[str, Any]:
        return record.settings | self.secrets(record)

    def _decrypted(self, record: ProviderRecord, key: str) -> Any:
        keys = self._keys.keys()
        if record.key_id is None:
            raise ConfigError(f"secrets of provider `{record.name}`", [key_lost(key, None)])
        return keys.decrypt(record.name, key, record.key_id, record.secrets[key])


class _BodyLocations(Locations):
    """Describes the keys of the config file as the bodies of requests have them."""

    def describe(self, loc: Loc) -> str:
        return f"`{dotted(_in_body(loc))}`"


def _in_body(loc: Loc) -> Loc:
    return ADAPTER if loc == ("adapter",) else (*CONFIG, *loc[1:])


def cleaned(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings without blank texts, which existing clients send for fields that are not filled in."""
    texts = {key: value.strip() if isinstance(value, str) else value for key, value in given.items()}
    return {key: value for key, value in texts.items() if value != ""}


def has_mask(value: Any) -> bool:
    """Returns whether a value contains a masked secret."""
    if isinstance(value, dict):
        return any(map(has_mask, cast(dict[str, Any], value).values()))
    if isinstance(value, list):
        return any(map(has_mask, cast(list[Any], value)))
    return value == MASK


def _unmasked(given: Any, stored: Any) -> Any:
    """Returns a value with what is stored in place of each mask, where something is stored."""
    if given == MASK and stored is not None:
        return stored
    if isinstance(given, dict) and isinstance(stored, dict):
        old = cast(dict[str, Any], stored)
        return {key: _unmasked(value, old.get(key)) for key, value in cast(dict[str, Any], given).items()}
    if isinstance(given, list) and isinstance(stored, list):
        items, olds = cast(list[Any], given), cast(list[Any], stored)
        if len(items) == len(olds):
            return [_unmasked(item, old) for item, old in zip(items, olds, strict=True)]
    return cast(Any, given)
