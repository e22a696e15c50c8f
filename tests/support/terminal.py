"""A command on a pseudo-terminal, its output and its exit code."""

import os
import pty
import re
import signal
import subprocess
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.serving import environment

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A command on a pseudo-terminal."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        width: int = 150,
        folder: Path | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """`variables` are those of the process, `environment()` by default."""
        master, terminal = pty.openpty()
        termios.tcsetwinsize(terminal, (24, width))
        variables = {**(environment() if variables is None else variables), "TERM": "xterm-256color"}
        for name in ("COLUMNS", "LINES"):  # they would count instead of the size of the terminal
            variables.pop(name, None)
        self.process = subprocess.Popen(
            command, stdin=terminal, stdout=terminal, stderr=terminal, env=variables, cwd=folder
        )
        os.close(terminal)
        self._master = master
        self.raw = ""

    def read(self) -> bool:
        """Reads available output; returns False at its end."""
        try:
            self.raw += os.read(self._master, 1 << 16).decode()
        except OSError:
            # Linux reports the end of a terminal as an error.
            return False
        return True

    def read_until(self, pattern: str) -> str:
        """Reads until the output matches a pattern, and returns the match."""
        while not (match := re.search(pattern, self.text)):
            assert self.read(), self.raw
        return match.group()

    @property
    def text(self) -> str:
        """The output so far, without escape sequences."""
        return ESCAPES.sub("", self.raw)

    def end(self, number: int) -> int:
        """Sends a signal, reads to the end, and returns the exit code."""
        self.process.send_signal(number)
        while self.read():
            pass
        return self.process.wait(60)

    def hang_up(self) -> None:
        """Closes the terminal and sends SIGHUP, as the system does for a controlling terminal."""
        os.close(self._master)
        self._master = -1
        self.process.send_signal(signal.SIGHUP)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(60)
        if self._master >= 0:
            os.close(self._master)
