"""Where a gateway leaves its address and its first token, for clients on the same machine.

The folder is private and belongs to the user of the gateway, never to the one that runs PostgreSQL. It has:

- `token`: the admin token that the first start created
- `header`: the same token as a header: `curl -H @FOLDER/header URL`
- `url`: the address of the latest start
- `secret-key`: the master key of stored secrets, unless a variable has it
"""

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Generator
from pathlib import Path
from typing import Final

from meltica.errors import ConfigError, MelticaError
from meltica.persistence.database import parse
from meltica.persistence.postgres.home import default_home

TOKEN: Final = "token"
HEADER: Final = "header"
URL: Final = "url"
SECRET_KEYS: Final = "secret-key"
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LIMIT: Final = 4096
"""How many bytes of a file are read."""


class AccessError(MelticaError):
    """The folder or one of its files cannot be used."""

    def __init__(self, failed: str, cause: str | None, remedy: str | None = None) -> None:
        super().__init__(f"{failed}: {cause}" if remedy is None else f"{failed}: {cause}; {remedy}")
        self.cause = cause
        """Why, without a path: clients of REST may get it."""


class AccessFolder:
    """The folder of one gateway."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header = path / HEADER

    @classmethod
    def of(cls, dsn: str | None, home: Path | None, chosen: Path | None = None) -> "AccessFolder":
        """Returns the folder of a gateway.

        It is `chosen`, else `access` in the home of the embedded PostgreSQL; with a `dsn`, a folder of the
        current user for each database. Raises ConfigError for an invalid DSN, DatabaseUnavailable if the
        default home is unknown.
        """
        if chosen is not None:
            return cls(chosen.absolute())
        if dsn is None:
            return cls((home or default_home()).absolute() / "access")
        import platformdirs

        parameters = parse(dsn)
        database = " ".join(
            str(parameters.get(name) or "") for name in ("host", "hostaddr", "port", "dbname")
        )
        key = hashlib.sha256(database.encode()).hexdigest()[:12]
        return cls(Path(platformdirs.user_config_dir("meltica")).absolute() / f"access-{key}")

    def save_token(self, token: str) -> None:
        """Writes a token; keeps one of another database as `token.old`. Raises MelticaError."""
        with self._opened() as folder:
            assert folder is not None
            for name, text in ((TOKEN, token), (HEADER, f"Authorization: Bearer {token}")):
                with contextlib.suppress(FileNotFoundError):
                    os.rename(name, f"{name}.old", src_dir_fd=folder, dst_dir_fd=folder)
                _create(name, text, folder)

    def save_url(self, url: str) -> None:
        """Writes the address of a gateway. Raises MelticaError."""
        self._replace(URL, url)

    def save_secret_keys(self, text: str) -> None:
        """Replaces the master keys. Raises MelticaError."""
        self._replace(SECRET_KEYS, text)

    def secret_keys(self) -> str | None:
        """Returns the master keys, or None. Raises MelticaError as `token` does."""
        return self._read(SECRET_KEYS)

    def token(self) -> str | None:
        """Returns the token, or None without one. Raises MelticaError if the folder is not private."""
        return self._read(TOKEN)

    def url(self) -> str | None:
        """Returns the address of the latest start, or None. Raises MelticaError as `token` does."""
        return self._read(URL)

    def _replace(self, name: str, text: str) -> None:
        """Writes a file, so that a crash leaves the old one or the new one."""
        with self._opened() as folder:
            assert folder is not None
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{name}.new", dir_fd=folder)
            _create(f"{name}.new", text, folder)
            os.rename(f"{name}.new", name, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)

    def _read(self, name: str) -> str | None:
        with self._opened(create=False) as folder:
            if folder is None:
                return None
            try:
                file = os.open(
                    name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder
                )
            except FileNotFoundError:
                return None
            except OSError as error:
                cause = "it is a link" if error.errno == errno.ELOOP else error.strerror
                raise AccessError(f"{self.path / name} cannot be read", cause) from error
            try:
                return os.read(file, _LIMIT).decode().strip() or None
            except UnicodeDecodeError:
                raise AccessError(f"{self.path / name} cannot be read", "it is not a text") from None
            except OSError as error:
                raise AccessError(f"{self.path / name} cannot be read", error.strerror) from error
            finally:
                os.close(file)

    @contextlib.contextmanager
    def _opened(self, *, create: bool = True) -> Generator[int | None]:
        """Yields a descriptor of the folder, or None if it does not exist. Raises MelticaError."""
        try:
            if create:
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                with contextlib.suppress(FileExistsError):
                    self.path.mkdir(mode=0o700)
            try:
                # The parent may belong to the user of PostgreSQL, who could put a link in its place.
                folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:
                if create:
                    raise
                yield None
                return
            try:
                self._check(os.fstat(folder), create=create)
                yield folder
            finally:
                os.close(folder)
        except OSError as error:
            remedy = "choose another folder with apiServer.tokenFolder, or --token-folder"
            failed = f"tokens are not accessible: {self.path}"
            raise AccessError(failed, error.strerror, remedy) from error

    def _check(self, status: os.stat_result, *, create: bool) -> None:
        user = os.geteuid()
        # The administrator of the machine may read the token of another user.
        if status.st_uid != user and (create or user != 0):
            fault, remedy = "belongs to another user", "choose another folder with apiServer.tokenFolder"
        elif stat.S_IMODE(status.st_mode) & 0o077:
            fault, remedy = "is accessible to other users", f"run chmod 700 {self.path}"
        else:
            return
        raise ConfigError("tokens", [f"{self.path} {fault}; {remedy}"])


def _create(name: str, text: str, folder: int) -> None:
    """Creates a private file and syncs it to disk; one that exists is an error."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(name, flags, 0o600, dir_fd=folder)
    with open(file, "w") as out:  # noqa: PTH123
        out.write(text + "\n")
        out.flush()
        os.fsync(file)
