"""Chaos for the states of two gateways on one database: memory, database and running components agree.

    python -m tests.soak.gateway [SECONDS] [SEED]       or       nox -s soak -- gateway [SECONDS] [SEED]

One thread per component sends starts and stops over REST, sometimes two at once. Beside them, PostgreSQL
or a single session of it is frozen, sessions are terminated, PostgreSQL is killed, and the gateway is
frozen, killed or stopped. Sometimes a second gateway takes the lock. Each round ends in a quiet point, where

- REST, the rows and the components that really receive events agree;
- each component has the state of the last change that was acknowledged. Only an unrecorded stop may be lost,
  when another gateway held the lock meanwhile, or when the gateway ended before;
- a change that was answered 503 `database_unavailable` or `lock_not_held` has changed nothing.
"""

import contextlib
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import psycopg

from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.persistence.postgres.server import wait_until
from tests.support.changes import Model, post
from tests.support.serving import Project, free_port, frozen, project

SECONDS = 600.0
QUIET_SECONDS = 60.0
ROUND = 12.0
"""Seconds of faults between two quiet points, at most; a fault that has begun ends later."""
COMPONENTS = {
    "watch": "/strategy/instances/watch",
    "mate": "/strategy/instances/mate",
    "idle": "/strategy/instances/idle",
    "demo": "/providers/demo",
    "off": "/providers/off",
}
STRATEGY = """
import pathlib, time, meltica

class Watch(meltica.Lambda):
    written = 0.0

    def on_trade(self, trade):
        now = time.monotonic()
        if now - self.written > 0.1:
            self.written = now
            pathlib.Path(__file__).with_name(f"{self.id}.alive").write_text(str(now))
"""


@dataclass
class Soaked:
    """The result of a run."""

    rounds: int = 0
    seconds: float = 0.0
    answers: Counter[str] = field(default_factory=Counter[str])
    chaos: Counter[str] = field(default_factory=Counter[str])
    superseded: int = 0
    faults: list[str] = field(default_factory=list[str])


