"""What every adapter must keep, whatever its venue. A new adapter adds a `Case`."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from meltica import sample
from meltica._core import KINDS, Codec, Core, Event
from meltica.errors import ConfigError
from meltica.providers import registry
from meltica.providers.base import Adapter


@dataclass
class Case:
    """An adapter and settings under which it sends something and ends by itself."""

    adapter: str
    settings: Callable[[Path], dict[str, Any]]


def _frames(folder: Path) -> dict[str, Any]:
    sample.write(folder / "a.gz", steps=60)
    return {"paths": [folder / "a.gz"], "codec": "binance"}


def _events(folder: Path) -> dict[str, Any]:
    events = play(registry.adapter("replay").configure(_frames(folder)))
    (folder / "events.jsonl").write_text("".join(json.dumps(event.to_dict()) + "\n" for event in events))
    return {"paths": [folder / "events.jsonl"]}


def _fake(_folder: Path) -> dict[str, Any]:
    return {"rate": "max", "duration": "20s", "kline_interval": "5s", "seed": 7}


CASES = {
    "replay of frames": Case("replay", _frames),
    "replay of events": Case("replay", _events),
    "fake": Case("fake", _fake),
}


def play(adapter: Adapter) -> list[Event]:
    """Runs an adapter to its end and returns everything it sent."""
    seen: list[Event] = []
    core = Core()
    declaration = adapter.codec()
    codec = Codec(declaration) if declaration is not None else None
    producers = {name: core.producer(name, codec) for name in adapter.providers()}
    host = core.host("shared", clock="event")
    instance = host.add(
        "contract",
        callbacks=dict.fromkeys((*KINDS, "Gap", "Stale"), seen.append),
        routes=[(name, kind, None) for name in producers for kind in KINDS],
        policies=dict.fromkeys(KINDS, "block"),
    )
    instance.start()
    adapter.start(producers)
    adapter.run()
    assert all(producer.drain(30) for producer in producers.values())
    assert host.stop()
    return seen


@pytest.fixture(params=CASES, name="made")
def _made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Adapter]:
    case = CASES[request.param]
    adapter = registry.adapter(case.adapter).configure(case.settings(tmp_path))
    yield adapter
    adapter.stop()


def test_metadata_has_the_shape_of_the_control_plane(made: Adapter) -> None:
    metadata = json.loads(json.dumps(made.metadata()))
    assert {"identifier", "displayName", "venue", "capabilities", "settingsSchema"} <= set(metadata)
    assert registry.adapter(metadata["identifier"]) is type(made)
    for row in metadata["settingsSchema"]:
        assert {"name", "type", "required"} <= set(row) <= {"name", "type", "required", "default"}


def test_unknown_settings_are_refused_with_the_nearest(made: Adapter) -> None:
    name = next(iter(type(made).Settings.model_fields))
    with pytest.raises(ConfigError, match=rf"`{name}s` is unknown; did you mean `{name}`\?"):
        type(made).configure({f"{name}s": 1})


def test_everything_comes_under_its_own_names_in_order(made: Adapter) -> None:
    events = play(made)
    assert events
    assert {event.provider for event in events} == set(made.providers())
    assert [event.seq for event in events] == sorted({event.seq for event in events})
    assert all(event.received_time > 0 for event in events)
    counts: Counter[tuple[str, str, str]] = Counter()
    for event in events:
        key = (event.provider, event.kind, event.symbol)
        counts[key] += 1
        assert event.provider_seq == counts[key]


def test_stop_ends_it_from_another_thread(made: Adapter) -> None:
    core = Core()
    declaration = made.codec()
    codec = Codec(declaration) if declaration is not None else None
    made.start({name: core.producer(name, codec) for name in made.providers()})
    made.stop()
    thread = threading.Thread(target=made.run, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    made.stop()
