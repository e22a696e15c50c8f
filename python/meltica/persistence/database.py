"""Connections to the database, and a connection pool that survives outages of the server."""

import asyncio
import logging
import re
import select
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, LiteralString, Self
from urllib.parse import urlsplit

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from meltica.errors import ChangeInDoubt, ConfigError, DatabaseError, DatabaseUnavailable
from meltica.persistence.outage import Outage
from meltica.runtime.fork import close_in_children, fork_count

if TYPE_CHECKING:
    from meltica.persistence.postgres.embedded import EmbeddedPostgres

SCHEMA: LiteralString = "meltica"
"""The schema of all tables of Meltica: a database can be shared, and a restore knows what to replace."""

RECONNECT_TIMEOUT = 2.0
PROBE_TIMEOUT = 2
TRANSACTION_TIMEOUT_VERSION = 170000
"""The first PostgreSQL that limits transactions as a whole; earlier ones limit only the wait in between."""
UNAVAILABLE = ("08", "53", "57", "58")
"""SQLSTATE classes of outages: connection, resources, operator intervention (also timeouts), system."""

rehearsing: ContextVar[bool] = ContextVar("rehearsing", default=False)
"""Whether the transactions of this task are rolled back in any case: what it changes is only planned."""

_SOCKET = re.compile(r'on socket "[^"\n]*"')
_log = logging.getLogger("meltica.database")


@dataclass(frozen=True)
class PoolOptions:
    """Number and lifetime of connections, and time limits; times are seconds."""

    min_size: int = 1
    max_size: int = 16
    max_lifetime: float = 1800.0
    max_idle: float = 300.0
    acquire_timeout: float = 5.0
    """Time limit for acquiring a connection from the pool."""
    connect_timeout: float = 5.0
    statement_timeout: float = 30.0
    """Time limit of one statement; 0 disables it."""
    transaction_timeout: float = 30.0
    """Time limit of one transaction, and of the wait for its next statement. A gateway that is suspended
    inside a transaction would otherwise keep the epoch locked, and no other gateway could take over.
    """


def conninfo(
    dsn: str,
    *,
    application_name: str = "meltica",
    connect_timeout: float = 5.0,
    statement_timeout: float = 30.0,
    settings: Mapping[str, str] | None = None,
) -> str:
    """Returns a connection string with Meltica's connection parameters.

    Parameters in `dsn` take precedence, except for the schema and the time zone. Raises ConfigError when
    `dsn` is not a valid connection string.
    """
    parameters = parse(dsn)
    defaults_of_session = {"statement_timeout": f"{int(statement_timeout * 1000)}", **(settings or {})}
    fixed = {"search_path": SCHEMA, "timezone": "UTC"}
    options = f"{_flags(defaults_of_session)} {parameters.get('options') or ''} {_flags(fixed)}"
    defaults = {
        "application_name": application_name,
        "connect_timeout": str(max(2, round(connect_timeout))),
        # A connection whose peer has vanished is closed within half a minute.
        "keepalives_idle": "15",
        "keepalives_interval": "5",
        "keepalives_count": "3",
        "tcp_user_timeout": "30000",
    }
    return make_conninfo("", **{**defaults, **parameters, "options": options})


def shown(dsn: str) -> str:
    """Returns the name and address of a database for messages, without password, options and folders."""
    parameters = parse(dsn)
    port = f":{parameters['port']}" if parameters.get("port") else ""
    name, host = parameters.get("dbname"), str(parameters.get("host") or "/")
    return f"{name or 'default database'} at {'local socket' if host.startswith('/') else host}{port}"


async def connect(
    dsn: str,
    *,
    application_name: str = "meltica",
    connect_timeout: float = 5.0,
    statement_timeout: float = 30.0,
    settings: Mapping[str, str] | None = None,
) -> AsyncConnection:
    """Opens a connection in autocommit mode. Raises DatabaseUnavailable in bounded time, or ConfigError."""
    info = conninfo(
        dsn,
        application_name=application_name,
        connect_timeout=connect_timeout,
        statement_timeout=statement_timeout,
        settings=settings,
    )
    try:
        return await Connection.connect(info, autocommit=True)
    except psycopg.Error as error:
        raise DatabaseUnavailable(
            f"the database ({shown(dsn)}) cannot be reached: {error_text(error)}"
        ) from error


