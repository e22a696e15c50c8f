"""Applies the config file, the baseline, to the stored providers and lambdas.

An entry that is new in the file runs if it is enabled, and so does an entry whose `enabled` was edited.
Otherwise the last start or stop over REST remains in force, also after a restart; a difference from the file
is shown as drift.

Settings that may select another account are refused while instances have live orders or positions at the
provider, as over REST: what is open could neither be seen nor cancelled any more.

An entry that is no longer in the file is deleted. While it has open orders or positions, its row is kept and
stopped, with the uid that they carry; when it returns to the file, it continues with them.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from meltica.control.provider_changes import another_account
from meltica.errors import ConfigError, NotFound
from meltica.gateway.provider_accounts import account_of, is_other_account
from meltica.gateway.trading import OPEN, ends_with_process
from meltica.lambdas.loader import revision, source_of
from meltica.lambdas.modules.catalogue import ModuleCatalogue
from meltica.lambdas.modules.names import stored
from meltica.persistence.stores.audit import Act, acting_as
from meltica.persistence.stores.instances import InstanceRecord
from meltica.persistence.stores.modules import ModuleStore
from meltica.persistence.stores.providers import ProviderRecord
from meltica.persistence.stores.trading.holdings import holdings
from meltica.runtime.lifecycle import Desired
from meltica.validation.models import masked

if TYPE_CHECKING:
    from meltica import settings
    from meltica.lambdas.spec import LambdaSpec
    from meltica.persistence.database import Database
    from meltica.persistence.stores.instances import InstanceRow, InstanceStore
    from meltica.persistence.stores.providers import ProviderStore
    from meltica.persistence.stores.supervised import Spec, State, StateRow, StateStore
    from meltica.providers.spec import ProviderSpec

log = logging.getLogger("meltica.gateway")
KEPT = (
    "%s %s is no longer in the file, but has orders or positions: it is kept, stopped;"
    " put it back into the file, or release the positions with `meltica positions release`"
)


@dataclass(frozen=True)
class Drift:
    """A provider or lambda whose desired state differs from the config file."""

    kind: str
    """`provider` or `lambda`."""
    name: str
    desired: Desired
    enabled: bool

    def __str__(self) -> str:
        file = "enabled" if self.enabled else "disabled"
        return f"{self.kind} {self.name} is {file} in the file, but its desired state is {self.desired}"


async def apply_baseline(
    loaded: "settings.Loaded",
    providers: "ProviderStore",
    instances: "InstanceStore",
    database: "Database",
) -> tuple[Drift, ...]:
    """Applies the config file to the stored rows; returns the differences.

    Raises ConfigError for another account, and DatabaseError.
    """
    held = await holdings(database)
    provider_records = _provider_records(loaded.providers, providers, held.live)
    modules = ModuleCatalogue(ModuleStore(database))
    instance_records = {
        id: await _instance_record(entry, instances.find(id), modules) for id, entry in loaded.lambdas.items()
    }
    with acting_as(Act("config file")):
        return (
            *await _apply("provider", provider_records, providers, lambda row: row.name in held.providers),
            *await _apply("lambda", instance_records, instances, lambda row: row.uid in held.instances),
        )


async def _apply(
    kind: str,
    specs: "Mapping[str, Spec]",
    store: "StateStore[StateRow, Spec, State]",
    is_held: "Callable[[StateRow], bool]",
) -> list[Drift]:
    drift: list[Drift] = []
    for name, spec in specs.items():
        enabled = spec.enabled is True
        desired = Desired.RUNNING if enabled else Desired.STOPPED
        row = store.find(name)
        if row is None:
            await store.add(spec, desired)
            continue
        changes = [field for field in spec.__struct_fields__ if getattr(row, field) != getattr(spec, field)]
        # A row of an older version has no `enabled`, so an edit is not detectable: keep the desired state.
        known = [field for field in changes if field != "account"]
        edited = [field for field in known if field != "enabled" or row.enabled is not None]
        if edited:
            log.info("%s %s was edited: %s", kind, name, ", ".join(edited))
        if changes:
            row = await store.update(spec, desired if "enabled" in edited else None)
        if row.desired != desired:
            drift.append(Drift(kind, name, row.desired, enabled))
    for name in sorted(store.keys() - specs.keys()):
        row = store.get(name)
        if row.origin != "baseline":
            continue
        if is_held(row):
            log.warning(KEPT, kind, name)
            await store.keep_absent(name)
        else:
            log.info("%s %s is no longer in the file and is removed", kind, name)
            await store.delete(name)
    return drift


def _provider_records(
    entries: "Mapping[str, ProviderSpec]", store: "ProviderStore", held: "Collection[str]"
) -> dict[str, ProviderRecord]:
    """Returns the rows of providers. Raises ConfigError for those with another account that are `held`."""
    records, found = dict[str, ProviderRecord](), list[str]()
    for name, entry in entries.items():
        row = store.find(name)
        account = account_of(entry, row)
        other = row is not None and not ends_with_process(row) and is_other_account(entry, row, account)
        if other and name in held and not entry.same_account:
            first = another_account(OPEN)
            text = "state with `sameAccount: true` that it is the same account"
            found.append(f"provider `{name}` not changed: {first} first, or {text}")
        if entry.same_account and not other:
            log.warning("provider %s: `sameAccount` has no effect any more; remove it", name)
        records[name] = _provider_record(entry, account)
    if found:
        raise ConfigError("config", found)
    return records


def _provider_record(entry: "ProviderSpec", account: str) -> ProviderRecord:
    return ProviderRecord(
        name=entry.name,
        adapter=entry.adapter,
        # Secrets stay in the file and the environment; the database stores them masked.
        settings=_masked(entry.settings),
        origin="baseline",
        enabled=entry.enabled,
        account=account,
    )


async def _instance_record(
    entry: "LambdaSpec", row: "InstanceRow | None", modules: ModuleCatalogue
) -> InstanceRecord:
    selector = stored(entry.strategy)
    if selector is None:
        path = source_of(entry.strategy)
        name, tag, hash = path.stem, None, revision(path)
    else:
        name, tag, hash = str(selector.name), selector.tag, await _pin(entry, row, modules)
    return InstanceRecord(
        id=entry.id,
        strategy=name,
        selector=entry.strategy,
        tag=tag,
        revision=hash,
        config=_masked(entry.config),
        scope={provider: list(symbols) for provider, symbols in entry.scope.items()},
        host=entry.host,
        dry_run=entry.dry_run,
        on_stop=entry.on_stop,
        origin="baseline",
        enabled=entry.enabled,
    )


async def _pin(entry: "LambdaSpec", row: "InstanceRow | None", modules: ModuleCatalogue) -> str | None:
    """Returns the revision that a lambda is pinned to; None for a module or tag that does not exist."""
    if row is not None and row.selector == entry.strategy and row.revision is not None:
        return row.revision
    try:
        return (await modules.resolve(entry.strategy)).hash
    except NotFound as error:
        log.error("lambda %s cannot run: %s; upload it, then refresh the strategies", entry.id, error)
        return None


def _masked(values: object) -> dict[str, Any]:
    return cast("dict[str, Any]", masked(values))
