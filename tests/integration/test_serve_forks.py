"""Children of a strategy keep neither the port nor the database; an error names the holder of a port."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from http.client import HTTPConnection
from pathlib import Path

import psycopg
import pytest

from meltica import doctor
from meltica.http.port_holder import port_holder
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.persistence.postgres.server import wait_until
from tests.support import gateway
from tests.support.serving import PATIENCE, PROGRAM, Project, environment, free_port, project

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")

FORKS = """
import concurrent.futures, multiprocessing, os, pathlib, subprocess, sys, time, meltica

def waits():
    with pathlib.Path(__file__).with_name("children").open("a") as file:
        file.write(f"{os.getpid()}\\n")
    time.sleep(600)

class Forks(meltica.Lambda):
    def on_start(self):
        fork = multiprocessing.get_context("fork")
        if os.fork() == 0:
            waits()
        fork.Process(target=waits).start()
        self.pool = concurrent.futures.ProcessPoolExecutor(1, mp_context=fork)
        self.pool.submit(waits)
        code = f"import runpy; runpy.run_path({__file__!r})['waits']()"
        subprocess.Popen([sys.executable, "-c", code], close_fds=False)

    def on_trade(self, trade):
        pass
"""
CHILDREN = 4


class Forking(Project):
    """A project whose lambda `forks` starts four children when it is started."""

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__(folder)
        (folder / "forks.py").write_text(FORKS)
        self.edit(
            'strategy: watch.py, scope: {demo: "*"}, enabled: false',
            'strategy: forks.py, scope: {demo: "*"}, enabled: false',
        )
        self.edit("127.0.0.1:0", f"127.0.0.1:{port}")

    def children(self) -> list[int]:
        file = self.folder / "children"
        return [int(line) for line in file.read_text().split()] if file.exists() else []


@pytest.fixture(name="forking")
def _forking() -> Generator[Forking]:
    with project() as made:
        forking = Forking(made.folder, free_port())
        try:
            yield forking
        finally:
            for child in forking.children():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("embedded", [True, False], ids=["embedded", "external"])
def test_children_that_outlive_a_killed_gateway_keep_nothing(
    forking: Forking, cluster: EmbeddedPostgres, embedded: bool
) -> None:
    with contextlib.ExitStack() as stack:
        database = None if embedded else stack.enter_context(gateway.database(cluster))
        with forking.serving(database=database) as first:
            first.wait_ready()
            address = first.address.removeprefix("http://")
            client = HTTPConnection(address, timeout=PATIENCE)
            client.request("POST", "/strategy/instances/idle/start", headers=forking.authorization())
            assert client.getresponse().read()
            assert wait_until(lambda: len(forking.children()) == CHILDREN, PATIENCE), first.tail()
            # The parent is not affected: the same connections still work.
            first.wait_ready()
            client.request("GET", "/health/ready", headers=forking.authorization())
            response = client.getresponse()
            assert response.status == 200, response.read()
            response.read()  # headers and body may arrive in two packets
            client.sock.settimeout(PATIENCE)
            first.process.kill()
            first.process.wait(PATIENCE)
            with contextlib.closing(client):
                assert client.sock.recv(1) == b""
        for child in forking.children():
            os.kill(child, 0)  # it runs
        host, _, port = address.partition(":")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)))
        if database is not None:
            assert wait_until(lambda: not sessions(database), PATIENCE), sessions(database)
        with forking.serving(database=database) as second:
            second.wait_ready()
            assert second.address == first.address


def sessions(database: str) -> list[object]:
    with psycopg.connect(database, application_name="test") as connection:
        query = "select application_name from pg_stat_activity where application_name like 'meltica%'"
        return [*connection.execute(query + " and datname = current_database()")]


def test_the_process_that_holds_a_port_is_named(tmp_path: Path) -> None:
    port = free_port()
    listen = f"s = socket.create_server(('127.0.0.1', {port}))"
    code = f"import socket, time; {listen}; print(1, flush=True); time.sleep(600)"
    file = tmp_path / "other.py"
    file.write_text(code)
    secrets = ["--set", "database.dsn=host=x password='a hunter2'", "--token", "hunter2", "-u", "me:hunter2"]
    command = [sys.executable, str(file), *secrets]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "1\n"
            named = f"process {other.pid} ({sys.executable} {file})"
            serve = ["serve", "--home", str(tmp_path / "pg"), "--port", str(port)]
            for arguments in (serve, ["venue", "serve", "--port", str(port)]):
                done = subprocess.run(
                    [*PROGRAM, *arguments], check=False, capture_output=True, text=True, env=environment()
                )
                assert done.returncode == 8
                assert f"127.0.0.1:{port}: Address already in use by {named}" in done.stderr
            assert f"in use by {named}" in doctor.address("127.0.0.1", port).seen
            holder = port_holder("127.0.0.1", port)
            assert holder is not None
            assert "hunter2" not in holder
        finally:
            other.kill()
    assert port_holder("127.0.0.1", port) is None


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")])
def test_a_socket_on_all_addresses_holds_the_port(family: socket.AddressFamily, address: str) -> None:
    with socket.create_server((address, 0), family=family) as server:
        holder = port_holder("127.0.0.1", server.getsockname()[1])
        assert holder is not None
        assert holder.startswith(f"process {os.getpid()} (")
