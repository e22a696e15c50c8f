"""What the control plane of a gateway works with, made of its components."""

from typing import TYPE_CHECKING, cast

from meltica.control.services import ControlServices, TokenAdministration
from meltica.control.trading import TradingReads
from meltica.persistence.stores.audit import AuditLog
from meltica.persistence.stores.event_log import EventLog
from meltica.persistence.stores.outbox_admin import OutboxAdmin
from meltica.persistence.stores.trading.halts import HaltStore
from meltica.persistence.stores.trading.queries import TradingQueries
from meltica.persistence.stores.trading.snapshot import TradingSnapshot

if TYPE_CHECKING:
    from meltica.api.envelope import JsonObject
    from meltica.control.authentication import Authenticator
    from meltica.gateway.gateway import Gateway


def control_services(gateway: "Gateway", authenticator: "Authenticator | None") -> ControlServices:
    """Returns the services of a gateway whose components are built."""
    assert gateway.trading is not None
    assert gateway.telemetry is not None
    telemetry = gateway.telemetry
    shown = gateway.loaded.shown()
    providers = cast("dict[str, JsonObject]", shown["providers"])
    lambdas = cast("dict[str, JsonObject]", shown["lambdas"])
    return ControlServices(
        providers=gateway.providers,
        instances=gateway.instances,
        provider_stats=gateway.core.provider_stats,
        slowest=gateway.core.slowest,
        provider_settings={name: entry["settings"] for name, entry in providers.items()},
        instance_configs={id: entry["config"] for id, entry in lambdas.items()},
        declarations=gateway.declarations,
        provider_declarations=gateway.provider_declarations,
        provider_holdings=gateway.trading.held_at,
        holder_faults=gateway.trading.held_by,
        find_faults=gateway.readiness.faults,
        stopping=gateway.stopping.is_set,
        metrics=gateway.metrics,
        trading=trading_reads(gateway),
        tokens=TokenAdministration(gateway.access.store, authenticator),
        audit=AuditLog(gateway.database),
        outbox=OutboxAdmin(gateway.database),
        market=gateway.market,
        events=EventLog(gateway.database),
        snapshot=TradingSnapshot(gateway.database),
        modules=gateway.modules,
        refresh=gateway.refresh,
        add_span=telemetry.add,
        wants_spans=lambda: telemetry.wants_spans,
        context=gateway.context,
        adopt=gateway.recovery.adopt,
        uploads=gateway.settings.strategies.upload,
        environment=gateway.settings.environment,
        configuration=gateway.configuration,
        started_at=gateway.started_at,
    )


def trading_reads(gateway: "Gateway") -> TradingReads:
    """Returns what the routes read of trading."""
    trading = gateway.trading
    assert trading is not None
    return TradingReads(
        queries=TradingQueries(gateway.database),
        halts=HaltStore(gateway.database),
        desk=lambda: None if trading.runtime is None else trading.runtime.desk,
        faults=lambda: () if trading.runtime is None else trading.runtime.trading.faults(),
        operator=lambda: None if trading.runtime is None else trading.runtime.operator,
        limits=gateway.limits,
    )
