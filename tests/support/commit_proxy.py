"""A proxy before PostgreSQL's socket that cuts connections at their COMMIT."""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

from psycopg.conninfo import conninfo_to_dict, make_conninfo

Cut = Literal["before", "after", "late"]
"""Before the server has the COMMIT, after it answered, or before it with a COMMIT that arrives later."""


class CommitProxy:
    """Passes bytes on. With `cut` set, the next COMMIT of a client ends its connection."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._tasks: set[asyncio.Task[None]] = set()
        self.cut: Cut | None = None
        self.commits = 0
        self.release = asyncio.Event()
        """Lets a late COMMIT go on to the server."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one client."""
        server_reader, server_writer = await asyncio.open_unix_connection(self._path)
        answers = asyncio.create_task(_copy(server_reader, writer))
        self._tasks.add(answers)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 20):
                if b"COMMIT\0" in data:
                    self.commits += 1
                    if self.cut is not None:
                        await self._cut(data, answers, writer, server_reader, server_writer)
                        return
                server_writer.write(data)
                await server_writer.drain()
        server_writer.close()

    async def _cut(
        self,
        data: bytes,
        answers: "asyncio.Task[None]",
        writer: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        server_writer: asyncio.StreamWriter,
    ) -> None:
        cut, self.cut = self.cut, None
        answers.cancel()
        await asyncio.wait({answers})
        if cut == "after":
            server_writer.write(data)
            await server_reader.read(1)
        writer.close()
        if cut == "late":
            await self.release.wait()
            server_writer.write(data)
        server_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(1 << 20):
            writer.write(data)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def commit_proxy(url: str) -> AsyncGenerator[tuple[str, CommitProxy]]:
    """Yields the connection string of a proxy for a database with a Unix socket, and the proxy."""
    parameters = conninfo_to_dict(url)
    port = parameters.get("port", 5432)
    proxy = CommitProxy(f"{parameters['host']}/.s.PGSQL.{port}")
    folder = Path(tempfile.mkdtemp(prefix="meltica-proxy-"))
    server = await asyncio.start_unix_server(proxy.serve, folder / f".s.PGSQL.{port}")
    try:
        yield make_conninfo(url, host=str(folder)), proxy
    finally:
        proxy.release.set()
        server.close()
        shutil.rmtree(folder)