class Connection(AsyncConnection):
    """A connection that no forked child keeps."""

    @classmethod
    async def connect(cls, conninfo: str = "", **options: Any) -> Self:
        """Opens a connection, and another one if a child was forked in between."""
        while True:
            forks = fork_count()
            connection = await super().connect(conninfo, **options)
            close_in_children(connection)
            if fork_count() == forks:
                await connection.use_iso_dates()
                return connection
            # The child may have the socket. Closing it here ends the session on the server nevertheless.
            await connection.close()

    async def use_iso_dates(self) -> None:
        """Sets the form of times that psycopg reads, if PGDATESTYLE or the server chose another one."""
        if not (self.info.parameter_status("DateStyle") or "ISO").startswith("ISO"):
            await self.execute("set datestyle to iso")


class Database:
    """A pool of connections in autocommit mode: `async with await Database.open(...) as database`.

    It must be closed, because the workers of an open pool may keep the event loop from ending.
    """

    def __init__(self, dsn: str, options: PoolOptions) -> None:
        self.dsn = dsn
        self.options = options
        self._abandoned: set[asyncio.Future[None]] = set()
        self._outage = Outage(self._reach)
        self._readers = asyncio.Semaphore(max(1, options.max_size * 3 // 4))
        info = conninfo(
            dsn,
            connect_timeout=options.connect_timeout,
            statement_timeout=options.statement_timeout,
            settings={"idle_in_transaction_session_timeout": f"{_milliseconds(options.transaction_timeout)}"},
        )
        self._pool = AsyncConnectionPool(
            info,
            connection_class=Connection,
            # What psycopg prepares by itself, it deallocates at a rollback, with what `round_trip` prepared.
            kwargs={"autocommit": True, "prepare_threshold": None},
            min_size=options.min_size,
            max_size=options.max_size,
            max_lifetime=options.max_lifetime,
            max_idle=options.max_idle,
            timeout=options.acquire_timeout,
            # Short, because a request retries a failed slot at once, but not one that waits to reconnect.
            reconnect_timeout=RECONNECT_TIMEOUT,
            configure=self._configure,
            check=self._check,
            name="meltica",
            open=False,
        )

    @classmethod
    async def open(cls, source: "str | EmbeddedPostgres", options: PoolOptions | None = None) -> "Database":
        """Opens a pool for a connection string, a URL or a running embedded server.

        Raises DatabaseUnavailable with the cause when a connection cannot be established in bounded time.
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
        """Closes the pool; connections in use are closed when they are returned."""
        await self._pool.close()

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[AsyncConnection]:
        """Yields a connection in autocommit mode. Raises DatabaseUnavailable on time-out or a broken one."""
        async with AsyncExitStack() as stack:
            try:
                async with self._outage.wait():
                    connection = await stack.enter_async_context(self._pool.connection())
            except PoolTimeout as error:
                raise DatabaseUnavailable(await self._diagnosis()) from error
            try:
                yield connection
            except psycopg.OperationalError as error:
                if not connection.broken and (error.sqlstate or "")[:2] not in UNAVAILABLE:
                    raise
                raise DatabaseUnavailable(
                    f"the database ({shown(self.dsn)}) failed: {error_text(error)}"
                ) from error

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[AsyncConnection]:
        """Yields a connection for what clients read from large tables.

        However slow such reads are, a quarter of the connections is left to changes. Raises
        DatabaseUnavailable.
        """
        async with self._outage.wait():
            await self._readers.acquire()
        try:
            async with self.connection() as connection:
                yield connection
        finally:
            self._readers.release()

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[AsyncConnection]:
        """Yields a connection in a transaction, which is rolled back when the block raises, or rehearses.

        Raises DatabaseUnavailable, and ChangeInDoubt when the server did not confirm the commit.
        """
        committing = False
        try:
            async with (
                self.connection() as connection,
                connection.transaction(force_rollback=rehearsing.get()),
            ):
                yield connection
                committing = not rehearsing.get()
        except DatabaseUnavailable as error:
            if committing:
                raise ChangeInDoubt(f"outcome unknown: the commit was not confirmed: {error}") from error
            raise

    async def healthy(self, timeout: float = 2.0) -> bool:
        """Returns whether the database responds within `timeout` seconds."""
        try:
            await self.probe(timeout)
        except DatabaseError as error:
            _log.debug("the database is not healthy: %s", error)
            return False
        return True

    async def probe(
        self, timeout: float, proof: Callable[[AsyncConnection], Awaitable[object]] | None = None
    ) -> None:
        """Runs `proof` in a transaction that is rolled back, so that it does not wait for the disk.

        Raises what `proof` raises, DatabaseUnavailable after `timeout` seconds, and DatabaseError when the
        database refuses a statement.
        """
        probe = asyncio.ensure_future(self._probe(proof))
        done, _ = await asyncio.wait({probe}, timeout=timeout)
        if not done:
            # The cancelled task is not awaited: psycopg takes seconds to cancel when the server hangs.
            self._abandoned.add(probe)
            probe.add_done_callback(self._forget)
            probe.cancel()
            raise DatabaseUnavailable(
                f"the database ({shown(self.dsn)}) did not respond within {timeout:g} s"
            )
        probe.result()

    async def _probe(self, proof: Callable[[AsyncConnection], Awaitable[object]] | None) -> None:
        try:
            async with self.connection() as connection:
                if proof is None:
                    await connection.execute("select")
                    return
                async with connection.transaction(force_rollback=True):
                    await proof(connection)
        except psycopg.Error as error:
            raise DatabaseError(f"the database ({shown(self.dsn)}) refused: {error_text(error)}") from error

    def _forget(self, probe: "asyncio.Future[None]") -> None:
        self._abandoned.discard(probe)
        if not probe.cancelled():
            # The caller has reported the time-out; this marks the exception as retrieved.
            probe.exception()

    def stats(self) -> dict[str, int]:
        """Returns the counters of psycopg_pool: pool_size, pool_available, requests_waiting and others."""
        return self._pool.get_stats()

    async def _configure(self, connection: AsyncConnection) -> None:
        if connection.info.server_version >= TRANSACTION_TIMEOUT_VERSION:
            limit = _milliseconds(self.options.transaction_timeout)
            await connection.execute(f"set transaction_timeout to {limit}".encode())

    async def _check(self, connection: AsyncConnection) -> None:
        """Tests a connection before it is handed out; a broken one causes all idle ones to be replaced.

        An idle connection has nothing to read, unless the server closed it or sent a notice.
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

    async def _reach(self) -> None:
        """Opens a connection beside the pool and closes it. Raises DatabaseUnavailable."""
        probe = await connect(self.dsn, connect_timeout=PROBE_TIMEOUT)
        await probe.close()

    async def _diagnosis(self) -> str:
        where, wait = shown(self.dsn), f"{self.options.acquire_timeout:g} s"
        try:
            await self._reach()
        except DatabaseUnavailable as error:
            return str(error)
        size = self.options.max_size
        return (
            f"no connection to the database ({where}) was free within {wait}: all {size} are in use; "
            "raise database.maxConns"
        )


def error_text(error: psycopg.Error) -> str:
    """Formats the message of an error as one line, without the folder of a socket: clients of REST get it."""
    lines = [line.strip() for line in _SOCKET.sub("on the local socket", str(error)).splitlines()]
    return " ".join(line for line in lines if line) or type(error).__name__


def parse(dsn: str) -> dict[str, str | int | None]:
    """Returns the parameters of a connection string. Raises ConfigError, which never shows the password."""
    authority, _, path = dsn.partition("://")[2].partition("?")[0].partition("/")
    if authority.count("@") > 1 or "@" in path:
        # libpq would take the rest of the password for the host, and show it in its errors.
        text = "expected `@` in the URL only before the host; write %40 for `@` and %2F for `/` in a password"
        raise ConfigError("database", [text])
    try:
        parameters = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        # The error's own message would contain the connection string with its password.
        scheme = urlsplit(dsn).scheme if "://" in dsn else ""
        actual = f"a URL with the scheme {scheme}://" if scheme else "another string"
        raise ConfigError(
            "database", [f"expected postgresql://user:password@host:5432/name, saw {actual}"]
        ) from None
    return dict(parameters)


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def _flags(settings: Mapping[str, str]) -> str:
    return " ".join(f"-c {name}={value}" for name, value in settings.items())
