"""Memory that this process may still use: the tightest of its limits."""

import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from meltica.gateway.cgroups import PROC, ROOT, groups

PAGE = resource.getpagesize()


@dataclass(frozen=True)
class Memory:
    """Free memory below one limit."""

    free: int
    limit: int
    source: str
    """The name of the limit."""


def memory(proc: Path = PROC, cgroups: Path = ROOT) -> Memory | None:
    """Returns the limit with the least free memory; None if nothing can be read."""
    found: list[Memory] = []
    for read in (_machine(proc), _address_space(proc), _cgroups(proc, cgroups)):
        try:
            found.extend(read)
        except (OSError, ValueError, IndexError, KeyError):
            # Another system, a file without these lines, or no free file descriptor.
            continue
    return min(found, key=lambda one: one.free, default=None)


def _machine(proc: Path) -> Iterator[Memory]:
    lines = (line.split() for line in (proc / "meminfo").read_text().splitlines())
    values = {words[0]: int(words[1]) << 10 for words in lines if len(words) > 1}
    yield Memory(values["MemAvailable:"], values["MemTotal:"], "the machine")


def _address_space(proc: Path) -> Iterator[Memory]:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        used = int((proc / "self" / "statm").read_text().split()[0]) * PAGE
        yield Memory(max(limit - used, 0), limit, "the address space (ulimit -v)")


def _cgroups(proc: Path, root: Path) -> Iterator[Memory]:
    for group in groups(proc, root):
        if (group / "memory.max").exists():
            limit = (group / "memory.max").read_text().strip()
            if limit != "max":
                used = int((group / "memory.current").read_text()) - _reclaimable(group)
                yield Memory(max(int(limit) - used, 0), int(limit), "the cgroup")


def _reclaimable(group: Path) -> int:
    """Returns the size of cached files, which the system gives up before it ends a process."""
    lines = (line.split() for line in (group / "memory.stat").read_text().splitlines())
    return sum(int(value) for name, value in lines if name == "inactive_file")
