"""`StrategyRefresh`: moves instances to the revisions that their tags select now.

1. The class of the new revision is loaded, and the config of the instance validated with it. If that fails,
   nothing changes.
2. The pin is moved in the row of the instance.
3. An instance that runs is stopped and started again: `on_load` gets what `on_save` returned at the stop. If
   the new revision does not start, the pin is moved back, and the earlier revision runs on.

An instance that does not run stays stopped. One that was selected by a hash never moves.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

from meltica.errors import Conflict, LambdaError, MelticaError, one_line
from meltica.lambdas.failures import described
from meltica.lambdas.instances import check_class
from meltica.lambdas.modules.names import Selector, canonical_hash, stored
from meltica.persistence.database import rehearsing
from meltica.persistence.stores.instances import declaration
from meltica.runtime.threads import call, within

if TYPE_CHECKING:
    from meltica.lambdas.managed import ManagedInstance
    from meltica.lambdas.manager import InstanceManager
    from meltica.lambdas.modules.catalogue import ModuleCatalogue
    from meltica.lambdas.modules.directory import ModuleDirectory
    from meltica.lambdas.modules.revision import Revision
    from meltica.lambdas.spec import LambdaSpec
    from meltica.persistence.stores.instances import InstanceRecord, InstanceRow

LOAD_SECONDS = 5.0
"""How long loading a revision may take."""

Reason = Literal["refreshed", "alreadyPinned", "retired", "failed"]

log = logging.getLogger("meltica.lambdas")


@dataclass(frozen=True, kw_only=True)
class Refreshed:
    """What a refresh did to the instances with one selector, or to one target or file."""

    selector: str
    """A name or hash of the request that matched no instance is shown as it is, and so is a file."""
    strategy: str | None = None
    hash: str | None = None
    """The revision that the selector selects now."""
    previous_hash: str | None = None
    """The revision before; of a refresh that failed, it is still the current one."""
    instances: tuple[str, ...] = ()
    reason: Reason
    error: str | None = None


class StrategyRefresh:
    """Refreshes the instances of a gateway; one refresh at a time."""

    def __init__(
        self,
        instances: "InstanceManager",
        modules: "ModuleCatalogue",
        directory: "ModuleDirectory | None" = None,
    ) -> None:
        self._instances = instances
        self._modules = modules
        self._directory = directory
        self._refreshing = asyncio.Lock()

    async def all(self) -> list[Refreshed]:
        """Reads the folder of strategies, then refreshes all instances. Raises DatabaseError."""
        return [*await self._read(), *await self._refresh(lambda _, __: True)]

    async def some(self, strategies: Iterable[str], hashes: Iterable[str]) -> list[Refreshed]:
        """Refreshes the instances of modules, by name, and of revisions. Raises DatabaseError."""
        names = {name.strip().lower() for name in strategies}
        pins = {canonical_hash(hash) or hash for hash in hashes}
        unmatched = {*names, *pins}

        def wanted(selector: Selector, row: "InstanceRow") -> bool:
            found = {str(selector.name), str(row.revision)} & {*names, *pins}
            unmatched.difference_update(found)
            return bool(found)

        results = [*await self._read(), *await self._refresh(wanted)]
        retired = [
            Refreshed(
                selector=target,
                strategy=target if target in names else None,
                hash=target if target in pins else None,
                reason="retired",
            )
            for target in unmatched
        ]
        return sorted([*results, *retired], key=_order)

    async def tag(self, name: str, tag: str) -> list[Refreshed]:
        """Refreshes the instances that were selected by a tag."""
        own = (name.lower(), tag.lower())
        return await self._refresh(lambda selector, _: (selector.name, (selector.tag or "").lower()) == own)

    async def _read(self) -> list[Refreshed]:
        # A rehearsal does not see what the folder would add.
        directory = None if rehearsing.get() else self._directory
        faults = {} if directory is None else await directory.read()
        return [Refreshed(selector=file, reason="failed", error=text) for file, text in faults.items()]

    async def _refresh(self, wanted: "Callable[[Selector, InstanceRow], bool]") -> list[Refreshed]:
        async with self._refreshing:
            selected: list[tuple[ManagedInstance, Selector, InstanceRow]] = []
            for instance in self._instances.all():
                row = self._instances.stored(instance.id)
                selector = stored(row.selector)
                if selector is not None and wanted(selector, row):
                    selected.append((instance, selector, row))
            return _grouped(await asyncio.gather(*(self._one(*each) for each in selected)))

    async def _one(self, instance: "ManagedInstance", selector: Selector, row: "InstanceRow") -> Refreshed:
        outcome = Refreshed(
            selector=row.selector,
            strategy=selector.name,
            hash=row.revision,
            instances=(instance.id,),
            reason="alreadyPinned",
        )
        try:
            revision = await self._modules.resolve(row.selector)
            if revision.hash == row.revision and instance.spec.module is not None:
                return outcome
            outcome = replace(outcome, hash=revision.hash, previous_hash=row.revision)
            if rehearsing.get():
                return replace(outcome, reason="refreshed")
            await self._move(instance, row, revision)
        except (MelticaError, TimeoutError) as error:
            text = one_line(error)
            log.error("instance %s not refreshed: %s", instance.id, text)
            return replace(outcome, reason="failed", error=text)
        log.info("instance %s moved to revision %s", instance.id, revision.hash)
        return replace(outcome, reason="refreshed")

    async def _move(self, instance: "ManagedInstance", before: "InstanceRow", revision: "Revision") -> None:
        """Moves the pin of an instance, and restarts it if it runs. Raises MelticaError and TimeoutError."""
        check = partial(described, lambda: check_class(revision.load(), instance.spec.config))
        await within(LOAD_SECONDS, call(check, "meltica-strategy"))

        def declare(row: "InstanceRow") -> "tuple[LambdaSpec, InstanceRecord]":
            if row.uid != before.uid:
                raise Conflict(f"instance `{row.id}` was deleted and created again")
            return replace(instance.spec, module=revision), declaration(row, revision=revision.hash)

        await self._instances.change(instance.id, declare, roll_back=True)
        if instance.abandoned:
            raise LambdaError(f"instance `{instance.id}` is stuck: {instance.last_error}")


def _grouped(outcomes: Collection[Refreshed]) -> list[Refreshed]:
    """Returns one result for instances with the same outcome, by selector and strategy."""
    groups: dict[Refreshed, list[str]] = {}
    for outcome in outcomes:
        groups.setdefault(replace(outcome, instances=()), []).extend(outcome.instances)
    results = [replace(group, instances=tuple(ids)) for group, ids in groups.items()]
    return sorted(results, key=_order)


def _order(result: Refreshed) -> tuple[str, str]:
    return result.selector, result.strategy or ""
