"""Control groups (cgroup v2), whose limits apply to this process."""

from collections.abc import Iterator
from pathlib import Path

PROC, ROOT = Path("/proc"), Path("/sys/fs/cgroup")


def groups(proc: Path = PROC, root: Path = ROOT) -> Iterator[Path]:
    """Yields the directories of the process' group and of all groups above it. Raises OSError."""
    lines = (proc / "self" / "cgroup").read_text().splitlines()
    name = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), None)
    if name is None:
        return
    group = root / name.lstrip("/")
    while group.is_relative_to(root):
        yield group
        group = group.parent
