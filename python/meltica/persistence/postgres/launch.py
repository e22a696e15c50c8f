"""Launches a program of PostgreSQL: drops root, ties its lifetime to its owner's, and executes the program.

Usage: `python -I -S launch.py UID GID OWNER PROGRAM ARGUMENT...`; a UID of -1 keeps the current user. It is a
separate script because Python code must not run between fork and exec in a process with threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(uid: int, gid: int, owner: int, command: list[str]) -> None:
    """Executes `command`, which on Linux gets SIGINT when the thread that started it ends."""
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    os.umask(0o077)
    if sys.platform == "linux":
        # Set after the change of user, which would clear it.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)
    if os.getppid() != owner:
        sys.exit(f"process {owner}, which started this program, has ended")
    os.execv(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
