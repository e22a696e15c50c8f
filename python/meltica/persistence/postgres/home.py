"""The directory of an embedded PostgreSQL: making it, the files in it, and its data directory.

Nothing outside it is changed. All in it belongs to the server's user and is closed to others; what is made is
made whole, on disk, or not at all.
"""

import errno
import os
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from meltica.errors import DatabaseUnavailable
from meltica.persistence.postgres import binaries
from meltica.persistence.postgres.account import Account, complaint, server_account, user
from meltica.persistence.postgres.binaries import Binaries

NAME = "meltica"
"""The role, and the database."""

PORT = "5432"
SOCKET_LIMIT = 103 if sys.platform == "darwin" else 107
INIT_TIMEOUT = 120.0


def default_home() -> Path:
    """Returns where the server lives unless told otherwise: MELTICA_HOME, else a place for this user."""
    named = os.environ.get("MELTICA_HOME")
    if named:
        return Path(named).absolute()
    if os.geteuid() == 0:
        # The user that PostgreSQL gets cannot enter the home of root.
        return Path("/var/lib/meltica")
    import platformdirs

    return Path(platformdirs.user_data_dir("meltica"))


class Home:
    """The paths, and what is done in them by the process that holds the lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = path / "data"
        self.run = path / "run"
        self.password = path / "password"
        self.log = path / "postgres.log"
        self.lock = path / "lock"

    def make(self) -> Account:
        """Makes the directories that are missing and returns who runs the server in them."""
        path = self.run / f".s.PGSQL.{PORT}"
        over = len(os.fsencode(path)) - SOCKET_LIMIT
        if over > 0:
            raise DatabaseUnavailable(
                f"{self.path} is {over} bytes too long: a Unix socket's path has at most {SOCKET_LIMIT}; "
                "choose a shorter directory with --home"
            )
        if "," in str(self.path):
            raise DatabaseUnavailable(f"{self.path} holds a comma; choose another directory with --home")
        account = server_account(self.data)
        self._check_way(account)
        for directory in (self.path, self.run):
            try:
                directory.mkdir(mode=0o700, parents=directory == self.path)
            except FileExistsError:
                continue
            account.own(directory)
        self._check_way(account)
        return account

    def _check_way(self, account: Account) -> None:
        barrier = account.barrier(self.data)
        if barrier is not None:
            raise DatabaseUnavailable(
                f"PostgreSQL runs as user {account.name}, who cannot enter {barrier}; "
                "choose another directory with --home"
            )

    def check_version(self, found: Binaries) -> None:
        """Raises DatabaseUnavailable, with the way out, when the data is of another major version."""
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
            home = "" if self.path == default_home() else f" --home {self.path}"
            raise DatabaseUnavailable(
                f"{self.data} was made by PostgreSQL {made_by}, but {found.directory} holds {found.major}; "
                f"carry it over: {binaries.ENVIRONMENT}={old} meltica db dump{home} meltica.sql.gz && "
                f"mv {self.data} {self.data}-{made_by} && meltica db restore{home} meltica.sql.gz"
            )

    def open_to(self, account: Account, directory: Path) -> Path:
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
        copy = self.path / f"postgres-{stamp.st_size:x}-{int(stamp.st_mtime):x}"
        if not copy.exists():
            for old in self.path.glob("postgres-*"):
                shutil.rmtree(old)
            with _NewDirectory(self.path, account) as new:
                new.chmod(0o755)
                shutil.copytree(package / "pginstall", new / package.name / "pginstall")
                libraries = package.with_name(f"{package.name}.libs")
                if libraries.exists():
                    shutil.copytree(libraries, new / libraries.name)
                os.sync()
                new.rename(copy)
        return copy / package.name / "pginstall" / "bin"

    def initialise(self, account: Account, found: Binaries, directory: Path) -> None:
        """Makes the data directory: whole, on disk, or not at all."""
        if not self.password.exists():
            self.write(self.password, secrets.token_urlsafe(32), account)
        flags = ["-U", NAME, f"--pwfile={self.password}", "--auth=scram-sha-256", "-E", "UTF8", "--locale=C"]
        if sys.platform == "linux" and found.major >= 17:
            flags.append("--sync-method=syncfs")
        with _NewDirectory(self.path, account) as new:
            command = [str(directory / "initdb"), "-D", str(new), "--no-instructions", *flags]
            done = account.run(*command, cwd=self.path, timeout=INIT_TIMEOUT)
            if done.returncode != 0:
                raise DatabaseUnavailable(
                    f"PostgreSQL cannot make its data directory in {self.path}: {complaint(done.stderr)}"
                )
            new.rename(self.data)
        _sync(self.path)

    def set_password(self, account: Account, directory: Path) -> None:
        """Sets a new password where the file of the old one was lost; who owns the data directory may."""
        password = secrets.token_urlsafe(32)
        command = [str(directory / "postgres"), "--single", "-D", str(self.data), "postgres"]
        statement = f"alter role {NAME} password '{password}'\n"
        done = account.run(*command, cwd=self.path, timeout=INIT_TIMEOUT, stdin=statement)
        if done.returncode != 0 or "ERROR:" in done.stderr:
            raise DatabaseUnavailable(
                f"{self.password} is missing and cannot be set anew: {complaint(done.stderr)}"
            )
        self.write(self.password, password, account)

    def open(self, path: Path, flags: int, account: Account) -> int:
        """Opens a private file, and makes it if need be."""
        # Never through a link: root works here in a directory that an ordinary user may own.
        file = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        account.own(file)
        return file

    def write(self, path: Path, text: str, account: Account) -> None:
        """Writes a private file: whole, on disk, or not at all."""
        file, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        with open(file, "w") as out:  # noqa: PTH123
            account.own(file)
            out.write(text)
            out.flush()
            os.fsync(file)
        Path(name).rename(path)
        _sync(path.parent)

    def explain(self, error: OSError) -> str:
        """Returns what an error of the file system means for who runs Meltica."""
        path = Path(os.fsdecode(error.filename)) if error.filename else self.path
        elsewhere = "or choose another directory with --home"
        if error.errno in (errno.EACCES, errno.EPERM):
            me = user(os.geteuid())
            return f"{path} is closed to user {me}; give {self.path} to {me}, {elsewhere}"
        if error.errno == errno.EROFS:
            return f"{path} is on a read-only file system; make it writable, {elsewhere}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"{path} cannot be written: the disk is full; make room, {elsewhere}"
        return f"{path}: {error.strerror}; PostgreSQL cannot run in {self.path}"


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
