"""Logging of an instance."""

import logging
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    LambdaLogger = logging.LoggerAdapter[logging.Logger]
else:
    LambdaLogger = logging.LoggerAdapter

FIRST = 5
"""Tracebacks of one sort of error that are logged in full; after that at 10, 100, 1000, ..."""


def logger_for(instance_id: str) -> LambdaLogger:
    """Returns the logger `meltica.lambda.<id>`; records carry `instance`."""
    return LambdaLogger(logging.getLogger(f"meltica.lambda.{instance_id}"), {"instance": instance_id})


class ErrorLog:
    """Logs the exceptions of one instance, without drowning in a callback that always raises."""

    def __init__(self, log: LambdaLogger) -> None:
        self._log = log
        self._seen: Counter[tuple[str, type[BaseException]]] = Counter()

    def __call__(self, callback: str, error: BaseException) -> None:
        """Logs `error`, raised in `callback` (a kind, `every` or `on_stop`), with its traceback."""
        key = (callback, type(error))
        self._seen[key] += 1
        count = self._seen[key]
        if count <= FIRST or set(str(count)[1:]) == {"0"}:
            times = "" if count == 1 else f" (number {count:,})"
            self._log.error("%s raised %s%s", callback, type(error).__name__, times, exc_info=error)
