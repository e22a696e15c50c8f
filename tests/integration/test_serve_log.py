"""The log of `meltica serve`: its file, and what a noisy fault may write."""

import json
import signal
from pathlib import Path

from meltica.persistence.postgres.server import wait_until
from meltica.telemetry import folding
from tests.support.serving import PATIENCE, Gateway, Project, project

NOISY = """
import meltica

class Watch(meltica.Lambda):
    number = 0

    def on_trade(self, trade):
        for _ in range(500):
            self.number += 1
            self.log.error("order %d of %s failed", self.number, trade.symbol)
            self.log.error("the same again")
        if self.number == 100_000:
            self.log.error("the last kind of error")
        raise ValueError(self.number)
"""


def lines(path: Path) -> list[str]:
    """Returns the messages of a log file."""
    return [json.loads(line)["message"] for line in path.read_text().splitlines()]


def with_log_file(created: Project) -> Path:
    created.edit("log: {level: info}", "log: {level: info, file: meltica.log}")
    return created.folder / "meltica.log"


def rotate(gateway: Gateway, path: Path) -> None:
    """Moves the log file and sends SIGHUP, as logrotate does."""
    path.rename(path.with_suffix(".old"))
    gateway.signal(signal.SIGHUP)


def test_sighup_reopens_the_log_file_and_stops_nothing(database_url: str) -> None:
    with project() as created:
        path = with_log_file(created)
        with created.serving(database=database_url) as gateway:
            gateway.wait_ready()
            rotate(gateway, path)
            assert wait_until(path.exists, PATIENCE)
            assert gateway.ready()
            gateway.signal(signal.SIGTERM)
            assert gateway.ended() == 0
        assert any(message.startswith("ready at ") for message in lines(path.with_suffix(".old")))
        assert lines(path)[-1] == "stopped"
        assert gateway.log.read_text() == "", "stderr is empty"


def test_without_a_log_file_sighup_stops_the_gateway(database_url: str) -> None:
    with project() as created, created.serving(database=database_url) as gateway:
        gateway.signal(signal.SIGHUP)
        assert gateway.ended() == 0
        assert gateway.lines()[-1]["message"] == "stopped"


def test_a_log_file_that_cannot_be_opened_does_not_stop_the_gateway(database_url: str) -> None:
    with project() as created:
        path = with_log_file(created)
        path.mkdir()
        with created.serving(database=database_url) as gateway:
            gateway.wait_ready()
            gateway.signal(signal.SIGTERM)
            assert gateway.ended() == 0
        text = gateway.log.read_text()
        assert text.count("cannot be written: Is a directory") == 1
        assert gateway.lines()[-1]["message"] == "stopped"


def test_a_strategy_that_fails_in_each_callback_cannot_fill_the_disk(database_url: str) -> None:
    with project() as created:
        (created.folder / "watch.py").write_text(NOISY)
        with created.serving(database=database_url) as gateway:
            kind = "the last kind of error"
            assert wait_until(lambda: kind in gateway.log.read_text(), PATIENCE), gateway.tail()
            gateway.signal(signal.SIGTERM)
            assert gateway.ended() == 0
        assert gateway.log.stat().st_size < folding.BYTES
        messages = [line["message"] for line in gateway.lines()]
        assert messages.count("the same again") == 2, "once for each lambda"
        assert any(message.startswith("the same again [") for message in messages)
        assert any(" further lines suppressed; the last one: " in message for message in messages)
