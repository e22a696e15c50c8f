"""Why an instance gets no event, or why its orders do not go out: each cause with its remedy.

The causes are read from the state of now, except the refusals of the last 24 h. Those of the instance come
first, then those of its providers and symbols, then those of its orders.
"""

import time
from collections.abc import Iterator
from typing import Final

from meltica.adapters import registry
from meltica.api.why import Cause, Why
from meltica.control.remedies import remedy
from meltica.control.services import ControlServices
from meltica.errors import ConfigError, DatabaseError, nearest, suggestion
from meltica.lambdas.managed import ManagedInstance
from meltica.lambdas.strategy import description
from meltica.model.enums import Mode
from meltica.model.symbols import ANY
from meltica.providers.provider import Provider
from meltica.providers.scopes import EMITTED
from meltica.runtime.lifecycle import Desired, InstanceState

SECOND: Final = 10**9
QUIET_SECONDS: Final = 60
"""Seconds without an event after which it is named."""
COUNTED_SECONDS: Final = 24 * 3600
"""How far back refusals are counted."""
NAMED_SYMBOLS: Final = 5
CAPABILITIES: Final = {
    "Trade": "TRADE",
    "BookSnapshot": "ORDERBOOK.SNAPSHOT",
    "Ticker": "TICKER",
    "KlineSummary": "KLINE.SUMMARY",
}
"""Kind of event -> the capability of an adapter that sends it."""


class Diagnosis:
    """The causes for one instance."""

    def __init__(self, services: ControlServices, instance: ManagedInstance, now: int | None = None) -> None:
        """`now` is in nanoseconds since 1970; by default the time of the system."""
        self._services = services
        self._instance = instance
        self._now = time.time_ns() if now is None else now
        self._providers = {each.name: each for each in services.providers.all()}

    async def why(self) -> Why:
        """Returns all causes."""
        instance = self._instance
        causes = [*self._of_instance(), *self._of_providers()]
        if instance.running:
            causes += self._of_events()
        causes += self._of_orders()
        causes += await self._of_history()
        return Why(id=instance.id, status=instance.actual, running=instance.running, causes=causes)

    def _cause(self, kind: str, subject: str, detail: str, order: str = "") -> Cause:
        text = remedy(kind, id=self._instance.id, subject=subject, order=order)
        return Cause(kind=kind, subject=subject, detail=detail, remedy=text)

    def _of_instance(self) -> Iterator[Cause]:
        instance, error = self._instance, self._instance.last_error
        match instance.actual:
            case InstanceState.FAILED:
                yield self._cause("failed", instance.id, error or "it failed")
            case InstanceState.STUCK:
                yield self._cause("stuck", instance.id, error or "a callback does not return")
            case InstanceState.STARTING:
                yield self._cause("starting", instance.id, error or "its start is not complete")
            case InstanceState.RUNNING:
                pass
            case state:
                yield self._cause("not_running", instance.id, f"its status is {state}")

    def _of_providers(self) -> Iterator[Cause]:
        cls = self._instance.strategy
        kinds = [] if cls is None else [each for each in description(cls).kinds if each in CAPABILITIES]
        for name, symbols in self._instance.spec.scope.items():
            if name == EMITTED:
                continue
            provider = self._providers.get(name)
            if provider is None:
                text = f"provider `{name}` does not exist{suggestion(name, self._providers)}"
                yield self._cause("provider_absent", name, text)
                continue
            yield from self._of_provider(provider)
            served = _capabilities(provider)
            for kind in sorted(kinds):
                if served is not None and CAPABILITIES[kind] not in served:
                    text = f"the adapter `{provider.spec.adapter}` sends no {kind}"
                    yield self._cause("not_served", name, text)
            listed = [str(each["symbol"]) for each in provider.instruments]
            for symbol in symbols:
                if listed and symbol != ANY and symbol not in listed:
                    text = f"provider `{name}` does not list {symbol}{_nearest(symbol, listed)}"
                    yield self._cause("symbol_unknown", f"{name} {symbol}", text)

    def _of_provider(self, provider: Provider) -> Iterator[Cause]:
        name, error = provider.name, provider.last_error
        if provider.ended:
            yield self._cause("provider_ended", name, f"the source of provider `{name}` has ended")
        elif not provider.running:
            text = f"provider `{name}` is {provider.actual}{f': {error}' if error else ''}"
            requested = "; its desired state is stopped" if provider.desired is Desired.STOPPED else ""
            yield self._cause("provider_down", name, text + requested)
        elif provider.connection_error is not None:
            text = f"provider `{name}` is disconnected: {provider.connection_error}"
            yield self._cause("provider_disconnected", name, text)
        if provider.route_error is not None:
            text = f"a subscription of provider `{name}` failed: {provider.route_error}"
            yield self._cause("routes_failed", name, text)

    def _of_events(self) -> Iterator[Cause]:
        instance, run = self._instance, self._instance.run
        if run is None or instance.strategy is None:
            return
        left_out = run.core.left_out
        for kind, symbols in left_out.items():
            names = ", ".join(f"{provider} {symbol}" for provider, symbol in symbols[:NAMED_SYMBOLS])
            text = f"its queue has no room for {kind} of {len(symbols)} symbols, such as {names}"
            reason = run.core.refused_room
            yield self._cause("left_out", instance.id, text if reason is None else f"{text}: {reason}")
        if not description(instance.strategy).kinds:
            yield self._cause("not_subscribed", instance.id, "its strategy subscribes to no event")
            return
        latest = run.core.delivered_at
        if latest == 0:
            yield self._cause("no_event", instance.id, "no event was delivered since its start")
        elif (age := (self._now - latest) // SECOND) >= QUIET_SECONDS:
            yield self._cause("no_event", instance.id, f"no event was delivered for {age} s")

    def _of_orders(self) -> Iterator[Cause]:
        """Yields the causes for which risk would refuse any order of an instance that trades."""
        instance, desk = self._instance, self._services.trading.desk()
        if desk is None or instance.run is None or instance.run.trading is None or not instance.running:
            return
        from meltica.trading.obstacles import obstacles
        from meltica.trading.order import Owner

        stored = self._services.instances.stored(instance.id)
        owner = Owner(instance.id, stored.uid, self._mode)
        for each in obstacles(desk, owner, instance.spec.scope, self._services.trading.faults()):
            yield self._cause(each.rule, each.subject, each.detail, each.id)

    async def _of_history(self) -> list[Cause]:
        instance, since = self._instance, self._now - COUNTED_SECONDS * SECOND
        uid = self._services.instances.stored(instance.id).uid
        queries = self._services.trading.queries
        try:
            counts = await queries.refusal_counts(uid, self._mode, instance.id, since)
        except DatabaseError:
            text = "the refusals of its orders cannot be read from the database"
            return [self._cause("history_unavailable", instance.id, text)]
        return [
            Cause(
                kind="refused",
                subject=each.rule,
                detail=each.message,
                remedy=remedy("refused", id=instance.id, subject=each.rule),
                count=each.count,
                last=each.last // 10**6,
            )
            for each in counts
        ]

    @property
    def _mode(self) -> Mode:
        return Mode.PAPER if self._instance.spec.dry_run else Mode.LIVE


def _capabilities(provider: Provider) -> tuple[str, ...] | None:
    """Returns what the adapter of a provider sends; None if it does not say so."""
    try:
        return registry.adapter(provider.spec.adapter).capabilities or None
    except ConfigError:  # the adapter is no longer installed
        return None


def _nearest(symbol: str, listed: list[str]) -> str:
    close = nearest(symbol, listed)
    return "" if close is None else f"; did you mean `{close}`?"
