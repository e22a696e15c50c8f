"""An embedded PostgreSQL: a server of one's own in a directory, started, watched and stopped by Meltica.

The directory (home) holds `data`; `run`, with the Unix socket, the only way in; `password`, of the role
`meltica`; `postgres.log` and that of the start before; and `lock`. Who has locked `lock` owns the server: it
starts it, and the server ends when the owner does, however it ends. Other processes attach.

Nothing outside the directory is changed. Any state that a kill -9 of the owner, the server or both leaves
behind is put right by the next start.
"""

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from meltica.errors import DatabaseUnavailable
from meltica.persistence import binaries
from meltica.persistence.account import Account, complaint, server_account, user
from meltica.persistence.binaries import Binaries
from meltica.persistence.server import Server, end_foreign, read_pid_file, serves

NAME = "meltica"
"""The role, and the database."""

PORT = "5432"
SOCKET_LIMIT = 103 if sys.platform == "darwin" else 107
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

_log = logging.getLogger("meltica.postgres")


def default_home() -> Path:
    """Returns where the server lives unless told otherwise."""
    if os.geteuid() == 0:
        # The user that PostgreSQL gets cannot enter the home of root.
        return Path("/var/lib/meltica")
    import platformdirs

    return Path(platformdirs.user_data_dir("meltica"))


