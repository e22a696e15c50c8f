"""`Adapter`: the interface between a provider and one venue, real, simulated or recorded."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from meltica.errors import ConfigError
from meltica.validation.models import load, schema
from meltica.validation.section import AdapterSettings

if TYPE_CHECKING:
    from meltica._core import Producer
    from meltica.adapters.codec import Codec
    from meltica.model.account import Account


class Route(NamedTuple):
    """A subscription that instances need from a provider: a kind of event, and a symbol."""

    kind: str
    symbol: str | None
    """None for all symbols."""


class Adapter(ABC):
    """The base class of adapters. Each start of a provider creates a new object from validated settings.

    The provider calls `start` with the producers to publish with, then `run`, which returns when the source
    ends or after `stop`. Both may block, because each runs on its own thread. An exception becomes the
    provider's last error, and the provider is restarted after a pause.
    """

    identifier: ClassVar[str]
    """The adapter's name in settings, such as `binance`."""
    display_name: ClassVar[str]
    venue: ClassVar[str]
    """The venue's name, 2 to 20 of A-Z, 0-9 and `_`."""
    description: ClassVar[str] = ""
    capabilities: ClassVar[tuple[str, ...]] = ()
    """The routes that the adapter can serve (`TRADE`, `ORDERBOOK.SNAPSHOT`, ...)."""
    can_block: ClassVar[bool] = False
    """Whether the source can wait for slow readers, as a recording can. Otherwise, no lambda may `block`."""
    simulated: ClassVar[bool] = False
    """Whether the venue is a simulation, so that its account has no real money."""
    account_settings: ClassVar[frozenset[str] | None] = None
    """The settings that select the account; None if any setting may."""
    Settings: ClassVar[type[AdapterSettings]] = AdapterSettings

    def __init__(self, settings: AdapterSettings) -> None:
        self.settings = settings

    @classmethod
    def make(cls, settings: AdapterSettings) -> "Adapter":
        """Returns an adapter for validated settings, which may select another class."""
        return cls(settings)

    @classmethod
    def configure(cls, values: Mapping[str, object]) -> "Adapter":
        """Validates settings and returns an adapter. Raises ConfigError with all faults."""
        return cls.make(load(cls.Settings, values, subject=f"settings of {cls.identifier}"))

    @classmethod
    def metadata(cls) -> dict[str, object]:
        """Returns the description for the control plane: names, venue, capabilities and settings."""
        metadata: dict[str, object] = {
            "identifier": cls.identifier,
            "displayName": cls.display_name,
            "venue": cls.venue,
        }
        if cls.description:
            metadata["description"] = cls.description
        metadata["capabilities"] = list(cls.capabilities)
        rows = [{k: v for k, v in row.items() if k != "description"} for row in schema(cls.Settings)]
        metadata["settingsSchema"] = rows
        return metadata

    @abstractmethod
    def providers(self) -> list[str]:
        """Returns the provider names of its events, which are fixed before `start`."""

    @property
    def account(self) -> "Account | None":
        """The account to trade on; None where there is none, as for a recording or without a key."""
        return None

    @classmethod
    def arrives_within(cls, settings: AdapterSettings) -> float:
        """Returns the seconds within which an order of an earlier process may still reach the venue."""
        del settings
        return 30.0

    @classmethod
    def ends_with_process(cls, settings: Mapping[str, object]) -> bool:
        """Returns whether the account ends with the process. Secrets in the settings are masked."""
        del settings
        return False

    @property
    def fee_rate(self) -> Decimal:
        """The highest fee rate of an order on the account: a buy order reserves its cost with this fee."""
        return Decimal("0.005")

    @property
    def connection_error(self) -> str | None:
        """Why the adapter is disconnected from market data or from the account, in one line; None otherwise.

        May be read from any thread, at any time after `start`.
        """
        return None

    def codec(self) -> "Codec | None":
        """Returns the codec of its frames; None if the adapter publishes events itself."""
        return None

    def bind_name(self, name: str) -> None:
        """Sets the provider name of its events. Called before `providers`.

        Raises ConfigError if the events have names already, as recorded events do.
        """
        if self.providers() != [name]:
            raise ConfigError(f"provider {name}", [f"`{self.identifier}` cannot publish under that name"])

    def instruments(self) -> "Sequence[Mapping[str, object]]":
        """Returns the instruments in the form of `InstrumentUpdate.instrument`. Called after `start`."""
        return ()

    def route(self, subscribe: "Sequence[Route]", unsubscribe: "Sequence[Route]") -> None:  # noqa: B027
        """Changes the subscriptions at the venue. May block.

        Called after `start` with all routes, then with each difference, one call at a time. An exception is
        reported, and the call is repeated after a pause. The default suits a source that sends everything.
        """

    @abstractmethod
    def start(self, producers: "Mapping[str, Producer]") -> None:
        """Prepares `run`. `producers` has one producer for each name of `providers()`."""

    @abstractmethod
    def run(self) -> None:
        """Publishes events until the source ends or `stop` is called."""

    @abstractmethod
    def stop(self) -> None:
        """Requests a stop; `run` returns shortly after. Thread-safe and idempotent."""
