"""Ends the changes of a gateway at failpoints, and compares REST, database and audit afterwards.

The transaction of a change is stopped by a proxy in front of PostgreSQL. There the connection is cut, or the
gateway killed. Each method makes one change, and repeats it until it is complete.
"""

import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, Protocol

import httpx

from meltica.persistence.postgres.server import wait_until
from tests.support.control_steps import Step, as_text, audited, chain_fault, stored
from tests.support.database_proxy import DatabaseProxy, Point

PATIENCE = 60.0
UNCHANGED: Final = frozenset({"database_unavailable", "database_refused", "lock_not_held"})
"""Codes of answers after which nothing has changed."""
UNKNOWN: Final = "outcome_unknown"


class Killable(Protocol):
    """A gateway that can be killed and started again."""

    def kill(self) -> None:
        """Kills it."""
        ...

    def start(self) -> None:
        """Starts it at the same address, and waits until it is ready."""
        ...


class Failpoints:
    """Changes a gateway. `client` is the `actor` of its audit, and `dsn` leads past the proxy."""

    def __init__(self, client: httpx.Client, actor: str, dsn: str, proxy: DatabaseProxy) -> None:
        self.client = client
        self._actor = actor
        self._dsn = dsn
        self._proxy = proxy

    def fail(self, step: Step, gateway: Killable | None = None) -> None:
        """Ends a change before its commit: it did not happen."""
        before, rows = self._settled(step), len(self._audited())
        answer = self._ended(step, "before", gateway)
        if answer is None or answer.status_code >= 400:
            assert answer is None or answer.json()["code"] in {*UNCHANGED, UNKNOWN}, (step.name, answer.text)
            self._expect(step, before)
            assert len(self._audited()) == rows, step.name
        self._complete(step)

    def leave_unconfirmed(self, step: Step, gateway: Killable | None = None) -> None:
        """Ends a change after its commit, which the gateway does not know: it is adopted."""
        rows = len(self._audited())
        answer = self._ended(step, "after", gateway)
        if answer is not None and answer.status_code >= 400:
            assert answer.json()["code"] == UNKNOWN, (step.name, answer.text)
        self._expect_once(step, rows)

    def lose_answer(self, step: Step, gateway: Killable | None = None) -> None:
        """Closes the connection of the client after the commit of its change: it happened."""
        rows = len(self._audited())
        request = self.client.build_request(step.method, step.path, json=step.body)
        lines = [f"{step.method} {request.url.raw_path.decode()} HTTP/1.1"]
        lines += [f"{name}: {text}" for name, text in request.headers.items()]
        failpoint = self._proxy.failpoint("after", self._actor)
        with socket.create_connection((request.url.host, request.url.port or 80)) as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode() + request.read())
            failpoint.wait()
        failpoint.release()
        if gateway is not None:
            gateway.kill()
            gateway.start()
        self._expect_once(step, rows)

    def verify(self) -> None:
        """Asserts that the chain of the audit is whole."""
        assert chain_fault(self._dsn) is None

    def _ended(self, step: Step, point: Point, gateway: Killable | None) -> httpx.Response | None:
        """Sends a request that ends at a point; returns the answer, None from a gateway that was killed."""
        failpoint = self._proxy.failpoint(point, self._actor)
        with ThreadPoolExecutor() as pool:
            answer = pool.submit(step.send, self.client)
            failpoint.wait()
            if gateway is None:
                failpoint.cut()
                return answer.result(PATIENCE)
            gateway.kill()
            failpoint.cut()
            error = answer.exception(PATIENCE)
            assert isinstance(error, httpx.TransportError), (step.name, error)
        gateway.start()
        return None

    def _expect_once(self, step: Step, rows: int) -> None:
        """Asserts that a change has happened and was audited once, also when it is repeated."""
        self._expect(step, step.after)
        found = self._audited()[rows:]
        # A change of settings and limits has a row of each.
        assert found, step.name
        assert len({row["subject"] for row in found}) == len(found), (step.name, found)
        self._complete(step)

    def _complete(self, step: Step) -> None:
        """Asserts that repeating a request ends in the state after it."""
        answer = step.send(self.client)
        assert answer.status_code < 500, (step.name, answer.text)
        self._expect(step, step.after)

    def _expect(self, step: Step, value: Any) -> None:
        assert wait_until(lambda: self._settled(step) == value, PATIENCE), self._differs(step)

    def _settled(self, step: Step) -> Any:
        """Waits until REST and the database agree; returns what they have."""

        def agree() -> bool:
            return bool(step.view.shown(self.client) == stored(self._dsn, step.view.stored))

        assert wait_until(agree, PATIENCE), self._differs(step)
        return step.view.shown(self.client)

    def _differs(self, step: Step) -> str:
        shown, has = step.view.shown(self.client), stored(self._dsn, step.view.stored)
        return f"{step.name}: REST has {as_text(shown)}, the database {as_text(has)}"

    def _audited(self) -> list[dict[str, Any]]:
        return audited(self._dsn, self._actor)
