"""An embedded PostgreSQL server in a directory of its own, started, supervised and stopped by Meltica.

The home directory contains:

- `data`, the data directory of PostgreSQL
- `run`, with the Unix socket, which is the only way to connect
- `password`, the password of the role `meltica`
- `postgres.log` and the log of the previous start
- `lock`: the process that holds this lock owns the server

The owner starts the server, and the server ends with the owner, even when the owner is killed. Other
processes attach to it.

Nothing outside the home directory is changed. The next start recovers from any state that a kill -9 of the
owner, the server or both leaves behind.
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
from meltica.persistence.postgres.account import ServerAccount, complaint
from meltica.persistence.postgres.dumps import if_damaged
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
    # Replaces one fsync per file: after a kill -9, a start takes tenths of a second instead of seconds.
    SETTINGS["recovery_init_sync_method"] = "syncfs"

_log = logging.getLogger("meltica.postgres")
_locks: set[int] = set()


def _close_locks() -> None:
    """Closes the locks in a forked child, which would otherwise hold them after its parent's end."""
    for lock in _locks:
        os.close(lock)
    _locks.clear()


os.register_at_fork(after_in_child=_close_locks)


class EmbeddedPostgres:
    """The server in one home directory. Thread-safe."""

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
        """The connection string, which includes the password. It is the same after each start."""
        return self._conninfo(NAME)

    @property
    def owner(self) -> bool:
        """Whether this process started the server and will stop it."""
        return self._lock is not None

    @property
    def pid(self) -> int | None:
        """The process id of the server, or None while it is not running."""
        file = read_pid_file(self.data)
        return file.pid if file is not None and serves(file.pid, self.data) else None

    @property
    def running(self) -> bool:
        """Whether the server is running and accepts connections. A server without its socket does not."""
        if self._server is not None:
            # Unlike Path.exists, it never raises: the supervision has to continue.
            return not self._server.ended.is_set() and os.path.exists(self._home.socket)  # noqa: PTH110
        file = read_pid_file(self.data)
        ready = file is not None and file.ready and serves(file.pid, self.data)
        return ready and self._home.socket.exists()

    def start(self) -> None:
        """Starts the server or attaches to it; does nothing when it is already running.

        Raises DatabaseUnavailable with the cause and the remedy in one line.
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
        """Stops the server within about `stop_timeout` seconds, or detaches from another process's server."""
        self._stopping.set()
        with self._mutex:
            self._end()
            self._stopping.clear()

    async def supervise(self, on_change: Callable[[bool], None] | None = None) -> None:
        """Keeps the server running until cancelled, and takes it over when another owner ends.

        `on_change` is called with False when the server ends and with True when it runs again. Restarts have
        increasing pauses of up to half a minute.
        """
        pause, up_since = 0.0, time.monotonic()
        while True:
            await asyncio.sleep(WATCH_INTERVAL)
            try:
                self._limit_log()
                if self.running:
                    continue
                lost = "ended" if self.pid is None else f"lost its socket in {self._home.run}"
            except OSError as error:
                # Such as no free file descriptor: the server may be running.
                _log.warning("state of the embedded PostgreSQL in %s unknown, retrying: %s", self.home, error)
                continue
            if time.monotonic() - up_since > LONGEST_BACKOFF:
                pause = 0.0
            _log.error("the embedded PostgreSQL in %s has %s; restarting it", self.home, lost)
            if on_change is not None:
                on_change(False)
            while True:
                await asyncio.sleep(pause)
                pause = min(max(pause * 2, WATCH_INTERVAL), LONGEST_BACKOFF)
                try:
                    await asyncio.to_thread(self.start)
                except DatabaseUnavailable as error:
                    _log.error("%s; retrying in %.1f s", error, pause)
                else:
                    break
            up_since = time.monotonic()
            _log.info("the embedded PostgreSQL in %s is running again", self.home)
            if on_change is not None:
                on_change(True)

    def _start(self, deadline: float) -> None:
        account = self._home.make()
        reason = f"another process holds {self._home.lock}, but its server does not respond"
        while not self._take_lock(account):
            if self.running:
                try:
                    self._create_database()
                except _WrongPassword:
                    raise
                except DatabaseUnavailable as error:
                    # The server may be shutting down because its owner was killed.
                    reason = str(error)
                else:
                    return
            self._pause(deadline, reason)
        installed = binaries.find()
        self._home.check_version(installed)
        if self._server is not None:
            # It has ended, or clients cannot reach it because its socket was removed.
            self._server.stop(self.stop_timeout)
            self._server = None
        self._end_leftovers(account)
        directory = self._home.accessible(account, installed.directory)
        if not self.data.exists():
            self._home.initialise(account, installed, directory)
        elif not self._home.has_password():
            self._home.set_password(account, directory)
        while (reason := self._launch(account, directory, deadline)) is not None:
            # The backends of a killed server end a moment later, and PostgreSQL refuses to start before.
            if "shared memory" not in reason:
                raise DatabaseUnavailable(
                    f"PostgreSQL does not start in {self.data}: {reason} (see {self.log})"
                    f"{if_damaged(self.home, reason)}"
                )
            self._pause(deadline, f"processes of an earlier server still use {self.data}: {reason}")
        self._create_database()

    def _take_lock(self, account: ServerAccount) -> bool:
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
        """Stops the server if this process started it, and releases the lock."""
        if self._server is not None:
            self._server.stop(self.stop_timeout)
            self._server = None
        if self._lock is not None:
            _locks.discard(self._lock)
            os.close(self._lock)
            self._lock = None

    def _end_leftovers(self, account: ServerAccount) -> None:
        """Stops the server and removes the files that a killed owner left behind. Requires the lock."""
        for directory in self.home.glob("init-*"):
            shutil.rmtree(directory, ignore_errors=True)
        content = read_pid_file(self.data)
        if content is not None and serves(content.pid, self.data):
            end_foreign(content.pid, self.data, self.stop_timeout)
            content = read_pid_file(self.data)
        for socket in self._home.run.glob(".s.PGSQL.*"):
            socket.unlink(missing_ok=True)
        if content is None:
            return
        file = self.data / "postmaster.pid"
        if content.pid:
            # The process has ended, but its pid may belong to a zombie or be reused, and PostgreSQL would
            # refuse to start. It ignores the pid of its parent, and still checks for remaining backends.
            try:
                lines = file.read_text().splitlines(keepends=True)
            except FileNotFoundError:
                # The server removed its file in the meantime.
                return
            self._home.write(file, "".join([f"{os.getpid()}\n", *lines[1:]]), account)
        else:
            file.unlink(missing_ok=True)

    def _launch(self, account: ServerAccount, directory: Path, deadline: float) -> str | None:
        """Starts the server; returns None when it is ready, or its error output when it ended."""
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
            file = read_pid_file(self.data)
            if file is not None and file.pid == server.pid and file.ready:
                return None
            if self._stopping.is_set() or time.monotonic() > deadline:
                stopped = self._stopping.is_set()
                cause = (
                    "was stopped during its start" if stopped else f"timed out after {self.start_timeout:g} s"
                )
                raise DatabaseUnavailable(f"the start of PostgreSQL in {self.data} {cause} (see {self.log})")
        return complaint(self.log.read_text(errors="replace"))

    def _create_database(self) -> None:
        """Creates the database if it is missing; verifies that the server responds and the password works."""
        import psycopg

        try:
            with psycopg.connect(
                self._conninfo("postgres"), autocommit=True, connect_timeout=10
            ) as connection:
                query = "select from pg_database where datname = %s"
                if not connection.execute(query, [NAME]).rowcount:
                    with contextlib.suppress(
                        psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation
                    ):
                        connection.execute("create database meltica")
        except psycopg.Error as error:
            reason = " ".join(str(error).split())
            text = f"the PostgreSQL in {self.home} does not accept connections: {reason}"
            if "password authentication failed" in reason:
                raise _WrongPassword(f"{text}; delete {self._home.password} to set a new one") from error
            raise DatabaseUnavailable(f"{text}{if_damaged(self.home, reason)}") from error

    def _conninfo(self, database: str) -> str:
        from psycopg.conninfo import make_conninfo

        try:
            password = self._home.password.read_text().strip()
        except FileNotFoundError:
            raise DatabaseUnavailable(
                f"{self.home} does not contain a database yet; start the server first"
            ) from None
        fixed = {"host": str(self._home.run), "port": PORT, "user": NAME, "dbname": database}
        return make_conninfo("", **{**_unaffected(), **fixed, "password": password})

    def _pause(self, deadline: float, reason: str) -> None:
        """Pauses before another attempt. Raises DatabaseUnavailable after the deadline or a stop."""
        if self._stopping.wait(0.05) or time.monotonic() > deadline:
            raise DatabaseUnavailable(f"{reason}; gave up")

    def _limit_log(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if self.owner and self.log.stat().st_size > LOG_LIMIT:
                os.truncate(self.log, 0)


def _unaffected() -> dict[str, str]:
    """Returns libpq's own defaults for the PG* variables, which the operator has set for another database."""
    from psycopg.pq import Conninfo

    names = {option.envvar: option for option in Conninfo.get_defaults() if option.envvar}
    affected = [option for name, option in names.items() if name.decode() in os.environ]
    values = {option.keyword.decode(): (option.compiled or b"").decode() for option in affected}
    # An empty `service` would be looked up, and an empty `require_auth` would refuse all methods.
    values.pop("service", None)
    return {name: value or {"require_auth": "scram-sha-256"}.get(name, "") for name, value in values.items()}


class _WrongPassword(DatabaseUnavailable):
    """A retry would fail in the same way."""