class Chaos:
    """One run."""

    def __init__(
        self, created: Project, server: EmbeddedPostgres, seed: int, report: Callable[[str], object]
    ):
        self.soaked = Soaked()
        self._project = created
        self._server = server
        self._report = report
        self._random = random.Random(seed)
        self._dsn = server.dsn
        (created.folder / "watch.py").write_text(STRATEGY)
        created.edit("127.0.0.1:0", f"127.0.0.1:{free_port()}")
        self._second_port = free_port()
        self._main = created.launch(database=self._dsn)
        self._main.wait_started()
        self._address = self._main.address
        self._main.wait_ready()
        self._models = {name: Model(state) for name, (state, _) in created.states(self._dsn).items()}
        self._storming = threading.Event()
        self._ended = threading.Event()
        self._idle = {name: threading.Event() for name in COMPONENTS}
        self._answers_lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._storm, args=(name, random.Random(seed * 31 + number)), daemon=True)
            for number, name in enumerate(COMPONENTS)
        ]
        for thread in self._threads:
            thread.start()

    def run(self, seconds: float) -> Soaked:
        """Runs rounds until `seconds` have passed or a fault is found."""
        began = time.monotonic()
        try:
            while not self.soaked.faults and time.monotonic() - began < seconds:
                self._round(min(ROUND, seconds / 2))
                self.soaked.rounds += 1
        finally:
            self._ended.set()
            self._storming.set()
            for thread in self._threads:
                thread.join(40)
            self._main.kill()
        self.soaked.seconds = time.monotonic() - began
        return self.soaked

    # The storm

    def _storm(self, name: str, source: random.Random) -> None:
        with ThreadPoolExecutor(2) as pool:
            while not self._ended.is_set():
                if not self._storming.is_set():
                    self._idle[name].set()
                    self._storming.wait()
                    continue
                self._idle[name].clear()
                verbs = [source.choice(("start", "stop"))]
                if source.random() < 0.15:
                    verbs.append(source.choice(("start", "stop")))
                paths = [f"{COMPONENTS[name]}/{verb}" for verb in verbs]
                answers = list(pool.map(post, [self._address] * len(paths), paths))
                self._note(self._models[name], verbs, answers)
                threading.Event().wait(source.choice((0.0, 0.01, 0.1, 0.6, 2.0)))

    def _note(self, model: Model, verbs: list[str], answers: list[tuple[int, str, bool]]) -> None:
        with self._answers_lock:
            for verb, answer in zip(verbs, answers, strict=True):
                self.soaked.answers[f"{verb} {answer[0]} {answer[1]}{'' if answer[2] else 'unrecorded'}"] += 1
            if len(verbs) == 1:
                model.answered(verbs[0], *answers[0])
                return
            # The order of two changes at once is unknown.
            orders = [Model(""), Model("")]
            for order, pairs in zip(orders, (((0, 1)), ((1, 0))), strict=True):
                order.possible, order.unrecorded = set(model.possible), set(model.unrecorded)
                for index in pairs:
                    order.answered(verbs[index], *answers[index])
            model.possible = orders[0].possible | orders[1].possible
            model.unrecorded = orders[0].unrecorded | orders[1].unrecorded
            model.history += [f"(at once) {line}" for line in orders[0].history]

    # Faults

    def _round(self, seconds: float) -> None:
        self._log_from = self._main.log.stat().st_size
        for event in self._idle.values():
            event.clear()
        self._storming.set()
        deadline = time.monotonic() + seconds
        done: list[str] = []
        while time.monotonic() < deadline:
            self._pause(0.0, 2.0)
            chaos = self._random.choice(self._faults())
            done.append(chaos.__name__.strip("_"))
            self.soaked.chaos[done[-1]] += 1
            chaos()
        self._pause(0.0, 1.0)
        self._storming.clear()
        self._quiet(done)

    def _faults(self) -> tuple[Callable[[], None], ...]:
        return (
            *(self._freeze, self._freeze_session) * 2,
            self._terminate_lock,
            self._terminate_pool,
            self._terminate_all,
            self._kill_session,
            self._kill_postgres,
            self._freeze_gateway,
            self._kill_gateway,
            self._stop_gateway,
            self._stop_gateway_frozen,
            self._take_over,
        )

    def _pause(self, low: float, high: float) -> None:
        threading.Event().wait(self._random.uniform(low, high))

    def _freeze(self) -> None:
        with self._frozen_postgres():
            self._pause(0.1, self._random.choice((1.0, 4.0, 14.0)))

    @contextlib.contextmanager
    def _frozen_postgres(self) -> Generator[None]:
        pid = self._server.pid
        if pid is None:
            yield
            return
        with frozen(pid):
            yield

    def _sessions(self, condition: str) -> list[int]:
        with contextlib.suppress(psycopg.Error), psycopg.connect(self._dsn, connect_timeout=5) as connection:
            query = f"select pid from pg_stat_activity where pid <> pg_backend_pid() and {condition}"
            return [row[0] for row in connection.execute(query.encode())]
        return []

    def _end_sessions(self, condition: str, number: int) -> None:
        for pid in self._sessions(f"backend_type = 'client backend' and {condition}"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _freeze_session(self) -> None:
        pids = self._sessions("application_name like 'meltica%'")
        if pids:
            with frozen(self._random.choice(pids)):
                self._pause(0.1, self._random.choice((2.0, 13.0)))

    def _terminate_lock(self) -> None:
        self._end_sessions("application_name like 'meltica gateway%'", signal.SIGTERM)

    def _terminate_pool(self) -> None:
        self._end_sessions("application_name = 'meltica'", signal.SIGTERM)

    def _terminate_all(self) -> None:
        self._end_sessions("application_name like 'meltica%'", signal.SIGTERM)

    def _kill_session(self) -> None:
        pids = self._sessions("application_name like 'meltica%'")
        if pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._random.choice(pids), signal.SIGKILL)

    def _kill_postgres(self) -> None:
        pid = self._server.pid
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _freeze_gateway(self) -> None:
        self._main.signal(signal.SIGSTOP)
        if self._random.random() < 0.5:
            self._terminate_lock()
        self._pause(0.1, 5.0)
        self._main.signal(signal.SIGCONT)

    def _kill_gateway(self) -> None:
        self._main.signal(signal.SIGKILL)
        self._restart()

    def _stop_gateway(self) -> None:
        self._main.signal(signal.SIGTERM)
        self._restart()

    def _stop_gateway_frozen(self) -> None:
        with self._frozen_postgres():
            self._pause(0.1, 4.0)
            self._main.signal(signal.SIGTERM)
            self._pause(0.1, 6.0)
        self._restart()

    def _restart(self) -> None:
        code = self._main.ended()
        self._main.kill()
        if code != 0:
            # It had no time to record the stops that it answered with 202.
            with self._answers_lock:
                for model in self._models.values():
                    model.lose_unrecorded()
        for _ in range(20):
            self._main = self._project.launch(database=self._dsn)
            with contextlib.suppress(AssertionError):
                self._main.wait_started()
                return
            self._main.kill()
            self._pause(0.5, 0.5)
        self.soaked.faults.append(f"the gateway cannot be started: {self._main.tail()}")

    def _take_over(self) -> None:
        """Freezes the gateway, lets another one take the lock and change something, and ends that one."""
        self._main.signal(signal.SIGSTOP)
        continued = False
        self._terminate_lock()
        second = self._project.launch("--port", str(self._second_port), database=self._dsn)
        try:
            try:
                second.wait_started()
            except AssertionError:
                return
            if self._random.random() < 0.5:
                self._main.signal(signal.SIGCONT)
                continued = True
            for _ in range(self._random.randrange(1, 6)):
                name = self._random.choice(list(COMPONENTS))
                verb = self._random.choice(("start", "stop"))
                answer = post(second.address, f"{COMPONENTS[name]}/{verb}")
                with self._answers_lock:
                    self.soaked.answers[f"second: {verb} {answer[0]} {answer[1]}"] += 1
                    # Unrecorded stops of the first gateway are superseded by the database, so both may apply.
                    model = self._models[name]
                    before = set(model.possible)
                    model.answered(f"{verb}", *answer)
                    model.possible |= before if continued else set()
                    model.history[-1] += " (second)"
                self._pause(0.0, 0.5)
        finally:
            second.signal(self._random.choice((signal.SIGTERM, signal.SIGKILL)))
            second.ended()
            second.kill()
            self._main.signal(signal.SIGCONT)
            with self._answers_lock:
                for model in self._models.values():
                    model.lose_unrecorded()

    # Quiet points

    def _quiet(self, done: list[str]) -> None:
        for name, event in self._idle.items():
            if not event.wait(60):
                self.soaked.faults.append(f"{name}: a request was not answered within 60 s")
        seen: list[str] = []

        def agree() -> bool:
            seen[:] = self._differences()
            return not seen

        if not wait_until(agree, QUIET_SECONDS):
            self.soaked.faults += seen
        else:
            self._check_model()
            self._check_events()
        log = self._main.log.read_bytes()[self._log_from :].decode(errors="replace")
        self.soaked.superseded += log.count("superseded by another gateway")
        if "Traceback" in log:
            self.soaked.faults.append(f"a traceback in the log: {log[log.index('Traceback') - 300 :][:1500]}")
        self._report(
            f"round {self.soaked.rounds}: {', '.join(done)}; "
            f"{ {name: self._rows().get(name) for name in COMPONENTS} }"
        )
        if self.soaked.faults:
            self._report(f"log: {self._main.log}")
            for name, model in self._models.items():
                self._report(f"{name}: {model.possible} {model.history[-12:]}")

    def _rows(self) -> dict[str, tuple[str, str]]:
        with contextlib.suppress(psycopg.Error):
            return self._project.states(self._dsn)
        return {}

    def _rest(self) -> dict[str, Any]:
        status, instances = self._main.get("/strategy/instances")
        other, providers = self._main.get("/providers")
        if (status, other) != (200, 200):
            return {}
        rest = {one["id"]: one for one in instances["instances"]}
        return rest | {one["name"]: one for one in providers["providers"]}

    def _differences(self) -> list[str]:
        status, body = self._main.get("/health/ready")
        if status != 200:
            return [f"not ready: {body}"]
        rest, rows = self._rest(), self._rows()
        texts: list[str] = []
        for name in COMPONENTS:
            one = rest.get(name, {})
            shown, row = (one.get("desired"), one.get("status")), rows.get(name)
            if shown != row or "recorded" in one:
                texts.append(f"{name}: REST says {shown} {one.get('recorded', '')}, the database {row}")
            elif one["running"] != (shown[0] == "running") and not (name == "off" and shown[1] == "stopped"):
                texts.append(f"{name}: desired {shown[0]}, but {shown[1]}")
        return texts

    def _check_model(self) -> None:
        with self._answers_lock:
            for name, (state, _) in self._rows().items():
                model = self._models[name]
                if state not in model.possible:
                    self.soaked.faults.append(
                        f"{name} is {state}; the answers allow {model.possible}: {model.history[-12:]}"
                    )
                model.settle(state)

    def _check_events(self) -> None:
        """Compares the states with what the instances really receive."""
        rest = self._rest()
        for name in ("watch", "mate", "idle"):
            file = self._project.folder / f"{name}.alive"
            file.unlink(missing_ok=True)
            runs = rest[name]["running"] and rest["demo"]["running"]
            if wait_until(file.exists, 10.0 if runs else 0.5) != runs:
                self.soaked.faults.append(
                    f"{name} {'receives no' if runs else 'receives'} events: {rest[name]}"
                )


