"""The risk limits of a gateway: those of the config file, and those that are stored."""

from typing import TYPE_CHECKING

from meltica.persistence.stores.audit import Act, acting_as
from meltica.persistence.stores.limits import LimitsStore
from meltica.trading.risk.configured import GLOBAL, INSTANCE, PROVIDER, ConfiguredLimits

if TYPE_CHECKING:
    from meltica.persistence.database import Database
    from meltica.persistence.lock import GatewayLock
    from meltica.settings.model import Settings


async def load_limits(settings: "Settings", database: "Database", lock: "GatewayLock") -> ConfiguredLimits:
    """Returns the limits that are in force. Raises DatabaseError, and ConfigError for stored ones."""
    store = LimitsStore(database, lock)
    await store.load()
    providers = {f"{PROVIDER}{name}": entry.risk for name, entry in settings.providers.items()}
    instances = {f"{INSTANCE}{id}": entry.risk for id, entry in settings.lambdas.items()}
    limits = ConfiguredLimits(store, {GLOBAL: settings.risk, **providers, **instances})
    with acting_as(Act("config file")):
        await limits.load()
    return limits
