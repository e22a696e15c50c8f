"""Chaos for the states of two gateways on one database: memory, database and running components agree.

    python -m tests.soak.gateway [SECONDS] [SEED]       or       nox -s soak -- gateway [SECONDS] [SEED]

Components are started and stopped over REST all the time (`gateway_storm`), while faults are injected in
random order (`gateway_faults`). Each round ends in a quiet point, where

- the gateway is ready: no fault outlives its cause;
- REST, the rows and the components that really receive events agree;
- each component has the state of the last change that was acknowledged. Only an unrecorded stop may be lost,
  when another gateway held the lock meanwhile, or when the gateway ended before;
- the log has a `superseded` line for each stop that another gateway's lock has dropped, and for no other;
- a change that was refused, such as by a 503 `database_unavailable` or `lock_not_held`, has changed nothing;
- descriptors, threads and memory of the gateway have not grown since its first quiet point.
"""

import contextlib
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from meltica.persistence.postgres.embedded import EmbeddedPostgres
from meltica.persistence.postgres.server import wait_until
from tests.soak.gateway_faults import MIB, SUPERSEDED, Faults, Scene
from tests.soak.gateway_storm import COMPONENTS, Storm
from tests.soak.venue import rss
from tests.support.changes import Model
from tests.support.serving import free_port, project
from tests.support.small_disk import NotMounted, mounted
from tests.support.venues import KEY, SECRET, Venue

SECONDS = 600.0
QUIET_SECONDS = 180.0
"""How long the components may take to agree on a busy machine: backoffs of up to 30 s included."""
DISK = "700m"
INSTANCES = ("watch", "mate", "idle", "wire")
CONFIG = """
log: {level: info}
apiServer: {addr: "127.0.0.1:MAIN"}
supervision: {backoff: {max: 2s}}
providers:
  demo: {adapter: replay, settings: {sample: true, loop: true, speed: 20}}
  off: {adapter: replay, enabled: false, settings: {sample: true}}
  live: {adapter: fake, settings: {endpoint: "VENUE", key: KEY, secret: SECRET}}
  spare: {adapter: fake, enabled: false, settings: {endpoint: "VENUE", key: KEY, secret: SECRET}}
lambdas:
  - {id: watch, strategy: watch.py, scope: {demo: "*"}}
  - {id: mate, strategy: watch.py, scope: {demo: "*"}, host: shared}
  - {id: idle, strategy: watch.py, scope: {demo: "*"}, enabled: false}
  - {id: wire, strategy: watch.py, scope: {live: "*"}}
"""
STRATEGY = """
import contextlib, pathlib, time, meltica

class Watch(meltica.Lambda):
    written = 0.0

    def on_trade(self, trade):
        now = time.monotonic()
        if now - self.written > 0.1:
            self.written = now
            with contextlib.suppress(OSError):  # no file descriptor
                pathlib.Path(__file__).with_name(f"{self.id}.alive").write_text(str(now))
"""


class Use(NamedTuple):
    """What a gateway process uses."""

    descriptors: int
    threads: int
    memory: int

    def growth(self, first: "Use") -> "Use":
        return Use(*(now - before for now, before in zip(self, first, strict=True)))


GROWTH = Use(24, 24, 96 * MIB)
"""By how much the use of a gateway may grow after its first quiet point.

Each restart of a live provider leaves up to 0.3 MB of cyclic garbage, which the interpreter collects later.
"""


@dataclass
class Soaked:
    """The result of a run."""

    rounds: int = 0
    seconds: float = 0.0
    answers: Counter[str] = field(default_factory=Counter[str])
    injected: Counter[str] = field(default_factory=Counter[str])
    superseded: int = 0
    retried: int = 0
    """Instances whose start failed without descriptors or disk space, and that were started again."""
    grown: Use = field(default_factory=lambda: Use(0, 0, 0))
    """Largest growth at a quiet point."""
    faults: list[str] = field(default_factory=list[str])


