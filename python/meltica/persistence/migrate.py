"""Applies and reverts the migrations of the schema: SQL files of a directory, in the order of their numbers.

The files are named `NNNN_name.up.sql` and `NNNN_name.down.sql`. Each file and its row in `schema_migrations`
are one transaction. A file that contains `-- meltica:no-transaction` has a single statement that PostgreSQL
refuses inside a transaction (`create index concurrently if not exists`); it must be idempotent.
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
    """One migration of the schema, with its down file if it has one."""

    version: int
    name: str
    up: bytes
    down: bytes | None

    @property
    def checksum(self) -> str:
        """SHA-256 of the up file, independent of line endings."""
        return hashlib.sha256(self.up.replace(b"\r\n", b"\n")).hexdigest()

    def __str__(self) -> str:
        return f"{self.version:04}_{self.name}"


@dataclass(frozen=True)
class Status:
    """The state of a migration: `drifted` if it was changed after it ran, `unknown` if it has no file."""

    version: int
    name: str
    state: State
    applied_at: datetime | None = None

    def __str__(self) -> str:
        return f"{self.version:04}_{self.name}"


def load(folder: Path = FOLDER) -> list[Migration]:
    """Returns the migrations of a directory. Raises MigrationError with every fault of its files."""
    files: dict[int, dict[str, Path]] = {}
    faults: list[str] = []
    for path in sorted(folder.glob("*.sql")):
        match = _NAME.fullmatch(path.name)
        if match is None:
            faults.append(f"{path.name}: expected NNNN_name.up.sql or NNNN_name.down.sql")
            continue
        other = files.setdefault(int(match[1]), {}).setdefault(match[3], path)
        if other != path:
            faults.append(f"{path.name} and {other.name} have the same number")
    migrations: list[Migration] = []
    for expected, version in enumerate(sorted(files), start=1):
        up, down = files[version].get("up"), files[version].get("down")
        if up is None:
            faults.append(f"{version:04}: expected a file {version:04}_name.up.sql, saw none")
            continue
        if version != expected:
            faults.append(f"{up.name}: expected number {expected:04}, because numbers have no gaps")
        name = up.name.removesuffix(".up.sql")[5:]
        if down is not None and down.name != f"{version:04}_{name}.down.sql":
            faults.append(f"{down.name}: expected the name of {up.name}")
        migrations.append(Migration(version, name, up.read_bytes(), down.read_bytes() if down else None))
    if faults:
        raise MigrationError(f"migrations in {folder}: {'; '.join(faults)}")
    return migrations


async def status(dsn: str, migrations: Sequence[Migration] | None = None) -> list[Status]:
    """Returns the state of each migration of the files and of the database, by number."""
    migrations = load() if migrations is None else migrations
    async with _session(dsn) as connection:
        return _compare(migrations, await _applied(connection))


async def up(
    dsn: str,
    count: int | None = None,
    migrations: Sequence[Migration] | None = None,
    lock_timeout: float = 30.0,
) -> list[Migration]:
    """Applies the next `count` migrations, or all, and returns them.

    Raises MigrationError when a migration fails (only this one is rolled back), when the files do not match
    the database, or when another process migrates it for more than `lock_timeout` seconds.
    """
    migrations = load() if migrations is None else migrations
    async with _locked(dsn, lock_timeout) as connection:
        await _prepare(connection)
        states = _compare(migrations, await _applied(connection))
        _refuse(states)
        pending = {state.version for state in states if state.state == "pending"}
        selected = [migration for migration in migrations if migration.version in pending][:count]
        for migration in selected:
            await _run(connection, migration, migration.up, forward=True)
        return selected


async def down(
    dsn: str, count: int = 1, migrations: Sequence[Migration] | None = None, lock_timeout: float = 30.0
) -> list[Migration]:
    """Reverts the last `count` migrations with their down files and returns them. Data is lost."""
    migrations = load() if migrations is None else migrations
    async with _locked(dsn, lock_timeout) as connection:
        states = _compare(migrations, await _applied(connection))
        _refuse(states)
        applied = {state.version for state in states if state.state == "applied"}
        selected = [migration for migration in reversed(migrations) if migration.version in applied][:count]
        for migration in selected:
            if migration.down is None:
                raise MigrationError(f"{migration} has no down file; restore a dump instead")
            await _run(connection, migration, migration.down, forward=False)
        return selected


def faults(states: Iterable[Status]) -> list[str]:
    """Returns why the migrations cannot run on the database; empty when they can."""
    problems: list[str] = []
    skipped: Status | None = None
    for state in states:
        if state.state == "drifted":
            problems.append(f"{state} was changed after it ran; restore the file and write a new migration")
        elif state.state == "unknown":
            problems.append(
                f"{state} is in the database, but not in this version of Meltica; install the version that"
                " created it"
            )
        elif state.state == "pending":
            skipped = skipped or state
        if skipped is not None and state.state in ("applied", "drifted"):
            problems.append(f"{skipped} did not run, but {state} did; restore a dump, or run it manually")
            skipped = None
    return problems


def _refuse(states: Sequence[Status]) -> None:
    problems = faults(states)
    if problems:
        raise MigrationError("; ".join(problems))


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
    # Checked first: `create schema if not exists` requires the privilege even when the schema exists.
    if not await _value(connection, "select count(*) from pg_namespace where nspname = %s", [SCHEMA]):
        try:
            await connection.execute("create schema meltica")
        except errors.InsufficientPrivilege:
            user, database = connection.info.user, connection.info.dbname
            raise MigrationError(
                f"role {user} may not create the schema `{SCHEMA}`; as the owner of the database, run: "
                f"grant create on database {database} to {user}"
            ) from None
    await connection.execute(
        "create table if not exists schema_migrations (version integer primary key, name text not null, "
        "checksum text not null, applied_at timestamptz not null default now())"
    )


async def _run(connection: AsyncConnection, migration: Migration, sql: bytes, *, forward: bool) -> None:
    label = f"{migration} ({'up' if forward else 'down'})"
    try:
        if NO_TRANSACTION in sql:
            await connection.execute(sql, prepare=False)
            await _record(connection, migration, forward=forward)
            return
        async with connection.transaction():
            # Without parameters, a whole file is sent as one message, so it is neither split nor escaped.
            await connection.execute(sql, prepare=False)
            if connection.info.transaction_status != TransactionStatus.INTRANS:
                raise MigrationError(f"{label} ends its transaction itself; remove its commit or rollback")
            await _record(connection, migration, forward=forward)
    except Error as error:
        if connection.closed:
            raise DatabaseUnavailable(
                f"{label}: the connection to the database was lost: {error_text(error)}"
            ) from error
        raise MigrationError(f"{label} failed{_place(sql, error)}: {error.diag.message_primary}") from error


async def _record(connection: AsyncConnection, migration: Migration, *, forward: bool) -> None:
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
    """Yields a connection that holds the migration lock.

    The lock is polled, because waiting for it in the database would block a `create index concurrently`.
    """
    deadline = time.monotonic() + timeout
    async with _session(dsn) as connection:
        while not await _value(connection, "select pg_try_advisory_lock(%s)", [LOCK]):
            if time.monotonic() > deadline:
                raise MigrationError(
                    f"another process is still migrating this database after {timeout:g} s; try again"
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
