"""The limits of all scopes: those of the config file, and those that were set while the gateway ran.

1. Limits are in the database before they apply.
2. Set limits replace those of the file for their scope, until the limits of the scope in the file are edited.
3. They remain when their provider or instance is deleted, and apply to the next one of its name.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from meltica.errors import Conflict
from meltica.persistence.stores.limits import KEY, Document, LimitsStore
from meltica.trading.risk.limits import GlobalRiskLimits, InstanceRiskLimits, RiskLimits
from meltica.validation.models import load

log = logging.getLogger(__name__)

GLOBAL: Final = "global"
PROVIDER: Final = "provider:"
INSTANCE: Final = "instance:"

Limits = Mapping[str, RiskLimits]
"""Scope, as `Scope` prints it -> its limits."""


def limits_class(scope: str) -> type[RiskLimits]:
    """Returns the class of the limits of a scope."""
    if scope.startswith(INSTANCE):
        return InstanceRiskLimits
    return GlobalRiskLimits if scope == GLOBAL else RiskLimits


def as_json(limits: RiskLimits) -> dict[str, Any]:
    """Returns all limits of a scope with the keys of the config file; one that is absent is null."""
    return limits.model_dump(mode="json", by_alias=True)


class ConfiguredLimits:
    """The limits that are in force. Reads are safe on any thread."""

    def __init__(self, store: LimitsStore, file: Limits) -> None:
        """`file` has the limits of the config file."""
        self.store = store
        self._file = dict(file)
        self._set: dict[str, RiskLimits] = {}
        self._lock = asyncio.Lock()
        self.on_change: Callable[[Limits], object] = lambda _: None
        """Called with the limits of each scope that has changed."""

    def of(self, scope: str) -> RiskLimits:
        """Returns the limits of a scope; a scope without any has none."""
        found = self._set.get(scope) or self._file.get(scope)
        return limits_class(scope)() if found is None else found

    def of_global(self) -> GlobalRiskLimits:
        """Returns the limits of the global scope."""
        found = self.of(GLOBAL)
        assert isinstance(found, GlobalRiskLimits)
        return found

    def of_provider(self, name: str) -> RiskLimits:
        """Returns the limits of a provider."""
        return self.of(f"{PROVIDER}{name}")

    def of_instance(self, id: str) -> InstanceRiskLimits:
        """Returns the limits of an instance."""
        found = self.of(f"{INSTANCE}{id}")
        assert isinstance(found, InstanceRiskLimits)
        return found

    def all(self) -> dict[str, RiskLimits]:
        """Returns the limits of every scope that the file or the database has."""
        return self._file | self._set

    async def load(self) -> None:
        """Applies the stored limits, without those that an edit of the file replaces (2).

        Raises DatabaseError, and ConfigError for limits that are not valid.
        """
        row = self.store.find(KEY)
        if row is not None:
            edited = [scope for scope in row.limits if row.configured.get(scope) != self._stated(scope)]
            for scope in edited:
                log.warning(
                    "limits of %s: the config file was edited and replaces those set over REST", scope
                )
            if edited:
                kept = {scope: limits for scope, limits in row.limits.items() if scope not in edited}
                await self.store.set(kept, {scope: row.configured[scope] for scope in kept})
        self._apply()

    async def change(self, declare: Callable[[], Limits]) -> None:
        """Sets limits. `declare` returns those that change; no other change is in progress meanwhile.

        Raises Conflict during another change, DatabaseUnavailable, and what `declare` raises.
        """
        async with self.changing():
            wanted = declare()
            if wanted:
                await self.store.set(*self.documents(wanted))
                self._apply()

    @asynccontextmanager
    async def changing(self) -> AsyncGenerator[None]:
        """Keeps other changes out. Raises Conflict during another one."""
        if self._lock.locked():
            raise Conflict("risk limits: another change is in progress; retry when it is done")
        async with self._lock:
            yield

    def documents(self, wanted: Limits) -> tuple[Document, Document]:
        """Returns what the store is to have when some limits change."""
        row = self.store.find(KEY)
        limits: Document = {} if row is None else row.limits
        configured: Document = {} if row is None else row.configured
        return (
            limits | {scope: as_json(each) for scope, each in wanted.items()},
            configured | {scope: self._stated(scope) for scope in wanted},
        )

    def is_set(self, scope: str) -> bool:
        """Returns whether the limits of a scope are others than those of the file."""
        return scope in self._set

    def of_file(self, scope: str) -> RiskLimits:
        """Returns the limits that the file states for a scope."""
        return self._file.get(scope) or limits_class(scope)()

    def documents_without(self, scope: str) -> tuple[Document, Document]:
        """Returns what the store is to have when the limits of the file apply to a scope again."""
        limits, configured = self.documents({})
        return (
            {each: values for each, values in limits.items() if each != scope},
            {each: values for each, values in configured.items() if each != scope},
        )

    def discard_unrecorded(self) -> list[str]:
        """Drops nothing: limits are in the database before they apply."""
        return []

    async def adopt(self) -> None:
        """Applies what the database has: another gateway may have set it, or its answer was lost."""
        self._apply()

    def _stated(self, scope: str) -> dict[str, Any]:
        limits = self._file.get(scope)
        return {} if limits is None else limits.model_dump(mode="json", by_alias=True, exclude_unset=True)

    def _apply(self) -> None:
        row = self.store.find(KEY)
        stored: Document = {} if row is None else row.limits
        before = self._set
        self._set = {
            scope: load(limits_class(scope), each, f"stored risk limits of {scope}")
            for scope, each in stored.items()
        }
        scopes = {*before, *self._set}
        changed = {scope: self.of(scope) for scope in scopes if before.get(scope) != self._set.get(scope)}
        if changed:
            self.on_change(changed)