class Chaos:
    """One run."""

    def __init__(self, scene: Scene, seed: int, pace: float, report: Callable[[str], object]) -> None:
        self.soaked = Soaked()
        self._scene = scene
        self._project = scene.project
        self._report = report
        self._log = scene.main.log
        self._first: Use | None = None
        scene.main.wait_started()
        scene.main.wait_ready(QUIET_SECONDS)
        states = {name: state for name, (state, _) in self._rows().items() if name in COMPONENTS}
        self._storm = Storm(scene.main.address, scene.project.authorization(), states, seed)
        self._faults = Faults(scene, self._storm, seed, pace)

    def run(self, seconds: float) -> Soaked:
        """Runs rounds until `seconds` have passed and each fault was injected, or a fault is found."""
        began = time.monotonic()
        rounds = self._faults.plan()
        least = len(rounds)
        try:
            while not self.soaked.faults:
                if self.soaked.rounds >= least and time.monotonic() - began >= seconds:
                    break
                rounds = rounds or self._faults.plan()
                self._round(rounds.pop(0))
                self.soaked.rounds += 1
        finally:
            self._storm.close()
            self._scene.main.kill()
            self._scene.venue.close()
        self.soaked.seconds = time.monotonic() - began
        self.soaked.answers, self.soaked.injected = self._storm.answers, self._faults.injected
        return self.soaked

    def _round(self, kinds: list[str]) -> None:
        faults = self._faults
        faults.restarted = faults.started_another = faults.starved = False
        position = self._log.stat().st_size
        self._storm.begin()
        for kind in kinds:
            faults.pause(0.0, 2.0)
            faults.inject(kind)
        faults.pause(0.0, 1.0)
        unanswered = self._storm.calm()
        self.soaked.faults += [f"{name}: a request was not answered" for name in unanswered]
        self._quiet(position)
        self.soaked.faults += faults.found
        self._report(f"round {self.soaked.rounds}: {', '.join(kinds)}; {self._use()}; {self._rows()}")
        if self.soaked.faults:
            for name, model in self._storm.models.items():
                self._report(f"{name}: {model.possible} {model.history[-12:]}")

    def _quiet(self, position: int) -> None:
        seen: list[str] = []

        def agree() -> bool:
            seen[:] = self._differences()
            return not seen

        if not wait_until(agree, QUIET_SECONDS):
            self.soaked.faults += seen
        else:
            self._check_states(position)
            self._check_events()
            self._check_use()
        log = self._log.read_bytes()[position:].decode(errors="replace")
        if "Traceback" in log:
            self.soaked.faults.append(f"a traceback in the log: {log[log.index('Traceback') - 300 :][:1500]}")

    def _rows(self) -> dict[str, tuple[str, str]]:
        with contextlib.suppress(psycopg.Error):
            return self._project.states()
        return {}

    def _rest(self) -> dict[str, Any]:
        status, instances = self._scene.main.get("/strategy/instances")
        other, providers = self._scene.main.get("/providers")
        if (status, other) != (200, 200):
            return {}
        rest = {one["id"]: one for one in instances["instances"]}
        return rest | {one["name"]: one for one in providers["providers"]}

    def _differences(self) -> list[str]:
        status, body = self._scene.main.get("/health/ready")
        if status != 200:
            self._retry_starts()
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

    def _retry_starts(self) -> None:
        """Starts again, as an operator would, what could not start while descriptors were missing."""
        for name, one in self._rest().items() if self._faults.starved else ():
            if name in INSTANCES and (one["desired"], one["status"]) == ("running", "failed"):
                self._storm.change(name, "start", self._scene.main.address, "retry: ")
                self.soaked.retried += 1

    def _check_states(self, position: int) -> None:
        log = self._log.read_bytes()[position:].decode(errors="replace")
        dropped = Counter(re.findall(SUPERSEDED.format("([a-z]+)") + '"', log))
        self.soaked.superseded += dropped.total()
        rows = self._rows()

        def check(name: str, model: Model) -> None:
            state, _ = rows[name]
            possible = model.possible | (model.unrecorded if dropped[name] else set[str]())
            if state not in possible:
                text = f"{name} is {state}; the answers allow {possible}: {model.history[-12:]}"
                self.soaked.faults.append(text)
            if dropped[name] and not (self._storm.unrecorded[name] and self._faults.started_another):
                self.soaked.faults.append(f"{name}: a stop is logged as superseded, but none was dropped")
            model.settle(state)

        self._storm.settle(check)

    def _check_events(self) -> None:
        """Compares the states with what the instances really receive."""
        rest = self._rest()
        for name in INSTANCES:
            file = self._project.folder / f"{name}.alive"
            file.unlink(missing_ok=True)
            runs = rest[name]["running"] and rest["live" if name == "wire" else "demo"]["running"]
            if wait_until(file.exists, 60.0 if runs else 0.5) != runs:
                self.soaked.faults.append(
                    f"{name} {'receives no' if runs else 'receives'} events: {rest[name]}"
                )

    def _use(self) -> Use:
        pid = self._scene.main.process.pid
        descriptors, threads = (len(list(Path(f"/proc/{pid}/{part}").iterdir())) for part in ("fd", "task"))
        return Use(descriptors, threads, rss(pid))

    def _check_use(self) -> None:
        if self._first is None or self._faults.restarted:
            self._first = self._use()
            return
        first = self._first

        def flat() -> bool:
            return all(now <= limit for now, limit in zip(self._use().growth(first), GROWTH, strict=True))

        if not wait_until(flat, 30.0):
            self.soaked.faults.append(f"the gateway has grown from {first} to {self._use()}")
        grown = self._use().growth(first)
        self.soaked.grown = Use(*map(max, self.soaked.grown, grown))


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


