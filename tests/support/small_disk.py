"""A file system of a few MB, to be filled."""

import contextlib
import os
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest


class NotMounted(Exception):
    """A file system cannot be mounted here."""


@contextmanager
def mounted(folder: Path, size: str) -> Generator[Path]:
    """Mounts a tmpfs of a size such as `4m` on a new folder. Raises NotMounted if that is not permitted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise NotMounted(done.stderr.strip())
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def small_disk(folder: Path, size: str) -> Generator[Path]:
    """Mounts a tmpfs as `mounted` does; skips the test if that is not permitted."""
    with contextlib.ExitStack() as stack:
        try:
            disk = stack.enter_context(mounted(folder, size))
        except NotMounted as error:
            pytest.skip(f"a tmpfs cannot be mounted: {error}")
        yield disk


def fill(path: Path, leave: int = 0) -> None:
    """Writes a file until the disk has only `leave` free bytes."""
    while (free := _free(path.parent)) > leave:
        with path.open("ab") as file:
            file.write(bytes(min(free - leave, 1 << 20)))


def _free(folder: Path) -> int:
    stats = os.statvfs(folder)
    return stats.f_bavail * stats.f_frsize
