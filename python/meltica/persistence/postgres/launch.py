"""Starts a program of PostgreSQL: drops root, binds its life to that of its owner, becomes the program.

Run as a script: `python -I -S launch.py UID GID OWNER PROGRAM ARGUMENT...`; UID is -1 to stay who one is.
A script of its own, because no Python may run between fork and exec in a process that has threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(uid: int, gid: int, owner: int, command: list[str]) -> None:
    """Becomes `command`. It gets SIGINT when the thread that started it ends, however it ends (Linux)."""
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    os.umask(0o077)
    if sys.platform == "linux":
        # After the change of user, which clears it.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)
    if os.getppid() != owner:
        sys.exit(f"process {owner}, which started this, is gone")
    os.execv(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
