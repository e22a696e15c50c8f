"""The home directory of an embedded PostgreSQL: its creation, its files, and its data directory.

Nothing outside it is changed. Its files belong to the server's user and are private. Files and directories
are created atomically and synced to disk.
"""

import contextlib
import errno
import os
import secrets
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

from meltica.errors import DatabaseUnavailable
from meltica.persistence.postgres import binaries
from meltica.persistence.postgres.account import ServerAccount, complaint, server_account, user
from meltica.persistence.postgres.binaries import Binaries
from meltica.persistence.postgres.dumps import if_damaged, into_new_home

NAME = "meltica"
"""Name of the role and of the database."""

PORT = "5432"
SOCKET_LIMIT = 103 if sys.platform == "darwin" else 107
INIT_TIMEOUT = 120.0


def default_home() -> Path:
    """Returns the default home directory: MELTICA_HOME, else a directory of the current user.

    Raises DatabaseUnavailable when the user's directory is unknown.
    """
    from_environment = os.environ.get("MELTICA_HOME")
    if from_environment:
        return Path(from_environment).absolute()
    if os.geteuid() == 0:
        # The user that runs PostgreSQL cannot enter root's home directory.
        return Path("/var/lib/meltica")
    import platformdirs

    try:
        path = Path(platformdirs.user_data_dir("meltica"))
    except RuntimeError:
        path = Path("~")
    if path.is_absolute():
        return path
    missing = f"HOME is not set, and user {user(os.geteuid())} has no passwd entry"
    cause = "HOME is not an absolute path" if os.environ.get("HOME") else missing
    raise DatabaseUnavailable(
        f"the default home of the database is unknown: {cause}; "
        "give a directory with --home, or set HOME or MELTICA_HOME"
    )


def home_option(path: Path) -> str:
    """Returns the option that selects a home in a shell command; empty for the default home."""
    with contextlib.suppress(DatabaseUnavailable):
        if path == default_home():
            return ""
    return f" --home {shlex.quote(str(path))}"


