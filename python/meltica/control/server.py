"""The control plane's web server: uvicorn on a socket of `address.bind`."""

import asyncio
import contextlib
import socket
from collections.abc import Generator
from typing import TYPE_CHECKING

import uvicorn

from meltica.control.app import create_app
from meltica.errors import AddressInUse

if TYPE_CHECKING:
    from meltica.gateway import Gateway


class _Server(uvicorn.Server):
    """Leaves signals to the gateway."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


class ApiServer:
    """The server of one gateway."""

    def __init__(self, gateway: "Gateway", bound: socket.socket) -> None:
        self._socket = bound
        config = uvicorn.Config(
            create_app(gateway),
            log_config=None,
            access_log=False,
            lifespan="on",
            ws="none",
            server_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=3,
        )
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, port = self._socket.getsockname()[:2]
        return host, port

    async def start(self) -> None:
        """Starts to serve; returns when it does."""
        self._task = asyncio.get_running_loop().create_task(
            self._server.serve(sockets=[self._socket]), name="meltica-api"
        )
        while not self._server.started:
            if self._task.done():
                self._task.result()
                raise AddressInUse("the control plane ended before it had started; see the log")
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Ends requests in hand, for a few seconds at most, then the server."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task
