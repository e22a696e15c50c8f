"""Request bodies that are too long for memory: they are read to a file, which has no name.

The gate passes the body of a `streamed` path to the handler unread, so it is read only after the guards of
the route have admitted the client.
"""

import asyncio
import tempfile
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager
from typing import IO, Any, Final

from litestar import Request

from meltica.http.errors import HttpError

SECONDS: Final = 60.0
"""How long such a body may take to arrive."""


@asynccontextmanager
async def body_file(request: Request[Any, Any, Any], limit: int) -> AsyncGenerator[IO[bytes]]:
    """Yields the body of a request as a file. Raises HttpError for one that is too long or too late."""
    length = request.headers.get("content-length", "0")
    if int(length) > limit:
        raise _too_large(limit)
    with ExitStack() as files:
        try:
            file = files.enter_context(tempfile.TemporaryFile(prefix="meltica-"))
            async with asyncio.timeout(SECONDS):
                await _read(request, file, limit)
        except TimeoutError:
            raise HttpError(408, "body_timeout", f"body not received within {SECONDS:g} s") from None
        except OSError as error:
            text = f"body not stored: {error.strerror}; free space in the temporary folder, or set TMPDIR"
            raise HttpError(507, "body_not_stored", text) from error
        file.seek(0)
        yield file


async def _read(request: Request[Any, Any, Any], file: IO[bytes], limit: int) -> None:
    size = 0
    while True:
        message = await request.receive()
        if message["type"] != "http.request":
            raise HttpError(400, "bad_request", "body not received: the client disconnected")
        body = message.get("body", b"")
        size += len(body)
        if size > limit:
            raise _too_large(limit)
        file.write(body)
        if not message.get("more_body", False):
            return


def _too_large(limit: int) -> HttpError:
    return HttpError(413, "body_too_large", f"body too large: expected at most {limit} bytes")
