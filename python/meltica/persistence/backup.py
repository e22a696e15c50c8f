"""Dumps and restores: the whole schema in one file, by PostgreSQL's own tools.

A dump is SQL, packed by gzip, which betrays a file that was cut short or damaged. (Of one in pg_dump's custom
format pg_restore restores what is left, and says nothing.) Only its owner can read it.
"""

import gzip
import os
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from meltica.errors import ConfigError, DatabaseError, DatabaseUnavailable
from meltica.persistence.database import SCHEMA, connect
from meltica.persistence.postgres.account import complaint
from meltica.persistence.postgres.binaries import Binaries

MARK = f"CREATE TABLE {SCHEMA}.schema_migrations ".encode()
END = b"-- PostgreSQL database dump complete"


def dump(dsn: str, path: Path, found: Binaries) -> int:
    """Writes a dump to a new file, whole or not at all, and returns its size.

    Raises ConfigError when the file cannot be made, DatabaseError when the database cannot be dumped.
    """
    if path.exists():
        raise ConfigError("dump", [f"{path} exists; remove it, or name another file"])
    try:
        with tempfile.TemporaryDirectory(dir=path.absolute().parent, prefix=f".{path.name}-") as folder:
            part = Path(folder) / path.name
            with open(part, "xb", opener=_private) as out:
                with gzip.GzipFile(filename="", fileobj=out, mode="wb", compresslevel=6) as packed:
                    _dump(dsn, found, packed)
                out.flush()
                os.fsync(out.fileno())
            part.rename(path)
    except OSError as error:
        raise ConfigError("dump", [f"{path} cannot be written: {error.strerror}"]) from error
    return path.stat().st_size


def restore(dsn: str, path: Path, found: Binaries, *, force: bool = False) -> None:
    """Makes the schema what it was in a dump, in one transaction; with `force` in place of what is there.

    Raises ConfigError when the file is no whole dump, DatabaseError when the database refuses.
    """
    # What notes the migrations is nothing to keep when they were all taken back.
    clean = f"drop table if exists {SCHEMA}.schema_migrations; drop schema if exists {SCHEMA} restrict"
    if force:
        clean = f"drop schema if exists {SCHEMA} cascade"
    with tempfile.TemporaryDirectory(prefix="meltica-") as folder:
        # All of it first: psql would commit the half that it got.
        script = Path(folder) / "restore.sql"
        _unpack(path, script)
        flags = ["--no-psqlrc", "--quiet", "--single-transaction", "--no-password", "--set=ON_ERROR_STOP=1"]
        work = [f"--dbname={_without_password(dsn)}", f"--command={clean}", f"--file={script}"]
        done = subprocess.run(
            [found.program("psql"), *flags, *work],
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


def _dump(dsn: str, found: Binaries, out: gzip.GzipFile) -> None:
    flags = [f"--schema={SCHEMA}", "--no-owner", "--no-privileges", "--no-password"]
    command = [found.program("pg_dump"), *flags, f"--dbname={_without_password(dsn)}"]
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, env=_environment(dsn)
        ) as process:
            assert process.stdout is not None
            shutil.copyfileobj(process.stdout, out)
        said.seek(0)
        _check(process.returncode, said.read(), "the database was not dumped")


def _unpack(path: Path, script: Path) -> None:
    """Writes the SQL of a dump to a file. Raises ConfigError when it is not whole, or no dump of ours."""
    try:
        with gzip.open(path) as packed, script.open("wb") as out:
            ours, ended = _copy(packed, out)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ConfigError("restore", [f"{path} is no whole dump of Meltica: {error}"]) from None
    except OSError as error:
        raise ConfigError("restore", [f"{path} cannot be unpacked: {error.strerror}"]) from None
    if not ours or not ended:
        raise ConfigError("restore", [f"{path} is no dump of Meltica; make one with: meltica db dump FILE"])


def _copy(packed: Iterable[bytes], out: IO[bytes]) -> tuple[bool, bool]:
    """Copies lines, and returns whether the dump is of ours and has its end."""
    ours = ended = False
    for line in packed:
        ours = ours or line.startswith(MARK)
        ended = ended or line.startswith(END)
        out.write(line)
    return ours, ended


def _check(code: int, said: str, what: str) -> None:
    if code == 0:
        return
    text = complaint(said)
    # psql's code for a connection that failed or broke.
    kind = DatabaseUnavailable if code == 2 or "connection to server" in text else DatabaseError
    raise kind(f"{what}: {text}")


def _without_password(dsn: str) -> str:
    known = conninfo_to_dict(dsn)
    known.pop("password", None)
    return make_conninfo("", **known)


def _environment(dsn: str) -> dict[str, str]:
    """Returns our environment with the password, which in an argument everybody could read."""
    password = conninfo_to_dict(dsn).get("password")
    return {**os.environ, "LC_ALL": "C", **({"PGPASSWORD": str(password)} if password else {})}
