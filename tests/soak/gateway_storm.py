"""The storm of REST changes of the gateway soak, and the states that its answers allow.

One thread per component sends starts and stops, sometimes two at once.
"""

import random
import threading
from collections import Counter
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from tests.support.changes import Answer, Model, post

COMPONENTS = {
    "watch": "/strategy/instances/watch",
    "mate": "/strategy/instances/mate",
    "idle": "/strategy/instances/idle",
    "wire": "/strategy/instances/wire",
    "demo": "/providers/demo",
    "off": "/providers/off",
    "spare": "/providers/spare",
}
"""The components that are started and stopped, and their paths."""
PAUSES = (0.0, 0.01, 0.1, 0.6, 2.0)
ANSWER_SECONDS = 120.0
"""How long a request may take on a busy machine before it counts as lost."""


class Storm:
    """Starts and stops of all components, from `begin` to `calm`."""

    def __init__(
        self, address: str, authorization: dict[str, str], states: dict[str, str], seed: int
    ) -> None:
        self.models = {name: Model(state) for name, state in states.items()}
        self.answers: Counter[str] = Counter()
        self.unrecorded: Counter[str] = Counter()
        """Stops of the current round that may have been dropped as superseded, by component."""
        self.overlaps = 0
        """Number of takeovers begun and ended; odd while another gateway may change the states."""
        self._address = address
        self._authorization = authorization
        self._lock = threading.Lock()
        self._storming = threading.Event()
        self._ended = threading.Event()
        self._idle = {name: threading.Event() for name in COMPONENTS}
        self._threads = [
            threading.Thread(target=self._run, args=(name, random.Random(seed * 31 + number)), daemon=True)
            for number, name in enumerate(COMPONENTS)
        ]
        for thread in self._threads:
            thread.start()

    def begin(self) -> None:
        """Begins to send changes."""
        for event in self._idle.values():
            event.clear()
        self._storming.set()

    def calm(self) -> list[str]:
        """Stops sending; returns the components with a request that was not answered."""
        self._storming.clear()
        return [name for name, event in self._idle.items() if not event.wait(ANSWER_SECONDS)]

    def close(self) -> None:
        """Ends the threads."""
        self._ended.set()
        self._storming.set()
        for thread in self._threads:
            thread.join(ANSWER_SECONDS)

    @contextmanager
    def overlapping(self) -> Generator[None]:
        """Marks the answers of the block as unordered, because two gateways change the states."""
        with self._lock:
            self.overlaps += 1
        try:
            yield
        finally:
            with self._lock:
                self.overlaps += 1

    def change(self, name: str, verb: str, address: str, prefix: str = "") -> Answer:
        """Sends one change to a gateway, in addition to the storm."""
        before = self.overlaps
        answer = post(address, f"{COMPONENTS[name]}/{verb}", self._authorization)
        with self._lock:
            self._note(name, [verb], [answer], before, prefix)
        return answer

    def lose_unrecorded(self) -> None:
        """Allows that unrecorded stops are lost: the gateway had no time to record them."""
        with self._lock:
            for model in self.models.values():
                model.lose_unrecorded()

    def settle(self, check: Callable[[str, Model], None]) -> None:
        """Calls `check` for each component while nothing is noted; starts the next round."""
        with self._lock:
            for name, model in self.models.items():
                check(name, model)
            self.unrecorded.clear()

    def _run(self, name: str, source: random.Random) -> None:
        with ThreadPoolExecutor(2) as pool:
            while not self._ended.is_set():
                if not self._storming.is_set():
                    self._idle[name].set()
                    self._storming.wait()
                    continue
                verbs = [source.choice(("start", "stop"))]
                if source.random() < 0.15:
                    verbs.append(source.choice(("start", "stop")))
                before = self.overlaps
                paths = [f"{COMPONENTS[name]}/{verb}" for verb in verbs]
                authorizations = [self._authorization] * len(paths)
                answers = list(pool.map(post, [self._address] * len(paths), paths, authorizations))
                with self._lock:
                    self._note(name, verbs, answers, before)
                threading.Event().wait(source.choice(PAUSES))

    def _note(
        self, name: str, verbs: list[str], answers: list[Answer], before: int, prefix: str = ""
    ) -> None:
        model = self.models[name]
        overlaps = before != self.overlaps or before % 2 == 1
        for verb, answer in zip(verbs, answers, strict=True):
            self.answers[f"{prefix}{verb} {answer}"] += 1
            if verb == "stop" and (not answer.recorded or answer.code in ("superseded", "no answer")):
                self.unrecorded[name] += 1
        if len(verbs) == 1:
            model.answered(verbs[0], answers[0], overlaps=overlaps)
            return
        # The order of two changes at once is unknown.
        orders = [Model(""), Model("")]
        for order, pairs in zip(orders, ((0, 1), (1, 0)), strict=True):
            order.possible, order.unrecorded = set(model.possible), set(model.unrecorded)
            for index in pairs:
                order.answered(verbs[index], answers[index], overlaps=overlaps)
        model.possible = orders[0].possible | orders[1].possible
        model.unrecorded = orders[0].unrecorded | orders[1].unrecorded
        model.history += [f"(at once) {line}" for line in orders[0].history]
