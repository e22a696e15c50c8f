"""`Exchange`: a market on the wall clock, its accounts, and its streams."""

import asyncio
import logging
from decimal import Decimal
from typing import TYPE_CHECKING

from meltica._core import SyntheticMarket
from meltica.http.errors import HttpError
from meltica.simulator import catalogue
from meltica.simulator.account import SimulatedAccount, SimulatedNetwork, unknown_symbol
from meltica.venue import schemas
from meltica.venue.auth import Credentials, Keys, SkewedClock
from meltica.venue.limits import PostCounts, RateLimit
from meltica.venue.operator import Operator
from meltica.venue.streams import GOING_AWAY, SERVICE_RESTART, Hub

if TYPE_CHECKING:
    from meltica.venue.config import VenueSettings

log = logging.getLogger(__name__)

LAG_SECONDS = 1.0
"""How late the market may be before a warning is logged."""

KINDS = ("trade", "ticker", "depth", "candle")
"""The channels of each symbol."""


class Exchange:
    """One venue. Belongs to the loop's thread."""

    def __init__(self, settings: "VenueSettings") -> None:
        market = settings.market
        accounts = {name: market.funds(account.balances) for name, account in settings.accounts.items()}
        self.market = SyntheticMarket(
            None, market.options(), market.listings(SyntheticMarket.TAKERS), accounts
        )
        self.instruments = {listed.symbol: catalogue.instrument(listed.symbol) for listed in market.symbols}
        self.network = SimulatedNetwork(self.market, market.speed)
        self.accounts = {
            name: SimulatedAccount(self.market, self.network, self.instruments, name) for name in accounts
        }
        self.limit = RateLimit(settings.rate_limit)
        self.clock = SkewedClock()
        self.keys = Keys(
            {
                account.key: Credentials(name, account.secret.get_secret_value())
                for name, account in settings.accounts.items()
            },
            self.clock,
        )
        self.operator = Operator(self, market)
        self.hub = Hub(self.market.want, self._refuse, self.keys, self.clock)
        self.posts = PostCounts()
        market.set_fees(self.market)
        self._speed = market.speed
        self._cuts = 0
        self._away = False
        """Whether the last log line about the connection says `disconnected`."""
        self._hurry = asyncio.Event()

    async def run(self) -> None:
        """Advances the market with the wall clock and publishes its frames, until cancelled."""
        market, loop = self.market, asyncio.get_running_loop()
        market.pace(self._speed)
        market.announce()
        kept = True
        while True:
            self._hurry.clear()
            for channel, frame in market.poll():
                self.hub.publish(channel, frame)
            self._drop_streams()
            if kept and (lag := market.lag()) > LAG_SECONDS:
                kept = False
                log.warning("the market cannot keep its pace here: %.1f s late at speed %g", lag, self._speed)
            alarm = loop.call_later(market.wake_in(), self._hurry.set)
            try:
                await self._hurry.wait()
            finally:
                alarm.cancel()

    def nudge(self) -> None:
        """Publishes the effects of a request at once."""
        self._drop_streams()
        self._hurry.set()

    def stop(self) -> None:
        """Closes every stream."""
        self.hub.close(GOING_AWAY, "the venue stops")

    def account(self, name: str) -> SimulatedAccount:
        """Returns an account. Raises HttpError unless it exists."""
        account = self.accounts.get(name)
        if account is None:
            names = ", ".join(self.accounts)
            raise HttpError(404, "unknown_account", f"expected one of {names}, saw {name[:80]!r}")
        return account

    def check_symbol(self, symbol: str) -> None:
        """Raises HttpError unless the venue lists a symbol."""
        if symbol not in self.instruments:
            raise HttpError(404, "unknown_symbol", unknown_symbol(symbol))

    def ledger(self) -> schemas.Ledger:
        """Returns all balances, and what entered and left the market."""
        ledger = self.market.ledger()
        sums: dict[str, Decimal] = {}
        owned = [{name: held.total for name, held in each.items()} for each in ledger["accounts"].values()]
        for part in (*owned, ledger["outside"], ledger["fees"]):
            for currency, amount in part.items():
                sums[currency] = sums.get(currency, Decimal(0)) + amount
        return schemas.Ledger(
            time=ledger["time"],
            accounts=[
                schemas.LedgerAccount(
                    name=name,
                    balances=schemas.balance_list(balances),
                    open_orders=[schemas.order(order) for order in self.accounts[name].list_open()],
                )
                for name, balances in ledger["accounts"].items()
            ],
            outside={currency: schemas.text(amount) for currency, amount in ledger["outside"].items()},
            fees={currency: schemas.text(amount) for currency, amount in ledger["fees"].items()},
            sums={currency: schemas.text(amount) for currency, amount in sums.items()},
            fills=ledger["fills"],
        )

    def _drop_streams(self) -> None:
        """Closes every stream after a disconnect, even one that is over; logs both ends of it."""
        cuts = self.market.cuts
        if cuts != self._cuts:
            self._cuts = cuts
            if self._away:
                log.info("connected again")
            self._away = True
            log.info("disconnected; streams closed: %d", len(self.hub.clients))
            self.hub.close(SERVICE_RESTART, "the venue is disconnected")
        if self._away and self.market.connected:
            self._away = False
            log.info("connected again")

    def _refuse(self, channel: str) -> HttpError | None:
        kind, colon, symbol = channel.partition(":")
        if channel == "instruments":
            return None
        if not colon or kind not in KINDS:
            channels = ", ".join([*(f"{kind}:SYMBOL" for kind in KINDS), "instruments", "account"])
            return HttpError(400, "unknown_channel", f"expected one of {channels}, saw {channel[:80]!r}")
        if symbol not in self.instruments:
            return HttpError(404, "unknown_symbol", unknown_symbol(symbol))
        return None
