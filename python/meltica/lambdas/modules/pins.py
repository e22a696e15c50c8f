"""Pins: which revision of a stored module an instance runs.

An instance is pinned when it is created, and its row has the pin. Only a refresh moves it: neither a change
of its config, nor a restart, nor an upload starts another revision.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from meltica.lambdas.modules.names import stored

if TYPE_CHECKING:
    from meltica.lambdas.modules.catalogue import ModuleCatalogue
    from meltica.lambdas.modules.revision import Revision
    from meltica.lambdas.spec import LambdaSpec
    from meltica.persistence.stores.instances import InstanceRecord


async def pin_of(record: "InstanceRecord", modules: "ModuleCatalogue") -> "Revision | None":
    """Returns the revision that an instance is pinned to; None if it has none.

    Raises NotFound, and DatabaseUnavailable.
    """
    selector = stored(record.selector)
    if selector is None or record.revision is None:
        return None
    return await modules.pinned(selector, record.revision)


async def pinned(spec: "LambdaSpec", record: "InstanceRecord", modules: "ModuleCatalogue") -> "LambdaSpec":
    """Returns a spec with the pin of its row. Raises NotFound, and DatabaseUnavailable."""
    return replace(spec, module=await pin_of(record, modules))
