"""Faults of receive times in recordings: another unit ends the replay, a jump of a day is logged."""

import logging
from collections.abc import Sequence
from pathlib import Path

from meltica.errors import ReplayError

log = logging.getLogger(__name__)

LOGGED = 10
"""Number of jumps that are logged one by one."""


class Stamps:
    """Reports the faults that `meltica._core.stamp_fault` finds, with file and line."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._jumps = 0

    def __call__(self, file: int, line: int, text: str, unit: bool) -> None:
        """Logs a jump. Raises ReplayError for a time in another unit than nanoseconds."""
        place = f"{self._paths[file]}, line {line}"
        if unit:
            raise ReplayError(f"{place}: {text}; convert the receive times to nanoseconds")
        self._jumps += 1
        if self._jumps <= LOGGED:
            log.warning("%s: %s", place, text)

    def close(self) -> None:
        """Logs how many further jumps there were."""
        if self._jumps > LOGGED:
            log.warning("%d further jumps of the receive time", self._jumps - LOGGED)
