"""Metrics of the process and its garbage collector, by the names that Prometheus clients use.

Those of the process are read from `/proc`; other systems do not have them.
"""

import gc
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from meltica._core import Metrics
from meltica.telemetry.families import counter, gauge

PROC: Final = Path("/proc")
_COLLECTOR: Final = (
    ("collections", "collections", "Runs of the garbage collector."),
    ("collected", "objects_collected", "Objects that the garbage collector freed."),
    ("uncollectable", "objects_uncollectable", "Objects that the garbage collector could not free."),
)


def process_metrics() -> Iterator[Metrics]:
    """Yields the metrics of the process; those that the system does not report are left out."""
    for field, name, text in _COLLECTOR:
        rows = [((str(generation),), stats[field]) for generation, stats in enumerate(gc.get_stats())]
        yield counter(f"python_gc_{name}", text, ("generation",), rows)
    try:
        # After the name, which may have spaces and brackets.
        fields = (PROC / "self" / "stat").read_text().rpartition(")")[2].split()
        boot = next(line for line in (PROC / "stat").read_text().splitlines() if line.startswith("btime "))
        descriptors = sum(1 for _ in (PROC / "self" / "fd").iterdir())
    except OSError:
        return
    ticks = os.sysconf("SC_CLK_TCK")
    for name, text, value in (
        ("resident_memory_bytes", "Resident memory size.", int(fields[21]) * resource.getpagesize()),
        ("virtual_memory_bytes", "Virtual memory size.", int(fields[20])),
        ("start_time_seconds", "Start time since the epoch.", int(boot.split()[1]) + int(fields[19]) / ticks),
        ("open_fds", "Open file descriptors.", descriptors),
        ("max_fds", "Limit of open file descriptors.", resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        ("threads", "Number of OS threads.", int(fields[17])),
    ):
        yield gauge(f"process_{name}", text, (), [((), value)])
    cpu = (int(fields[11]) + int(fields[12])) / ticks
    yield counter("process_cpu_seconds", "CPU time, user and system.", (), [((), cpu)])
