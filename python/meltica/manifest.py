"""The manifest against what is stored: the file says what there is, run time says what shall run.

A provider or lambda that the file names for the first time shall run if it is enabled. Afterwards what was
asked for at run time stands, also after a restart; where that differs from the file it is shown as drift.
"""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from meltica.lambdas.loader import source_of
from meltica.persistence.instances import InstanceSpec, InstanceStore
from meltica.persistence.providers import ProviderSpec, ProviderStore
from meltica.settings_model import masked
from meltica.supervision import Desired

if TYPE_CHECKING:
    from meltica import settings

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
        return (
            f"{self.what} {self.name} is {file} in the file, but was asked to be {self.desired} at run time"
        )


@dataclass(frozen=True)
class Wanted:
    """What shall run."""

    providers: Mapping[str, Desired]
    instances: Mapping[str, Desired]
    drift: tuple[Drift, ...]


async def reconcile(loaded: "settings.Loaded", providers: ProviderStore, instances: InstanceStore) -> Wanted:
    """Brings the stored rows up to the file and returns what shall run. Raises DatabaseError."""
    drift: list[Drift] = []
    wanted_providers: dict[str, Desired] = {}
    for spec in loaded.providers.values():
        # Secrets stay in the file and the environment: the database gets them masked.
        row_spec = ProviderSpec(
            name=spec.name, adapter=spec.adapter, settings=_hidden(spec.settings), origin="baseline"
        )
        row = providers.find(spec.name)
        enabled = Desired.RUNNING if spec.enabled else Desired.STOPPED
        if row is None:
            row = await providers.add(row_spec, enabled.value)
        elif (row.adapter, row.settings, row.origin) != (row_spec.adapter, row_spec.settings, "baseline"):
            row = await providers.update(row_spec)
        wanted_providers[spec.name] = _wanted("provider", spec.name, row.desired, spec.enabled, drift)
    for row in providers.list():
        if row.origin == "baseline" and row.name not in loaded.providers:
            log.info("provider %s is no longer in the file and is forgotten", row.name)
            await providers.delete(row.name)
    wanted_instances: dict[str, Desired] = {}
    for lambda_spec in loaded.lambdas.values():
        instance_spec = _instance_spec(lambda_spec)
        stored = instances.find(lambda_spec.id)
        enabled = Desired.RUNNING if lambda_spec.enabled else Desired.STOPPED
        if stored is None:
            stored = await instances.add(instance_spec, enabled.value)
        elif _changed(stored, instance_spec):
            stored = await instances.update(instance_spec)
        wanted_instances[lambda_spec.id] = _wanted(
            "lambda", lambda_spec.id, stored.desired, lambda_spec.enabled, drift
        )
    for stored in instances.list():
        if stored.origin == "baseline" and stored.id not in loaded.lambdas:
            log.info("lambda %s is no longer in the file and is forgotten", stored.id)
            await instances.delete(stored.id)
    return Wanted(wanted_providers, wanted_instances, tuple(drift))


def _hidden(values: object) -> dict[str, Any]:
    return cast("dict[str, Any]", masked(values))


def revision(path: Path) -> str:
    """Returns the revision of a strategy's file: `sha256:` and the hash of its content."""
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def _instance_spec(spec: "settings.LambdaSpec") -> InstanceSpec:
    path = source_of(spec.strategy)
    return InstanceSpec(
        id=spec.id,
        strategy=path.stem,
        selector=spec.strategy,
        revision=revision(path) if path.is_file() else None,
        config=_hidden(spec.config),
        scope={provider: list(symbols) for provider, symbols in spec.scope.items()},
        host=spec.host,
        origin="baseline",
    )


def _changed(row: InstanceSpec, spec: InstanceSpec) -> bool:
    return any(getattr(row, field) != getattr(spec, field) for field in spec.__struct_fields__)


def _wanted(what: str, name: str, desired: str, enabled: bool, drift: list[Drift]) -> Desired:
    wanted = Desired(desired)
    if (wanted is Desired.RUNNING) != enabled:
        drift.append(Drift(what, name, wanted, enabled))
    return wanted
