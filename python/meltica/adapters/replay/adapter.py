"""`replay`: recorded frames or recorded events in place of a venue.

One producer merges all files by (received, file, line). With `block` policies nothing is lost, and each
replay gives an instance the same callbacks in the same order.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event as Flag
from typing import TYPE_CHECKING, ClassVar, Literal, Self, cast

from pydantic import PositiveFloat, model_validator

from meltica.adapters import registry
from meltica.adapters.base import Adapter
from meltica.adapters.replay import events, sample
from meltica.adapters.replay.files import Recording, identify
from meltica.adapters.replay.stamps import Stamps
from meltica.errors import ReplayError
from meltica.validation.models import fault
from meltica.validation.section import AdapterSettings, FeedSettings

if TYPE_CHECKING:
    from meltica._core import Producer
    from meltica.adapters.codec import Codec

EVENTS = "events"
"""In place of a codec's name: the files hold recorded events."""


class ReplaySettings(FeedSettings):
    """The recordings, and the speed of the replay."""

    paths: list[Path] = []
    """Files, directories or globs; plain or gzip, with any name."""
    sample: bool = False
    """Replays a small generated Binance session in place of `paths`."""
    codec: str | None = None
    """Codec of the frames; for recorded events, `events` or none."""
    provider: str | None = None
    """Provider name of the events; that of the codec by default. Recorded events keep theirs."""
    speed: PositiveFloat | Literal["max"] = "max"
    """1 is the recorded speed, 10 ten times that, and `max` waits only for the readers."""
    loop: bool = False
    """Repeats the recordings endlessly, with the present as received time, in place of a live venue."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.sample == bool(self.paths):
            given = "both" if self.sample else "neither"
            raise fault(f"expected either `paths` or `sample: true`, saw {given}")
        return self


class ReplayAdapter(Adapter):
    """Recorded files as a provider."""

    identifier: ClassVar[str] = "replay"
    display_name: ClassVar[str] = "Replay"
    venue: ClassVar[str] = "REPLAY"
    description: ClassVar[str] = "Plays recorded frames or events again, losing nothing."
    capabilities: ClassVar[tuple[str, ...]] = (
        "ORDERBOOK.SNAPSHOT",
        "TRADE",
        "TICKER",
        "EXECUTION.REPORT",
        "KLINE.SUMMARY",
        "INSTRUMENT.UPDATE",
        "ACCOUNT.BALANCE",
        "RISK.CONTROL",
        "EXTENSION.EVENT",
    )
    can_block: ClassVar[bool] = True
    Settings: ClassVar[type[AdapterSettings]] = ReplaySettings

    progress: Callable[[int, int], object] | None = None
    """Called about ten times a second with the bytes read and the total, both on disk."""

    def __init__(self, settings: AdapterSettings) -> None:
        super().__init__(settings)
        self._settings = cast(ReplaySettings, settings)
        self._stopping = Flag()
        self._producers: dict[str, Producer] = {}
        self._recordings: list[Recording] = []
        self._generated: bytes | None = None
        if self._settings.sample:
            self._generated = b"\n".join(sample.lines())
            self._paths, self._form = [Path("sample")], "frames"
        else:
            self._paths, self._form = identify(self._settings.paths)
        self._codec = self._choose_codec()
        self._providers = self._find_providers()

    @property
    def size(self) -> int:
        """The size of all files on disk, in bytes."""
        if self._generated is not None:
            return len(self._generated)
        return sum(path.stat().st_size for path in self._paths)

    @property
    def position(self) -> int:
        """The bytes read so far, on disk."""
        return sum(recording.position for recording in self._recordings)

    def codec(self) -> "Codec | None":
        """Returns the codec of the frames; None for recorded events."""
        return self._codec

    def providers(self) -> list[str]:
        """Returns the provider names of its events."""
        return list(self._providers)

    def bind_name(self, name: str) -> None:
        """Sets the provider name of decoded frames. Recorded events keep theirs."""
        if self._codec is None:
            super().bind_name(name)
        self._providers = [name]

    def start(self, producers: "Mapping[str, Producer]") -> None:
        """Keeps the producers of `providers()`."""
        self._producers = {name: producers[name] for name in self._providers}

    def run(self) -> None:
        """Replays all files. Raises ReplayError at the damage of a damaged file."""
        try:
            self._repeat()
        except ValueError:
            # A stop ends the wait for a slow reader.
            if not self._stopping.is_set():
                raise

    def _repeat(self) -> None:
        size = self.size
        while not self._stopping.is_set():
            stamps = Stamps(self._paths)
            try:
                self._recordings = [Recording(path, self._generated) for path in self._paths]
                self._play(stamps, lambda: self._report(size))
            finally:
                stamps.close()
                self._report(size)
                for recording in self._recordings:
                    recording.close()
            if not self._settings.loop:
                return
            for producer in self._producers.values():
                producer.restart(forget_ids=True)

    def stop(self) -> None:
        """Requests a stop; `run` returns shortly after. Thread-safe."""
        self._stopping.set()
        for producer in self._producers.values():
            producer.stop()

    def _play(self, stamps: Stamps, report: Callable[[], object]) -> None:
        speed = None if self._settings.speed == "max" else float(self._settings.speed)
        if self._form == "events":
            restamp = self._settings.loop
            events.publish(
                self._recordings, self._producers, speed, self._stopping, stamps, report, restamp=restamp
            )
            return
        try:
            producer = self._producers[self._providers[0]]
            producer.replay(
                self._recordings,
                speed=speed,
                restamp=self._settings.loop,
                on_stamp=stamps,
                progress=lambda _: report(),
            )
        except ValueError as error:
            raise ReplayError(f"{', '.join(map(str, self._paths))}: {error}") from error

    def _report(self, size: int) -> None:
        if self.progress is not None:
            self.progress(self.position, size)

    def _choose_codec(self) -> "Codec | None":
        first, name = self._paths[0], self._settings.codec
        if self._generated is not None:
            name = name or "binance"
        if self._form == "events":
            if name not in (None, EVENTS):
                raise ReplayError(f"{first}: holds recorded events, not frames of {name}; omit the codec")
            return None
        if name is None:
            available = ", ".join(registry.names(registry.CODECS))
            raise ReplayError(f"{first}: holds frames, which need a codec; expected one of {available}")
        if name == EVENTS:
            raise ReplayError(f"{first}: expected recorded events as JSON lines, saw frames")
        return registry.codec(name)

    def _find_providers(self) -> list[str]:
        if self._codec is not None:
            return [self._settings.provider or self._codec.name]
        return events.providers(self._paths)
