"""`LiveAdapter`: what the adapter of a live venue derives from; `protocol` is what its author writes.

It owns an event loop on the thread of `run`, with two connections: one for market data, whose frames go to
the core as they are, and one for the account, where there is a key.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from meltica.adapters.base import Route
from meltica.adapters.live.clock import TokenBucket, VenueClock
from meltica.adapters.live.protocol import VenueProtocol
from meltica.adapters.live.rest import RestClient
from meltica.adapters.live.streams import AccountStream, MarketStream
from meltica.runtime.loop_thread import LoopThread
from meltica.validation.section import AdapterSettings

if TYPE_CHECKING:
    from meltica._core import Producer
    from meltica.adapters.live.account import LiveAccount

_PRIVATE = ("ExecReport", "BalanceUpdate")


class LiveAdapter(VenueProtocol):
    """A live venue as a provider."""

    def __init__(self, settings: AdapterSettings) -> None:
        super().__init__(settings)
        self.clock = VenueClock()
        self.rest = RestClient(
            self.rest_endpoint(),
            clock=self.clock,
            bucket=TokenBucket(self.rate, self.burst),
            errors=self.errors,
            parse_error=self.parse_error,
            sign=self.sign,
            server_time=self.fetch_time,
            timeout=self.request_timeout,
        )
        self._provider = self.identifier
        self._producer: Producer | None = None
        self._market: MarketStream | None = None
        self._private: AccountStream | None = None
        self._loop = LoopThread(self.rest.stop, self.rest.close)
        self._account = self.make_account(self._loop)

    @property
    def producer(self) -> "Producer":
        """What events are sent with. Raises RuntimeError before `start`."""
        if self._producer is None:
            raise RuntimeError("expected an adapter that was started")
        return self._producer

    @property
    def account(self) -> "LiveAccount | None":
        """The account of the settings' key; None without one."""
        return self._account

    @property
    def connection_error(self) -> str | None:
        """Why one of the two connections is down."""
        errors = (line.error for line in (self._market, self._private) if line is not None)
        return next((error for error in errors if error is not None), None)

    def providers(self) -> list[str]:
        """Returns the name under which it sends events."""
        return [self._provider]

    def bind_name(self, name: str) -> None:
        """Has its events go out under `name`."""
        self._provider = name

    def instruments(self) -> Sequence[Mapping[str, object]]:
        """Returns what the venue listed when last asked."""
        return () if self._market is None else list(self._market.instruments.values())

    def start(self, producers: "Mapping[str, Producer]") -> None:
        """Asks the venue for its time and its instruments, and tries the key.

        Raises VenueError when it cannot be reached or does not accept the key.
        """
        self._producer = producers[self._provider]
        self._market = MarketStream(self._provider, self, self._producer, self.clock)
        if self._account is not None:
            self._account.attach(self._producer)
            self._private = AccountStream(self._provider, self, self._account, self.clock)
        self._loop.prepare(self._prepare)

    def run(self) -> None:
        """Sends events until `stop` is called. Connections that are lost are made again, for ever."""
        self._loop.run(self._live)

    def stop(self) -> None:
        """Ends `start` and `run` soon, from any thread."""
        self._loop.stop()

    def route(self, subscribe: Sequence[Route], unsubscribe: Sequence[Route]) -> None:
        """Asks for what is wanted and for no more of what is not; returns once the venue has confirmed it.

        Raises VenueError where it refuses some of it, or does not answer in time; it is asked on all the
        same.
        """
        self._loop.wait(lambda: self._route(subscribe, unsubscribe))

    async def _route(self, subscribe: Sequence[Route], unsubscribe: Sequence[Route]) -> None:
        assert self._market is not None, "routes come after `start`"
        await self._market.route(subscribe, unsubscribe, self.route_timeout)
        if self._private is not None and any(route.kind in _PRIVATE for route in subscribe):
            await self._private.wait_reconciled(self.route_timeout)

    async def _prepare(self) -> None:
        assert self._market is not None
        await self.clock.measure(self.fetch_time)
        await self._market.refresh()
        if self._account is not None:
            await self._account.fetch_balances()

    async def _live(self) -> None:
        assert self._market is not None
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._market.run())
            if self._private is not None:
                tasks.create_task(self._private.run())
