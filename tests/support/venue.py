"""An adapter for tests, which control its events and failures."""

import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from importlib import invalidate_caches
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, ClassVar

from pydantic import SecretStr

from meltica.adapters.base import Adapter, Route
from meltica.adapters.binance.codec import BINANCE
from meltica.adapters.codec import Codec
from meltica.errors import Unauthenticated, VenueUnavailable
from meltica.validation.section import AdapterSettings

if TYPE_CHECKING:
    from meltica._core import Producer

NAME = "test-venue"

GATE = Event()
"""Blocks the strategies of tests while it is closed; open by default."""
GATE.set()
LEAVING = Event()
"""Keeps providers from ending while it is closed; open by default."""
LEAVING.set()

INSTRUMENTS = (
    {"symbol": "BTC-USDT", "type": "spot", "baseCurrency": "BTC", "quoteCurrency": "USDT", "venue": "TEST"},
    {"symbol": "ETH-USDT", "type": "spot", "baseCurrency": "ETH", "quoteCurrency": "USDT", "venue": "TEST"},
)


class VenueSettings(AdapterSettings):
    """Settings of the test venue."""

    api_key: SecretStr | None = None
    region: str = "eu"
    depth: int | None = None
    refuses: bool = False
    """Whether its start fails."""


class Venue(Adapter):
    """A venue without a network."""

    identifier: ClassVar[str] = NAME
    display_name: ClassVar[str] = "Test venue"
    venue: ClassVar[str] = "TEST"
    capabilities: ClassVar[tuple[str, ...]] = ("TRADE",)
    Settings: ClassVar[type[AdapterSettings]] = VenueSettings
    producers: ClassVar[dict[str, "Producer"]] = {}
    """Name of a provider -> the producer of its events."""
    unroutable: ClassVar[set[str]] = set()
    """Providers whose subscriptions the venue refuses."""

    def __init__(self, settings: AdapterSettings) -> None:
        super().__init__(settings)
        self._stopped = Event()
        self._name = ""

    def bind_name(self, name: str) -> None:
        self._name = name

    def providers(self) -> list[str]:
        return [self._name]

    def codec(self) -> Codec:
        return BINANCE

    def instruments(self) -> Sequence[Mapping[str, object]]:
        return INSTRUMENTS

    def route(self, subscribe: "Sequence[Route]", unsubscribe: "Sequence[Route]") -> None:
        if self._name in self.unroutable:
            raise VenueUnavailable("no_such_channel", "the venue refuses the subscription")

    def start(self, producers: "Mapping[str, Producer]") -> None:
        assert isinstance(self.settings, VenueSettings)
        if self.settings.refuses:
            raise Unauthenticated("bad_key", "the venue refuses")
        Venue.producers[self._name] = producers[self._name]

    def run(self) -> None:
        self._stopped.wait()
        LEAVING.wait(30)

    def stop(self) -> None:
        self._stopped.set()


@contextmanager
def installed(folder: Path) -> Generator[None]:
    """Makes the adapter discoverable, as an installed package would."""
    distribution = folder / "meltica_test_venue-1.dist-info"
    distribution.mkdir()
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: meltica-test-venue\nVersion: 1\n")
    (distribution / "entry_points.txt").write_text(
        f"[meltica.adapters]\n{NAME} = {__name__}:{Venue.__name__}\n"
    )
    sys.path = [str(folder), *sys.path]
    invalidate_caches()
    yield
    sys.path = [entry for entry in sys.path if entry != str(folder)]
