"""`Exchange`: a market that lives on the wall's clock, its accounts, and the streams that tell of it."""

import asyncio
import logging
from decimal import Decimal
from typing import TYPE_CHECKING

from meltica._core import SyntheticMarket
from meltica.errors import ConfigError
from meltica.http.errors import HttpError
from meltica.simulator import catalogue
from meltica.simulator.account import SimulatedAccount, SimulatedNetwork, unknown_symbol
from meltica.simulator.settings import VenueBehavior, nanos
from meltica.validation.models import load
from meltica.validation.units import format_duration, parse_duration
from meltica.venue import schemas
from meltica.venue.auth import Clock, Credentials, Keys
from meltica.venue.limits import RateLimit
from meltica.venue.streams import GOING_AWAY, SERVICE_RESTART, Hub

if TYPE_CHECKING:
    from datetime import timedelta

    from meltica.venue.config import VenueSettings

log = logging.getLogger(__name__)

LAG_SECONDS = 1.0
"""How late a market may be before the log says so."""

KINDS = ("trade", "ticker", "depth", "candle")
"""The channels that each symbol has."""


class Exchange:
    """One venue. Belongs to the loop's thread."""

    def __init__(self, settings: "VenueSettings") -> None:
        market = settings.market
        accounts = {name: market.funds(account.balances) for name, account in settings.accounts.items()}
        self.market = SyntheticMarket(
            None, market.options(), market.listings(SyntheticMarket.TAKERS), accounts
        )
        self.behavior = market.venue_behavior
        self.instruments = {listed.symbol: catalogue.instrument(listed.symbol) for listed in market.symbols}
        self.network = SimulatedNetwork(self.market, market.speed)
        self.accounts = {
            name: SimulatedAccount(self.market, self.network, self.instruments, name) for name in accounts
        }
        self.limit = RateLimit(settings.rate_limit)
        self.clock = Clock()
        self.keys = Keys(
            {
                account.key: Credentials(name, account.secret.get_secret_value())
                for name, account in settings.accounts.items()
            },
            self.clock,
        )
        self.hub = Hub(self.market.want, self._refuse, self.keys, self.clock)
        self._speed = market.speed
        self._quiet = False
        self._cuts = 0
        self._away = False
        """Whether the log says that it is disconnected."""
        self._hurry = asyncio.Event()

    async def run(self) -> None:
        """Keeps the market on the wall's clock and tells what happens, until it is cancelled."""
        market, loop = self.market, asyncio.get_running_loop()
        market.pace(self._speed)
        market.announce()
        kept = True
        while True:
            self._hurry.clear()
            for channel, frame in market.poll():
                self.hub.tell(channel, frame)
            self._part()
            if kept and (lag := market.lag()) > LAG_SECONDS:
                kept = False
                log.warning("the market cannot keep its pace here: %.1f s late at speed %g", lag, self._speed)
            alarm = loop.call_later(market.wake_in(), self._hurry.set)
            try:
                await self._hurry.wait()
            finally:
                alarm.cancel()

    def nudge(self) -> None:
        """Has what a request led to told at once."""
        self._part()
        self._hurry.set()

    def stop(self) -> None:
        """Closes every stream."""
        self.hub.close(GOING_AWAY, "the venue stops")

    def check_symbol(self, symbol: str) -> None:
        """Raises HttpError unless the venue lists a symbol."""
        if symbol not in self.instruments:
            raise HttpError(404, "unknown_symbol", unknown_symbol(symbol))

    def ledger(self) -> schemas.Ledger:
        """Returns where all the money is."""
        known = self.market.ledger()
        sums: dict[str, Decimal] = {}
        owned = [{name: held.total for name, held in each.items()} for each in known["accounts"].values()]
        for part in (*owned, known["outside"], known["fees"]):
            for currency, amount in part.items():
                sums[currency] = sums.get(currency, Decimal(0)) + amount
        return schemas.Ledger(
            time=known["time"],
            accounts=[
                schemas.LedgerAccount(
                    name=name,
                    balances=schemas.balance_list(balances),
                    open_orders=[schemas.order(order) for order in self.accounts[name].list_open()],
                )
                for name, balances in known["accounts"].items()
            ],
            outside={currency: schemas.text(amount) for currency, amount in known["outside"].items()},
            fees={currency: schemas.text(amount) for currency, amount in known["fees"].items()},
            sums={currency: schemas.text(amount) for currency, amount in sums.items()},
            fills=known["fills"],
        )

    def faults(self) -> schemas.Faults:
        """Returns what goes wrong at present."""
        return schemas.Faults(
            connected=self.market.connected,
            behavior=self.behavior.model_dump(mode="json"),
            quiet=self._quiet,
            clock_skew=self.clock.skew_ms,
            rate_limit=self.limit.rate,
        )

    def fault(self, asked: schemas.FaultRequest) -> None:
        """Makes things go wrong. Raises HttpError, and then changes nothing."""
        behavior = _behavior(self.behavior, asked.behavior) if asked.behavior else self.behavior
        duration = _duration(asked.disconnect) if isinstance(asked.disconnect, str) else None
        if asked.skip_depth is not None:
            self.check_symbol(asked.skip_depth.symbol)
        if asked.behavior:
            self.behavior = behavior
            self.market.set_behavior(behavior.options())
            known = behavior.model_dump(mode="json")
            changes = ", ".join(f"{name} {known[name]}" for name in asked.behavior)
            log.info("fault: behavior %s", changes)
        if asked.skip_depth is not None:
            self.market.skip_depth(asked.skip_depth.symbol, asked.skip_depth.frames)
            log.info("fault: skipDepth %s, frames %d", asked.skip_depth.symbol, asked.skip_depth.frames)
        if asked.quiet is not None:
            self.market.rest(asked.quiet)
            self._quiet = asked.quiet
            log.info("fault: quiet %s", str(asked.quiet).lower())
        if asked.clock_skew is not None:
            self.clock.skew_ms = asked.clock_skew
            log.info("fault: clockSkew %d ms", asked.clock_skew)
        if asked.rate_limit is not None:
            self.limit.rate = asked.rate_limit
            log.info("fault: rateLimit %g", asked.rate_limit)
        if asked.disconnect is not None:
            self.market.disconnect(None if duration is None else nanos(duration))
            log.info("fault: disconnect %s", format_duration(duration or behavior.disconnect_for))
        self.nudge()

    def _part(self) -> None:
        """Closes every stream if the venue was disconnected, though it may be back already; logs both."""
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
            known = ", ".join([*(f"{kind}:SYMBOL" for kind in KINDS), "instruments", "account"])
            return HttpError(400, "unknown_channel", f"expected one of {known}, saw {channel[:80]!r}")
        if symbol not in self.instruments:
            return HttpError(404, "unknown_symbol", unknown_symbol(symbol))
        return None


def _behavior(present: VenueBehavior, asked: schemas.JsonObject) -> VenueBehavior:
    """Returns a behavior with some of it changed. Raises HttpError."""
    try:
        return load(VenueBehavior, {**dict(present), **asked}, what="behavior")
    except ConfigError as error:
        raise HttpError(400, "bad_request", str(error)) from None


def _duration(text: str) -> "timedelta":
    """Returns how long a disconnect lasts. Raises HttpError."""
    try:
        duration = parse_duration(text)
    except ValueError as error:
        raise HttpError(400, "bad_request", f"`disconnect`: {error}, saw {text[:80]!r}") from None
    if not duration:
        raise HttpError(400, "bad_request", "`disconnect`: expected a duration above 0, saw none")
    return duration
