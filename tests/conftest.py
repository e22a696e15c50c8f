"""Where the recorded data is, and a small data plane to run frames through."""

import gzip
import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from meltica import _core
from meltica.providers.binance.codec import BINANCE

RECORDING = "data/binance/btcusdt_20240808"


def shared() -> Path | None:
    """The folder of recorded data, beside the project, or None."""
    for parent in Path(__file__).resolve().parents:
        if (parent / "shared" / "data" / "binance").is_dir():
            return parent / "shared"
    return None


@pytest.fixture(scope="session")
def session_lines(session_path: Path) -> list[bytes]:
    """The lines of a real Binance session."""
    with gzip.open(session_path) as file:
        return file.read().splitlines()


@pytest.fixture(scope="session")
def session_path() -> Path:
    """The recording itself."""
    folder = shared()
    if folder is None:
        pytest.skip("needs the recorded session in ../shared/data/binance, which is absent")
    return folder / f"{RECORDING}.gz"


class Run:
    """What came of one replay."""

    def __init__(
        self, producer: dict[str, Any], instances: list[dict[str, Any]], core: dict[str, Any]
    ) -> None:
        self.producer, self.instances, self.core = producer, instances, core


def replay(
    lines: Iterable[bytes],
    *callbacks: Mapping[str, Callable[[Any], object]],
    mode: str = "thread",
    kinds: Iterable[str] = ("BookSnapshot", "Trade", "Ticker"),
    codec: object = BINANCE,
    **options: Any,
) -> Run:
    """Plays lines into one instance for each set of callbacks, lossless, on the events' clock."""
    core = _core.Core()
    producer = core.producer("binance", _core.Codec(codec))
    shared_host = core.host("shared", clock="event") if mode == "shared" else None
    hosts: list[_core.Host] = [shared_host] if shared_host else []
    instances: list[_core.Instance] = []
    for number, each in enumerate(callbacks):
        host = shared_host or core.host("thread", clock="event")
        if host not in hosts:
            hosts.append(host)
        instance = host.add(
            f"i{number}",
            callbacks=each,
            routes=[("binance", kind, None) for kind in kinds],
            policies=dict.fromkeys(_core.KINDS, "block"),
            **options,
        )
        instance.start()
        instances.append(instance)
    producer.replay([io.BytesIO(b"\n".join(lines))])
    assert producer.drain(30)
    assert all(host.stop(10) for host in hosts)
    return Run(producer.stats(), [instance.stats() for instance in instances], core.stats())
