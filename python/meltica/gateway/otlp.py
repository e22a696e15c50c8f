"""`Telemetry`: gives ended orders and snapshots of the metrics to the exporter, on the gateway's loop.

Orders come from the outbox, so nothing of the export runs in trading. The outbox is read when the exporter
has room, so orders that end while the collector is down are exported later. Orders that ended before the
gateway started are not exported.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from uuid import UUID

from meltica.errors import ConfigError, DatabaseError, one_line
from meltica.gateway.order_spans import build
from meltica.model.enums import OrderState
from meltica.persistence.database import Database
from meltica.persistence.stores.event_log import EventLog
from meltica.persistence.stores.outbox import TRACE
from meltica.persistence.stores.trading.loaders import TradingLoader
from meltica.persistence.stores.trading.rows import FillRow
from meltica.runtime.threads import call
from meltica.telemetry.otlp.exporter import Counts, Exporter
from meltica.telemetry.otlp.spans import Span
from meltica.telemetry.otlp.target import Target, target_of
from meltica.telemetry.registry import MetricRegistry
from meltica.telemetry.trace_context import parse

if TYPE_CHECKING:
    from meltica.settings.model import Settings

POLL: Final = 0.5
"""Seconds between two reads of the outbox."""
LIMIT: Final = 500
LAST_READ: Final = 0.3
"""Seconds of the read at the stop."""
ENDS: Final = frozenset(
    f"order.{state.lower()}"
    for state in (OrderState.FILLED, OrderState.CANCELLED, OrderState.REJECTED, OrderState.EXPIRED)
)

log = logging.getLogger("meltica.telemetry")


class Telemetry:
    """The export of a gateway's telemetry, until `stop`."""

    def __init__(self, database: Database, registry: MetricRegistry, environment: Mapping[str, str]) -> None:
        self.counts = Counts()
        self._events = EventLog(database)
        self._loader = TradingLoader(database)
        self._registry = registry
        self._environment = environment
        self._target: Target | None = None
        self._exporter: Exporter | None = None
        self._task: asyncio.Task[None] | None = None
        self._position: int | None = None

    async def begin(self, settings: "Settings") -> None:
        """Exports from now on: every order that ends after this call."""
        self.apply(settings)
        if self._exporter is not None:
            try:
                self._position = await self._events.position()
            except DatabaseError as error:
                log.warning("orders are exported when the database responds: %s", one_line(error))

    def apply(self, settings: "Settings") -> None:
        """Exports to where settings say from now on; a fault is logged, and nothing is exported."""
        try:
            target = _target(settings, self._environment)
            if target == self._target:
                return
            exporter = None if target is None else Exporter(target, self.counts)
        except (ConfigError, OSError) as error:
            log.error("telemetry is not exported: %s; correct the settings", one_line(error))
            target = exporter = None
        old, self._exporter, self._target = self._exporter, exporter, target
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if old is not None:
            self._ended = call(old.stop, "meltica-telemetry-stop")
        if exporter is not None:
            exporter.start()
            self._task = asyncio.get_running_loop().create_task(self._run(exporter), name="meltica-telemetry")

    @property
    def wants_spans(self) -> bool:
        """Whether traces are exported."""
        return self._exporter is not None and self._exporter.wants_traces

    def add(self, span: Span) -> None:
        """Exports a span, if traces are exported."""
        if self._exporter is not None:
            self._exporter.add(lambda: (span,))

    async def stop(self) -> bool:
        """Exports what waits and ends the export, within a second."""
        task, exporter = self._task, self._exporter
        self._task = self._exporter = self._target = None
        if task is None or exporter is None:
            return True
        task.cancel()
        await asyncio.wait({task})
        try:
            async with asyncio.timeout(LAST_READ):
                while await self._read(exporter):
                    pass
        except (DatabaseError, TimeoutError) as error:
            log.warning("the last orders are not exported: %s", one_line(error) or "the database is slow")
        return await call(exporter.stop, "meltica-telemetry-stop")

    async def _run(self, exporter: Exporter) -> None:
        failure: str | None = None
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            if exporter.interval is not None and loop.time() >= due:
                exporter.snapshot(self._registry.scrape())
                due = loop.time() + exporter.interval
            try:
                more = await self._read(exporter)
                failure = None
            except DatabaseError as error:
                more = False
                if failure is None:
                    failure = one_line(error)
                    log.warning("orders are exported again when the database responds: %s", failure)
            except Exception:
                more = False
                log.exception("orders not exported")
            if not more:
                await asyncio.sleep(POLL)

    async def _read(self, exporter: Exporter) -> bool:
        """Gives ended orders to the exporter; returns whether more may wait. Raises DatabaseError."""
        if not exporter.wants_traces:
            return False
        if self._position is None:
            self._position = await self._events.position()
        limit = min(exporter.room, LIMIT)
        if not limit:
            return False
        found = await self._events.after(self._position, limit)
        ends = {UUID(each.aggregate_id): each for each in found if each.event_type in ENDS}
        ended = list(ends)
        orders = await self._loader.orders(ended) if ended else []
        fills: dict[UUID, list[FillRow]] = {}
        for fill in await self._loader.fills(ended) if ended else ():
            fills.setdefault(fill.order_id, []).append(fill)
        for order in orders:
            cause = parse([ends[order.id].headers.get(TRACE, "").encode()])
            exporter.add(build(order, fills.get(order.id, []), cause))
        if found:
            self._position = found[-1].id
        return len(found) == limit


def _target(settings: "Settings", environment: Mapping[str, str]) -> Target | None:
    telemetry = settings.telemetry
    return target_of(
        environment,
        endpoint=telemetry.otlp_endpoint or None,
        insecure=telemetry.otlp_insecure,
        metrics=telemetry.enable_metrics,
        service_name=telemetry.service_name if "service_name" in telemetry.model_fields_set else None,
        attributes={"deployment.environment.name": settings.environment},
    )
