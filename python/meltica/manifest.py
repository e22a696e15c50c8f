"""The manifest against what is stored: the file says what there is, run time says what shall run.

A provider or lambda that the file names for the first time shall run if it is enabled. Afterwards what was
asked for at run time stands, also after a restart; where that differs from the file it is shown as drift.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

from meltica.lambdas.loader import revision, source_of
from meltica.persistence.instances import InstanceSpec
from meltica.persistence.providers import ProviderSpec
from meltica.settings_model import masked
from meltica.supervision import Desired

if TYPE_CHECKING:
    import msgspec

    from meltica import settings
    from meltica.persistence.instances import InstanceStore
    from meltica.persistence.providers import ProviderStore

    Stored = TypeVar("Stored", bound=msgspec.Struct)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Drift:
    """A provider or lambda that run time wants otherwise than the file."""

    what: str
    """`provider` or `lambda`."""
    name: str
    desired: Desired
    enabled: bool

    def __str__(self) -> str:
        file = "enabled" if self.enabled else "disabled"
        return f"{self.what} {self.name} is {file} in the file, but was asked to be {self.desired} since"


async def reconcile(
    loaded: "settings.Loaded", providers: "ProviderStore", instances: "InstanceStore"
) -> tuple[Drift, ...]:
    """Brings the stored rows up to the file. Raises DatabaseError."""
    return (
        *await _providers(loaded.providers, providers),
        *await _instances(loaded.lambdas, instances),
    )


async def _providers(specs: "Mapping[str, settings.ProviderSpec]", store: "ProviderStore") -> list[Drift]:
    drift: list[Drift] = []
    for name, entry in specs.items():
        # Secrets stay in the file and the environment: the database gets them masked.
        spec = ProviderSpec(
            name=name, adapter=entry.adapter, settings=_masked(entry.settings), origin="baseline"
        )
        row = store.find(name)
        if row is None:
            await store.add(spec, _baseline(entry.enabled).value)
            continue
        if changes := _changes(row, spec):
            log.info("provider %s has changed in the file: %s", name, ", ".join(changes))
            await store.update(spec)
        if row.desired != _baseline(entry.enabled):
            drift.append(Drift("provider", name, Desired(row.desired), entry.enabled))
    for row in store.list():
        if row.origin == "baseline" and row.name not in specs:
            log.info("provider %s is no longer in the file and is forgotten", row.name)
            await store.delete(row.name)
    return drift


async def _instances(specs: "Mapping[str, settings.LambdaSpec]", store: "InstanceStore") -> list[Drift]:
    drift: list[Drift] = []
    for id, entry in specs.items():
        spec = _instance_spec(entry)
        row = store.find(id)
        if row is None:
            await store.add(spec, _baseline(entry.enabled).value)
            continue
        if changes := _changes(row, spec):
            log.info("lambda %s has changed in its files: %s", id, ", ".join(changes))
            await store.update(spec)
        if row.desired != _baseline(entry.enabled):
            drift.append(Drift("lambda", id, Desired(row.desired), entry.enabled))
    for row in store.list():
        if row.origin == "baseline" and row.id not in specs:
            log.info("lambda %s is no longer in the file and is forgotten", row.id)
            await store.delete(row.id)
    return drift


def _instance_spec(entry: "settings.LambdaSpec") -> InstanceSpec:
    path = source_of(entry.strategy)
    return InstanceSpec(
        id=entry.id,
        strategy=path.stem,
        selector=entry.strategy,
        revision=revision(path),
        config=_masked(entry.config),
        scope={provider: list(symbols) for provider, symbols in entry.scope.items()},
        host=entry.host,
        origin="baseline",
    )


def _changes(row: "Stored", spec: "Stored") -> list[str]:
    return [name for name in spec.__struct_fields__ if getattr(row, name) != getattr(spec, name)]


def _baseline(enabled: bool) -> Desired:
    return Desired.RUNNING if enabled else Desired.STOPPED


def _masked(values: object) -> dict[str, Any]:
    return cast("dict[str, Any]", masked(values))
