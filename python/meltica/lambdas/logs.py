"""Loggers of instances, and the log of errors in their callbacks."""

import logging
from collections import Counter
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from meltica.errors import LambdaStopped

if TYPE_CHECKING:
    _Adapter = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter

FIRST = 5
"""Number of errors of one type that are all logged; after these, the 10th, 100th, 1000th, ... are logged."""


class LambdaLogger(_Adapter):
    """The logger `meltica.lambda.<id>`; its records carry `instance` and `event_time` (ns)."""

    def __init__(self, instance_id: str) -> None:
        super().__init__(logging.getLogger(f"meltica.lambda.{instance_id}"), {})
        self._id = instance_id
        self.clock: Callable[[], int] | None = None

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Adds the instance id and its time to a record."""
        time = self.clock() if self.clock is not None else 0
        kwargs["extra"] = {**(kwargs.get("extra") or {}), "instance": self._id, "event_time": time}
        return msg, kwargs


class ErrorLog:
    """Logs the exceptions and warnings of one instance; repeated ones are logged ever more rarely."""

    def __init__(self, log: LambdaLogger) -> None:
        self._log = log
        self._counts: Counter[tuple[str, type[BaseException]]] = Counter()
        self.inside: str | None = None
        """The callback that the runtime calls within another one, such as `on_save` within `every`."""

    def __call__(self, callback: str, error: BaseException) -> None:
        """Logs `error`, raised in `callback` (a kind, `every` or `on_stop`), with its traceback."""
        callback, self.inside = self.inside or callback, None
        if isinstance(error, LambdaStopped):
            self._log.warning("%s was interrupted because it was still running after the stop", callback)
            return
        key = (callback, type(error))
        self._counts[key] += 1
        count = self._counts[key]
        if count <= FIRST or is_power_of_ten(count):
            times = "" if count == 1 else f" (number {count:,})"
            if isinstance(error, Warning):
                self._log.warning("%s: %s%s", callback, error, times)
                return
            self._log.error("%s raised %s%s", callback, type(error).__name__, times, exc_info=error)


def is_power_of_ten(count: int) -> bool:
    """Returns whether a positive `count` is 1, 10, 100, ..."""
    return str(count).rstrip("0") == "1"
