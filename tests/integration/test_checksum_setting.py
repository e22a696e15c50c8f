"""`checksum: verify | off`: changed over REST while frames with wrong checksums arrive."""

import json
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_control_resources import failure, ok
from tests.support.gateway import Running

PATH = "/providers/sums"
NOW = 1_700_000_000_000_000_000
FRAME = {
    "arg": {"channel": "books", "instId": "BTC-USDT"},
    "action": "snapshot",
    "data": [
        {
            "bids": [["1", "1", "0", "1"]],
            "asks": [["2", "1", "0", "1"]],
            "ts": "1700000000000",
            "checksum": 7,
            "prevSeqId": -1,
            "seqId": 1,
        }
    ],
}


@pytest.fixture(name="settings")
def _settings(control: Running, tmp_path: Path) -> Generator[dict[str, Any]]:
    recording = tmp_path / "wrong.txt"
    recording.write_text("".join(f"{NOW + n * 10_000_000} {json.dumps(FRAME)}\n" for n in range(3)))
    settings = {"codec": "okx", "paths": [str(recording)], "speed": 1, "loop": True}
    body = {"name": "sums", "adapter": {"identifier": "replay", "config": settings}}
    ok(control.client.post("/providers", json=body), 202)
    control.until(lambda: control.gateway.providers.get("sums").running)
    scope = {"sums": {"symbols": ["BTC-USDT"]}}
    reader = {"id": "sums-reader", "strategy": {"identifier": "noop"}, "scope": scope}
    ok(control.client.post("/strategy/instances", json=reader), 201)
    ok(control.client.post("/strategy/instances/sums-reader/start"))
    yield settings
    ok(control.client.delete("/strategy/instances/sums-reader"))
    control.until(lambda: not control.gateway.providers.get("sums").lock.locked())
    ok(control.client.delete(PATH))


def change(control: Running, settings: dict[str, Any]) -> Any:
    return ok(control.client.put(PATH, json={"settings": settings}))


def counts(control: Running) -> tuple[int, int]:
    """Returns how many checksums have failed, and how many were not verified."""
    stats = control.gateway.core.stats()["providers"]["sums"]
    return stats["checksums_failed"], stats["checksums_unverified"]


def test_checksums_are_verified_or_not_without_a_restart(
    control: Running, settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "meltica.providers")
    assert ok(control.client.get(PATH))["settings"]["checksum"] == "verify"
    control.until(lambda: counts(control)[0] > 0)
    assert counts(control)[1] == 0

    off = {**settings, "checksum": "off"}
    assert change(control, off)["settings"]["checksum"] == "off"
    control.until(lambda: counts(control)[1] > 0)
    failed, _ = counts(control)
    control.until(lambda: counts(control)[1] > 5)
    assert counts(control)[0] == failed
    metrics = control.client.get("/metrics").text
    metric = r'meltica_provider_checksums_total\{provider="sums",outcome="unverified"\} [1-9]'
    assert re.search(metric, metrics), "unverified checksums are not counted"
    assert ok(control.client.get(PATH))["settings"]["checksum"] == "off"
    change_of = ok(control.client.get("/audit", params={"subject": "sums", "limit": 1}))["entries"][0]
    assert (change_of["action"], change_of["after"]) == ("provider.update", {"settings": off})

    assert change(control, settings)["settings"]["checksum"] == "verify"
    control.until(lambda: counts(control)[0] > failed)
    assert "is running" not in caplog.text, "it was restarted"
    change(control, {**off, "speed": 2})
    control.until(lambda: "provider sums is running" in caplog.text)


def test_a_wrong_value_is_refused(control: Running, settings: dict[str, Any]) -> None:
    answer = control.client.put(PATH, json={"settings": {**settings, "checksum": "no"}})
    assert "verify" in failure(answer, 400, "validation_failed")
