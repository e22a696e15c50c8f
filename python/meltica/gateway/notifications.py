"""Starts what reports to the operator, on the gateway's loop and on a thread of its own."""

import asyncio
from typing import TYPE_CHECKING

from meltica.gateway.steps import ShutdownStep
from meltica.notifications.heartbeat import Faults, Heartbeat
from meltica.notifications.webhooks import Webhooks, webhook_metrics
from meltica.persistence.stores.outbox import Outbox

if TYPE_CHECKING:
    from meltica.notifications.spec import NotificationsSettings
    from meltica.persistence.database import Database
    from meltica.telemetry.registry import MetricRegistry


def begin_notifications(
    settings: "NotificationsSettings", database: "Database", metrics: "MetricRegistry", faults: Faults
) -> list[ShutdownStep]:
    """Starts the webhooks and the heartbeat; returns how they are stopped."""
    webhooks = Webhooks(Outbox(database), settings.webhooks)
    metrics.register(lambda: webhook_metrics(webhooks))
    webhooks.start()
    heartbeat = Heartbeat(settings.heartbeat, faults)
    heartbeat.start(asyncio.get_running_loop())
    return [ShutdownStep("webhooks", webhooks.stop, 0.1), ShutdownStep("heartbeat", heartbeat.stop, 0.1)]
