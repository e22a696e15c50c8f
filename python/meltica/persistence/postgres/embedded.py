"""An embedded PostgreSQL: a server of one's own in a directory, started, watched and stopped by Meltica.

The directory (home) holds `data`; `run`, with the Unix socket, the only way in; `password`, of the role
`meltica`; `postgres.log` and that of the start before; and `lock`. Who has locked `lock` owns the server: it
starts it, and the server ends when the owner does, however it ends. Other processes attach.

Nothing outside the directory is changed. Any state that a kill -9 of the owner, the server or both leaves
behind is put right by the next start.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from meltica.errors import DatabaseUnavailable
from meltica.persistence.postgres import binaries
from meltica.persistence.postgres.account import Account, complaint
from meltica.persistence.postgres.home import NAME, PORT, Home, default_home
from meltica.persistence.postgres.server import Server, end_foreign, read_pid_file, serves

LOG_LIMIT = 16 << 20
WATCH_INTERVAL = 0.2
LONGEST_BACKOFF = 30.0
SETTINGS = {
    "listen_addresses": "",
    "port": PORT,
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "password_encryption": "scram-sha-256",
    "shared_buffers": "64MB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "logging_collector": "off",
    "log_destination": "stderr",
}
if sys.platform == "linux":
    # One call instead of a thousand: after a kill -9 the start takes tenths of a second, not seconds.
    SETTINGS["recovery_init_sync_method"] = "syncfs"

_log = logging.getLogger("meltica.postgres")
_locks: set[int] = set()


def _let_go() -> None:
    """Closes the locks in a forked child: one that outlives its parent would keep others out."""
    for lock in _locks:
        os.close(lock)
    _locks.clear()


os.register_at_fork(after_in_child=_let_go)


class EmbeddedPostgres:
    """The server in one directory. All methods may be called from any thread."""

    def __init__(
        self, home: Path | None = None, *, start_timeout: float = 120.0, stop_timeout: float = 10.0
    ) -> None:
        self.home = Path(os.path.realpath(home or default_home()))
        self._home = Home(self.home)
        self.data = self._home.data
        self.log = self._home.log
        self.start_timeout = start_timeout
        self.stop_timeout = stop_timeout
        self._mutex = threading.Lock()
        self._stopping = threading.Event()
        self._lock: int | None = None
        self._server: Server | None = None

    def __enter__(self) -> "EmbeddedPostgres":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def dsn(self) -> str:
        """The connection string; it stays the same from start to start. Holds the password."""
        return self._conninfo(NAME)

    @property
    def owner(self) -> bool:
        """Whether this process started the server, and ends it."""
        return self._lock is not None

    @property
    def pid(self) -> int | None:
        """The server's process, None while there is none."""
        known = read_pid_file(self.data)
        return known.pid if known is not None and serves(known.pid, self.data) else None

    @property
    def running(self) -> bool:
        """Whether the server runs and takes connections."""
        if self._server is not None:
            return not self._server.ended.is_set()
        known = read_pid_file(self.data)
        return known is not None and known.ready and serves(known.pid, self.data)

    def start(self) -> None:
        """Starts the server or attaches to it; nothing when it runs already.

        Raises DatabaseUnavailable with one line that says why it cannot run and what to do.
        """
        deadline = time.monotonic() + self.start_timeout
        with self._mutex:
            try:
                if not (self.owner and self.running):
                    self._start(deadline)
            except OSError as error:
                self._end()
                raise DatabaseUnavailable(self._home.explain(error)) from error
            except BaseException:
                self._end()
                raise

    ensure_running = start

    def stop(self) -> None:
        """Ends the server, in about `stop_timeout` seconds at most; one that is only attached to goes on."""
        self._stopping.set()
        with self._mutex:
            self._end()
            self._stopping.clear()

    async def supervise(self, on_change: Callable[[bool], None] | None = None) -> None:
        """Keeps the started server running until cancelled; takes over when an owner that is not us ends.

        `on_change` hears False when the server has gone and True when it is back. A server that keeps dying
        is started again after ever longer pauses, up to half a minute.
        """
        pause, up_since = 0.0, time.monotonic()
        while True:
            await asyncio.sleep(WATCH_INTERVAL)
            self._bound_log()
            if self.running:
                continue
            if time.monotonic() - up_since > LONGEST_BACKOFF:
                pause = 0.0
            _log.error("the embedded PostgreSQL in %s has ended; starting it again", self.home)
            if on_change is not None:
                on_change(False)
            while True:
                await asyncio.sleep(pause)
                pause = min(max(pause * 2, WATCH_INTERVAL), LONGEST_BACKOFF)
                try:
                    await asyncio.to_thread(self.start)
                except DatabaseUnavailable as error:
                    _log.error("%s; trying again in %.1f s", error, pause)
                else:
                    break
            up_since = time.monotonic()
            _log.info("the embedded PostgreSQL in %s runs again", self.home)
            if on_change is not None:
                on_change(True)

    def _start(self, deadline: float) -> None:
        account = self._home.make()
        why = f"another process holds {self._home.lock}, but its server does not answer"
        while not self._take_lock(account):
            if self.running:
                try:
                    self._make_database()
                except _WrongPassword:
                    raise
                except DatabaseUnavailable as error:
                    # It may be on its way out with an owner that was killed.
                    why = str(error)
                else:
                    return
            self._pause(deadline, why)
        found = binaries.find()
        self._home.check_version(found)
        self._end_leftovers(account)
        directory = self._home.open_to(account, found.directory)
        if not self.data.exists():
            self._home.initialise(account, found, directory)
        elif not self._home.password.exists():
            self._home.set_password(account, directory)
        while (reason := self._launch(account, directory, deadline)) is not None:
            # Its backends outlive a killed server by a moment, and PostgreSQL waits for them to be gone.
            if "shared memory" not in reason:
                raise DatabaseUnavailable(
                    f"PostgreSQL does not start in {self.data}: {reason} (see {self.log})"
                )
            self._pause(deadline, f"processes of an earlier server still use {self.data}: {reason}")
        self._make_database()

    def _take_lock(self, account: Account) -> bool:
        if self._lock is None:
            lock = self._home.open(self._home.lock, os.O_RDWR, account)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                return False
            self._lock = lock
            _locks.add(lock)
        return True

    def _end(self) -> None:
        """Ends the server, if this process has started one, and lets go of the lock."""
        if self._server is not None:
            self._server.stop(self.stop_timeout)
            self._server = None
        if self._lock is not None:
            _locks.discard(self._lock)
            os.close(self._lock)
            self._lock = None

    def _end_leftovers(self, account: Account) -> None:
        """Ends and clears away what an earlier owner that was killed left behind. The lock is held."""
        for directory in self.home.glob("init-*"):
            shutil.rmtree(directory, ignore_errors=True)
        known = read_pid_file(self.data)
        if known is not None and serves(known.pid, self.data):
            end_foreign(known.pid, self.data, self.stop_timeout)
            known = read_pid_file(self.data)
        for socket in self._home.run.glob(".s.PGSQL.*"):
            socket.unlink(missing_ok=True)
        if known is None:
            return
        file = self.data / "postmaster.pid"
        if known.pid:
            # The process is gone, but its number may be a zombie's, or by now another's, and PostgreSQL would
            # refuse to start. It ignores its parent's number, and still checks that no backend is left.
            try:
                lines = file.read_text().splitlines(keepends=True)
            except FileNotFoundError:
                # It ended in this very moment, and took its file along.
                return
            self._home.write(file, "".join([f"{os.getpid()}\n", *lines[1:]]), account)
        else:
            file.unlink(missing_ok=True)

    def _launch(self, account: Account, directory: Path, deadline: float) -> str | None:
        """Starts the server and returns None when it is ready, else what it said before it ended."""
        with contextlib.suppress(FileNotFoundError):
            self.log.replace(self.log.with_suffix(".log.1"))
        log = self._home.open(self.log, os.O_WRONLY | os.O_APPEND, account)
        sockets = str(self._home.run).replace('"', '""')
        settings = {**SETTINGS, "unix_socket_directories": f'"{sockets}"'}
        flags = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        try:
            command = account.command(str(directory / "postgres"), "-D", str(self.data), *flags)
            server = Server(command, self.home, log)
        finally:
            os.close(log)
        self._server = server
        while not server.ended.wait(0.01):
            known = read_pid_file(self.data)
            if known is not None and known.pid == server.pid and known.ready:
                return None
            if self._stopping.is_set() or time.monotonic() > deadline:
                why = "stopped" if self._stopping.is_set() else f"not ready within {self.start_timeout:g} s"
                raise DatabaseUnavailable(
                    f"PostgreSQL in {self.data} was {why} while it started (see {self.log})"
                )
        return complaint(self.log.read_text(errors="replace"))

    def _make_database(self) -> None:
        """Makes the database if it is missing; finds out that the server answers and knows the password."""
        import psycopg

        try:
            with psycopg.connect(
                self._conninfo("postgres"), autocommit=True, connect_timeout=10
            ) as connection:
                found = connection.execute("select from pg_database where datname = %s", [NAME]).rowcount
                if not found:
                    with contextlib.suppress(
                        psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation
                    ):
                        connection.execute("create database meltica")
        except psycopg.Error as error:
            why = f"the PostgreSQL in {self.home} takes no connections: {' '.join(str(error).split())}"
            if "password authentication failed" in why:
                raise _WrongPassword(f"{why}; delete {self._home.password} to have a new one set") from error
            raise DatabaseUnavailable(why) from error

    def _conninfo(self, database: str) -> str:
        from psycopg.conninfo import make_conninfo

        try:
            password = self._home.password.read_text().strip()
        except FileNotFoundError:
            raise DatabaseUnavailable(f"{self.home} holds no database yet: start the server first") from None
        return make_conninfo(
            host=str(self._home.run), port=PORT, user=NAME, password=password, dbname=database
        )

    def _pause(self, deadline: float, why: str) -> None:
        """Waits a moment before another try. Raises DatabaseUnavailable when there is no time for one."""
        if self._stopping.wait(0.05) or time.monotonic() > deadline:
            raise DatabaseUnavailable(f"{why}; gave up")

    def _bound_log(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if self.owner and self.log.stat().st_size > LOG_LIMIT:
                os.truncate(self.log, 0)


class _WrongPassword(DatabaseUnavailable):
    """Trying again would not help."""
