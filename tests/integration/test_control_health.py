"""Health and version of a gateway: running, with a database that hangs, and stopping."""

import json
import os
import signal
import socket
from collections.abc import Generator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from meltica import _core
from meltica.control import changes
from meltica.errors import DatabaseError
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from tests.integration.control_requests import UNKNOWN_TOKEN
from tests.integration.test_control_resources import failure, ok
from tests.support import gateway, venue
from tests.support.gateway import Running


@contextmanager
def hanging(cluster: EmbeddedPostgres) -> Generator[None]:
    """Suspends every process of a PostgreSQL, like a machine that swaps."""
    postmaster = int((cluster.data / "postmaster.pid").read_text().split()[0])
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    processes = [postmaster, *map(int, children)]
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)


def test_live_and_ready(control: Running) -> None:
    assert ok(control.client.get("/health/live")) == {"status": "live"}
    control.until(lambda: all(control.gateway.providers.get(name).running for name in ("demo", "main")))
    assert ok(control.client.get("/health/ready")) == {"status": "ready"}


def test_serving_ends_when_the_stop_begins(control: Running) -> None:
    assert ok(control.client.get("/health/serving")) == {"status": "serving"}
    control.gateway.stopping.set()
    try:
        assert failure(control.client.get("/health/serving"), 503, "stopping") == "the gateway is stopping"
        assert control.client.head("/health/serving").status_code == 503
        assert control.client.get("/health/live").status_code == 200
    finally:
        control.gateway.stopping.clear()


def test_version(control: Running) -> None:
    version = ok(control.client.get("/version"))
    assert (version["version"], version["environment"], version["serviceName"]) == (
        _core.__version__,
        "ci",
        "meltica",
    )
    assert (version["build"], version["target"]) == (_core.BUILD_PROFILE, _core.BUILD_TARGET)
    assert version["startedAt"] == round(control.gateway.started_at * 1000)


def test_readiness_names_the_failed_parts(control: Running) -> None:
    ok(control.client.post("/providers/refusing/start"), 202)
    control.until(lambda: control.gateway.providers.get("refusing").actual.value == "failed")
    failure(control.client.post("/strategy/instances/failing/start"), 400, "start_failed")
    answer = control.client.get("/health/ready")
    text = failure(answer, 503, "not_ready")
    faults = answer.json()["faults"]
    assert set(faults) == {"provider refusing", "lambda failing"}
    assert "the venue refuses" in faults["provider refusing"]
    assert faults["lambda failing"] == "is failed: RuntimeError: no luck"
    assert "lambda failing is failed: RuntimeError: no luck" in text
    assert control.client.get("/health/live").status_code == 200


@pytest.mark.skipif(
    not Path("/proc/self/task").is_dir(), reason="needs Linux, to find the server's processes"
)
def test_readiness_and_changes_while_the_database_hangs(
    control: Running, cluster: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "PATIENCE", 0.5)
    with hanging(cluster):
        answer = control.client.get("/health/ready", timeout=5)
        failure(answer, 503, "not_ready")
        assert answer.json()["faults"]["database"] == "does not answer"
        for path in ("/health/live", "/health/serving"):
            assert control.client.get(path, timeout=2).status_code == 200
            assert control.client.head(path, timeout=2).status_code == 200
        assert control.client.head("/health/ready", timeout=5).status_code == 503
        # A stop acts without the database; a start waits for it, and its outcome stays unknown.
        stopped = control.client.post("/providers/main/stop")
        assert (stopped.status_code, stopped.json()["recorded"]) == (202, False)
        assert ok(control.client.get("/providers/main"))["running"] is False
        text = failure(control.client.post("/providers/spare/start"), 503, "outcome_unknown")
        assert text.startswith("outcome unknown: no response from the database within 0.5 s")
        assert control.client.get("/metrics").status_code == 200
    # Both are settled when the database responds.
    control.until(lambda: not control.gateway.recovery.pending)
    control.until(lambda: control.gateway.providers.recorded("main"))
    control.until(lambda: control.gateway.providers.get("spare").running)


def test_a_stop_finishes_running_requests_and_cuts_off_stalled_ones(
    config: Path, cluster: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    venue.GATE.clear()
    with gateway.database(cluster) as dsn, gateway.running(config, dsn) as running:
        address = running.gateway.api.address
        idle = socket.create_connection(address)
        starting = HTTPConnection(*address, timeout=20)
        starting.request("POST", "/strategy/instances/slow/start", headers=running.authorization)
        stuck = HTTPConnection(*address, timeout=20)
        stuck.putrequest("POST", "/providers/main/stop")
        stuck.putheader("Authorization", running.authorization["authorization"])
        stuck.putheader("Content-Type", "application/json")
        stuck.putheader("Content-Length", "9")
        stuck.endheaders(b"{")
        running.until(lambda: running.gateway.instances.get("slow").actual.value == "starting")
        stop = running.submit(running.gateway.stop())
        assert idle.recv(1) == b""
        idle.close()
        venue.GATE.set()
        with starting.getresponse() as answer:
            assert (answer.status, json.load(answer)["status"]) == (200, "running")
        with stuck.getresponse() as answer:
            assert (answer.status, json.load(answer)["code"]) == (503, "stopping")
        starting.close()
        stuck.close()
        stop.result(20)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)


@pytest.mark.parametrize("authorization", ["Bearer", "Basic x", f"Bearer {UNKNOWN_TOKEN}"])
@pytest.mark.parametrize("path", ["/health/live", "/health/serving", "/health/live/"])
def test_public_routes_do_not_look_at_tokens(
    control: Running, monkeypatch: pytest.MonkeyPatch, path: str, authorization: str
) -> None:
    async def fail() -> None:
        raise DatabaseError("the token was looked up")

    monkeypatch.setattr(control.gateway.access.authenticator, "read", fail)
    headers = {"authorization": authorization}
    for method in ("GET", "HEAD"):
        assert control.client.request(method, path, headers=headers).status_code == 200
