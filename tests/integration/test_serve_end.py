"""The end of a gateway's process: in bounded time, with the exit code that it reported."""

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import termios
import urllib.request
from collections.abc import Generator
from io import FileIO
from pathlib import Path

import psycopg
import pytest

from meltica.persistence.postgres.server import wait_until
from tests.support.serving import PATIENCE, Project, environment, free_port, project

BOUND = 16.0
"""Longest duration of an orderly stop: the 15 s of the settings and one second for the process."""
LEFT = {
    "a thread pool": "concurrent.futures.ThreadPoolExecutor(1).submit(time.sleep, 600)",
    "a process": "multiprocessing.get_context('spawn').Process(target=time.sleep, args=(30,)).start()",
    "a handler that hangs": "atexit.register(time.sleep, 600)",
}
SOURCE = """
import atexit, concurrent.futures, multiprocessing, time
import meltica

class Watch(meltica.Lambda):
    def on_start(self):
        {statement}

    def on_trade(self, trade):
        pass
"""


@pytest.fixture(name="project")
def _project() -> Generator[Project]:
    with project() as created:
        yield created


@pytest.mark.parametrize("statement", LEFT.values(), ids=LEFT)
def test_what_a_strategy_leaves_behind_does_not_delay_the_end(
    project: Project, database_url: str, statement: str
) -> None:
    (project.folder / "watch.py").write_text(SOURCE.format(statement=statement))
    with project.serving(database=database_url) as gateway:
        gateway.signal(signal.SIGTERM)
        assert gateway.ended(BOUND) == 0
        assert gateway.read_line() == {"event": "stopped", "exit_code": 0}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_while_the_config_is_read(project: Project, number: signal.Signals) -> None:
    project.config.unlink()
    os.mkfifo(project.config)
    gateway = project.launch()
    try:
        # A first line is consumed, so the gateway is past opening the file, and it sleeps in the next read.
        with project.config.open("wb", buffering=0) as pipe:
            pipe.write(b"# a comment\n")
            assert wait_until(lambda: is_empty(pipe) and sleeps(gateway.process.pid), PATIENCE)
            gateway.signal(number)
            assert gateway.ended(BOUND) == 0
        assert gateway.read_line() == {"event": "stopped", "exit_code": 0}
    finally:
        gateway.kill()


def test_hangup_stops_a_running_gateway_in_order(project: Project) -> None:
    with project.serving() as gateway:
        gateway.signal(signal.SIGHUP)
        assert gateway.ended(BOUND) == 0
    assert '"message":"stopped"' in gateway.log.read_text()
    project.nothing_left()


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_gateway_runs_without_standard_streams(project: Project, database_url: str, closed: str) -> None:
    port = free_port()
    command = project.command("--port", str(port), database=database_url)
    with subprocess.Popen(
        ["bash", "-c", f'exec "$@" {closed}', "bash", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
    ) as process:
        try:
            assert wait_until(lambda: serves(port), PATIENCE)
            process.send_signal(signal.SIGTERM)
            assert process.wait(BOUND) == 0
        finally:
            process.kill()


def test_a_reader_of_stdout_that_is_suspended_holds_up_nothing(project: Project, database_url: str) -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write, bytes(4096))
    os.set_blocking(write, True)
    port = free_port()
    command = project.command("--port", str(port), database=database_url)
    with subprocess.Popen(command, stdout=write, stderr=subprocess.DEVNULL, env=environment()) as process:
        try:
            assert wait_until(lambda: serves(port), PATIENCE)
            process.send_signal(signal.SIGTERM)
            assert process.wait(BOUND) == 0
        finally:
            process.kill()
            os.close(read)
            os.close(write)


def serves(port: int) -> bool:
    with contextlib.suppress(OSError):
        url = f"http://127.0.0.1:{port}/health/serving"
        return urllib.request.urlopen(url, timeout=1).status == 200
    return False


def is_empty(pipe: FileIO) -> bool:
    return fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)) == bytes(4)


def sleeps(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


def drop_schema(database: str) -> None:
    """Drops the schema, also when writes of the gateway stop the first attempts."""
    with psycopg.connect(database, autocommit=True) as connection:
        while True:
            with contextlib.suppress(psycopg.errors.DeadlockDetected):
                connection.execute("drop schema meltica cascade")
                return


@pytest.mark.parametrize("fault", ["config", "address", "states"])
def test_the_exit_code_does_not_depend_on_stderr(
    project: Project, empty_database_url: str, fault: str
) -> None:
    with Path("/dev/full").open("w") as full, socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1] if fault == "address" else 0
        arguments = ["--set", "nonsense=1"] if fault == "config" else []
        command = project.command("--port", str(port), *arguments, database=empty_database_url)
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=full, text=True, env=environment()
        ) as process:
            assert process.stdout is not None
            if fault == "states":
                assert json.loads(process.stdout.readline())["event"] == "ready"
                drop_schema(empty_database_url)
                process.send_signal(signal.SIGTERM)
            lines = [json.loads(line) for line in process.stdout.read().splitlines()]
            code = {"config": 2, "address": 8, "states": 5}[fault]
            assert (len(lines), lines[0]["exit_code"]) == (1, code), lines
            assert process.wait(BOUND) == code
