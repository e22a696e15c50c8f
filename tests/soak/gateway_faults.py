"""The faults of the gateway soak: each method of `Faults` injects one, and removes it again.

PostgreSQL or a session of it is frozen, terminated or killed. The gateway is frozen, killed, stopped, or has
no file descriptor. Another gateway takes the lock. The disk of the database is almost full or full. The venue
of a live provider is killed or frozen. While disk space, descriptors or the venue are missing, readiness must
name the fault.
"""

import contextlib
import http.client
import json
import os
import random
import resource
import signal
import threading
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.persistence.postgres.server import wait_until
from tests.soak.gateway_storm import COMPONENTS, Storm
from tests.support.serving import Gateway, Project, frozen
from tests.support.small_disk import fill
from tests.support.venues import Venue

NAMED_SECONDS = 120.0
"""How long readiness may take to name a fault on a busy machine."""
STARTS = 20
MIB = 1 << 20
LOCK = "application_name like 'meltica gateway%'"
POOL = "application_name = 'meltica'"
ALL = "application_name like 'meltica%'"
SUPERSEDED = "stop of {} not recorded: superseded by another gateway"
LIVE = "provider live"


@dataclass
class Scene:
    """The processes of a run. `main` is replaced by each restart."""

    project: Project
    server: EmbeddedPostgres
    disk: Path | None
    """The mount point of the database's own disk; None if it has none."""
    venue: Venue
    main: Gateway
    second_port: int

    def launch(self, *arguments: str) -> Gateway:
        """Starts a gateway that shares the embedded server."""
        return self.project.launch("--set", "resources.checkInterval=200ms", *arguments)

    def start_venue(self) -> None:
        """Starts the venue again, at its address."""
        port = self.venue.address.rpartition(":")[2]
        self.venue = Venue(self.project.folder, "--port", port)
        self.venue.wait_started()


