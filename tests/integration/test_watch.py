"""A callback that holds the interpreter: the log names it, and a stop ends in time all the same."""

import json
import signal
from collections.abc import Generator
from typing import Any

import pytest

from meltica.persistence.postgres.server import wait_until
from tests.support.serving import PATIENCE, Gateway, Project, project

TIMEOUT = "6s"
BOUND = 30.0
"""The end of a process that nothing but the watch ends must not need more."""
FOREVER = {
    "regex": "re.match('(a+)+$', 'a' * 60 + 'b')",
    "c call": "ctypes.PyDLL(None).sleep(1000)",
}
"""Calls that keep the interpreter until they return. `PyDLL` calls C without detaching."""
SOURCE = """
import ctypes, pathlib, re
import meltica

class Holds(meltica.Lambda):
    class Config(meltica.LambdaConfig):
        start: bool = False

    done = False

    def on_start(self):
        if self.config.start:
            self.hold()

    def on_trade(self, trade):
        if not self.done:
            self.done = True
            self.hold()

    def hold(self):
        pathlib.Path(__file__).with_name("holds").touch()
        {statement}
"""
CONFIG = """
log: {log}
apiServer: {{addr: "127.0.0.1:0"}}
shutdown: {{timeout: {timeout}}}
providers:
  demo: {{adapter: replay, settings: {{sample: true, loop: true, speed: 20}}}}
lambdas:
  - {{id: greedy, strategy: "holds.py:Holds", scope: {{demo: "*"}}, config: {{start: {start}}}}}
  - {{id: mate, strategy: watch.py, scope: {{demo: "*"}}}}
"""


@pytest.fixture(name="project")
def _project() -> Generator[Project]:
    with project() as created:
        yield created


def prepare(project: Project, statement: str, *, log: str = "{level: info}", start: bool = False) -> None:
    """Writes a config and a strategy that executes a statement at its first trade, or in `on_start`."""
    (project.folder / "holds.py").write_text(SOURCE.format(statement=statement))
    project.config.write_text(CONFIG.format(log=log, timeout=TIMEOUT, start=str(start).lower()))


def wait_held(gateway: Gateway) -> None:
    marker = gateway.project.folder / "holds"
    assert wait_until(marker.exists, PATIENCE), gateway.tail()


def messages(gateway: Gateway) -> list[str]:
    return [line["message"] for line in gateway.lines()]


def wait_message(gateway: Gateway, text: str) -> None:
    assert wait_until(lambda: any(text in message for message in messages(gateway)), PATIENCE), gateway.tail()


def last_line(gateway: Gateway) -> dict[str, Any]:
    assert gateway.process.stdout is not None
    lines = gateway.process.stdout.read().splitlines()
    assert lines, "no line of JSON at the end"
    return json.loads(lines[-1])


@pytest.mark.parametrize("statement", FOREVER.values(), ids=FOREVER)
def test_a_stop_ends_in_time_while_a_callback_holds_the_interpreter(project: Project, statement: str) -> None:
    prepare(project, statement)
    gateway = project.launch()
    try:
        wait_held(gateway)
        wait_message(gateway, "lambda greedy holds the interpreter for 1 s; no other Python code runs")
        gateway.signal(signal.SIGTERM)
        assert gateway.ended(BOUND) == 3
        assert last_line(gateway) == {"event": "stopped", "left_behind": ["lambdas"], "exit_code": 3}
        (end,) = [text for text in messages(gateway) if "so the orderly stop cannot go on" in text]
        assert "greedy" in end.rpartition("lambdas in a callback: ")[2]
    finally:
        gateway.kill()
    project.nothing_left()
    server = server_log(project)
    assert "received fast shutdown request" in server
    assert "database system is shut down" in server
    # The next start finds a database in order.
    prepare(project, "pass")
    with project.serving() as again:
        again.wait_ready()
    assert "not properly shut down" not in server_log(project)


def server_log(project: Project) -> str:
    """Returns what PostgreSQL has logged."""
    return "".join(path.read_text(errors="replace") for path in sorted(project.home.rglob("*.log*")))


def test_a_second_signal_ends_a_held_process_at_once(project: Project) -> None:
    prepare(project, FOREVER["c call"])
    project.edit(f"timeout: {TIMEOUT}", "timeout: 600s")
    gateway = project.launch()
    try:
        wait_held(gateway)
        gateway.signal(signal.SIGINT)
        wait_message(gateway, "holds the interpreter for 2 s")
        gateway.signal(signal.SIGINT)
        assert gateway.ended(BOUND) == 130
        assert last_line(gateway) == {"event": "interrupted", "exit_code": 130}
    finally:
        gateway.kill()
    project.nothing_left()


def test_a_start_that_holds_the_interpreter_can_be_stopped(project: Project) -> None:
    prepare(project, FOREVER["regex"], start=True)
    gateway = project.launch()
    try:
        wait_held(gateway)
        gateway.signal(signal.SIGTERM)
        assert gateway.ended(BOUND) == 3
    finally:
        gateway.kill()
    project.nothing_left()


def test_a_start_that_sleeps_is_named_and_does_not_delay_the_stop(project: Project) -> None:
    prepare(project, "__import__('time').sleep(3600)", start=True)
    gateway = project.launch()
    try:
        wait_held(gateway)
        gateway.signal(signal.SIGTERM)
        assert gateway.ended(BOUND) == 3
        assert last_line(gateway) == {"event": "stopped", "left_behind": ["lambdas"], "exit_code": 3}
        assert any("instance greedy is stuck: its start was stopped" in text for text in messages(gateway))
    finally:
        gateway.kill()
    project.nothing_left()


def test_a_hold_that_ends_is_reported_in_the_log_file_too(project: Project) -> None:
    file = project.folder / "gateway.log"
    prepare(project, "ctypes.PyDLL(None).sleep(3)", log=f"{{level: info, file: {file}}}")
    with project.serving() as gateway:
        wait_held(gateway)
        wait_message(gateway, "the interpreter is free again after")
        gateway.signal(signal.SIGTERM)
        assert gateway.ended() == 0
    text = file.read_text()
    for line in messages(gateway):
        assert line in text
    assert "lambda greedy holds the interpreter for 1 s" in text


def test_a_crash_in_c_prints_the_stack_of_python(project: Project) -> None:
    prepare(project, "ctypes.string_at(0)")
    gateway = project.launch()
    try:
        assert gateway.ended() == -signal.SIGSEGV
        assert "Fatal Python error: Segmentation fault" in gateway.log.read_text()
        assert "holds.py" in gateway.log.read_text()
    finally:
        gateway.kill()
