"""`LiveAdapter`: the base class for the adapter of a live venue. `VenueProtocol` lists the methods to write.

It owns an event loop on the thread of `run` and two connections: one for market data, whose frames the core
decodes, and one for the account when the settings hold a key.
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
        """The producer that publishes events. Raises RuntimeError before `start`."""
        if self._producer is None:
            raise RuntimeError("producer not available: the adapter was not started")
        return self._producer

    @property
    def account(self) -> "LiveAccount | None":
        """The account of the key in the settings; None without a key."""
        return self._account

    @property
    def connection_error(self) -> str | None:
        """Why one of the two connections is down; None while both are up."""
        errors = (stream.error for stream in (self._market, self._private) if stream is not None)
        return next((error for error in errors if error is not None), None)

    def providers(self) -> list[str]:
        """Returns the provider name of its events."""
        return [self._provider]

    def bind_name(self, name: str) -> None:
        """Sets the provider name of its events."""
        self._provider = name

    def instruments(self) -> Sequence[Mapping[str, object]]:
        """Returns the instruments of the last request."""
        return () if self._market is None else list(self._market.instruments.values())

    def start(self, producers: "Mapping[str, Producer]") -> None:
        """Requests the venue's time and instruments, and checks the key.

        Raises VenueError when the venue is unavailable or rejects the key.
        """
        self._producer = producers[self._provider]
        self._market = MarketStream(self._provider, self, self._producer, self.clock)
        if self._account is not None:
            self._account.attach(self._producer)
            self._private = AccountStream(self._provider, self, self._account, self.clock)
        self._loop.prepare(self._prepare)

    def run(self) -> None:
        """Publishes events until `stop` is called. Lost connections are reopened without a limit."""
        self._loop.run(self._run)

    def stop(self) -> None:
        """Requests a stop; `start` and `run` return shortly after. Thread-safe."""
        self._loop.stop()

    def route(self, subscribe: Sequence[Route], unsubscribe: Sequence[Route]) -> None:
        """Changes the subscriptions; returns once the venue has confirmed them.

        Raises VenueError when the venue refuses a channel or does not confirm in time. The adapter goes on
        requesting the channels.
        """
        self._loop.wait(lambda: self._route(subscribe, unsubscribe))

    async def _route(self, subscribe: Sequence[Route], unsubscribe: Sequence[Route]) -> None:
        assert self._market is not None, "`route` is called after `start`"
        await self._market.route(subscribe, unsubscribe, self.route_timeout)
        if self._private is not None and any(route.kind in _PRIVATE for route in subscribe):
            await self._private.wait_reconciled(self.route_timeout)

    async def _prepare(self) -> None:
        assert self._market is not None
        await self.clock.measure(self.fetch_time)
        await self._market.refresh()
        if self._account is not None:
            await self._account.fetch_balances()

    async def _run(self) -> None:
        assert self._market is not None
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._market.run())
            if self._private is not None:
                tasks.create_task(self._private.run())
