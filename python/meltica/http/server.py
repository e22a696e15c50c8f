"""The HTTP server: uvicorn on a socket that `address.bind` returned."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Generator
from typing import cast

import uvicorn
from litestar.types import ASGIApp

from meltica.errors import AddressInUse
from meltica.http import protocol
from meltica.http.tls import Certificate, TlsConnections

MAX_MESSAGE = 1 << 20
"""Maximum size of a websocket message from a client in bytes."""


class _RefusedWebsockets(logging.Filter):
    """Drops uvicorn's error about websockets that the application refused with an HTTP response."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Returns whether to log a record."""
        return record.msg != "ASGI callable returned without completing handshake."


# One for all servers: adding the same filter twice has no effect.
_REFUSED_WEBSOCKETS = _RefusedWebsockets()


class _Server(uvicorn.Server):
    """A server without signal handlers: the commands have their own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


class HttpServer:
    """Serves an application, encrypted if it has a certificate; with `streams` also websockets."""

    def __init__(
        self,
        app: ASGIApp,
        bound: socket.socket,
        *,
        streams: bool = False,
        certificate: Certificate | None = None,
    ) -> None:
        self._socket = bound
        self._certificate = certificate
        self._encrypted = (
            None if certificate is None else TlsConnections(certificate.context, protocol.LimitedProtocol)
        )
        config = uvicorn.Config(
            cast(Callable[..., object], app),
            log_config=None,
            http=cast(type[asyncio.Protocol], self._encrypted or protocol.LimitedProtocol),
            access_log=False,
            lifespan="on",
            ws="websockets-sansio" if streams else "none",
            ws_max_size=MAX_MESSAGE,
            # On a loopback address compression costs more than it saves.
            ws_per_message_deflate=False,
            server_header=False,
            # Its own would trust `X-Forwarded-For` of each process of the machine; `clients` has the rules.
            proxy_headers=False,
            timeout_keep_alive=protocol.IDLE_SECONDS,
            timeout_graceful_shutdown=3,
        )
        if streams:
            logging.getLogger("uvicorn.error").addFilter(_REFUSED_WEBSOCKETS)
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None
        self._reloading: asyncio.Task[None] | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, port = self._socket.getsockname()[:2]
        return host, port

    @property
    def connections(self) -> int:
        """Number of open connections."""
        return len(self._server.server_state.connections)

    async def start(self) -> None:
        """Starts the server; returns when it accepts connections."""
        self._task = asyncio.get_running_loop().create_task(
            self._server.serve(sockets=[self._socket]), name="meltica-server"
        )
        while not self._server.started:
            if self._task.done():
                self._task.result()
                raise AddressInUse("the server stopped while it was starting; see the log")
            await asyncio.sleep(0.005)
        if self._certificate is not None:
            keep_current = self._certificate.keep_current()
            self._reloading = asyncio.get_running_loop().create_task(keep_current, name="meltica-certificate")

    async def stop(self) -> None:
        """Lets running requests end, for a few seconds at most, then stops the server."""
        self._server.should_exit = True
        if self._reloading is not None:
            self._reloading.cancel()
        if self._encrypted is not None:
            self._encrypted.close()
        if self._task is not None:
            await self._task
