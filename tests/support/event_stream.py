"""A client of `/events` for the tests."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx

from tests.support.gateway import Running


class Received(NamedTuple):
    """An event of a stream."""

    kind: str
    id: int | None
    data: Any


class Stream:
    """An open stream, read event by event. A read waits until an event comes."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.iter_lines()

    def next(self, *kinds: str) -> Received:
        """Returns the next event; with kinds, the next one of these. Raises StopIteration at the end."""
        while True:
            found = self._next()
            if not kinds or found.kind in kinds:
                return found

    def rest(self) -> list[Received]:
        """Returns all events until the stream ends."""
        found = list[Received]()
        while True:
            try:
                found.append(self._next())
            except StopIteration:
                return found

    def _next(self) -> Received:
        fields = dict[str, str]()
        while True:
            line = next(self._lines)
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "event" in fields:
                id = int(fields["id"]) if "id" in fields else None
                return Received(fields["event"], id, json.loads(fields["data"]))
            else:  # a comment
                fields.clear()


@contextmanager
def stream(
    running: Running, query: str = "", last: int | None = None, headers: dict[str, str] | None = None
) -> Generator[Stream]:
    """Opens a stream, and reads until it is ready."""
    own = running.authorization if headers is None else headers
    own = own if last is None else {**own, "last-event-id": str(last)}
    with (
        httpx.Client(base_url=running.url, timeout=20, headers=own) as client,
        client.stream("GET", f"/events{query}") as response,
    ):
        if response.status_code != 200:
            response.read()
        assert response.status_code == 200, response.text
        yield Stream(response)
