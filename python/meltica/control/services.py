"""What the routes work with. The gateway builds it, so that no route sees the gateway itself."""

import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from meltica._core import SlowDelivery
from meltica.api.envelope import JsonObject
from meltica.control.authentication import Authenticator
from meltica.control.streams.market import MarketTap
from meltica.control.trading import TradingReads
from meltica.errors import DatabaseError
from meltica.lambdas.manager import InstanceManager
from meltica.lambdas.modules.catalogue import ModuleCatalogue
from meltica.lambdas.modules.refresh import StrategyRefresh
from meltica.model.access import TokenScope
from meltica.persistence.stores.audit import AuditLog
from meltica.persistence.stores.context import ContextStore
from meltica.persistence.stores.event_log import EventLog
from meltica.persistence.stores.instances import InstanceRow
from meltica.persistence.stores.outbox_admin import OutboxAdmin
from meltica.persistence.stores.tokens import NewToken, TokenRow, TokenStore
from meltica.persistence.stores.trading.snapshot import TradingSnapshot
from meltica.providers.manager import ProviderManager
from meltica.settings.declarations import Declarations
from meltica.settings.provider_declarations import ProviderDeclarations
from meltica.settings.runtime import RuntimeConfiguration
from meltica.telemetry.otlp.spans import Span
from meltica.telemetry.registry import MetricRegistry


@dataclass(frozen=True)
class TokenAdministration:
    """The tokens of clients."""

    store: TokenStore
    authenticator: Authenticator | None
    """None if every client is admitted."""

    async def create(self, name: str, scope: TokenScope, expires_at: datetime | None, actor: str) -> NewToken:
        """Creates a token. Raises DatabaseUnavailable."""
        created = await self.store.create(name, scope, expires_at, actor)
        await self._changed()
        return created

    async def revoke(self, id: str, actor: str) -> TokenRow:
        """Revokes a token. Raises NotFound, Conflict and DatabaseUnavailable."""
        row = await self.store.revoke(id, actor, keep_admin=True)
        await self._changed()
        return row

    async def _changed(self) -> None:
        """Lets a change take effect at once; if the database does not respond, within seconds."""
        if self.authenticator is not None:
            with contextlib.suppress(DatabaseError):
                await self.authenticator.read_again()


class ProviderHoldings(Protocol):
    """Returns what instances still have at a provider; None if they have nothing."""

    def __call__(self, provider: str, /, *, live: bool = False) -> Awaitable[str | None]:
        """With `live`, only what they have on its account."""
        ...


@dataclass(frozen=True)
class ControlServices:
    """The parts of one gateway that the control plane shows and changes."""

    providers: ProviderManager
    instances: InstanceManager
    provider_stats: Callable[[], Mapping[str, Mapping[str, Any]]]
    """Returns the core's counters of each provider that has started."""
    slowest: Callable[[], Sequence[SlowDelivery]]
    """Returns the slowest deliveries of the last minute."""
    provider_settings: Mapping[str, JsonObject]
    """Name -> configured settings, with secrets and variables hidden."""
    instance_configs: Mapping[str, JsonObject]
    """Id -> configured values, with secrets and variables hidden."""
    declarations: Declarations
    """Checks instances that are declared over REST."""
    provider_declarations: ProviderDeclarations
    """Checks providers that are declared over REST."""
    provider_holdings: "ProviderHoldings"
    holder_faults: Callable[[InstanceRow], Awaitable[str | None]]
    """Returns what an instance still has at its providers, such as open orders; None if it has nothing."""
    find_faults: Callable[[], Awaitable[dict[str, str]]]
    """Returns what keeps the gateway from being ready, by part."""
    stopping: Callable[[], bool]
    """Returns whether the gateway has begun to stop."""
    metrics: MetricRegistry
    """The metrics of all parts; the control plane adds those of its requests."""
    trading: TradingReads
    tokens: TokenAdministration
    audit: AuditLog
    outbox: OutboxAdmin
    events: EventLog
    market: MarketTap
    """The market data of streams."""
    snapshot: TradingSnapshot
    modules: ModuleCatalogue
    context: ContextStore
    """Writes everything that is configured at once."""
    adopt: Callable[[], Awaitable[None]]
    """Lets the gateway run what `context` has written."""
    refresh: StrategyRefresh
    add_span: Callable[[Span], object]
    """Exports the span of a request."""
    wants_spans: Callable[[], bool]
    uploads: bool
    """Whether modules may be uploaded."""
    environment: str
    configuration: RuntimeConfiguration
    started_at: float
    """Seconds since 1970."""