class Faults:
    """Injects faults into a scene."""

    def __init__(self, scene: Scene, storm: Storm, seed: int, pace: float) -> None:
        """`pace` below 1 shortens the faults."""
        self.found: list[str] = []
        self.restarted = False
        self.started_another = False
        """Whether another gateway may have held the lock in this round."""
        self.starved = False
        """Whether starts may have failed in this round, because a disk or descriptors were missing."""
        self.injected: Counter[str] = Counter()
        self._scene = scene
        self._storm = storm
        self._pace = pace
        self._random = random.Random(seed)

    def plan(self) -> list[list[str]]:
        """Returns the kinds of the next rounds in random order: each kind at least once.

        The gateway ends in the last round only, so that what it leaks can be measured before.
        """
        passing = [kind.__name__ for kind in self._passing()]
        ending = [self.kill_gateway.__name__, self.stop_gateway.__name__, self.stop_gateway_frozen.__name__]
        rounds = 1
        if self._pace >= 1.0:
            passing = passing * 2 + [self.take_over.__name__] * 6
            ending = ending * 2 + self._random.choices(passing, k=3)
            rounds = 6
        self._random.shuffle(passing)
        self._random.shuffle(ending)
        return [*(passing[number::rounds] for number in range(rounds)), ending]

    def inject(self, kind: str) -> None:
        """Injects one fault."""
        self.injected[kind] += 1
        getattr(self, kind)()

    def _passing(self) -> list[Callable[[], None]]:
        disk = [self.nearly_fill_disk, self.fill_disk] if self._scene.disk else []
        return [
            self.freeze_postgres,
            self.freeze_session,
            self.terminate_lock,
            self.terminate_pool,
            self.terminate_all,
            self.kill_session,
            self.kill_postgres,
            self.freeze_gateway,
            self.exhaust_descriptors,
            self.kill_venue,
            self.freeze_venue,
            self.take_over,
            *disk,
        ]

    def pause(self, low: float, high: float) -> None:
        """Waits between two faults, or while one lasts."""
        threading.Event().wait(self._random.uniform(low, high) * self._pace)

    # PostgreSQL

    def freeze_postgres(self) -> None:
        with self._frozen_postgres():
            self.pause(0.1, self._random.choice((1.0, 4.0, 14.0)))

    def freeze_session(self) -> None:
        pids = self._sessions(ALL)
        if pids:
            with frozen(self._random.choice(pids)):
                self.pause(0.1, self._random.choice((2.0, 13.0)))

    def terminate_lock(self) -> None:
        self._end_sessions(LOCK)

    def terminate_pool(self) -> None:
        self._end_sessions(POOL)

    def terminate_all(self) -> None:
        self._end_sessions(ALL)

    def kill_session(self) -> None:
        pids = self._sessions(ALL)
        if pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._random.choice(pids), signal.SIGKILL)

    def kill_postgres(self) -> None:
        pid = self._scene.server.pid
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    @contextlib.contextmanager
    def _frozen_postgres(self) -> Generator[None]:
        pid = self._scene.server.pid
        with contextlib.nullcontext() if pid is None else frozen(pid):
            yield

    def _sessions(self, condition: str) -> list[int]:
        query = f"select pid from pg_stat_activity where backend_type = 'client backend' and {condition}"
        with (
            contextlib.suppress(psycopg.Error),
            psycopg.connect(self._scene.server.dsn, connect_timeout=5, application_name="soak") as connection,
        ):
            return [row[0] for row in connection.execute(query.encode())]
        return []

    def _end_sessions(self, condition: str) -> None:
        for pid in self._sessions(condition):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    # The disk

    def nearly_fill_disk(self) -> None:
        """Leaves less than the limit of readiness: PostgreSQL continues."""
        self._fill(200 * MIB)

    def fill_disk(self) -> None:
        """Leaves nothing: PostgreSQL refuses changes or ends."""
        self._fill(0)

    def _fill(self, leave: int) -> None:
        assert self._scene.disk is not None
        self.starved = True
        ballast = self._scene.disk / "ballast"
        try:
            with contextlib.suppress(OSError):  # PostgreSQL writes too
                fill(ballast, leave)
            self._await_named("data disk")
            if self._random.random() < 0.3:
                self.kill_postgres()
            self.pause(0.5, 8.0)
        finally:
            ballast.unlink(missing_ok=True)

    # The venue

    def kill_venue(self) -> None:
        self._scene.venue.close()
        self._await_named(LIVE)
        self.pause(0.1, 8.0)
        self._scene.start_venue()

    def freeze_venue(self) -> None:
        with frozen(self._scene.venue.process.pid):
            if self._pace >= 1.0 and self._random.random() < 0.5:
                self._await_named(LIVE)
            self.pause(0.1, 5.0)

    # The gateway

    def freeze_gateway(self) -> None:
        self._scene.main.signal(signal.SIGSTOP)
        if self._random.random() < 0.5:
            self.terminate_lock()
        self.pause(0.1, 5.0)
        self._scene.main.signal(signal.SIGCONT)

    def exhaust_descriptors(self) -> None:
        self.starved = True
        pid = self._scene.main.process.pid
        with contextlib.closing(_connection(self._scene.main)) as kept:
            if not wait_until(lambda: _answers(kept), NAMED_SECONDS):
                self.found.append("descriptors: no connection to the gateway")
                return
            before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            used = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + self._random.choice((0, 2, 8)), before[1]))
            try:
                self._await_named("file descriptors", lambda: self._kept_faults(kept))
                if self._random.random() < 0.5:
                    self.terminate_all()
                self.pause(0.5, 8.0)
            finally:
                resource.prlimit(pid, resource.RLIMIT_NOFILE, before)

    def kill_gateway(self) -> None:
        self._scene.main.signal(signal.SIGKILL)
        self._restart()

    def stop_gateway(self) -> None:
        self._scene.main.signal(signal.SIGTERM)
        self._restart()

    def stop_gateway_frozen(self) -> None:
        with self._frozen_postgres():
            self.pause(0.1, 4.0)
            self._scene.main.signal(signal.SIGTERM)
            self.pause(0.1, 6.0)
        self._restart()

    def _restart(self) -> None:
        code = self._scene.main.ended()
        self._scene.main.kill()
        if code != 0:
            # It had no time to record the stops that it answered with 202.
            self._storm.lose_unrecorded()
        self.restarted = True
        for _ in range(STARTS):
            self._scene.main = self._scene.launch()
            with contextlib.suppress(AssertionError):
                self._scene.main.wait_started()
                return
            self._scene.main.kill()
            self.pause(0.5, 0.5)
        self.found.append(f"the gateway cannot be started: {self._scene.main.tail()}")

    # Another gateway

    def take_over(self) -> None:
        """Freezes the gateway; another one takes the lock, changes something and ends.

        Every second time the gateway continues beside the other one, without the lock, and the storm as well.
        """
        beside = self.injected[self.take_over.__name__] % 2 == 1
        main = self._scene.main
        begun = main.log.stat().st_size
        if not beside:
            # Changes of the other gateway alone: their order is known.
            self.found += [f"{name}: a request was not answered" for name in self._storm.calm()]
        with self._storm.overlapping() if beside else contextlib.nullcontext():
            main.signal(signal.SIGSTOP)
            try:
                self.terminate_lock()
                with self._second() as second:
                    dropped = self._change(second, beside=beside) if second is not None else set[str]()
            finally:
                main.signal(signal.SIGCONT)
            if not wait_until(lambda: _holds(main), NAMED_SECONDS):
                self.found.append(f"the lock is not regained: {main.get('/health/ready')}")
            for name in sorted(dropped):
                line = SUPERSEDED.format(name)
                if not wait_until(lambda line=line: line in _since(main.log, begun), 20.0):
                    self.found.append(f"the dropped stop of {name} is not logged as superseded")
        if not beside:
            self._storm.begin()

    @contextlib.contextmanager
    def _second(self) -> Generator[Gateway | None]:
        """Yields another gateway that holds the lock, or None if it cannot be started."""
        self.started_another = True
        second = self._scene.launch("--port", str(self._scene.second_port))
        try:
            second.wait_started()
        except AssertionError:
            second.kill()
            yield None
            return
        try:
            yield second
        finally:
            second.signal(self._random.choice((signal.SIGTERM, signal.SIGKILL)))
            second.ended()
            second.kill()

    def _change(self, second: Gateway, *, beside: bool) -> set[str]:
        """Changes states over the other gateway; returns the stops that the first one must drop."""
        dropped: set[str] = set()
        if beside:
            self._scene.main.signal(signal.SIGCONT)
            for name in self._random.sample(list(COMPONENTS), k=len(COMPONENTS)):
                if not self._storm.change(name, "stop", self._scene.main.address).recorded:
                    dropped.add(name)
                    break
        for _ in range(self._random.randrange(1, 6)):
            name, verb = self._random.choice(list(COMPONENTS)), self._random.choice(("start", "stop"))
            self._storm.change(name, verb, second.address, "second: ")
            self.pause(0.0, 0.5)
        return dropped

    def _kept_faults(self, connection: http.client.HTTPConnection) -> dict[str, Any]:
        return _faults(connection, self._scene.project.authorization())

    def _await_named(self, name: str, faults: Callable[[], dict[str, Any]] | None = None) -> None:
        named = faults or (lambda: _ready_faults(self._scene.main))
        if not wait_until(lambda: name in named(), NAMED_SECONDS):
            self.found.append(f"readiness does not name `{name}`: {named()}")


def _ready_faults(gateway: Gateway) -> dict[str, Any]:
    status, body = gateway.get("/health/ready")
    return body.get("faults", {}) if status == 503 else {}


def _holds(gateway: Gateway) -> bool:
    status, body = gateway.get("/health/ready")
    return status == 200 or (status == 503 and "lock" not in body.get("faults", {"lock": ""}))


def _connection(gateway: Gateway) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(gateway.address.removeprefix("http://"), timeout=60)


def _answers(connection: http.client.HTTPConnection) -> bool:
    """Whether a connection is open, after one request. It is opened again if it was refused."""
    try:
        connection.request("GET", "/health/live")
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException):
        connection.close()
        return False
    return response.status == 200


def _faults(connection: http.client.HTTPConnection, authorization: dict[str, str]) -> dict[str, Any]:
    """Returns the faults over a connection that is open already."""
    try:
        connection.request("GET", "/health/ready", headers=authorization)
        return json.load(connection.getresponse()).get("faults", {})
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        return {"connection": repr(error)}


def _since(log: Path, position: int) -> str:
    return log.read_bytes()[position:].decode(errors="replace")
