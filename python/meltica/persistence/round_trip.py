"""Statements that reach the server together, and whose results return together.

The pipeline of psycopg costs the client more time than the server needs for the statements, so this module
uses libpq. The statements are sent with one synchronization. Those with parameters are prepared.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import cache
from itertools import count
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import psycopg
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, ExecStatus

if TYPE_CHECKING:
    from psycopg import AsyncConnection
    from psycopg.pq.abc import PGconn, PGresult

PREPARED = 64
"""The most statements that a connection keeps prepared; others are parsed each time."""

Statement = tuple[bytes, Sequence[bytes]]
"""A statement with `%s` for each parameter, and the parameters as text."""
Row = tuple[str | None, ...]

_prepared: "WeakKeyDictionary[AsyncConnection, dict[bytes, bytes]]" = WeakKeyDictionary()
_numbers = count()


async def round_trip(connection: "AsyncConnection", statements: Sequence[Statement]) -> list[Row | None]:
    """Executes statements in one round trip; returns the first row of each as text, None without rows.

    Raises the error of the first one that failed; those after it are then not executed. Cancelling it closes
    the connection.
    """
    server = connection.pgconn
    try:
        server.enter_pipeline_mode()
        prepared, answers = _send(connection, statements)
        results = await _Exchange(server).results()
        server.exit_pipeline_mode()
    except BaseException:
        # A broken connection stays open, so that its error does not look like one of a statement.
        if not connection.broken:
            await connection.close()
        raise
    for result in results:
        if result.status == ExecStatus.FATAL_ERROR:
            raise error_from_result(result, encoding=connection.info.encoding)
    _prepared[connection] = prepared
    return [_first_row(results[each]) for each in answers]


def _send(
    connection: "AsyncConnection", statements: Sequence[Statement]
) -> tuple[dict[bytes, bytes], list[int]]:
    """Sends statements; returns the names of the prepared ones, and the places of their results."""
    server = connection.pgconn
    prepared = _prepared.get(connection, {})
    answers: list[int] = []
    sent = 0
    for statement, parameters in statements:
        name = prepared.get(statement)
        if name is None and parameters and len(prepared) < PREPARED:
            name = b"meltica_%d" % next(_numbers)
            server.send_prepare(name, _numbered(statement))
            prepared = {**prepared, statement: name}
            sent += 1
        if name is None:
            server.send_query_params(_numbered(statement), parameters)
        else:
            server.send_query_prepared(name, parameters)
        answers.append(sent)
        sent += 1
    server.pipeline_sync()
    return prepared, answers


@cache
def _numbered(statement: bytes) -> bytes:
    """Returns a statement with the parameters of libpq: `$1`, `$2` and so on."""
    first, *others = statement.split(b"%s")
    return first + b"".join(b"$%d%b" % each for each in enumerate(others, 1))


def _first_row(result: "PGresult") -> Row | None:
    if not result.ntuples:
        return None
    values = (result.get_value(0, column) for column in range(result.nfields))
    return tuple(None if value is None else value.decode() for value in values)


class _Exchange:
    """Sends what waits in a connection, and collects the results up to the synchronization."""

    def __init__(self, server: "PGconn") -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._done = self._loop.create_future()
        self._results: list[PGresult] = []

    async def results(self) -> "list[PGresult]":
        """Returns the results. Raises psycopg.OperationalError when the connection breaks."""
        socket = self._server.socket
        self._loop.add_reader(socket, self._run, self._receive)
        try:
            if self._server.flush():
                self._loop.add_writer(socket, self._run, self._flush)
            await self._done
        finally:
            self._loop.remove_reader(socket)
            self._loop.remove_writer(socket)
        return self._results

    def _run(self, step: Callable[[], None]) -> None:
        if self._done.done():
            return
        try:
            step()
        except psycopg.Error as error:
            self._done.set_exception(error)

    def _flush(self) -> None:
        if not self._server.flush():
            self._loop.remove_writer(self._server.socket)

    def _receive(self) -> None:
        server = self._server
        server.consume_input()
        ended = False
        while not server.is_busy():
            result = server.get_result()
            if result is None:
                # Each statement ends with one; the second in a row says that the next result is not here yet.
                if ended:
                    break
            elif result.status == ExecStatus.PIPELINE_SYNC:
                self._done.set_result(None)
                return
            else:
                self._results.append(result)
            ended = result is None
        if server.status == ConnStatus.BAD:
            raise psycopg.OperationalError(server.get_error_message())
