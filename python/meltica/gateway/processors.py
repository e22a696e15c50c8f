"""Processors that this process may use, and how long its hosts may spin on them."""

import os
from datetime import timedelta
from pathlib import Path

from meltica.gateway.cgroups import PROC, ROOT, groups

SPIN = timedelta(microseconds=20)
"""How long a host waits for events before it sleeps, where it leaves processors to the other threads."""


def processors(proc: Path = PROC, cgroups: Path = ROOT) -> float:
    """Returns the number of processors, by the affinity of the process and the quotas of its groups."""
    if hasattr(os, "sched_getaffinity"):
        available = float(len(os.sched_getaffinity(0)))
    else:
        available = float(os.cpu_count() or 1)
    try:
        for group in groups(proc, cgroups):
            if (group / "cpu.max").exists():
                quota, period = (group / "cpu.max").read_text().split()
                if quota != "max":
                    available = min(available, int(quota) / int(period))
    except (OSError, ValueError):
        # Another system, or no free file descriptor: the affinity counts.
        pass
    return available


def default_spin(available: float) -> timedelta:
    """Returns the default of `hosts.spin`: a host that spins on one of two processors delays all others."""
    return SPIN if available > 2 else timedelta()
