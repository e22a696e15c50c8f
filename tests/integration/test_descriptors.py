"""A gateway process that has no free file descriptor."""

import http.client
import json
import resource
import socket
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from types import MappingProxyType

from meltica.http import listener
from meltica.persistence.postgres.server import wait_until
from tests.support.serving import Gateway, project

PATIENCE = 30.0
FAULT = "raise the limit (ulimit -n)"
GROWTH = 64 << 10
"""Most bytes that the fault may add to the log."""


@contextmanager
def exhausted(pid: int) -> Generator[None]:
    """Leaves a process no free file descriptor."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = max(int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir()) + 1
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def connect(gateway: Gateway) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(gateway.address.removeprefix("http://"), timeout=PATIENCE)


def status(
    connection: http.client.HTTPConnection,
    path: str = "/health/live",
    authorization: Mapping[str, str] = MappingProxyType({}),
) -> tuple[int, dict[str, object]]:
    """Returns status and body of a request, 0 for a connection that was reset."""
    try:
        connection.request("GET", path, headers=authorization)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    except (ConnectionError, http.client.HTTPException):
        return 0, {}


def test_new_connections_are_refused_and_open_ones_served(database_url: str) -> None:
    with project() as created, created.serving(database=database_url) as gateway:
        gateway.wait_ready()
        with closing(connect(gateway)) as kept:
            assert status(kept)[0] == 200
            before = gateway.log.stat().st_size
            with exhausted(gateway.process.pid):
                fillers: list[socket.socket] = []
                answers: list[tuple[int, dict[str, object]]] = []

                def refused() -> bool:
                    with closing(connect(gateway)) as new:
                        answers.append(status(new))
                    if answers[-1][0] == 200:
                        fillers.append(socket.create_connection((new.host, new.port)))
                    return [code for code, _ in answers].count(503) >= 20

                assert wait_until(refused, PATIENCE), answers
                assert answers[-1][1]["code"] == listener.CODE
                assert status(kept)[0] == 200, "a connection that is open is served"
                assert wait_until(
                    lambda: FAULT in str(status(kept, "/health/ready", created.authorization())), PATIENCE
                )
                for filler in fillers:
                    filler.close()
            gateway.wait_ready()
            gateway.signal(15)
            assert gateway.ended() == 0
        assert gateway.log.stat().st_size - before < GROWTH
        messages = [line["message"] for line in gateway.lines()]
        assert any("raise the limit (ulimit -n)" in message for message in messages)
        assert not any("system resource" in message for message in messages)


def test_an_attached_server_is_supervised_again_when_descriptors_are_free() -> None:
    with project() as created, created.database(), created.serving() as gateway:
        gateway.wait_ready()
        with exhausted(gateway.process.pid):
            # New connections of this test take what is left below the limit.
            fillers = [connect(gateway) for _ in range(20)]
            for filler in fillers:
                filler.connect()
            assert wait_until(lambda: "state of the embedded PostgreSQL" in gateway.tail(), PATIENCE)
            for filler in fillers:
                filler.close()
        gateway.wait_ready()
        # The strategy opens a file, too: its exceptions are its own.
        lines = gateway.log.read_text().splitlines()
        assert not [line for line in lines if "Traceback" in line and "in on_trade" not in line]
