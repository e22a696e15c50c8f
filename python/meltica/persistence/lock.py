"""An advisory lock in the database, held by a dedicated connection, that admits one gateway per database.

The lock ends with its connection, so a crashed gateway releases it. A gateway that loses the connection (the
server restarts, the network fails) is notified at once, must not send orders, and retries until it holds the
lock again.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

import psycopg
from psycopg import AsyncConnection

from meltica.errors import DatabaseUnavailable, GatewayAlreadyRunning, LockNotHeld
from meltica.persistence.database import connect, error_text, shown

LOCK = 0x6D656C74_67617465
"""The key of the advisory lock: "melt", "gate"."""

Epoch = tuple[int, str]
"""The number in the database, and the transaction that wrote it: a restored database has another one."""

PROOF: LiteralString = "select epoch, xmin::text from gateway for share"
"""Reads the epoch; until the transaction ends, another gateway cannot raise it."""

PROVE = b"""
    with proof as (select epoch, xmin::text as written from gateway for share)
    select 1 / count(*) filter (where epoch = %s and written = %s) from proof
"""
"""The same, but fails with a division by zero unless the epoch is that of the parameters."""

_SHORT_WAIT = "set local lock_timeout = '1s'"
_END_PROOFS = """
    select pg_terminate_backend(pid, 1000) from pg_locks
    where relation = 'gateway'::regclass and mode = 'RowShareLock' and granted and pid <> pg_backend_pid()
"""
"""Ends the transactions that have read `PROOF`."""

REPLACED = "another gateway has taken the lock of the database, or the database was restored"

HEARTBEAT = 5.0
RETRY = 0.5
ATTEMPTS = 40
SETTINGS = {
    # A host that has vanished loses the lock within half a minute.
    "tcp_keepalives_idle": "15",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}

_HOLDER = """
    select a.pid, a.backend_start, a.application_name, a.client_addr::text
    from pg_locks l join pg_stat_activity a using (pid)
    where l.locktype = 'advisory' and l.granted and l.objsubid = 1
      and (l.classid::bigint << 32 | l.objid::bigint) = %s
      and l.database = (select oid from pg_database where datname = current_database())
