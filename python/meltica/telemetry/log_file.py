"""The log file: rotated by size, reopened on request. It never stops the process.

While the file cannot be written, for example because the disk is full, lines go to a fallback (stderr), which
also gets one line with the reason. The file is tried again every `RETRY_SECONDS`.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

RETRY_SECONDS = 10.0
MODE = 0o640


class LogFile:
    """A file that `write` appends lines to. One thread writes; any thread may call `reopen`."""

    def __init__(
        self,
        path: Path,
        max_size: int,
        max_files: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`max_files` includes the current file; the others are `path` with `.1` (the latest), `.2`, ..."""
        self.path = path
        self.fallback: Callable[[str], object] = to_stderr
        """Receives the lines while the file cannot be written."""
        self.wake: Callable[[Callable[[], object]], object] = lambda _: None
        """Runs an action on the writing thread."""
        self._max_size = max_size
        self._max_files = max_files
        self._clock = clock
        self._file: int | None = None
        self._size = 0
        self._failed = False
        self._retry_at = float("-inf")
        self._reopen = threading.Event()

    def write(self, line: str) -> None:
        """Appends a line, after a rotation if it does not fit."""
        data = line.encode("utf-8", "backslashreplace")
        try:
            if self._clock() < self._retry_at:
                raise _Waiting
            self._prepare(len(data))
            self._append(data)
        except _Waiting:
            self.fallback(line)
        except OSError as error:
            self._fail(error)
            self.fallback(line)
        else:
            if self._failed:
                self._failed = False
                self.fallback(f"the log is written to {self.path} again\n")

    def reopen(self) -> None:
        """Opens the file by its name again, after another program has moved it."""
        self._reopen.set()
        self.wake(self._reopen_now)

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _reopen_now(self) -> None:
        try:
            self._prepare(0)
        except OSError as error:
            self._fail(error)

    def _prepare(self, count: int) -> None:
        if self._reopen.is_set():
            # The old file stays open if the new one cannot be opened.
            new = self._open()
            self._reopen.clear()
            self.close()
            self._use(new)
        elif self._file is None:
            self._use(self._open())
        if self._size and self._size + count > self._max_size:
            self._rotate()

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, MODE)

    def _use(self, file: int) -> None:
        self._file = file
        self._size = os.fstat(file).st_size

    def _append(self, data: bytes) -> None:
        assert self._file is not None
        written = os.write(self._file, data)
        if written == len(data):
            self._size += written
            return
        # The disk is full. A part of a line would join the next one.
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, self._size)
        raise OSError("no space left for the whole line")

    def _rotate(self) -> None:
        assert self._file is not None
        names = [self.path, *(Path(f"{self.path}.{number}") for number in range(1, self._max_files))]
        try:
            for older, newer in reversed(list(zip(names[1:], names[:-1], strict=True))):
                with contextlib.suppress(FileNotFoundError):
                    newer.replace(older)
            if self._max_files == 1:
                os.ftruncate(self._file, 0)
        except OSError:
            # The folder may be read-only. The size of the file stays limited in any case.
            os.ftruncate(self._file, 0)
        self.close()
        self._use(self._open())

    def _fail(self, error: OSError) -> None:
        self._retry_at = self._clock() + RETRY_SECONDS
        if not self._failed:
            self._failed = True
            reason = error.strerror or str(error)
            self.fallback(
                f"the log file {self.path} cannot be written: {reason}; lines go to stderr in the meantime\n"
            )


def to_stderr(line: str) -> None:
    """Writes a line to stderr."""
    sys.stderr.write(line)
    sys.stderr.flush()


class _Waiting(Exception):
    """The file failed less than `RETRY_SECONDS` ago."""
