"""Makes the JSON of strategy modules."""

from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import UNSET

from meltica.api.envelope import optional, without_nulls
from meltica.api.modules import (
    ModuleRegistry,
    ModuleRevision,
    RefreshedSelector,
    RegisteredModule,
    RegisteredRevision,
    RevisionUsage,
    StrategyModule,
    UploadedModule,
)
from meltica.api.strategies import Strategy
from meltica.control.changes import ChangeRunner
from meltica.lambdas.modules.catalogue import Module, ModuleCatalogue
from meltica.lambdas.modules.refresh import Refreshed
from meltica.persistence.stores.modules import RevisionRow, UseRow

DIRECTORY = "database"
"""Existing clients require a directory of strategies."""


class ModuleView:
    """Shows modules. `is_running` returns whether an instance runs, by id."""

    def __init__(self, modules: ModuleCatalogue, is_running: Callable[[str], bool]) -> None:
        self._modules = modules
        self._is_running = is_running

    async def all(self) -> list[StrategyModule]:
        """Returns all modules, by name."""
        modules = await self._modules.modules()
        uses = await self._uses(modules)
        return [self._module(module, uses) for module in modules]

    async def one(self, module: Module, shown: RevisionRow) -> StrategyModule:
        """Returns one module with the hash, version and metadata of `shown`."""
        return self._module(module, await self._uses([module]), shown)

    async def registry(self) -> ModuleRegistry:
        """Returns all modules as the registry."""
        modules = await self._modules.modules()
        uses = await self._uses(modules)
        return ModuleRegistry(
            registry={module.name: _registered(module) for module in modules},
            usage=[
                self.usage(module.name, row.hash, uses[row.hash])
                for module in modules
                for row in module.revisions
                if uses[row.hash]
            ],
        )

    def usage(self, name: str, hash: str, uses: Sequence[UseRow]) -> RevisionUsage:
        """Returns the use of a revision."""
        return RevisionUsage(
            strategy=name,
            hash=hash,
            instances=[use.id for use in uses],
            count=len(uses),
            first_seen=_time(min(use.created_at for use in uses)) if uses else UNSET,
            last_seen=_time(max(use.updated_at for use in uses)) if uses else UNSET,
            running=any(self._is_running(use.id) for use in uses),
        )

    def _module(
        self, module: Module, uses: dict[str, list[UseRow]], shown: RevisionRow | None = None
    ) -> StrategyModule:
        row = shown or module.latest
        usages = [self.usage(module.name, each.hash, uses[each.hash]) for each in module.revisions]
        return StrategyModule(
            name=module.name,
            file=f"{module.name}.py",
            path=path_of(module, row),
            hash=row.hash,
            version=optional(row.version),
            tags=sorted(module.tags),
            tag_aliases=module.tags,
            revisions=[_revision(module, each, used=bool(uses[each.hash])) for each in module.revisions],
            running=sorted(
                (usage for usage in usages if usage.running), key=lambda usage: (-usage.count, usage.hash)
            ),
            size=row.size,
            metadata=strategy_of(row),
        )

    async def _uses(self, modules: Sequence[Module]) -> dict[str, list[UseRow]]:
        found = defaultdict[str, list[UseRow]](list)
        for use in await self._modules.uses([row.hash for module in modules for row in module.revisions]):
            found[use.revision].append(use)
        return found


def uploaded(module: Module, row: RevisionRow) -> UploadedModule:
    """Returns a revision that was stored."""
    return UploadedModule(
        name=module.name,
        hash=row.hash,
        tag=optional(module.tag_of(row.hash)),
        version=optional(row.version),
        file=f"{module.name}.py",
        path=path_of(module, row),
    )


async def refreshed(
    changes: ChangeRunner, refresh: Coroutine[Any, Any, list[Refreshed]]
) -> list[RefreshedSelector] | None:
    """Returns the results of a refresh; None if it takes longer and continues in the background."""
    results: list[Refreshed] = []

    async def run() -> None:
        results.extend(await refresh)

    if not await changes.run(run(), "refresh of strategies", lambda: True):
        return None
    return [
        RefreshedSelector(
            selector=each.selector,
            strategy=optional(each.strategy),
            hash=optional(each.hash),
            previous_hash=optional(each.previous_hash),
            instances=list(each.instances) or UNSET,
            reason=each.reason,
            error=optional(each.error),
        )
        for each in results
    ]


def path_of(module: Module, row: RevisionRow) -> str:
    """Returns `<name>/<tag>/<name>.py`; a revision without a tag has its hash there."""
    return f"{module.name}/{module.tag_of(row.hash) or row.hash}/{module.name}.py"


def strategy_of(row: RevisionRow) -> Strategy:
    """Returns what the class of a revision says about itself."""
    return msgspec.convert(without_nulls(row.metadata), Strategy)


def _revision(module: Module, row: RevisionRow, *, used: bool) -> ModuleRevision:
    tag = module.tag_of(row.hash)
    return ModuleRevision(
        hash=row.hash,
        tag=optional(tag),
        path=path_of(module, row),
        version=optional(row.version),
        size=row.size,
        retired=UNSET if used or tag is not None else True,
    )


def _registered(module: Module) -> RegisteredModule:
    hashes = {
        row.hash: RegisteredRevision(tag=optional(module.tag_of(row.hash)), path=path_of(module, row))
        for row in module.revisions
    }
    return RegisteredModule(tags=module.tags, hashes=hashes)


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
