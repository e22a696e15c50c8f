"""A command on a terminal of its own: what it shows, and how it ends."""

import os
import pty
import re
import signal
import subprocess
import termios
from collections.abc import Sequence

from tests.support.serving import environment

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A command of `meltica` on a terminal."""

    def __init__(self, command: Sequence[str], *, width: int = 150) -> None:
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, width))
        known = {**environment(), "TERM": "xterm-256color"}
        self.process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=known)
        os.close(theirs)
        self._ours = ours
        self.raw = ""

    def read(self) -> bool:
        """Reads what is there; False at its end."""
        try:
            self.raw += os.read(self._ours, 1 << 16).decode()
        except OSError:
            # The end of a terminal on Linux.
            return False
        return True

    def read_until(self, pattern: str) -> str:
        """Reads until something was shown, and returns it."""
        while not (found := re.search(pattern, ESCAPES.sub("", self.raw))):
            assert self.read(), self.raw
        return found.group()

    def end(self, number: int) -> int:
        """Sends a signal, reads to the end, and returns the exit code."""
        self.process.send_signal(number)
        while self.read():
            pass
        return self.process.wait(60)

    def hang_up(self) -> None:
        """Closes the terminal, and tells the process so, as a system does whose terminal controls it."""
        os.close(self._ours)
        self._ours = -1
        self.process.send_signal(signal.SIGHUP)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(60)
        if self._ours >= 0:
            os.close(self._ours)
