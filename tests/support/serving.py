"""`meltica serve` as a child process: start, requests, signals, and a check that no process remains."""

import asyncio
import atexit
import contextlib
import fcntl
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, cast

import psycopg
from psycopg.rows import TupleRow

from meltica.persistence import migrate
from meltica.persistence.access_folder import AccessFolder
from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.persistence.postgres.server import read_pid_file, wait_until
from tests.conftest import folder_for_server

PATIENCE = 60.0
PROGRAM = (sys.executable, "-m", "meltica")
WATCH = """
import pathlib, meltica

class Watch(meltica.Lambda):
    def on_trade(self, trade):
        # Once per run, so that a test can remove the file and wait for it again.
        if not hasattr(self, "seen"):
            self.seen = True
            pathlib.Path(__file__).with_name(f"{self.id}.seen").write_text(trade.trade_id)
"""
CONFIG = """
log: {level: info}
apiServer: {addr: "127.0.0.1:0"}
providers:
  demo: {adapter: replay, settings: {sample: true, loop: true, speed: 20}}
  off: {adapter: replay, enabled: false, settings: {sample: true}}
lambdas:
  - {id: watch, strategy: watch.py, scope: {demo: "*"}}
  - {id: mate, strategy: watch.py, scope: {demo: "*"}, host: shared}
  - {id: idle, strategy: watch.py, scope: {demo: "*"}, enabled: false}
"""


class Project:
    """A config, a strategy, and a directory for an embedded PostgreSQL."""

    def __init__(self, folder: Path, *, copied: bool = True) -> None:
        """A `copied` home is not created by the first start: that would take most of its time."""
        self.folder = folder
        self.copied = copied
        self.home = folder / "pg"
        self.config = folder / "config.yaml"
        self.config.write_text(CONFIG)
        (folder / "watch.py").write_text(WATCH)

    def prepare(self) -> None:
        """Copies the home of a server that has ended, whose database has the schema."""
        if self.copied and self.home.parent == self.folder and not self.home.exists():
            # `cp` keeps the owner, which is the server's user.
            subprocess.run(["cp", "-a", str(_ended_server()), str(self.home)], check=True)

    def edit(self, old: str, new: str) -> None:
        """Replaces text in the config."""
        text = self.config.read_text()
        assert old in text
        self.config.write_text(text.replace(old, new))

    def command(self, *arguments: str, database: str | None = None) -> list[str]:
        """Returns the command that starts its gateway, on its embedded PostgreSQL or another database."""
        where = ["--set", f"database.dsn={database}"] if database else ["--home", str(self.home)]
        if database:
            where += ["--set", f"apiServer.tokenFolder={self.folder / 'access'}"]
        return [*PROGRAM, "serve", "--config", str(self.config), "--json", *where, *arguments]

    def refused(self, *arguments: str, database: str | None = None) -> subprocess.CompletedProcess[str]:
        """Runs a gateway that is expected to refuse the start."""
        return subprocess.run(
            self.command(*arguments, database=database),
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env=environment(),
        )

    def launch(self, *arguments: str, database: str | None = None) -> "Gateway":
        """Starts a gateway without waiting for it; the caller must kill it."""
        return Gateway(self, self.command(*arguments, database=database))

    def authorization(self) -> dict[str, str]:
        """Returns the header with the token that the first start of a gateway created."""
        folders = (self.folder / "access", self.home / "access")
        token = next((token for each in folders if (token := AccessFolder(each).token())), None)
        assert token is not None
        return {"authorization": f"Bearer {token}"}

    def running(self) -> list[str]:
        """Returns the processes of its PostgreSQL."""
        return list(processes(str(self.home)))

    @contextlib.contextmanager
    def serving(self, *arguments: str, database: str | None = None) -> Generator["Gateway"]:
        """Yields a gateway that has started; kills it at the end if it is still running."""
        gateway = self.launch(*arguments, database=database)
        try:
            gateway.wait_started()
            yield gateway
        finally:
            gateway.kill()

    def states(self, database: str | None = None) -> dict[str, tuple[str, str]]:
        """Returns the desired and actual states of all providers and lambdas in the database."""
        query = (
            "select name, desired, actual from meltica.providers "
            "union all select id, desired, actual from meltica.instances"
        )
        with psycopg.connect(database or EmbeddedPostgres(self.home).dsn) as connection:
            rows: list[TupleRow] = connection.execute(query).fetchall()
        return {name: (desired, actual) for name, desired, actual in rows}

    @contextlib.contextmanager
    def database(self) -> Generator[str]:
        """Runs its PostgreSQL without a gateway and yields the connection string."""
        self.prepare()
        with EmbeddedPostgres(self.home) as server:
            yield server.dsn

    def nothing_left(self) -> None:
        """Asserts that none of its processes remain, and that no file prevents the next start."""
        assert wait_until(lambda: not self.running(), 10), self.running()
        assert read_pid_file(self.home / "data") is None
        if (self.home / "lock").exists():
            with (self.home / "lock").open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


