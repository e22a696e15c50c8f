"""The database: one way to open a connection, and a pool of them that survives the server's absence."""

import asyncio
import logging
import select
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, LiteralString
from urllib.parse import urlsplit

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from meltica.errors import ConfigError, DatabaseUnavailable

if TYPE_CHECKING:
    from meltica.persistence.postgres.embedded import EmbeddedPostgres

SCHEMA: LiteralString = "meltica"
"""All of Meltica's tables are in it, so that a database may be shared and a restore knows what to replace."""

RECONNECT_TIMEOUT = 2.0
PROBE_TIMEOUT = 2
UNAVAILABLE = ("08", "53", "57", "58")
"""SQLSTATE classes: connection, resources, operator intervention (a statement that timed out too), system."""

_log = logging.getLogger("meltica.database")


@dataclass(frozen=True)
class PoolOptions:
    """How many connections, how long they live, and how long anything may take; times in seconds."""

    min_size: int = 1
    max_size: int = 16
    max_lifetime: float = 1800.0
    max_idle: float = 300.0
    acquire_timeout: float = 5.0
    """For a connection from the pool."""
    connect_timeout: float = 5.0
    statement_timeout: float = 30.0
    """For one statement; 0 is no limit."""


def conninfo(
    dsn: str,
    *,
    application_name: str = "meltica",
    connect_timeout: float = 5.0,
    statement_timeout: float = 30.0,
    settings: Mapping[str, str] | None = None,
) -> str:
    """Returns a connection string with what every connection of ours has in common.

    What `dsn` says for itself wins, but for the schema and the time zone. Raises ConfigError when it is none.
    """
    known = _parse(dsn)
    shared = {"statement_timeout": f"{int(statement_timeout * 1000)}", **(settings or {})}
    ours = {"search_path": SCHEMA, "timezone": "UTC"}
    options = f"{_flags(shared)} {known.get('options') or ''} {_flags(ours)}"
    defaults = {
        "application_name": application_name,
        "connect_timeout": str(max(2, round(connect_timeout))),
        # A peer that is gone without a word is noticed within half a minute.
        "keepalives_idle": "15",
        "keepalives_interval": "5",
        "keepalives_count": "3",
        "tcp_user_timeout": "30000",
    }
    return make_conninfo("", **{**defaults, **known, "options": options})


def shown(dsn: str) -> str:
    """Returns where a database is, for people: without password and options."""
    known = _parse(dsn)
    port = f":{known['port']}" if known.get("port") else ""
    return f"{known.get('dbname') or 'default database'} at {known.get('host') or 'local socket'}{port}"


async def connect(
    dsn: str,
    *,
    application_name: str = "meltica",
    connect_timeout: float = 5.0,
    statement_timeout: float = 30.0,
    settings: Mapping[str, str] | None = None,
) -> AsyncConnection:
    """Opens a connection in autocommit. Raises DatabaseUnavailable in a bounded time, or ConfigError."""
    info = conninfo(
        dsn,
        application_name=application_name,
        connect_timeout=connect_timeout,
        statement_timeout=statement_timeout,
        settings=settings,
    )
    try:
        return await AsyncConnection.connect(info, autocommit=True)
    except psycopg.Error as error:
        raise DatabaseUnavailable(
            f"the database ({shown(dsn)}) cannot be reached: {error_text(error)}"
        ) from error


