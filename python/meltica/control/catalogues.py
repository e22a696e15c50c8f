"""The strategies and adapters that can be loaded, as schemas."""

import asyncio
import logging
from functools import cached_property, partial
from typing import TYPE_CHECKING

import msgspec

from meltica.adapters import registry
from meltica.api.adapters import Adapter
from meltica.api.envelope import without_nulls
from meltica.api.strategies import Strategy
from meltica.control.modules import strategy_of
from meltica.errors import ConfigError, LambdaError
from meltica.lambdas import loader, shipped
from meltica.lambdas.failures import described
from meltica.lambdas.modules.names import stored
from meltica.lambdas.strategy import description
from meltica.runtime.threads import call, within

if TYPE_CHECKING:
    from collections.abc import Callable

    from meltica.lambdas.base import Lambda
    from meltica.lambdas.manager import InstanceManager, ManagedInstance
    from meltica.lambdas.modules.catalogue import ModuleCatalogue
    from meltica.lambdas.modules.revision import Revision

LOAD_SECONDS = 5.0
"""How long loading one strategy may take."""

log = logging.getLogger(__name__)


class AdapterCatalogue:
    """The installed adapters."""

    @cached_property
    def adapters(self) -> dict[str, Adapter]:
        """The adapters that can be loaded, by name; of the others the log has the cause."""
        found: dict[str, Adapter] = {}
        for name in registry.names(registry.ADAPTERS):
            try:
                metadata = registry.adapter(name).metadata()
            except ConfigError as error:
                log.warning("%s", error)
            else:
                found[name] = msgspec.convert({**without_nulls(metadata), "identifier": name}, Adapter)
        return found


class StrategyCatalogue:
    """The shipped strategies, the stored modules, and the strategies of all instances.

    Each is loaded at most once, on a thread of its own, as loading a strategy runs the code of its file.
    """

    def __init__(self, instances: "InstanceManager", modules: "ModuleCatalogue") -> None:
        self._instances = instances
        self._modules = modules
        self._loaded: dict[str | Revision, type[Lambda] | None] = {}
        self._loading = asyncio.Lock()

    async def strategies(self) -> dict[str, Strategy]:
        """Returns the strategies by name; of two with one name, that of the instance with the last id.

        Of a stored module, the revision that `latest` selects. Raises DatabaseUnavailable.
        """
        await self.load()
        classes = [cls for key, cls in self._loaded.items() if isinstance(key, str) and cls is not None]
        others = [each for each in self._instances.all() if each.spec.module is None]
        classes += [instance.strategy for instance in others if instance.strategy is not None]
        schemas = [description(cls).strategy for cls in classes]
        schemas += [strategy_of(module.latest) for module in await self._modules.modules()]
        return {strategy.name: strategy for strategy in schemas}

    def of(self, instance: "ManagedInstance") -> "type[Lambda] | None":
        """Returns the class of an instance, None when it is not loaded or cannot be."""
        module = instance.spec.module
        # The last run may have been that of an earlier revision.
        pinned = None if module is None else self._loaded.get(module)
        return pinned or instance.strategy or self._loaded.get(instance.spec.strategy)

    async def load(self) -> None:
        """Loads the strategies that are not loaded yet; the log names those that cannot be."""
        async with self._loading:
            wanted: dict[str | Revision, Callable[[], type[Lambda]]]
            wanted = {name: partial(loader.load, name) for name in shipped.names()}
            for instance in self._instances.all():
                spec = instance.spec
                # A module that is not stored may be uploaded later.
                not_loaded = instance.strategy is None and stored(spec.strategy) is None
                if spec.module is not None or not_loaded:
                    wanted[spec.module or spec.strategy] = spec.load
            for key, load in wanted.items():
                if key not in self._loaded:
                    self._loaded[key] = await _load(str(key), load)


async def _load(reference: str, load: "Callable[[], type[Lambda]]") -> "type[Lambda] | None":
    try:
        return await within(LOAD_SECONDS, call(partial(described, load), "meltica-strategy"))
    except LambdaError as error:
        log.warning("strategy %s is not listed: %s", reference, error)
    except TimeoutError:
        log.warning("strategy %s is not listed: it did not load within %g s", reference, LOAD_SECONDS)
    return None