class Gateway:
    """A gateway process."""

    def __init__(self, project: Project, command: list[str]) -> None:
        self.project = project
        if "--home" in command:
            project.prepare()
        self.log = project.folder / "serve.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment()
            )
        self.address = ""

    def read_line(self) -> dict[str, Any]:
        """Returns the next line of its stdout."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"it ended: {self.tail()}"
        return json.loads(line)

    def wait_started(self) -> dict[str, Any]:
        """Returns the line that it prints when it is ready."""
        ready = self.read_line()
        assert ready["event"] == "ready", ready
        self.address = ready["address"]
        return ready

    def get(self, path: str) -> tuple[int, Any]:
        try:
            request = urllib.request.Request(self.address + path, headers=self.project.authorization())
            with urllib.request.urlopen(request, timeout=10) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)
        except OSError as error:
            return 0, str(error)

    def ready(self) -> bool:
        return self.get("/health/ready")[0] == 200

    def wait_ready(self, patience: float = PATIENCE) -> None:
        """Waits until the gateway is ready."""
        assert wait_until(self.ready, patience), (self.get("/health/ready"), self.tail())

    def wait_flowing(self, *ids: str) -> None:
        """Waits until lambdas that were started since the last call have received a trade."""
        for id in ids:
            marker = self.project.folder / f"{id}.seen"
            assert wait_until(marker.exists, PATIENCE), self.tail()
            marker.unlink()

    def postgres(self) -> int:
        """Returns the pid of its embedded server, or 0 while it is not running."""
        file = read_pid_file(self.project.home / "data")
        return 0 if file is None else file.pid

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def ended(self, patience: float = PATIENCE) -> int:
        """Waits until it ends and returns its exit code."""
        return self.process.wait(patience)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def tail(self) -> str:
        """Returns the end of the log."""
        return self.log.read_text()[-2000:]

    def errors(self) -> list[dict[str, Any]]:
        """Returns the errors of the log so far, without those of a machine that is too slow."""
        levels = ("error", "critical")
        return [
            line for line in self.lines() if line["level"] in levels and line["logger"] != "meltica.watch"
        ]

    def lines(self) -> list[dict[str, Any]]:
        """Returns the JSON lines of the log so far."""
        lines = self.log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]


@functools.cache
def _ended_server() -> Path:
    """Returns the home of a server that has ended. It is removed at the end of the process."""
    folder = folder_for_server()
    atexit.register(shutil.rmtree, folder)
    with EmbeddedPostgres(folder / "pg") as server:
        asyncio.run(migrate.up(server.dsn))
    for name in ("lock", "postgres.log"):
        (folder / "pg" / name).unlink()
    return folder / "pg"


@contextlib.contextmanager
def project(*, copied: bool = True) -> Generator[Project]:
    """Yields a new project in a temporary folder; see `Project`."""
    created = Project(folder_for_server(), copied=copied)
    yield created
    wait_until(lambda: not created.running(), PATIENCE)
    shutil.rmtree(created.folder)


def environment() -> dict[str, str]:
    """Returns the environment without variables that configure a gateway."""
    names = ("MELTICA_", "DATABASE_URL")
    return {key: value for key, value in os.environ.items() if not key.startswith(names)}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return cast(int, server.getsockname()[1])


def processes(word: str) -> Iterator[str]:
    """Yields the command lines of the processes, except zombies, that contain a word."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if word in line and int(folder.name) != os.getpid():
                yield f"{folder.name} {line}"


def children(pid: int) -> list[int]:
    """Returns the child processes of `pid`; none if it has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(child) for child in text.split()]
    return []


@contextlib.contextmanager
def frozen(pid: int) -> Generator[None]:
    """Suspends a process and its children."""
    pids = [pid, *children(pid)]
    for each in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, signal.SIGSTOP)
    try:
        yield
    finally:
        for each in reversed(pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGCONT)


def one_line(text: str, *words: str) -> None:
    """Asserts that an output is a single line that begins with `Error: ` and contains some words."""
    lines = text.splitlines()
    assert len(lines) == 1, text
    assert lines[0].startswith("Error: "), text
    for word in words:
        assert word in lines[0], text
