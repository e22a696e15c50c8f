"""Dumps and restores the whole schema as one file, with PostgreSQL's own tools.

A dump is SQL compressed with gzip, so that a truncated or damaged file is detected. (In pg_dump's custom
format, pg_restore would silently restore the readable part.) Only the owner of the file can read it.
"""

import gzip
import os
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

from psycopg.conninfo import make_conninfo

from meltica.errors import ConfigError, DatabaseError, DatabaseUnavailable
from meltica.persistence.database import SCHEMA, connect, parse
from meltica.persistence.postgres.account import complaint
from meltica.persistence.postgres.binaries import Binaries

MARK = f"CREATE TABLE {SCHEMA}.schema_migrations ".encode()
NEWER = b"SET transaction_timeout ="
"""A setting that pg_dump writes since PostgreSQL 17, and that older servers refuse."""
SECRETS = ("password", "sslpassword", "oauth_client_secret")
"""Parameters of a connection string that are not shown."""
END = b"-- PostgreSQL database dump complete"


def dump(dsn: str, path: Path, binaries: Binaries, own: Callable[[int], object] = lambda _: None) -> int:
    """Writes a dump to a new file, completely or not at all, and returns its size.

    `own` may change the owner of the open file before it gets its name.
    Raises ConfigError when the file cannot be written, DatabaseError when the database cannot be dumped.
    """
    if path.exists():
        raise ConfigError("dump", [f"{path} exists already; remove it, or choose another file"])
    try:
        with tempfile.TemporaryDirectory(dir=path.absolute().parent, prefix=f".{path.name}-") as folder:
            part = Path(folder) / path.name
            with open(part, "xb", opener=_private) as out:
                own(out.fileno())
                with gzip.GzipFile(filename="", fileobj=out, mode="wb", compresslevel=6) as packed:
                    _dump(dsn, binaries, packed)
                out.flush()
                os.fsync(out.fileno())
            part.rename(path)
    except OSError as error:
        raise ConfigError("dump", [f"{path} cannot be written: {error.strerror}"]) from error
    return path.stat().st_size


def restore(dsn: str, path: Path, binaries: Binaries, *, force: bool = False) -> None:
    """Restores the schema from a dump in one transaction; `force` replaces existing tables.

    Raises ConfigError when the file is not a complete dump, DatabaseError when the database refuses.
    """
    # A schema with nothing but the table of migrations is empty: all of them were reverted.
    clean = f"drop table if exists {SCHEMA}.schema_migrations; drop schema if exists {SCHEMA} restrict"
    if force:
        clean = f"drop schema if exists {SCHEMA} cascade"
    with tempfile.TemporaryDirectory(prefix="meltica-") as folder:
        # Decompressed completely before psql runs, which would commit a truncated script.
        script = Path(folder) / "restore.sql"
        _unpack(path, script)
        flags = ["--no-psqlrc", "--quiet", "--single-transaction", "--no-password", "--set=ON_ERROR_STOP=1"]
        actions = [f"--dbname={without_password(dsn)}", f"--command={clean}", f"--file={script}"]
        done = subprocess.run(
            [binaries.program("psql"), *flags, *actions],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=_environment(dsn),
        )
    _check(done.returncode, done.stderr, "nothing was restored and nothing changed")


async def tables(dsn: str) -> list[str]:
    """Returns the tables that a restore would replace."""
    query = "select tablename from pg_tables where schemaname = %s order by tablename"
    async with await connect(dsn) as connection:
        rows = await connection.execute(query, [SCHEMA])
        return [name async for (name,) in rows if name != "schema_migrations"]


def _private(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)


def _dump(dsn: str, binaries: Binaries, out: gzip.GzipFile) -> None:
    flags = [f"--schema={SCHEMA}", "--no-owner", "--no-privileges", "--no-password"]
    command = [binaries.program("pg_dump"), *flags, f"--dbname={without_password(dsn)}"]
    with tempfile.TemporaryFile("w+", errors="replace") as stderr:
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, env=_environment(dsn)
        ) as process:
            assert process.stdout is not None
            shutil.copyfileobj(process.stdout, out)
        stderr.seek(0)
        said = stderr.read()
    if "no matching schemas" in said:
        text = f"it has no schema {SCHEMA}, so there is nothing to dump; `meltica db up` creates one"
        raise DatabaseError(f"the database was not dumped: {text}")
    _check(process.returncode, said, "the database was not dumped")


def _unpack(path: Path, script: Path) -> None:
    """Writes the SQL of a dump to a file. Raises ConfigError when it is not a complete dump of Meltica."""
    try:
        with gzip.open(path) as packed, script.open("wb") as out:
            marked, complete = _copy(packed, out)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ConfigError("restore", [f"{path} is not a complete dump of Meltica: {error}"]) from None
    except OSError as error:
        raise ConfigError("restore", [f"{path} cannot be unpacked: {error.strerror}"]) from None
    if not marked or not complete:
        text = f"{path} is not a dump of Meltica; create one with `meltica db dump FILE`"
        raise ConfigError("restore", [text])


def _copy(packed: Iterable[bytes], out: IO[bytes]) -> tuple[bool, bool]:
    """Copies lines; returns whether the dump is one of Meltica's and whether it is complete.

    Leaves out the settings in the header that an older PostgreSQL does not have.
    """
    marked = complete = False
    header = True
    for line in packed:
        header = header and not line.startswith(b"CREATE ")
        if header and line.startswith(NEWER):
            continue
        marked = marked or line.startswith(MARK)
        complete = complete or line.startswith(END)
        out.write(line)
    return marked, complete


def _check(code: int, stderr: str, failure: str) -> None:
    if code == 0:
        return
    text = complaint(stderr)
    # 2 is psql's exit code for a connection that failed or broke.
    kind = DatabaseUnavailable if code == 2 or "connection to server" in text else DatabaseError
    raise kind(f"{failure}: {text}")


def without_password(dsn: str) -> str:
    """Returns a connection string without its secrets, which other users could read in an argument."""
    return make_conninfo("", **{name: value for name, value in parse(dsn).items() if name not in SECRETS})


def _environment(dsn: str) -> dict[str, str]:
    """Returns the environment with the password, which other users could read in an argument."""
    password = parse(dsn).get("password")
    return {**os.environ, "LC_ALL": "C", **({"PGPASSWORD": str(password)} if password else {})}
