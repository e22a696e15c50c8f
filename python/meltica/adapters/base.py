"""`Adapter`: what speaks one venue's protocol, real, simulated or recorded."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from meltica.errors import ConfigError
from meltica.validation.models import load, schema
from meltica.validation.section import AdapterSettings

if TYPE_CHECKING:
    from meltica._core import Producer
    from meltica.adapters.codec import Codec
    from meltica.model.account import Account


class Route(NamedTuple):
    """One thing that instances want from a provider."""

    kind: str
    symbol: str | None
    """None is every symbol."""


class Adapter(ABC):
    """One provider's side of the data plane. Made anew for each start of a provider, from checked settings.

    The life of an adapter: `start` with the producers it feeds, `run` until its source ends or `stop` is
    called from any thread. `start` and `run` may block and have a thread of their own; what they raise is the
    provider's last error, and the provider is started again after a pause.
    """

    identifier: ClassVar[str]
    """Name of the adapter in settings: `binance`."""
    display_name: ClassVar[str]
    venue: ClassVar[str]
    """Name of the venue, 2 to 20 of A-Z, 0-9 and `_`."""
    description: ClassVar[str] = ""
    capabilities: ClassVar[tuple[str, ...]] = ()
    """Routes it can serve (`TRADE`, `ORDERBOOK.SNAPSHOT`, ...)."""
    can_block: ClassVar[bool] = False
    """Whether its source can wait for slow readers, as a recording can: else no lambda of it may `block`."""
    Settings: ClassVar[type[AdapterSettings]] = AdapterSettings

    def __init__(self, settings: AdapterSettings) -> None:
        self.settings = settings

    @classmethod
    def make(cls, settings: AdapterSettings) -> "Adapter":
        """Returns an adapter with checked settings: this one, or the form of it that they ask for."""
        return cls(settings)

    @classmethod
    def configure(cls, values: Mapping[str, object]) -> "Adapter":
        """Returns an adapter with validated settings. Raises ConfigError that lists all faults."""
        return cls.make(load(cls.Settings, values, what=f"settings of {cls.identifier}"))

    @classmethod
    def metadata(cls) -> dict[str, object]:
        """Returns what the control plane shows: names, venue, capabilities and settings."""
        known: dict[str, object] = {
            "identifier": cls.identifier,
            "displayName": cls.display_name,
            "venue": cls.venue,
        }
        if cls.description:
            known["description"] = cls.description
        known["capabilities"] = list(cls.capabilities)
        rows = [{k: v for k, v in row.items() if k != "description"} for row in schema(cls.Settings)]
        known["settingsSchema"] = rows
        return known

    @abstractmethod
    def providers(self) -> list[str]:
        """Returns the names under which it sends events; known before `start`, so that routes can be made."""

    @property
    def account(self) -> "Account | None":
        """The account it trades on; None when it cannot trade: a recording, or settings without a key."""
        return None

    @property
    def connection_error(self) -> str | None:
        """Why nothing comes, or nobody is told of the account, at present: one line. None while all is well.

        Read from any thread, at any time after `start`.
        """
        return None

    def codec(self) -> "Codec | None":
        """Returns how its frames are decoded; None when it publishes events itself."""
        return None

    def bind_name(self, name: str) -> None:
        """Has its events go out under the provider's name. Called before `providers`.

        Raises ConfigError when its events bring names of their own.
        """
        if self.providers() != [name]:
            raise ConfigError(f"provider {name}", [f"`{self.identifier}` cannot send under that name"])

    def instruments(self) -> "Sequence[Mapping[str, object]]":
        """Returns the venue's instruments, as `InstrumentUpdate.instrument`; known once it has started."""
        return ()

    def route(self, subscribe: "Sequence[Route]", unsubscribe: "Sequence[Route]") -> None:  # noqa: B027
        """Asks the venue for what is wanted from now on, and for no more of what is not. May block.

        Called after `start` with everything that is wanted, then with each difference, one call at a time.
        What it raises is shown, and the same is asked again after a pause. The default suits a source that
        sends everything.
        """

    @abstractmethod
    def start(self, producers: "Mapping[str, Producer]") -> None:
        """Takes one producer for each of `providers()` and gets ready to `run`."""

    @abstractmethod
    def run(self) -> None:
        """Sends events until the source ends or `stop` is called."""

    @abstractmethod
    def stop(self) -> None:
        """Ends `run` soon; may be called from any thread, at any time, more than once."""