class Database:
    """A pool of connections in autocommit: `async with await Database.open(...) as database`.

    It must be closed: a worker of a pool that was forgotten may keep its event loop from ending.
    """

    def __init__(self, dsn: str, options: PoolOptions) -> None:
        self.dsn = dsn
        self.options = options
        self._abandoned: set[asyncio.Future[bool]] = set()
        info = conninfo(
            dsn, connect_timeout=options.connect_timeout, statement_timeout=options.statement_timeout
        )
        self._pool = AsyncConnectionPool(
            info,
            kwargs={"autocommit": True},
            min_size=options.min_size,
            max_size=options.max_size,
            max_lifetime=options.max_lifetime,
            max_idle=options.max_idle,
            timeout=options.acquire_timeout,
            # Short: a slot that gave up is tried again by the next who asks, one that waits is not.
            reconnect_timeout=RECONNECT_TIMEOUT,
            check=self._check,
            name="meltica",
            open=False,
        )

    @classmethod
    async def open(cls, source: "str | EmbeddedPostgres", options: PoolOptions | None = None) -> "Database":
        """Opens the pool on a connection string or URL, or on a started embedded server.

        Raises DatabaseUnavailable, saying why, when no connection comes about in a bounded time.
        """
        dsn = source if isinstance(source, str) else source.dsn
        database = cls(dsn, options or PoolOptions())
        first = await connect(dsn, connect_timeout=database.options.connect_timeout)
        await first.close()
        await database._pool.open()
        return database

    async def __aenter__(self) -> "Database":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the pool; connections in use are closed when they come back."""
        await self._pool.close()

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[AsyncConnection]:
        """Yields a connection in autocommit. Raises DatabaseUnavailable when there is none, or it breaks."""
        try:
            async with self._pool.connection() as connection:
                try:
                    yield connection
                except psycopg.OperationalError as error:
                    if not connection.broken and (error.sqlstate or "")[:2] not in UNAVAILABLE:
                        raise
                    raise DatabaseUnavailable(
                        f"the database ({shown(self.dsn)}) failed: {error_text(error)}"
                    ) from error
        except PoolTimeout as error:
            raise DatabaseUnavailable(await self._diagnosis()) from error

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[AsyncConnection]:
        """Yields a connection in a transaction: committed at the end, rolled back when the block raises."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def healthy(self, timeout: float = 2.0) -> bool:
        """Whether the database answers within `timeout` seconds."""
        asked = asyncio.ensure_future(self._ask())
        done, _ = await asyncio.wait({asked}, timeout=timeout)
        if not done:
            # Not waited for: to a server that hangs, psycopg's own cancelling takes seconds.
            self._abandoned.add(asked)
            asked.add_done_callback(self._abandoned.discard)
            asked.cancel()
            return False
        return asked.result()

    async def _ask(self) -> bool:
        try:
            async with self.connection() as connection:
                await connection.execute("select")
        except (DatabaseUnavailable, psycopg.Error) as error:
            _log.debug("the database is not healthy: %s", error)
            return False
        return True

    def stats(self) -> dict[str, int]:
        """Returns psycopg_pool's figures: pool_size, pool_available, requests_waiting and more."""
        return self._pool.get_stats()

    async def _check(self, connection: AsyncConnection) -> None:
        """Tests a connection before it is handed out; a broken one has all that are idle replaced.

        An idle connection has nothing to say. One that has was closed by the server, or got a notice.
        """
        waiting = select.poll()
        waiting.register(connection.fileno(), select.POLLIN)
        if not waiting.poll(0):
            return
        try:
            await connection.execute("")
        except psycopg.Error:
            await self._pool.drain()
            raise

    async def _diagnosis(self) -> str:
        where, wait = shown(self.dsn), f"{self.options.acquire_timeout:g} s"
        try:
            probe = await connect(self.dsn, connect_timeout=PROBE_TIMEOUT)
        except DatabaseUnavailable as error:
            return str(error)
        await probe.close()
        size = self.options.max_size
        return f"the database ({where}) answers, but none of {size} connections was free within {wait}"


def error_text(error: psycopg.Error) -> str:
    """Returns what an error says, in one line."""
    lines = [line.strip() for line in str(error).splitlines()]
    return " ".join(line for line in lines if line) or type(error).__name__


def _parse(dsn: str) -> dict[str, str | int | None]:
    try:
        known = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        # Its text would repeat the string, and the password with it.
        scheme = urlsplit(dsn).scheme if "://" in dsn else ""
        seen = f"one that begins with {scheme}://" if scheme else "something else"
        raise ConfigError(
            "database", [f"expected postgresql://user:password@host:5432/name, saw {seen}"]
        ) from None
    return dict(known)


def _flags(settings: Mapping[str, str]) -> str:
    return " ".join(f"-c {name}={value}" for name, value in settings.items())
