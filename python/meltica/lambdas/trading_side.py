"""`TradingSide`: what an instance that trades has beside its events: callbacks of orders, and checkpoints.

The order of calls, on the host's thread unless said otherwise:

1. `open`, `ready` and `load` (the manager), then `on_load`, `on_start`, the missed reports, the first event.
2. `on_save`: right after the first `on_start` of all, and every 10 s.
3. No more orders, `on_stop`, `on_save`, then `close` (the manager), whatever ended the instance.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from meltica.lambdas.base import Lambda
from meltica.lambdas.definition import overridden
from meltica.lambdas.logs import ErrorLog
from meltica.lambdas.no_trader import NoTrader
from meltica.lambdas.payload import encode
from meltica.lambdas.risk_control import risk_control
from meltica.model.trader import Order, RiskNotice, Trader, TradingPort, TradingSpec

if TYPE_CHECKING:
    from meltica._core import Instance
    from meltica.model.fills import Fill

SAVE_SECONDS = 10.0
"""Seconds between two checkpoints."""
MAX_STATE = 1024 * 1024
"""Limit, in bytes of JSON, of a checkpoint."""

_REPLAY = "a replay places no orders; run the lambda in the gateway with `dryRun: true` to trade on paper"
_WITH_FILL = ("on_order_partial_fill", "on_order_filled")


class TradingSide:
    """Trading of one run of an instance. Until `open`, orders are refused as in a replay."""

    def __init__(self, subject: Lambda, errors: ErrorLog) -> None:
        self._subject = subject
        self._errors = errors
        self._instance: Instance | None = None
        self._port: TradingPort | None = None
        self._trader: Trader | None = None
        self._checkpoint: bytes | None = None
        self._closing: asyncio.Task[None] | None = None
        self._saves = bool(overridden(type(subject), Lambda, ["on_save"]))
        subject._trader = NoTrader("replay", _REPLAY)  # pyright: ignore[reportPrivateUsage]

    def attach(self, instance: "Instance") -> None:
        """Sets the core's handle on the run."""
        self._instance = instance

    # The manager's side

    def open(self, port: TradingPort, spec: TradingSpec) -> None:
        """Registers the instance with trading. Called on a thread; raises ConfigError."""
        assert self._instance is not None
        self._port = port
        trader = self._trader = port.open(
            replace(spec, saves=self._saves), self._instance.post, self._instance.trigger
        )
        trader.on_callback = self._on_order
        trader.on_trading_changed = self._on_trading_changed
        trader.on_risk_control = self._on_risk_control
        self._subject._trader = trader  # pyright: ignore[reportPrivateUsage]

    async def ready(self) -> None:
        """Waits until the accounts are reconciled and the orders of an earlier run are handled."""
        if self._port is not None and self._trader is not None:
            await self._port.ready(self._trader)

    @property
    def waits_for(self) -> str | None:
        """What `ready` waits for, with the name of the provider."""
        return None if self._port is None or self._trader is None else self._port.waits_for(self._trader)

    def load(self) -> None:
        """Reads the last checkpoint. Called on a thread, after `ready`."""
        if self._port is not None and self._trader is not None:
            self._checkpoint = self._port.checkpoint(self._trader)

    def suspend(self) -> None:
        """Refuses orders while a callback does not return; the open ones are handled as `onStop` says."""
        if self._port is not None and self._trader is not None:
            self._port.suspend(self._trader)

    def resume(self) -> None:
        """Ends `suspend`."""
        if self._port is not None and self._trader is not None:
            self._port.resume(self._trader)

    def stop_orders(self) -> None:
        """Refuses orders from now on. Called from any thread."""
        if self._port is not None and self._trader is not None and self._closing is None:
            self._port.stop_orders(self._trader)

    async def close(self, *, failed: bool) -> None:
        """Handles the open orders as `onStop` says, or cancels those of a failed run; ends the callbacks.

        Calls after the first wait for it.
        """
        if self._port is None or self._trader is None:
            return
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._port.close(self._trader, failed=failed))
        await asyncio.shield(self._closing)

    # The host's side

    def start(self) -> None:
        """Loads the state, calls `on_start`, and has missed reports delivered before the first event."""
        subject, instance = self._subject, self._instance
        assert instance is not None
        if self._checkpoint is not None and overridden(type(subject), Lambda, ["on_load"]):
            subject.on_load(json.loads(self._checkpoint))
        subject.on_start()
        if self._port is None or self._trader is None:
            return
        if self._checkpoint is None:
            # Without it, the next start would not know which reports a run without another one had seen.
            self._save()
        self._port.replay_missed(self._trader)
        if self._saves:
            instance.every(SAVE_SECONDS, self._save)

    def stop(self) -> None:
        """Ends the orders, calls `on_stop`, and saves the state."""
        self.stop_orders()
        try:
            self._call("on_stop", self._subject.on_stop)
        finally:
            # An exception of on_stop is reported after that of on_save, as its cause.
            self._save()
            if self._instance is not None and self._instance.state == "stuck":
                self.release()

    def release(self) -> None:
        """Drops the author's object, which has this object through its trader. No callback follows."""
        vars(self).pop("_subject", None)

    def _save(self) -> None:
        if self._port is None or self._trader is None or self._closing is not None or not self._saves:
            return
        self._errors.inside = "on_save"
        state = encode("on_save: the state", self._subject.on_save(), MAX_STATE).encode()
        self._errors.inside = None
        self._port.save(self._trader, state)

    def _on_order(self, name: str, order: Order, fill: "Fill | None", _reason: str | None) -> None:
        callback: Callable[..., None] = getattr(self._subject, name)
        if name not in _WITH_FILL:
            self._call(name, callback, order)
            return
        self._call(name, callback, order, fill)

    def _on_trading_changed(self, provider: str, on: bool, why: str | None) -> None:
        self._call("on_trading_changed", self._subject.on_trading_changed, provider, on, why)

    def _on_risk_control(self, notice: RiskNotice) -> None:
        if overridden(type(self._subject), Lambda, ["on_risk_control"]):
            control = risk_control(self._subject.id, notice)
            self._call("on_risk_control", self._subject.on_risk_control, control)

    def _call(self, name: str, callback: Callable[..., None], *arguments: object) -> None:
        """Calls a callback; an exception of it is logged with its name."""
        self._errors.inside = name
        callback(*arguments)
        self._errors.inside = None
