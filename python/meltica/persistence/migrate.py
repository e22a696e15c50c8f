"""Brings the schema up and down: the SQL files of a directory, in the order of their numbers.

`NNNN_name.up.sql` and `NNNN_name.down.sql`. Each file runs in a transaction of its own, together with the
note in `schema_migrations` that it ran. One that says `-- meltica:no-transaction` holds a single statement
that PostgreSQL refuses inside one (`create index concurrently if not exists`), and must bear being run again.
"""

import asyncio
import hashlib
import re
import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, LiteralString

from psycopg import AsyncConnection, Error, errors
from psycopg.pq import TransactionStatus

from meltica.errors import DatabaseUnavailable, MigrationError
from meltica.persistence.database import SCHEMA, connect, error_text

FOLDER = Path(str(files("meltica") / "migrations"))
NO_TRANSACTION = b"-- meltica:no-transaction"
LOCK = 0x6D656C74_6D696772
"""The key of the advisory lock: "melt", "migr"."""

_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.(up|down)\.sql")

State = Literal["applied", "pending", "drifted", "unknown"]


@dataclass(frozen=True)
class Migration:
    """One step of the schema and, where it has one, the way back."""

    version: int
    name: str
    up: bytes
    down: bytes | None

    @property
    def checksum(self) -> str:
        """SHA-256 of the file that was or will be run; line endings do not count."""
        return hashlib.sha256(self.up.replace(b"\r\n", b"\n")).hexdigest()

    def __str__(self) -> str:
        return f"{self.version:04}_{self.name}"


@dataclass(frozen=True)
class Status:
    """Where a migration stands: `drifted` was changed after it ran, `unknown` is only in the database."""

    version: int
    name: str
    state: State
    applied_at: datetime | None = None

    def __str__(self) -> str:
        return f"{self.version:04}_{self.name}"


def load(folder: Path = FOLDER) -> list[Migration]:
    """Returns the migrations of a directory. Raises MigrationError with every fault among its files."""
    found: dict[int, dict[str, Path]] = {}
    faults: list[str] = []
    for path in sorted(folder.glob("*.sql")):
        match = _NAME.fullmatch(path.name)
        if match is None:
            faults.append(f"{path.name}: expected NNNN_name.up.sql or NNNN_name.down.sql")
            continue
        other = found.setdefault(int(match[1]), {}).setdefault(match[3], path)
        if other != path:
            faults.append(f"{path.name} and {other.name} have the same number")
    migrations: list[Migration] = []
    for expected, version in enumerate(sorted(found), start=1):
        up, down = found[version].get("up"), found[version].get("down")
        if up is None:
            faults.append(f"{version:04}: expected a file {version:04}_name.up.sql, saw none")
            continue
        if version != expected:
            faults.append(f"{up.name}: expected number {expected:04} next, without a gap")
        name = up.name.removesuffix(".up.sql")[5:]
        if down is not None and down.name != f"{version:04}_{name}.down.sql":
            faults.append(f"{down.name}: expected the name of {up.name}")
        migrations.append(Migration(version, name, up.read_bytes(), down.read_bytes() if down else None))
    if faults:
        raise MigrationError(f"migrations in {folder}: {'; '.join(faults)}")
    return migrations


async def status(dsn: str, migrations: Sequence[Migration] | None = None) -> list[Status]:
    """Returns where each migration stands, of the files and of the database, by number."""
    migrations = load() if migrations is None else migrations
    async with _session(dsn) as connection:
        return _compare(migrations, await _applied(connection))


async def up(
    dsn: str,
    count: int | None = None,
    migrations: Sequence[Migration] | None = None,
    lock_timeout: float = 30.0,
) -> list[Migration]:
    """Runs the next `count` migrations, or all, and returns those that ran.

    Raises MigrationError when one fails (it alone is rolled back, those before it stay), when the files are
    not those that made the database, or when another process migrates for longer than `lock_timeout` seconds.
    """
    migrations = load() if migrations is None else migrations
    async with _locked(dsn, lock_timeout) as connection:
        await _prepare(connection)
        states = _compare(migrations, await _applied(connection))
        _refuse(states)
        waiting = {state.version for state in states if state.state == "pending"}
        ran = [migration for migration in migrations if migration.version in waiting][:count]
        for migration in ran:
            await _run(connection, migration, migration.up, forward=True)
        return ran


async def down(
    dsn: str, count: int = 1, migrations: Sequence[Migration] | None = None, lock_timeout: float = 30.0
) -> list[Migration]:
    """Takes back the last `count` migrations with their down files, and returns them. Rows are lost."""
    migrations = load() if migrations is None else migrations
    async with _locked(dsn, lock_timeout) as connection:
        states = _compare(migrations, await _applied(connection))
        _refuse(states)
        applied = {state.version for state in states if state.state == "applied"}
        back = [migration for migration in reversed(migrations) if migration.version in applied][:count]
        for migration in back:
            if migration.down is None:
                raise MigrationError(f"{migration} has no down file; restore a dump instead")
            await _run(connection, migration, migration.down, forward=False)
        return back