def soak(
    seconds: float, seed: int = 1, report: Callable[[str], object] = lambda _: None, pace: float = 1.0
) -> Soaked:
    """Runs the chaos for about `seconds`; `Soaked.faults` lists the disagreements.

    A `pace` below 1 shortens the faults. The disk is filled only where a file system can be mounted.
    """
    with project() as created, contextlib.ExitStack() as stack:
        disk: Path | None = None
        try:
            disk = stack.enter_context(mounted(created.folder / "disk", DISK))
            created.home = disk / "pg"
        except NotMounted as error:
            report(f"the disk is not filled: {error}")
        venue = Venue(created.folder)
        venue.wait_started()
        (created.folder / "watch.py").write_text(STRATEGY)
        parts = {"MAIN": str(free_port()), "VENUE": venue.address, "KEY": KEY, "SECRET": SECRET}
        created.config.write_text(re.sub("|".join(parts), lambda word: parts[word[0]], CONFIG))
        server = EmbeddedPostgres(created.home)
        stack.enter_context(supervised(server))
        main = created.launch()
        scene = Scene(created, server, disk, venue, main, free_port())
        soaked = Chaos(scene, seed, pace, report).run(seconds)
        if soaked.faults:
            report(main.log.read_text()[-20000:])
    return soaked


def main() -> int:
    """Runs the chaos, prints what it did, and returns the exit code."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    soaked = soak(seconds, seed, report=lambda line: print(line, flush=True))
    print(
        f"{soaked.rounds} rounds in {soaked.seconds:.0f} s with seed {seed}, "
        f"{soaked.superseded} superseded stops, {soaked.retried} starts retried, grown by {soaked.grown}"
    )
    for counts in (soaked.injected, soaked.answers):
        print(", ".join(f"{name}: {count}" for name, count in sorted(counts.items())))
    for fault in soaked.faults:
        print(f"fault: {fault}")
    return 1 if soaked.faults else 0


if __name__ == "__main__":
    sys.exit(main())
