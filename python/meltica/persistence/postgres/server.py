"""The process of a PostgreSQL server: start, status and stop."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from meltica.errors import DatabaseUnavailable
from meltica.persistence.postgres.account import environment

IMMEDIATE_TIMEOUT = 5.0


class PidFile(NamedTuple):
    """The contents of `postmaster.pid`; `pid` is 0 when the file is empty or damaged."""

    pid: int
    ready: bool


class Server:
    """A server that this process started.

    A dedicated thread forks it and waits for it, because the kernel ties the server to the forking thread
    (`launch.py`). The server therefore outlives the caller's thread and always ends with this process.
    """

    def __init__(self, command: list[str], cwd: Path, log: int) -> None:
        self.ended = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._error: OSError | None = None
        forked = threading.Event()

        def life() -> None:
            try:
                self._process = subprocess.Popen(
                    command,
                    cwd=cwd,
                    env=environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            except OSError as error:
                self._error = error
            finally:
                forked.set()
            if self._process is not None:
                self._process.wait()
            self.ended.set()

        threading.Thread(target=life, name="meltica-postgres", daemon=True).start()
        forked.wait()
        if self._error is not None:
            raise self._error

    @property
    def pid(self) -> int:
        """The process id of the server."""
        return self._process.pid if self._process is not None else 0

    def stop(self, timeout: float) -> None:
        """Stops the server: fast shutdown for `timeout` seconds, then immediate shutdown, then SIGKILL.

        The next start recovers from the latter two.
        """
        if self._process is None:
            return
        steps = ((signal.SIGINT, timeout), (signal.SIGQUIT, IMMEDIATE_TIMEOUT), (signal.SIGKILL, None))
        for number, patience in steps:
            self._process.send_signal(number)
            if self.ended.wait(patience):
                return


def end_foreign(pid: int, data: Path, timeout: float) -> None:
    """Stops a server on `data` that an earlier owner left running."""
    for number, patience in ((signal.SIGINT, timeout), (signal.SIGQUIT, IMMEDIATE_TIMEOUT)):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        if wait_until(lambda: not serves(pid, data), patience):
            return
    raise DatabaseUnavailable(
        f"process {pid}, a PostgreSQL server on {data}, does not stop; end it with kill -9 {pid}"
    )


def read_pid_file(data: Path) -> PidFile | None:
    """Returns the contents of `postmaster.pid`, or None when the file does not exist."""
    try:
        lines = (data / "postmaster.pid").read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return None
    pid = int(lines[0]) if lines and lines[0].strip().isdigit() else 0
    return PidFile(pid, ready=len(lines) > 7 and lines[7].strip() == "ready")


def serves(pid: int, data: Path) -> bool:
    """Returns whether a process is a live server on `data`, not a zombie or a process with a reused pid."""
    if pid <= 0:
        return False
    if sys.platform == "linux":
        try:
            state = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            return False
        return state not in "ZX" and os.fsencode(data) in words
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def wait_until(condition: Callable[[], bool], timeout: float) -> bool:
    """Polls `condition` until it holds; returns False after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.01)
    return True