@contextlib.contextmanager
def supervised(server: EmbeddedPostgres) -> Generator[None]:
    """Runs a server that is started again when it ends."""
    import asyncio

    loop = asyncio.new_event_loop()

    async def keep() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await server.supervise()

    with server:
        task = loop.create_task(keep())
        thread = threading.Thread(target=loop.run_until_complete, args=(task,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            loop.call_soon_threadsafe(task.cancel)
            thread.join(30)
            if not thread.is_alive():
                loop.close()


def soak(seconds: float, seed: int = 1, report: Callable[[str], object] = lambda _: None) -> Soaked:
    """Runs the chaos for about `seconds`; `Soaked.faults` lists the disagreements."""
    with project() as created:
        server = EmbeddedPostgres(created.home)
        with supervised(server):
            soaked = Chaos(created, server, seed, report).run(seconds)
        if soaked.faults:
            report((created.folder / "serve.log").read_text()[-20000:])
    return soaked


def main() -> int:
    """Runs the chaos, prints what it did, and returns the exit code."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    soaked = soak(seconds, seed, report=lambda line: print(line, flush=True))
    print(
        f"{soaked.rounds} rounds in {soaked.seconds:.0f} s with seed {seed}, "
        f"{soaked.superseded} superseded stops"
    )
    for counts in (soaked.chaos, soaked.answers):
        print(", ".join(f"{name}: {count}" for name, count in sorted(counts.items())))
    for fault in soaked.faults:
        print(f"fault: {fault}")
    return 1 if soaked.faults else 0


if __name__ == "__main__":
    sys.exit(main())
