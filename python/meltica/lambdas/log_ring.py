"""`InstanceLogs`: the last log lines of each instance, for the control plane.

1. The lines of an instance are those of `self.log`, the exceptions of its callbacks, and its life cycle.
2. The last `LINES` are kept, of at most `CHARACTERS` each. They outlive a run, but not the instance.
3. A traceback has the frames in the file of the strategy only.
4. Clients read the lines, so the folder of the file is removed; the log of the server has it.
"""

import itertools
import logging
import traceback
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from meltica.errors import one_line, plain
from meltica.telemetry.folding import message_of

if TYPE_CHECKING:
    from meltica.lambdas.managed import ManagedInstance

LINES = 500
"""Lines that are kept of each instance."""
CHARACTERS = 1000
"""Most characters of a message, and of a line of a traceback."""
FRAMES = 20
"""Most frames of a traceback: the last ones."""
STRATEGIES = ("meltica_lambda_", "meltica_module_", "meltica.strategies.")
"""Beginnings of the names of modules that contain strategies."""
LOGGERS = ("meltica.lambda", "meltica.lambdas")
"""The parent of the loggers of strategies, and the logger of the life cycle."""


class LogLine(NamedTuple):
    """One line."""

    number: int
    """Ascending by time; a gap means that lines were dropped."""
    time: int
    """Nanoseconds since 1970."""
    level: str
    message: str
    traceback: tuple[str, ...]
    """Its last line is the exception; empty without one."""


class InstanceLogs(logging.Handler):
    """The lines of the instances of one manager, from `start` to `stop`."""

    def __init__(self, instances: "Mapping[str, ManagedInstance]") -> None:
        """`instances` has the instances by their ids; lines of others are dropped."""
        super().__init__()
        self._instances = instances
        self._rings: dict[str, tuple[itertools.count[int], deque[LogLine]]] = {}

    def createLock(self) -> None:  # noqa: N802
        """Creates no lock: each step of `emit` is atomic, and threads of strategies never wait for others."""
        self.lock = None

    def start(self) -> None:
        """Begins to keep lines."""
        for name in LOGGERS:
            logging.getLogger(name).addHandler(self)

    def stop(self) -> None:
        """Ends it."""
        for name in LOGGERS:
            logging.getLogger(name).removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps a line. Called on the thread that logs."""
        id = _instance_of(record)
        instance = self._instances.get(id or "")
        if id is None or instance is None:
            return
        numbers, lines = self._rings.get(id) or self._rings.setdefault(id, _ring())
        error = record.exc_info[1] if record.exc_info else None
        lines.append(
            LogLine(
                number=next(numbers),
                time=int(record.created * 1e9),
                level=record.levelname.lower(),
                message=plain(instance.spec.without_folder(message_of(record))[:CHARACTERS]),
                traceback=() if error is None else _traceback(error, instance),
            )
        )

    def lines(self, id: str) -> list[LogLine]:
        """Returns the lines of an instance, the oldest first."""
        ring = self._rings.get(id)
        return [] if ring is None else list(ring[1].copy())

    def forget(self, id: str) -> None:
        """Drops the lines of an instance that was deleted."""
        self._rings.pop(id, None)


def _ring() -> tuple["itertools.count[int]", deque[LogLine]]:
    return itertools.count(1), deque(maxlen=LINES)


def _instance_of(record: logging.LogRecord) -> str | None:
    """Returns the instance that a line is about: an attribute of its own, or the argument of its message."""
    instance = getattr(record, "instance", None)
    if instance is None and isinstance(record.args, tuple) and str(record.msg).startswith("instance %s"):
        instance = record.args[0]
    return instance if isinstance(instance, str) else None


def _traceback(error: BaseException, instance: "ManagedInstance") -> tuple[str, ...]:
    """3, 4: returns the frames of strategies, the innermost last, and the exception."""
    frames: deque[str] = deque(maxlen=FRAMES)
    for frame, line in traceback.walk_tb(error.__traceback__):
        if str(frame.f_globals.get("__name__")).startswith(STRATEGIES):
            code = frame.f_code
            text = f"{Path(code.co_filename).name}, line {line}, in {code.co_qualname}"
            frames.append(plain(text[:CHARACTERS]))
    return (*frames, instance.spec.without_folder(one_line(error))[:CHARACTERS])