def faults(states: Iterable[Status]) -> list[str]:
    """Returns what keeps these migrations from running on that database; empty when nothing does."""
    found: list[str] = []
    behind: Status | None = None
    for state in states:
        if state.state == "drifted":
            found.append(f"{state} was changed after it ran; put the file back and write a new migration")
        elif state.state == "unknown":
            found.append(
                f"{state} is in the database, but not in this Meltica; install the version that made it"
            )
        elif state.state == "pending":
            behind = behind or state
        if behind is not None and state.state in ("applied", "drifted"):
            found.append(f"{behind} did not run, but {state} did; restore a dump, or run it by hand")
            behind = None
    return found


def _refuse(states: Sequence[Status]) -> None:
    found = faults(states)
    if found:
        raise MigrationError("; ".join(found))


def _compare(migrations: Sequence[Migration], applied: dict[int, tuple[str, str, datetime]]) -> list[Status]:
    states: dict[int, Status] = {}
    for migration in migrations:
        name, checksum, time = applied.get(migration.version, (migration.name, "", None))
        same = checksum == migration.checksum
        state: State = "pending" if time is None else "applied" if same else "drifted"
        states[migration.version] = Status(migration.version, name, state, time)
    for version, (name, _, time) in applied.items():
        states.setdefault(version, Status(version, name, "unknown", time))
    return [states[version] for version in sorted(states)]


async def _applied(connection: AsyncConnection) -> dict[int, tuple[str, str, datetime]]:
    if await _value(connection, "select to_regclass('schema_migrations')") is None:
        return {}
    rows = await connection.execute("select version, name, checksum, applied_at from schema_migrations")
    return {version: (name, checksum, time) async for version, name, checksum, time in rows}


async def _prepare(connection: AsyncConnection) -> None:
    # Looked up first: `if not exists` asks for the right to make it even where it exists.
    if not await _value(connection, "select count(*) from pg_namespace where nspname = %s", [SCHEMA]):
        try:
            await connection.execute("create schema meltica")
        except errors.InsufficientPrivilege:
            raise MigrationError(
                f"role {connection.info.user} may not create the schema `{SCHEMA}`; as the database's owner: "
                f"grant create on database {connection.info.dbname} to {connection.info.user}"
            ) from None
    await connection.execute(
        "create table if not exists schema_migrations (version integer primary key, name text not null, "
        "checksum text not null, applied_at timestamptz not null default now())"
    )


async def _run(connection: AsyncConnection, migration: Migration, sql: bytes, *, forward: bool) -> None:
    what = f"{migration} ({'up' if forward else 'down'})"
    try:
        if NO_TRANSACTION in sql:
            await connection.execute(sql, prepare=False)
            await _note(connection, migration, forward=forward)
            return
        async with connection.transaction():
            # Without parameters a whole file goes in one message: nothing splits or escapes it.
            await connection.execute(sql, prepare=False)
            if connection.info.transaction_status != TransactionStatus.INTRANS:
                raise MigrationError(f"{what} ends its transaction itself; take its commit or rollback out")
            await _note(connection, migration, forward=forward)
    except Error as error:
        if connection.closed:
            raise DatabaseUnavailable(f"{what}: the database went away: {error_text(error)}") from error
        raise MigrationError(f"{what} failed{_place(sql, error)}: {error.diag.message_primary}") from error


async def _note(connection: AsyncConnection, migration: Migration, *, forward: bool) -> None:
    if forward:
        await connection.execute(
            "insert into schema_migrations (version, name, checksum) values (%s, %s, %s)",
            [migration.version, migration.name, migration.checksum],
        )
    else:
        await connection.execute("delete from schema_migrations where version = %s", [migration.version])


@asynccontextmanager
async def _session(dsn: str) -> AsyncGenerator[AsyncConnection]:
    async with await connect(dsn, statement_timeout=0) as connection:
        try:
            yield connection
        except Error as error:
            kind = DatabaseUnavailable if connection.closed else MigrationError
            raise kind(f"the database refused: {error_text(error)}") from error


@asynccontextmanager
async def _locked(dsn: str, timeout: float) -> AsyncGenerator[AsyncConnection]:
    """Yields a connection that alone may migrate. It asks for the lock instead of waiting in the database,
    where its waiting would itself be in the way of a `create index concurrently`.
    """
    deadline = time.monotonic() + timeout
    async with _session(dsn) as connection:
        while not await _value(connection, "select pg_try_advisory_lock(%s)", [LOCK]):
            if time.monotonic() > deadline:
                raise MigrationError(
                    f"another process still migrates this database after {timeout:g} s; try again"
                )
            await asyncio.sleep(0.05)
        yield connection


async def _value(connection: AsyncConnection, query: LiteralString, parameters: Sequence[object] = ()) -> Any:
    row = await (await connection.execute(query, parameters)).fetchone()
    return row[0] if row is not None else None


def _place(sql: bytes, error: Error) -> str:
    position = error.diag.statement_position
    if position is None:
        return ""
    return f" in line {sql.decode()[: int(position)].count(chr(10)) + 1}"