class Home:
    """The paths of a home directory, and the changes that the process with the lock makes in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = path / "data"
        self.run = path / "run"
        self.socket = self.run / f".s.PGSQL.{PORT}"
        self.password = path / "password"
        self.log = path / "postgres.log"
        self.lock = path / "lock"

    def make(self) -> ServerAccount:
        """Creates missing directories and returns the account that runs the server."""
        over = len(os.fsencode(self.socket)) - SOCKET_LIMIT
        if over > 0:
            raise DatabaseUnavailable(
                f"{self.path} is {over} bytes too long: a Unix socket's path has at most {SOCKET_LIMIT}; "
                "choose a shorter directory with --home"
            )
        if "," in str(self.path):
            raise DatabaseUnavailable(f"{self.path} contains a comma; choose another directory with --home")
        account = server_account(self.data)
        self._check_access(account)
        for directory in (self.path, self.run):
            try:
                directory.mkdir(mode=0o700, parents=directory == self.path)
            except FileExistsError:
                continue
            account.own(directory)
        self._check_access(account)
        return account

    def _check_access(self, account: ServerAccount) -> None:
        barrier = account.barrier(self.data)
        if barrier is not None:
            raise DatabaseUnavailable(
                f"PostgreSQL runs as user {account.name}, who cannot enter {barrier}; "
                "choose another directory with --home"
            )

    def check_version(self, installed: Binaries) -> None:
        """Raises DatabaseUnavailable with the upgrade commands when the data has another major version."""
        if not self.data.exists():
            return
        try:
            version = int((self.data / "PG_VERSION").read_text())
        except (FileNotFoundError, ValueError):
            raise DatabaseUnavailable(
                f"{self.data}: expected a data directory of PostgreSQL, but its PG_VERSION is missing; "
                f"move it away, choose another directory with --home, or {into_new_home(self.path)}"
            ) from None
        if version != installed.major:
            found = binaries.of_major(version)
            old = shlex.quote(str(found)) if found else f"<the bin directory of PostgreSQL {version}>"
            home = home_option(self.path)
            data = shlex.quote(str(self.data))
            away = shlex.quote(f"{self.data}-{version}")
            raise DatabaseUnavailable(
                f"{self.data} was created by PostgreSQL {version}, but {installed.directory} has version "
                f"{installed.major}; upgrade it: {binaries.ENVIRONMENT}={old} meltica db dump{home} "
                f"meltica.sql.gz && mv {data} {away} && meltica db restore{home} "
                "meltica.sql.gz"
            )

    def accessible(self, account: ServerAccount, directory: Path) -> Path:
        """Returns the directory of the binaries, or of a copy if the server's user cannot reach them."""
        barrier = account.barrier(directory / "postgres")
        if barrier is None:
            return directory
        package = binaries.wheel()
        if package is None or directory != package / "pginstall" / "bin":
            raise DatabaseUnavailable(
                f"PostgreSQL runs as user {account.name}, who cannot enter {barrier} on the way to "
                f"{directory}; set {binaries.ENVIRONMENT} to another directory"
            )
        stamp = (directory / "postgres").stat()
        copy = self.path / f"postgres-{stamp.st_size:x}-{int(stamp.st_mtime):x}"
        if not copy.exists():
            for old in self.path.glob("postgres-*"):
                shutil.rmtree(old)
            with _NewDirectory(self.path, account) as new:
                new.chmod(0o755)
                (new / package.name).mkdir()
                _copy(package / "pginstall", new / package.name / "pginstall")
                libraries = package.with_name(f"{package.name}.libs")
                if libraries.exists():
                    _copy(libraries, new / libraries.name)
                os.sync()
                new.rename(copy)
        return copy / package.name / "pginstall" / "bin"

    def initialise(self, account: ServerAccount, installed: Binaries, directory: Path) -> None:
        """Creates the data directory atomically and syncs it to disk."""
        if not self.has_password():
            self.write(self.password, secrets.token_urlsafe(32), account)
        flags = ["-U", NAME, f"--pwfile={self.password}", "--auth=scram-sha-256", "-E", "UTF8", "--locale=C"]
        if sys.platform == "linux" and installed.major >= 17:
            flags.append("--sync-method=syncfs")
        with _NewDirectory(self.path, account) as new:
            command = [str(directory / "initdb"), "-D", str(new), "--no-instructions", *flags]
            done = account.run(*command, cwd=self.path, timeout=INIT_TIMEOUT)
            if done.returncode != 0:
                raise DatabaseUnavailable(
                    f"PostgreSQL cannot create its data directory in {self.path}: {complaint(done.stderr)}"
                )
            new.rename(self.data)
        _sync(self.path)

    def has_password(self) -> bool:
        """Returns whether the password file has a password. A full disk may have left an empty one."""
        try:
            return bool(self.password.read_text("ascii").strip())
        except (FileNotFoundError, UnicodeDecodeError):
            return False

    def set_password(self, account: ServerAccount, directory: Path) -> None:
        """Sets a new password after the password file was lost; the owner of the data directory may do so."""
        password = secrets.token_urlsafe(32)
        command = [str(directory / "postgres"), "--single", "-D", str(self.data), "postgres"]
        statement = f"alter role {NAME} password '{password}'\n"
        done = account.run(*command, cwd=self.path, timeout=INIT_TIMEOUT, stdin=statement)
        if done.returncode != 0 or "ERROR:" in done.stderr:
            reason = complaint(done.stderr)
            raise DatabaseUnavailable(
                f"{self.password} has no password, and a new one cannot be set: {reason}"
                f"{if_damaged(self.path, reason)}"
            )
        self.write(self.password, password, account)

    def open(self, path: Path, flags: int, account: ServerAccount) -> int:
        """Opens a private file, creating it if necessary."""
        # Does not follow links, because root writes here into a directory that an ordinary user may own.
        file = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        account.own(file)
        return file

    def write(self, path: Path, text: str, account: ServerAccount) -> None:
        """Writes a private file atomically and syncs it to disk."""
        file, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        with open(file, "w") as out:  # noqa: PTH123
            account.own(file)
            out.write(text)
            out.flush()
            os.fsync(file)
        Path(name).rename(path)
        _sync(path.parent)

    def explain(self, error: OSError) -> str:
        """Returns the cause and the remedy of a file system error."""
        # A failed copy has two names, and the second is the target.
        name = error.filename2 or error.filename
        path = Path(os.fsdecode(name)) if name else self.path
        elsewhere = "or choose another directory with --home"
        if error.errno in (errno.EACCES, errno.EPERM):
            current = user(os.geteuid())
            command = f"chown {current} {shlex.quote(str(self.path))}"
            return f"{path} is not accessible to user {current}; {command}, {elsewhere}"
        if error.errno == errno.EROFS:
            return f"{path} is on a read-only file system; make it writable, {elsewhere}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return f"{path} cannot be written: the disk is full; free space, {elsewhere}"
        return f"{path}: {error.strerror}; PostgreSQL cannot run in {self.path}"


class _NewDirectory:
    """A temporary directory next to its target, to be filled and renamed; it is removed otherwise."""

    def __init__(self, parent: Path, account: ServerAccount) -> None:
        self.path = Path(tempfile.mkdtemp(dir=parent, prefix="init-"))
        account.own(self.path)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


def _copy(source: Path, target: Path) -> None:
    """Copies a directory. Raises the first OSError; the error of shutil.copytree has no errno."""
    target.mkdir()
    for entry in source.iterdir():
        if entry.is_dir():
            _copy(entry, target / entry.name)
        else:
            shutil.copy2(entry, target / entry.name)
    shutil.copystat(source, target)


def _sync(directory: Path) -> None:
    """Syncs the entries of a directory to disk."""
    file = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
