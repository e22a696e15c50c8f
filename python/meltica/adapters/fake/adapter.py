"""`fake`: a synthetic market in this process; with an `endpoint`, the simulated exchange of another process.

Each start creates a new market. The same seed gives the same market.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from threading import Event as Flag
from typing import TYPE_CHECKING, ClassVar, cast

from meltica._core import SyntheticMarket
from meltica.adapters.base import Adapter
from meltica.adapters.fake.settings import FakeSettings
from meltica.model.account import FeeRates
from meltica.simulator import catalogue
from meltica.simulator.account import SimulatedAccount, SimulatedNetwork
from meltica.simulator.settings import nanos
from meltica.validation.section import AdapterSettings

if TYPE_CHECKING:
    from meltica._core import Producer

ACCOUNT = "main"
"""The name of the one account."""

_TAKERS = SyntheticMarket.TAKERS


class FakeAdapter(Adapter):
    """A synthetic market as a provider."""

    identifier: ClassVar[str] = "fake"
    display_name: ClassVar[str] = "Fake"
    venue: ClassVar[str] = catalogue.VENUE
    description: ClassVar[str] = "A synthetic market to trade on: the same seed gives the same market."
    capabilities: ClassVar[tuple[str, ...]] = (
        "ORDERBOOK.SNAPSHOT",
        "TRADE",
        "TICKER",
        "EXECUTION.REPORT",
        "KLINE.SUMMARY",
        "INSTRUMENT.UPDATE",
        "ACCOUNT.BALANCE",
    )
    simulated: ClassVar[bool] = True
    account_settings: ClassVar[frozenset[str] | None] = frozenset({"endpoint", "key"})
    Settings: ClassVar[type[AdapterSettings]] = FakeSettings

    def __init__(self, settings: AdapterSettings) -> None:
        super().__init__(settings)
        self._settings = cast(FakeSettings, settings)
        self._provider = self.identifier
        self._producer: Producer | None = None
        self._market: SyntheticMarket | None = None
        self._account: SimulatedAccount | None = None
        self._stopping = Flag()

    @classmethod
    def make(cls, settings: AdapterSettings) -> Adapter:
        """Returns an adapter with a market in this process, or a `FakeWire` for an `endpoint`."""
        fake = cast(FakeSettings, settings)
        if fake.endpoint is None:
            return cls(settings)
        from meltica.adapters.fake.wire import FakeWire

        secret = None if fake.secret is None else fake.secret.get_secret_value()
        return FakeWire(settings, fake.endpoint, fake.key, secret)

    @classmethod
    def arrives_within(cls, settings: AdapterSettings) -> float:
        """Returns 0 for a market in this process, which no order of another process can reach."""
        wired = cast(FakeSettings, settings).endpoint is not None
        return super().arrives_within(settings) if wired else 0.0

    @classmethod
    def ends_with_process(cls, settings: Mapping[str, object]) -> bool:
        """Returns True for a market in this process."""
        return settings.get("endpoint") is None

    @property
    def market(self) -> SyntheticMarket:
        """The market: orders, balances and books. Raises RuntimeError before `start`."""
        if self._market is None:
            raise RuntimeError("market not available: the adapter was not started")
        return self._market

    @property
    def account(self) -> SimulatedAccount | None:
        """The account; None before `start`."""
        return self._account

    @property
    def fee_rate(self) -> Decimal:
        """The higher one of the fee rates of makers and takers."""
        return max(self._settings.maker_fee, self._settings.taker_fee, Decimal(0))

    @property
    def _speed(self) -> float | None:
        return None if self._settings.rate == "max" else self._settings.speed

    @property
    def connection_error(self) -> str | None:
        """Why the market is disconnected, which its `venue_behavior` can cause; None otherwise."""
        connected = self._market is None or self._market.connected
        return None if connected else "the venue is disconnected"

    def providers(self) -> list[str]:
        """Returns the provider name of its events."""
        return [self._provider]

    def bind_name(self, name: str) -> None:
        """Sets the provider name of its events."""
        self._provider = name

    def instruments(self) -> Sequence[Mapping[str, object]]:
        """Returns the listed instruments."""
        return [catalogue.instrument(listed.symbol) for listed in self._settings.symbols]

    def start(self, producers: "Mapping[str, Producer]") -> None:
        """Creates the market. Raises ConfigError when its settings do not fit together."""
        settings = self._settings
        self._producer = producers[self._provider]
        self._market = SyntheticMarket(
            self._producer, settings.options(), settings.listings(_TAKERS), {ACCOUNT: settings.funds()}
        )
        settings.set_fees(self._market)
        symbols = frozenset(listed.symbol for listed in settings.symbols)
        self._account = SimulatedAccount(
            self._market,
            SimulatedNetwork(self._market, self._speed),
            symbols,
            ACCOUNT,
            FeeRates(settings.maker_fee, settings.taker_fee),
        )
        if self._stopping.is_set():
            self._producer.stop()

    def run(self) -> None:
        """Runs the market until `duration` is over or `stop` is called."""
        market, duration = self.market, self._settings.duration
        until = None if duration is None else market.now + nanos(duration)
        market.announce()
        market.run(speed=self._speed, until=until)

    def stop(self) -> None:
        """Requests a stop; `run` returns shortly after. Thread-safe."""
        self._stopping.set()
        if self._producer is not None:
            self._producer.stop()
