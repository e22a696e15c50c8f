"""Small servers on loopback with scripted responses, valid or not."""

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed


@dataclass
class ReceivedRequest:
    """A received request."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Reply:
    """A scripted response: writes `raw`, then closes, continues, or waits for ever."""

    raw: bytes = b""
    then: str = "continue"
    after: asyncio.Event | None = None
    """The event to wait for before writing."""


CUT = Reply(then="close")
"""Closes the connection without a response."""
HANG = Reply(then="hang")
"""Never responds."""


def reply(body: object = None, status: int = 200, headers: str = "", then: str = "continue") -> Reply:
    """Returns a complete response with a JSON body, or with bytes as they are."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status} Word\r\nContent-Length: {len(content)}\r\n{headers}\r\n"
    return Reply(head.encode() + content, then)


def error(status: int, code: str, headers: str = "") -> Reply:
    """Returns an error response in the fake venue's form."""
    return reply({"status": "error", "error": f"it is {code}", "code": code}, status, headers)


@dataclass
class Http:
    """An HTTP server. It responds with the next of `replies`, or with the result of `answer`."""

    replies: deque[Reply] = field(default_factory=deque[Reply])
    requests: list[ReceivedRequest] = field(default_factory=list[ReceivedRequest])
    answer: Callable[[ReceivedRequest], Reply] | None = None
    connections: int = 0
    endpoint: str = ""
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    """Set with each request."""
    _server: asyncio.Server | None = None
    _writers: list[asyncio.StreamWriter] = field(default_factory=list[asyncio.StreamWriter])

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        request = ReceivedRequest(method, target, headers, body)
        self.requests.append(request)
        self.arrived.set()
        if self.replies:
            reply = self.replies.popleft()
        else:
            assert self.answer is not None, f"expected no request, saw {request}"
            reply = self.answer(request)
        if reply.after is not None:
            await reply.after.wait()
        writer.write(reply.raw)
        await writer.drain()
        if reply.then == "hang":
            await reader.read()
        return reply.then == "continue"


Script = Callable[["Stream", dict[str, Any]], Awaitable[object]]


class Stream:
    """A websocket server. It passes each message to `script`, which may send, or close."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.opened = 0
        self.received: list[dict[str, Any]] = []
        self.socket: ServerConnection | None = None
        """The connection of the latest message."""
        self.refuse = False
        """Whether new connections are refused."""
        self.codes: list[int | None] = []
        """The close code that each client sent."""
        self.url = ""
        self._server: Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._serve, "127.0.0.1", 0, process_request=self._handshake, compression=None, ping_interval=None
        )
        self.url = f"ws://127.0.0.1:{next(iter(self._server.sockets)).getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def send(self, *messages: object) -> None:
        """Sends messages, bytes as they are."""
        assert self.socket is not None
        for message in messages:
            text = message.decode() if isinstance(message, bytes) else json.dumps(message)
            await self.socket.send(text)

    async def cut(self) -> None:
        """Closes the current connection."""
        assert self.socket is not None
        await self.socket.close(1012, "restart")

    def _handshake(self, socket: ServerConnection, _: object) -> Any:
        return socket.respond(503, "away") if self.refuse else None

    async def _serve(self, socket: ServerConnection) -> None:
        self.opened += 1
        self.socket = socket
        try:
            async for text in socket:
                message = json.loads(text)
                self.received.append(message)
                self.socket = socket
                await self.script(self, message)
        except ConnectionClosed:
            pass
        finally:
            await socket.wait_closed()
            self.codes.append(socket.close_code)


async def until(holds: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    """Waits until a condition holds."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not holds():
        assert asyncio.get_running_loop().time() < deadline, f"expected {what} within {seconds:g} s"
        await asyncio.sleep(0.002)