class EmbeddedPostgres:
    """The server in one directory. All methods may be called from any thread."""

    def __init__(
        self, home: Path | None = None, *, start_timeout: float = 120.0, stop_timeout: float = 10.0
    ) -> None:
        self.home = Path(os.path.realpath(home or default_home()))
        self.data = self.home / "data"
        self.log = self.home / "postgres.log"
        self.start_timeout = start_timeout
        self.stop_timeout = stop_timeout
        self._run = self.home / "run"
        self._password = self.home / "password"
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
                self._unlock()
                raise DatabaseUnavailable(self._explain(error)) from error
            except BaseException:
                self._unlock()
                raise

    ensure_running = start

    def stop(self) -> None:
        """Ends the server, in about `stop_timeout` seconds at most; one that is only attached to goes on."""
        self._stopping.set()
        with self._mutex:
            if self._server is not None:
                self._server.stop(self.stop_timeout)
            self._unlock()
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
        account = self._make_home()
        why = f"another process holds {self.home / 'lock'}, but its server does not answer"
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
        self._check_version(found)
        self._end_leftovers(account)
        directory = self._open_to(account, found.directory)
        if not self.data.exists():
            self._initialise(account, found, directory)
        elif not self._password.exists():
            self._set_password(account, directory)
        while (reason := self._launch(account, directory, deadline)) is not None:
            # Its backends outlive a killed server by a moment, and PostgreSQL waits for them to be gone.
            if "shared memory" not in reason:
                raise DatabaseUnavailable(
                    f"PostgreSQL does not start in {self.data}: {reason} (see {self.log})"
                )
            self._pause(deadline, f"processes of an earlier server still use {self.data}: {reason}")
        self._make_database()

    def _make_home(self) -> Account:
        """Makes the directories that are missing and returns who runs the server in them."""
        path = self._run / f".s.PGSQL.{PORT}"
        over = len(os.fsencode(path)) - SOCKET_LIMIT
        if over > 0:
            raise DatabaseUnavailable(
                f"{self.home} is {over} bytes too long: a Unix socket's path has at most {SOCKET_LIMIT}; "
                "choose a shorter directory with --home"
            )
        if "," in str(self.home):
            raise DatabaseUnavailable(f"{self.home} holds a comma; choose another directory with --home")
        account = server_account(self.data)
        for directory in (self.home, self._run):
            try:
                directory.mkdir(mode=0o700, parents=directory == self.home)
            except FileExistsError:
                continue
            account.own(directory)
        barrier = account.barrier(self.data)
        if barrier is not None:
            raise DatabaseUnavailable(
                f"PostgreSQL runs as user {account.name}, who cannot enter {barrier}; "
                "choose another directory with --home"
            )
        return account

    def _take_lock(self, account: Account) -> bool:
        if self._lock is None:
            lock = self._open("lock", os.O_RDWR | os.O_CREAT, account)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                return False
            self._lock = lock
        return True

    def _unlock(self) -> None:
        self._server = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _check_version(self, found: Binaries) -> None:
        if not self.data.exists():
            return
        try:
            made_by = int((self.data / "PG_VERSION").read_text())
        except (FileNotFoundError, ValueError):
            raise DatabaseUnavailable(
                f"{self.data}: expected a data directory of PostgreSQL, its PG_VERSION is missing; "
                "move it away, or choose another directory with --home"
            ) from None
        if made_by != found.major:
            old = binaries.of_major(made_by) or f"<the bin directory of PostgreSQL {made_by}>"
            home = "" if self.home == default_home() else f" --home {self.home}"
            raise DatabaseUnavailable(
                f"{self.data} was made by PostgreSQL {made_by}, but {found.directory} holds {found.major}; "
                f"carry it over: "
                f"{binaries.ENVIRONMENT}={old} meltica db dump{home} meltica.sql.gz && "
                f"mv {self.data} {self.data}-{made_by} && meltica db restore{home} meltica.sql.gz"
            )

    def _end_leftovers(self, account: Account) -> None:
        """Ends and clears away what an earlier owner that was killed left behind. The lock is held."""
        for directory in self.home.glob("init-*"):
            shutil.rmtree(directory, ignore_errors=True)
        known = read_pid_file(self.data)
        if known is not None and serves(known.pid, self.data):
            end_foreign(known.pid, self.data, self.stop_timeout)
            known = read_pid_file(self.data)
        if known is not None:
            # The process is gone, but its number may be a zombie's, or by now another's, and PostgreSQL would
            # refuse to start. It ignores its parent's number, and still checks that no backend is left.
            lines = (self.data / "postmaster.pid").read_text().splitlines(keepends=True)
            if known.pid:
                self._write(self.data / "postmaster.pid", "".join([f"{os.getpid()}\n", *lines[1:]]), account)
            else:
                (self.data / "postmaster.pid").unlink()
        for socket in self._run.glob(".s.PGSQL.*"):
            socket.unlink()

    def _open_to(self, account: Account, directory: Path) -> Path:
        """Returns the binaries' directory, or that of a copy where the server's user cannot reach them."""
        barrier = account.barrier(directory / "postgres")
        if barrier is None:
            return directory
        package = binaries.wheel()
        if package is None or directory != package / "pginstall" / "bin":
            raise DatabaseUnavailable(
                f"PostgreSQL runs as user {account.name}, who cannot enter {barrier} on the way to "
                f"{directory}; name another directory in {binaries.ENVIRONMENT}"
            )
        stamp = (directory / "postgres").stat()
        copy = self.home / f"postgres-{stamp.st_size:x}-{int(stamp.st_mtime):x}"
        if not copy.exists():
            for old in self.home.glob("postgres-*"):
                shutil.rmtree(old)
            with self._new_directory(account) as new:
                new.chmod(0o755)
                shutil.copytree(package / "pginstall", new / package.name / "pginstall")
                libraries = package.with_name(f"{package.name}.libs")
                if libraries.exists():
                    shutil.copytree(libraries, new / libraries.name)
                new.rename(copy)
        return copy / package.name / "pginstall" / "bin"

    def _initialise(self, account: Account, found: Binaries, directory: Path) -> None:
        """Makes the data directory: whole, on disk, or not at all."""
        if not self._password.exists():
            self._write(self._password, secrets.token_urlsafe(32), account)
        flags = ["-U", NAME, f"--pwfile={self._password}", "--auth=scram-sha-256", "-E", "UTF8", "--locale=C"]
        if sys.platform == "linux" and found.major >= 17:
            flags.append("--sync-method=syncfs")
        with self._new_directory(account) as new:
            program = str(directory / "initdb")
            done = account.run(
                program,
                "-D",
                str(new),
                "--no-instructions",
                *flags,
                cwd=self.home,
                timeout=self.start_timeout,
            )
            if done.returncode != 0:
                raise DatabaseUnavailable(
                    f"PostgreSQL cannot make its data directory in {self.home}: {complaint(done.stderr)}"
                )
            new.rename(self.data)
        _sync(self.home)

    def _set_password(self, account: Account, directory: Path) -> None:
        """Sets a new password where the file of the old one was lost; who owns the data directory may."""
        password = secrets.token_urlsafe(32)
        done = account.run(
            str(directory / "postgres"),
            *("--single", "-D", str(self.data), "postgres"),
            cwd=self.home,
            timeout=self.start_timeout,
            stdin=f"alter role {NAME} password '{password}'\n",
        )
        if done.returncode != 0 or "ERROR:" in done.stderr:
            raise DatabaseUnavailable(
                f"{self._password} is missing and cannot be set anew: {complaint(done.stderr)}"
            )
        self._write(self._password, password, account)

    def _launch(self, account: Account, directory: Path, deadline: float) -> str | None:
        """Starts the server and returns None when it is ready, else what it said before it ended."""
        with contextlib.suppress(FileNotFoundError):
            self.log.replace(self.log.with_suffix(".log.1"))
        log = self._open(self.log.name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, account)
        sockets = str(self._run).replace('"', '""')
        settings = {**SETTINGS, "unix_socket_directories": f'"{sockets}"'}
        flags = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        try:
            command = account.command(str(directory / "postgres"), "-D", str(self.data), *flags)
            server = Server(command, self.home, log)
        finally:
            os.close(log)
        while not server.ended.wait(0.01):
            known = read_pid_file(self.data)
            if known is not None and known.pid == server.pid and known.ready:
                self._server = server
                return None
            if self._stopping.is_set() or time.monotonic() > deadline:
                server.stop(self.stop_timeout)
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
                raise _WrongPassword(f"{why}; delete {self._password} to have a new one set") from error
            raise DatabaseUnavailable(why) from error

    def _conninfo(self, database: str) -> str:
        from psycopg.conninfo import make_conninfo

        try:
            password = self._password.read_text().strip()
        except FileNotFoundError:
            raise DatabaseUnavailable(f"{self.home} holds no database yet: start the server first") from None
        return make_conninfo(host=str(self._run), port=PORT, user=NAME, password=password, dbname=database)

    def _pause(self, deadline: float, why: str) -> None:
        """Waits a moment before another try. Raises DatabaseUnavailable when there is no time for one."""
        if self._stopping.wait(0.05) or time.monotonic() > deadline:
            raise DatabaseUnavailable(f"{why}; gave up")

    def _bound_log(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if self.owner and self.log.stat().st_size > LOG_LIMIT:
                os.truncate(self.log, 0)

    def _open(self, name: str, flags: int, account: Account) -> int:
        # Never through a link: root works here in a directory that an ordinary user may own.
        file = os.open(self.home / name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        account.own(file)
        return file

    def _write(self, path: Path, text: str, account: Account) -> None:
        """Writes a private file: whole, on disk, or not at all."""
        file, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        with open(file, "w") as out:  # noqa: PTH123
            account.own(file)
            out.write(text)
            out.flush()
            os.fsync(file)
        Path(name).rename(path)
        _sync(path.parent)

    def _new_directory(self, account: Account) -> "_NewDirectory":
        return _NewDirectory(self.home, account)

    def _explain(self, error: OSError) -> str:
        path = Path(os.fsdecode(error.filename)) if error.filename else self.home
        elsewhere = "or choose another directory with --home"
        if error.errno in (errno.EACCES, errno.EPERM):
            me = user(os.geteuid())
            return f"{path} is closed to user {me}; give {self.home} to {me}, {elsewhere}"
        if error.errno == errno.EROFS:
            return f"{path} is on a read-only file system; make it writable, {elsewhere}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"{path} cannot be written: the disk is full; make room, {elsewhere}"
        return f"{path}: {error.strerror}; PostgreSQL cannot run in {self.home}"


class _WrongPassword(DatabaseUnavailable):
    """Trying again would not help."""


class _NewDirectory:
    """A directory beside its place, to be filled and renamed; it is removed when that does not happen."""

    def __init__(self, parent: Path, account: Account) -> None:
        self.path = Path(tempfile.mkdtemp(dir=parent, prefix="init-"))
        account.own(self.path)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


def _sync(directory: Path) -> None:
    """Puts the names in a directory on disk."""
    file = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
