"""`meltica events` and `meltica logs --follow` go on after a restart of the gateway."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from meltica.cli import reconnection
from meltica.cli.failures import CommandFailed
from meltica.client import Unreachable
from meltica.model.enums import OrderState
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from tests.integration.test_control_events import ORDERS, ordered
from tests.support import gateway
from tests.support.event_stream import stream
from tests.support.gateway import Running
from tests.support.trading_rows import order


@contextmanager
def following(running: Running, *arguments: str) -> Generator["subprocess.Popen[str]"]:
    """Runs a command that follows a gateway."""
    token = running.authorization["authorization"].removeprefix("Bearer ")
    command = [sys.executable, "-m", "meltica", *arguments, "--url", running.url, "--json"]
    environment = {**os.environ, "MELTICA_TOKEN": token}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: "subprocess.Popen[str]") -> Any:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


@contextmanager
def restarted(config: Path, dsn: str, ended: Running) -> Generator[Running]:
    """Starts a gateway at the address of one that has ended, and with its tokens."""
    api = ended.gateway.settings.api_server
    settings = {"addr": ended.url.removeprefix("http://"), "tokenFolder": str(api.token_folder)}
    with gateway.running(config, dsn, apiServer=settings) as running:
        yield running


def test_events_resume_after_a_restart(config: Path, cluster: EmbeddedPostgres) -> None:
    with gateway.database(cluster) as dsn, gateway.running(config, dsn) as running:
        with stream(running, ORDERS) as opened:
            begin = str(opened.next("ready").id)
        [first] = ordered(running, order(state=OrderState.CANCELLED))
        with following(running, "events", "--kind", "order", "--after", begin, "--limit", "4") as process:
            assert line(process)["data"]["order"]["id"] == first
            running.submit(running.gateway.stop()).result(60)
            assert line(process)["data"]["code"] == "stopping"
            assert process.stderr is not None
            assert process.stderr.readline() == "the stream has ended; trying again for 5 min\n"
            with restarted(config, dsn, running) as again:
                sent = ordered(again, *(order(state=OrderState.CANCELLED) for _ in range(3)))
                assert [line(process)["data"]["order"]["id"] for _ in sent] == sent
                assert process.wait(60) == 0
            assert process.stderr.read() == "connected again\n"


def test_logs_are_followed_over_a_restart(config: Path, cluster: EmbeddedPostgres) -> None:
    log = logging.getLogger("meltica.lambda.watcher")

    def write(*texts: str) -> None:
        for text in texts:
            log.warning(text, extra={"instance": "watcher"})

    with gateway.database(cluster) as dsn, gateway.running(config, dsn) as running:
        write("one", "two")
        with following(running, "logs", "watcher", "-f", "--level", "warning") as process:
            assert [line(process)["message"], line(process)["message"]] == ["one", "two"]
            running.submit(running.gateway.stop()).result(60)
            assert process.stderr is not None
            assert "trying again for 5 min" in process.stderr.readline()
            with restarted(config, dsn, running):
                # More lines than before, with the same numbers.
                write("three", "four", "five")
                assert [line(process)["message"] for _ in range(3)] == ["three", "four", "five"]
                write("six")
                assert line(process)["message"] == "six"


def test_the_first_attempt_must_succeed_and_the_last_one_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconnection, "PAUSE", 0.0)

    def failure() -> CommandFailed:
        error = CommandFailed(Unreachable("no gateway responded"), 9)
        error.__cause__ = Unreachable("no gateway responded")
        return error

    link = reconnection.Reconnection()
    with pytest.raises(CommandFailed):
        link.failed(failure())
    link.connected()
    link.failed(failure())
    monkeypatch.setattr(reconnection, "MINUTES", 0)
    with pytest.raises(CommandFailed):
        link.failed(failure())
