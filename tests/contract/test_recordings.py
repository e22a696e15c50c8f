"""The contract of data for recorded frames and recorded events, which have no account."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from meltica.adapters.base import Adapter
from meltica.adapters.replay import sample
from meltica.adapters.replay.adapter import ReplayAdapter
from meltica.testing import DataContract, Rig, Stage


class Frames(Stage):
    """Frames of the generated session."""

    symbols: ClassVar[tuple[str, ...]] = ("BTC-USDT", "ETH-USDT")

    def __init__(self, folder: Path) -> None:
        sample.write(folder / "a.gz", steps=120)
        self._settings: dict[str, object] = {"paths": [folder / "a.gz"], "codec": "binance"}

    def adapter(self, **settings: object) -> Adapter:
        return ReplayAdapter.configure({**self._settings, **settings})


class Events(Frames):
    """Events recorded from the frames."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        with Rig(self.adapter()) as rig:
            rig.finish()
        lines = [json.dumps(event.to_dict()) for event in rig.events]
        (folder / "events.jsonl").write_text("\n".join(lines))
        self._settings = {"paths": [folder / "events.jsonl"]}


class TestFrames(DataContract):
    @pytest.fixture
    def stage(self, tmp_path: Path) -> Iterator[Stage]:
        with Frames(tmp_path) as stage:
            yield stage


class TestEvents(DataContract):
    @pytest.fixture
    def stage(self, tmp_path: Path) -> Iterator[Stage]:
        with Events(tmp_path) as stage:
            yield stage
