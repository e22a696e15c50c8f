"""The listening socket of a server, which stays usable when the process has no free file descriptor.

asyncio accepts up to 2,048 connections per wakeup, and logs a traceback for each that fails because no file
descriptor is free. This socket keeps one in reserve instead: it releases the reserve to accept a waiting
connection, answers 503, closes the connection and takes the reserve back.
"""

import contextlib
import errno
import logging
import os
import resource
import socket
import time
from typing import Any, Final

import msgspec

from meltica.api.envelope import Failure
from meltica.http.responses import SECURITY_HEADERS

log = logging.getLogger(__name__)

EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
BATCH: Final = 100
"""How many connections to refuse before the event loop continues."""
PAUSE_SECONDS: Final = 0.5
"""How long not to accept after asyncio has stopped polling the socket; asyncio polls again after 1 s."""
CODE: Final = "no_file_descriptor"

_TEXT: Final = "connection refused: no free file descriptor; close other connections or raise the limit"
_BODY: Final = msgspec.json.encode(Failure(error=_TEXT, code=CODE))
_HEADERS: Final = (
    (b"content-type", b"application/json"),
    (b"content-length", b"%d" % len(_BODY)),
    (b"connection", b"close"),
    *SECURITY_HEADERS,
)
RESPONSE: Final = b"\r\n".join(
    [b"HTTP/1.1 503 Service Unavailable", *(b"%b: %b" % header for header in _HEADERS), b"", _BODY]
)


def _is_not_from_accept(record: logging.LogRecord) -> bool:
    """Drops the traceback that asyncio logs for an error of `accept`, for which there is a line already."""
    return not record.getMessage().startswith("socket.accept() out of system resource")


class Listener(socket.socket):
    """A listening TCP socket with a reserved file descriptor."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        logging.getLogger("asyncio").addFilter(_is_not_from_accept)
        self.refused = 0
        """Number of connections refused because no file descriptor was free."""
        self._reserve: int | None = None
        self._failed_at = float("-inf")
        self._take_reserve()

    def accept(self) -> tuple[socket.socket, Any]:
        """Accepts a connection. Refuses the waiting ones when no file descriptor is free."""
        if time.monotonic() - self._failed_at < PAUSE_SECONDS:
            raise BlockingIOError(errno.EAGAIN, "paused: no free file descriptor")
        for _ in range(BATCH):
            try:
                connection = super().accept()
            except OSError as error:
                if error.errno not in EXHAUSTED:
                    raise
                self._refuse_one(error)
            else:
                self._take_reserve()
                return connection
        raise BlockingIOError(errno.EAGAIN, "paused: no free file descriptor")

    def close(self) -> None:
        """Closes the socket and its reserve."""
        self._release_reserve()
        super().close()

    def _refuse_one(self, error: OSError) -> None:
        """Refuses one waiting connection. Raises the error if the reserve is in use elsewhere."""
        self._take_reserve()
        if self._reserve is None:
            # asyncio stops polling the socket for a second, but continues its batch.
            self._failed_at = time.monotonic()
            log.error("connection not accepted: no free file descriptor; raise the limit (ulimit -n)")
            raise error
        self._release_reserve()
        try:
            connection, _ = super().accept()
        except OSError as again:
            if again.errno in EXHAUSTED:
                self._failed_at = time.monotonic()
            raise
        else:
            with connection:
                _answer(connection)
        finally:
            self._take_reserve()
        self.refused += 1
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        log.error(
            "connection refused: all %d file descriptors are in use; raise the limit (ulimit -n)", limit
        )

    def _take_reserve(self) -> None:
        if self._reserve is None:
            with contextlib.suppress(OSError):
                self._reserve = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def _release_reserve(self) -> None:
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None


def _answer(connection: socket.socket) -> None:
    """Sends the refusal without waiting for the client."""
    connection.setblocking(False)
    with contextlib.suppress(OSError):
        connection.send(RESPONSE)
        connection.shutdown(socket.SHUT_WR)
        # An unread request would reset the connection before the client has read the response.
        connection.recv(1 << 16)
