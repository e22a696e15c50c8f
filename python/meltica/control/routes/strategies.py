"""`/strategies`: the shipped strategies and those of the configured lambdas."""

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from meltica.api.strategies import Strategies, Strategy
from meltica.control.access import VIEWER
from meltica.control.catalogues import StrategyCatalogue
from meltica.control.routes.openapi import NOT_FOUND
from meltica.errors import NotFound, suggestion


class StrategiesController(Controller):
    """All strategies."""

    path = "/strategies"
    tags = ["strategies"]
    guards = [VIEWER]

    @get(summary="List the strategies", operation_id="listStrategies")
    async def list_strategies(self, strategies: NamedDependency[StrategyCatalogue]) -> Strategies:
        """Returns all strategies, by name."""
        found = await strategies.strategies()
        return Strategies(strategies=[found[name] for name in sorted(found)])

    @get(
        "/{name:str}",
        summary="Get a strategy",
        description="The name is not case-sensitive.",
        operation_id="getStrategy",
        responses=NOT_FOUND,
    )
    async def get_strategy(
        self, name: FromPath[str], strategies: NamedDependency[StrategyCatalogue]
    ) -> Strategy:
        """Returns a strategy by its name in any case. Raises NotFound."""
        found = await strategies.strategies()
        for other, strategy in found.items():
            if other.lower() == name.lower():
                return strategy
        raise NotFound(f"strategy `{name}` does not exist{suggestion(name, found)}")
