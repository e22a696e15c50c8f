"""A listening socket whose reserved file descriptor was taken by another thread."""

import asyncio
import os
import resource
import socket

import pytest

from meltica.http.listener import Listener


async def test_a_connection_without_any_descriptor_waits_and_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    accepted = asyncio.Event()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set()
        writer.close()

    listener = Listener()
    listener.bind(("127.0.0.1", 0))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with await asyncio.start_server(serve, sock=listener):
        with socket.socket() as client:
            opened = [os.open(os.devnull, os.O_RDONLY)]
            try:
                listener._release_reserve()  # pyright: ignore[reportPrivateUsage]
                resource.setrlimit(resource.RLIMIT_NOFILE, (opened[0] + 50, limits[1]))
                with pytest.raises(OSError, match="Too many open files"):
                    while True:
                        opened.append(os.open(os.devnull, os.O_RDONLY))
                client.connect(listener.getsockname())
                while not caplog.messages:
                    await asyncio.sleep(0)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
                for descriptor in opened:
                    os.close(descriptor)
            await asyncio.wait_for(accepted.wait(), 30)
    (record,) = caplog.records
    assert record.name == "meltica.http.listener"
    assert record.getMessage().startswith("connection not accepted: no free file descriptor")
