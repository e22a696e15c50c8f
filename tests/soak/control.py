"""Soak test of changes over REST: each kind of route ends at each failpoint, by a cut connection or a kill.

    python -m tests.soak.control [TIMES] [SEED]       or       nox -s soak -- control [TIMES] [SEED]

`meltica serve` runs on a database behind a proxy, which stops the transaction of a change before its commit,
or after it and before the gateway knows. There the connection is cut, or the gateway killed and restarted;
or the client closes its connection without waiting for the answer. The run fails unless afterwards

- REST and the database agree, and have the state before the change, or the one after it if it was committed;
- a refusal that says that nothing changed is true;
- the audit has one row of each change that happened, none of one that did not, and its chain is whole;
- repeating the request ends in the state after the change.

Each kind of route ends TIMES times at each failpoint. After `SECONDS` no other changes begin.
"""

import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from meltica.persistence.postgres.embedded import EmbeddedPostgres
from tests.support.control_steps import steps
from tests.support.database_proxy import database_proxy
from tests.support.failpoints import Failpoints
from tests.support.serving import Gateway, Project, free_port, project

TIMES = 20
SECONDS = 840.0
KILLS = 0.05
"""How many of the changes end with a kill."""
KINDS = ("fail", "leave_unconfirmed", "lose_answer")
"""Methods of `Failpoints`."""
CONFIG = """
log: {level: info}
apiServer: {addr: "127.0.0.1:PORT"}
providers:
  off: {adapter: replay, enabled: false, settings: {sample: true}}
"""


@dataclass
class Soaked:
    """The result of a run."""

    rounds: int = 0
    changes: Counter[str] = field(default_factory=Counter[str])
    """Changes by failpoint."""
    kills: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list[str])


class Process:
    """A gateway on a database, which is killed and started again at the same address."""

    def __init__(self, project: Project, database: str) -> None:
        self._project = project
        self._database = database
        self._gateway: Gateway | None = None
        self.kills = 0

    def start(self) -> None:
        """Starts it and waits until it is ready."""
        self._gateway = self._project.launch(database=self._database)
        self._gateway.wait_started()
        self._gateway.wait_ready()

    def kill(self) -> None:
        """Kills it."""
        self.kills += 1
        self.end()

    def end(self) -> None:
        """Ends it without a trace."""
        if self._gateway is not None:
            self._gateway.kill()

    def tail(self) -> str:
        """Returns the end of its log."""
        return "" if self._gateway is None else self._gateway.tail()


@contextmanager
def served() -> Generator[tuple[Process, Failpoints]]:
    """Yields a gateway behind a proxy, and what changes it."""
    with project() as created, EmbeddedPostgres(created.home) as server:
        port = free_port()
        created.config.write_text(CONFIG.replace("PORT", str(port)))
        with database_proxy(server.dsn) as (dsn, proxy):
            process = Process(created, dsn)
            try:
                process.start()
                headers = created.authorization()
                actor = f"first start (token {headers['authorization'].split('_')[1]})"
                with httpx.Client(
                    base_url=f"http://127.0.0.1:{port}",
                    headers=headers,
                    timeout=20,
                    trust_env=False,
                    limits=httpx.Limits(max_keepalive_connections=0),
                ) as client:
                    yield process, Failpoints(client, actor, server.dsn, proxy)
            finally:
                process.end()


def soak(
    times: int,
    seed: int,
    report: Callable[[str], object] = lambda _: None,
    *,
    kinds: Sequence[str] = KINDS,
    kills: float = KILLS,
) -> Soaked:
    """Runs the changes `times` times at each failpoint; `Soaked.faults` has the first failure."""
    soaked, chance, began = Soaked(), random.Random(seed), time.monotonic()
    with served() as (process, failpoints):
        while soaked.rounds < times and not soaked.faults:
            for kind in chance.sample(kinds, len(kinds)):
                if time.monotonic() - began >= SECONDS:
                    return soaked
                try:
                    for step in steps(failpoints.client):
                        getattr(failpoints, kind)(step, process if chance.random() < kills else None)
                        soaked.changes[kind] += 1
                    failpoints.verify()
                except (AssertionError, httpx.HTTPError) as error:
                    soaked.faults.append(f"round {soaked.rounds}, {kind}: {error!r}\n{process.tail()}")
                    break
                finally:
                    soaked.kills, soaked.seconds = process.kills, time.monotonic() - began
            soaked.rounds += 1
            report(f"round {soaked.rounds}: {soaked.changes.total()} changes, {soaked.kills} kills")
    return soaked


def main(arguments: Sequence[str]) -> int:
    """Runs the soak test and reports its result; returns the exit code."""
    times = int(arguments[0]) if arguments else TIMES
    seed = int(arguments[1]) if len(arguments) > 1 else random.randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    soaked = soak(times, seed, lambda line: print(line, flush=True))
    counts = ", ".join(f"{kind} {count}" for kind, count in sorted(soaked.changes.items()))
    print(f"{soaked.rounds} of {times} rounds in {soaked.seconds:.0f} s: {counts}; {soaked.kills} kills")
    for fault in soaked.faults:
        print(f"fault: {fault}")
    return 1 if soaked.faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
