"""A proxy before PostgreSQL's socket that stops at failpoints of a transaction, or swallows everything.

A failpoint is before a COMMIT reaches the server, or after the server has carried it out and before the
client has the answer. The test decides there whether the connection goes on.
"""

import asyncio
import contextlib
import shutil
import tempfile
import threading
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from weakref import WeakSet

from psycopg.conninfo import conninfo_to_dict, make_conninfo

Point = Literal["before", "after"]
PATIENCE = 20.0


class Failpoint:
    """Where the next transaction stops that contains `mark`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, point: Point, mark: bytes) -> None:
        self.point: Point = point
        self.mark = mark
        self._loop = loop
        self._reached = threading.Event()
        self._decision: asyncio.Future[bool] = loop.create_future()

    def wait(self) -> None:
        """Waits until a transaction is at the point."""
        assert self._reached.wait(PATIENCE), f"no transaction with {self.mark!r} was committed"

    def cut(self) -> None:
        """Closes the connection there."""
        self._decide(cut=True)

    def release(self) -> None:
        """Lets the transaction go on."""
        self._decide(cut=False)

    async def reach(self) -> bool:
        """Notes that a transaction is at the point; returns whether its connection is to be cut."""
        self._reached.set()
        return await self._decision

    def _decide(self, *, cut: bool) -> None:
        def decide() -> None:
            if not self._decision.done():
                self._decision.set_result(cut)

        self._loop.call_soon_threadsafe(decide)


class DatabaseProxy:
    """Passes bytes on, from a loop and a thread of its own."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self.loop = asyncio.new_event_loop()
        self._flows = asyncio.Event()
        self._flows.set()
        self._failpoint: Failpoint | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: WeakSet[asyncio.StreamWriter] = WeakSet()

    def failpoint(self, point: Point, mark: str) -> Failpoint:
        """Returns a failpoint of the next transaction whose statements contain `mark`."""
        self._failpoint = Failpoint(self.loop, point, mark.encode())
        return self._failpoint

    @contextmanager
    def swallowing(self) -> Generator[None]:
        """Passes nothing on in a block, as a server that hangs; afterwards what was sent goes on."""
        self.loop.call_soon_threadsafe(self._flows.clear)
        try:
            yield
        finally:
            self.loop.call_soon_threadsafe(self._flows.set)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection."""
        self._spawn(self._serve(reader, writer))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._flows.wait()
        server_reader, server_writer = await asyncio.open_unix_connection(self._socket)
        self._writers |= {writer, server_writer}
        answers = self._copy(server_reader, writer)
        statements = b""
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 20):
                await self._flows.wait()
                statements = data if b"BEGIN" in data else statements + data
                at = self._failpoint
                if at is not None and b"COMMIT\0" in data and at.mark in statements:
                    self._failpoint = None
                    answers.cancel()
                    await asyncio.wait({answers})
                    answer = b""
                    if at.point == "after":
                        server_writer.write(data)
                        answer = await server_reader.read(1 << 20)
                    if await at.reach():
                        break
                    answers = self._copy(server_reader, writer)
                    if answer:
                        writer.write(answer)
                        continue
                server_writer.write(data)
                await server_writer.drain()
        server_writer.close()
        writer.close()

    def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> "asyncio.Task[None]":
        async def copy() -> None:
            with contextlib.suppress(ConnectionError):
                while data := await reader.read(1 << 20):
                    await self._flows.wait()
                    writer.write(data)
                    await writer.drain()
            writer.close()

        return self._spawn(copy())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Ends all connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in list(self._writers):
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@contextmanager
def database_proxy(url: str) -> Generator[tuple[str, DatabaseProxy]]:
    """Yields the connection string of a proxy for a database with a Unix socket, and the proxy."""
    parameters = conninfo_to_dict(url)
    name = f".s.PGSQL.{parameters.get('port', 5432)}"
    folder = Path(tempfile.mkdtemp(prefix="meltica-proxy-"))
    proxy = DatabaseProxy(Path(str(parameters["host"])) / name)
    loop = proxy.loop
    thread = threading.Thread(target=loop.run_forever, name="database-proxy")
    thread.start()

    starting = asyncio.start_unix_server(proxy.accept, folder / name)
    server = asyncio.run_coroutine_threadsafe(starting, loop).result(PATIENCE)
    try:
        yield make_conninfo(url, host=str(folder)), proxy
    finally:
        loop.call_soon_threadsafe(server.close)
        asyncio.run_coroutine_threadsafe(proxy.close(), loop).result(PATIENCE)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        shutil.rmtree(folder)