"""

_log = logging.getLogger("meltica.lock")


@dataclass(frozen=True)
class Holder:
    """The session that holds the lock."""

    backend: int
    since: datetime | None
    name: str
    address: str | None

    def __str__(self) -> str:
        origin = f" from {self.address}" if self.address else ""
        since = f", connected since {self.since:%Y-%m-%d %H:%M:%S} UTC" if self.since else ""
        return f"{self.name}{origin}{since}"


class GatewayLock:
    """The lock of one database, taken with `await acquire()` and given back with `await release()`.

    `on_change` is called with False as soon as the lock is lost, and with True when it is held again.
    `on_regain` is called before that, while `held` is still False, with whether another gateway held the lock
    in between.
    """

    def __init__(
        self,
        dsn: str,
        *,
        on_change: Callable[[bool], None] | None = None,
        on_regain: Callable[[bool], None] | None = None,
        heartbeat: float = HEARTBEAT,
    ) -> None:
        self.dsn = dsn
        self.name = f"meltica gateway on {socket.gethostname()[:24]}, process {os.getpid()}"
        self._on_change = on_change
        self.on_regain = on_regain
        self._epoch: Epoch | None = None
        self._raised: set[Epoch] = set()
        """The last raise, and later ones that the database did not confirm."""
        self._heartbeat = heartbeat
        self._held = asyncio.Event()
        self.takeovers = 0
        """How often another gateway held the lock, or the database was restored, since `claim`."""
        self.has_rival = False
        """Whether another gateway is known to hold the lock now."""
        self._superseded = False
        self._session: Holder | None = None
        self._connection: AsyncConnection | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._abandoned: set[asyncio.Task[bool]] = set()

    @property
    def held(self) -> bool:
        """Whether this process holds the lock; orders must not be sent while it does not."""
        return self._held.is_set()

    @property
    def epoch(self) -> Epoch:
        """The epoch that `claim` took; every write of this gateway proves it. Raises LockNotHeld."""
        if self._epoch is None or not self.held:
            raise LockNotHeld(
                f"nothing was written: the gateway does not hold the lock of its database ({shown(self.dsn)})"
            )
        return self._epoch

    async def prove(self, connection: AsyncConnection, epoch: Epoch | None = None) -> None:
        """Raises LockNotHeld if the database has another epoch than `epoch`, by default that of this gateway.

        Until the transaction of `connection` ends, another gateway cannot raise it.
        """
        proof = await (await connection.execute(PROOF)).fetchone()
        check_proof(proof, epoch or self.epoch)

    async def claim(self) -> None:
        """Raises the epoch of the database, which must have the schema. Raises DatabaseUnavailable."""
        assert self._connection is not None
        # Over the lock's connection, so that only its holder raises the epoch. The watcher would occupy it
        # for a heartbeat at a time.
        await self._end_watcher()
        try:
            await self._raise_epoch(self._connection)
        finally:
            self._start_watcher()

    async def wait_held(self) -> None:
        """Waits until the lock is held."""
        await self._held.wait()

    async def acquire(self) -> None:
        """Takes the lock and keeps it. Raises GatewayAlreadyRunning with its holder, DatabaseUnavailable."""
        self._connection = await self._take()
        self._held.set()
        self._start_watcher()

    async def release(self) -> None:
        """Releases the lock."""
        self._held.clear()
        await self._end_watcher()
        if self._connection is not None:
            await self._connection.close()
        self._connection = None

    def _start_watcher(self) -> None:
        self._watcher = asyncio.create_task(self._keep(), name="meltica-gateway-lock")

    async def _end_watcher(self) -> None:
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.cancel()
            await asyncio.wait({watcher})

    async def _take(self) -> AsyncConnection:
        connection = await connect(
            self.dsn, application_name=self.name, statement_timeout=self._heartbeat, settings=SETTINGS
        )
        try:
            await self._lock(connection)
            self._session = await _holder(connection)
            if self._epoch is not None:
                await self._raise_epoch(connection)
        except psycopg.Error as error:
            await connection.close()
            raise DatabaseUnavailable(
                f"the database ({shown(self.dsn)}) failed: {error_text(error)}"
            ) from error
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _raise_epoch(self, connection: AsyncConnection) -> None:
        """Takes the next epoch, and finds out whether another gateway raised the last one.

        A gateway that was suspended within a transaction still keeps the epoch: its transaction is ended.
        """
        try:
            try:
                superseded, epoch = await self._next_epoch(connection)
            except psycopg.errors.LockNotAvailable:
                _log.warning("the transactions of a gateway that has lost the lock are ended")
                await connection.execute(_END_PROOFS)
                superseded, epoch = await self._next_epoch(connection)
        except psycopg.Error as error:
            raise DatabaseUnavailable(
                f"the database ({shown(self.dsn)}) failed: {error_text(error)}"
            ) from error
        self._superseded = superseded
        self._epoch, self._raised = epoch, {epoch}

    async def _next_epoch(self, connection: AsyncConnection) -> tuple[bool, Epoch]:
        async with connection.transaction():
            await connection.execute(_SHORT_WAIT)
            before = await _read_epoch(connection, "for update")
            query = "update gateway set epoch = epoch + 1 returning epoch, xmin::text"
            row: Epoch | None = await (await connection.execute(query)).fetchone()
            if before is None or row is None:
                raise DatabaseUnavailable(
                    f"the database ({shown(self.dsn)}) is damaged: its table `gateway` has no row; "
                    "restore a dump"
                )
            superseded = self._epoch is not None and before not in self._raised
            # Before the commit: if its response is lost, this was the last raise or was rolled back.
            self._raised.add(row)
        return superseded, row

    async def _lock(self, connection: AsyncConnection) -> None:
        holder: Holder | None = None
        for _ in range(ATTEMPTS):
            if await _try_lock(connection):
                return
            holder = await _holder(connection)
            if holder is not None and holder == self._session:
                # The previous session of this process, whose lost connection the server has not noticed.
                await connection.execute("select pg_terminate_backend(%s)", [holder.backend])
            elif holder is not None:
                break
            # Otherwise the holder released the lock between the two queries.
            await asyncio.sleep(0.05)
        raise GatewayAlreadyRunning(
            f"another gateway uses the database ({shown(self.dsn)}): {holder or 'unknown'}; stop it first"
        )

    async def _keep(self) -> None:
        """Watches the connection and takes the lock again when it breaks; runs until cancelled."""
        while self._connection is not None:
            reason = await self._watch(self._connection)
            self._held.clear()
            self.has_rival = reason == REPLACED
            _log.error("gateway lock lost: %s; orders are refused until it is regained", reason)
            self._notify(held=False)
            self._connection = await self._regain()
            self.has_rival = False
            self.takeovers += self._superseded
            self._report_regained()
            self._held.set()
            _log.warning("gateway lock regained")
            self._notify(held=True)

    async def _watch(self, connection: AsyncConnection) -> str:
        """Waits until the connection breaks and returns the cause; detects a hanging server by heartbeats."""
        try:
            while True:
                async for _ in connection.notifies(timeout=self._heartbeat):
                    pass
                heartbeat = asyncio.create_task(_probe(connection, self._epoch))
                done, _ = await asyncio.wait({heartbeat}, timeout=self._heartbeat)
                if not done:
                    # The cancelled task is not awaited: if the server hangs, psycopg takes seconds to cancel.
                    self._abandoned.add(heartbeat)
                    heartbeat.add_done_callback(self._abandoned.discard)
                    heartbeat.cancel()
                    return f"the database did not respond within {self._heartbeat:g} s"
                if not heartbeat.result():
                    await connection.close()
                    return REPLACED
        except psycopg.Error as error:
            await connection.close()
            return error_text(error)

    async def _regain(self) -> AsyncConnection:
        logged = ""
        while True:
            try:
                return await self._take()
            except Exception as error:
                self.has_rival = isinstance(error, GatewayAlreadyRunning)
                if str(error) != logged:
                    logged = str(error)
                    unexpected = not isinstance(error, DatabaseUnavailable | GatewayAlreadyRunning)
                    _log.error("gateway lock cannot be taken, retrying: %s", error, exc_info=unexpected)
            await asyncio.sleep(RETRY)

    def _report_regained(self) -> None:
        if self._superseded:
            _log.error("another gateway held the lock, or the database was restored; its states are adopted")
        if self.on_regain is not None:
            try:
                self.on_regain(self._superseded)
            except Exception:
                _log.exception("the on_regain callback of the gateway lock raised")

    def _notify(self, *, held: bool) -> None:
        if self._on_change is None:
            return
        try:
            self._on_change(held)
        except Exception:
            _log.exception("the on_change callback of the gateway lock raised")


def check_proof(proof: Epoch | None, epoch: Epoch) -> None:
    """Raises LockNotHeld if `PROOF` read another epoch."""
    if proof != epoch:
        raise LockNotHeld(REPLACED)


async def _probe(connection: AsyncConnection, epoch: Epoch | None) -> bool:
    """Returns whether the database has an epoch, or merely responds if none was taken yet."""
    try:
        if epoch is None:
            await connection.execute("select")
            return True
        return await _read_epoch(connection) == epoch
    except BaseException:
        await connection.close()
        raise


async def _read_epoch(connection: AsyncConnection, clause: LiteralString = "") -> Epoch | None:
    query = "select epoch, xmin::text from gateway " + clause
    return await (await connection.execute(query)).fetchone()


async def _try_lock(connection: AsyncConnection) -> bool:
    row = await (await connection.execute("select pg_try_advisory_lock(%s)", [LOCK])).fetchone()
    return row is not None and bool(row[0])


async def _holder(connection: AsyncConnection) -> Holder | None:
    row = await (await connection.execute(_HOLDER, [LOCK])).fetchone()
    return Holder(*row) if row is not None else None
