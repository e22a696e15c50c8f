"""`/strategies`: those that come with Meltica, and those of the configured lambdas."""

import asyncio
import logging
from typing import TYPE_CHECKING

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from meltica.api.envelope import without_nulls
from meltica.api.strategies import Strategies, Strategy
from meltica.control.openapi import NOT_FOUND
from meltica.errors import LambdaError, NotFound, suggestion
from meltica.lambdas import loader, shipped
from meltica.lambdas.strategy import describe
from meltica.runtime.threads import call, within

if TYPE_CHECKING:
    from meltica.lambdas.base import Lambda
    from meltica.lambdas.manager import InstanceManager, ManagedInstance

LOAD_SECONDS = 5.0
"""How long loading strategies that no lambda has run yet may take."""

log = logging.getLogger(__name__)


def routes(catalogue: "Catalogue") -> list[HTTPRouteHandler]:
    """Returns the handlers."""

    @get("/strategies", summary="All strategies", operation_id="listStrategies", tags=["strategies"])
    async def list_strategies() -> Strategies:
        known = await catalogue.strategies()
        return Strategies(strategies=[known[name] for name in sorted(known)])

    @get(
        "/strategies/{name:str}",
        summary="One strategy",
        description="Upper and lower case are the same here.",
        operation_id="getStrategy",
        tags=["strategies"],
        responses=NOT_FOUND,
    )
    async def get_strategy(name: FromPath[str]) -> Strategy:
        known = await catalogue.strategies()
        found = next((known[other] for other in known if other.lower() == name.lower()), None)
        if found is None:
            raise NotFound(f"strategy `{name}` does not exist{suggestion(name, known)}")
        return found

    return [list_strategies, get_strategy]


class Catalogue:
    """The strategies. Each file is loaded once at most, away from the loop, as loading runs what it holds."""

    def __init__(self, instances: "InstanceManager") -> None:
        self._instances = instances
        self._loaded: dict[str, type[Lambda] | None] = {}
        self._loading = asyncio.Lock()

    async def strategies(self) -> dict[str, Strategy]:
        """Returns the strategies by name; of two with one name that of a lambda counts, the last by id."""
        await self.load()
        classes = [cls for cls in self._loaded.values() if cls is not None]
        classes += [instance.strategy for instance in self._instances.all() if instance.strategy is not None]
        shown = (_shown(cls) for cls in classes)
        return {strategy.name: strategy for strategy in shown}

    def of(self, instance: "ManagedInstance") -> "type[Lambda] | None":
        """Returns the class of an instance, None when it has not been loaded or cannot be."""
        return instance.strategy or self._loaded.get(instance.spec.strategy)

    async def load(self) -> None:
        """Loads what has not been: of what cannot be loaded, the log tells why."""
        async with self._loading:
            wanted = shipped.names()
            wanted += [one.spec.strategy for one in self._instances.all() if one.strategy is None]
            for reference in wanted:
                if reference not in self._loaded:
                    self._loaded[reference] = await _loaded(reference)


async def _loaded(reference: str) -> "type[Lambda] | None":
    try:
        return await within(LOAD_SECONDS, call(lambda: loader.load(reference), "meltica-strategy"))
    except LambdaError as error:
        log.warning("strategy %s is not shown: %s", reference, error)
    except TimeoutError:
        log.warning("strategy %s is not shown: it did not load in %g s", reference, LOAD_SECONDS)
    return None


def _shown(cls: "type[Lambda]") -> Strategy:
    return msgspec.convert(without_nulls(describe(cls)), Strategy)
