"""The user account of the embedded server: the user of this process, but never root."""

import os
import pwd
import shlex
import stat
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from meltica.errors import DatabaseUnavailable
from meltica.persistence.postgres import launch

CANDIDATES = ("postgres", "nobody")


@dataclass(frozen=True)
class ServerAccount:
    """A system user; `drops` if the server runs as this user although Meltica runs as root."""

    uid: int
    gid: int
    drops: bool

    @property
    def name(self) -> str:
        """The user's name."""
        return user(self.uid)

    def barrier(self, path: Path) -> Path | None:
        """Returns the first parent directory of `path` that the account cannot enter, or None."""
        if not self.drops:
            return None
        for directory in reversed(path.resolve().parents):
            try:
                status = directory.stat()
            except FileNotFoundError:
                return None
            if status.st_uid == self.uid:
                bit = stat.S_IXUSR
            else:
                bit = stat.S_IXGRP if status.st_gid == self.gid else stat.S_IXOTH
            if not status.st_mode & bit:
                return directory
        return None

    def own(self, target: int | Path) -> None:
        """Changes the owner of a file or directory that root has just created; does not follow links."""
        status = os.fstat(target) if isinstance(target, int) else target.lstat()
        if not self.drops or status.st_uid != 0:
            return
        if isinstance(target, int):
            os.fchown(target, self.uid, self.gid)
        else:
            os.lchown(target, self.uid, self.gid)

    def command(self, program: str, *arguments: str) -> list[str]:
        """Returns the command that runs a program as this account, tied to the life of the calling thread."""
        uid, gid = (self.uid, self.gid) if self.drops else (-1, -1)
        owner = [str(uid), str(gid), str(os.getpid())]
        return [sys.executable, "-I", "-S", launch.__file__, *owner, program, *arguments]

    def run(
        self, program: str, *arguments: str, cwd: Path, timeout: float, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program. Raises DatabaseUnavailable after `timeout` seconds."""
        try:
            return subprocess.run(
                self.command(program, *arguments),
                check=False,
                capture_output=True,
                text=True,
                errors="replace",
                cwd=cwd,
                env=environment(),
                timeout=timeout,
                input=stdin,
            )
        except subprocess.TimeoutExpired:
            raise DatabaseUnavailable(f"{program} timed out after {timeout:g} s") from None


def server_account(data: Path) -> ServerAccount:
    """Returns the account of the server on a data directory.

    When Meltica runs as root, it is the owner of the directory, or for a new one `postgres`, else `nobody`.
    Raises DatabaseUnavailable when the directory belongs to another user, or none of these users exists, or
    the current user has no passwd entry, which initdb requires.
    """
    try:
        status = data.stat()
    except FileNotFoundError:
        status = None
    current = os.geteuid()
    if current != 0:
        if status is not None and status.st_uid != current:
            raise DatabaseUnavailable(
                f"{data}: expected a directory of user {user(current)}, but it belongs to"
                f" {user(status.st_uid)}; run Meltica as that user, or choose another directory with --home"
            )
        if status is None and user(current) == str(current):
            raise DatabaseUnavailable(
                f"PostgreSQL cannot create a database as user {current}, who has no passwd entry; add one:"
                f" useradd --uid {current} meltica, run Meltica as another user, or give the URL of a running"
                " database"
            )
        return ServerAccount(current, os.getegid(), drops=False)
    if status is not None:
        if status.st_uid == 0:
            raise DatabaseUnavailable(
                f"{data} belongs to root, and PostgreSQL refuses to run as root; give it to another user:"
                f" chown -R postgres {shlex.quote(str(data))}"
            )
        return ServerAccount(status.st_uid, status.st_gid, drops=True)
    for name in CANDIDATES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return ServerAccount(entry.pw_uid, entry.pw_gid, drops=True)
    raise DatabaseUnavailable(
        f"PostgreSQL refuses to run as root, and a user {' or '.join(CANDIDATES)} does not exist; "
        "run Meltica as an ordinary user, or add one: useradd --system postgres"
    )


def user(uid: int) -> str:
    """Returns the name of a user, or its number when it has no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def environment() -> dict[str, str]:
    """Returns the environment of PostgreSQL's programs, without the PG* variables that would affect them."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**inherited, "LC_ALL": "C"}


def complaint(output: str, marks: Sequence[str] = ("PANIC:", "FATAL:", "ERROR:", "error:", "HINT:")) -> str:
    """Returns the error lines of a program's output joined to one line, or else its last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if any(mark in line for mark in marks)]
    return "; ".join(errors[-3:] or lines[-1:]) or "it printed no message"
