"""Watches file descriptors, disks and memory, so that a shortage is reported before something fails.

A thread of its own takes a sample every `resources.checkInterval`, as `statvfs` of a network disk may block.
Readiness and metrics read the latest sample. A fault is logged when it begins and when it ends.

Readings are from Linux. What cannot be read, such as memory on another system, is not a fault.
"""

import errno
import logging
import os
import resource
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from meltica.gateway.memory import Memory, memory
from meltica.settings.model import ResourcesSettings

log = logging.getLogger(__name__)

DESCRIPTORS, MEMORY, DATA_DISK, LOG_DISK = "file descriptors", "memory", "data disk", "log disk"
NAMES = (DESCRIPTORS, MEMORY, DATA_DISK, LOG_DISK)
"""Names of the faults."""


@dataclass(frozen=True)
class Disk:
    """Space of the file system that a folder is on."""

    folder: Path
    free: int
    total: int


@dataclass(frozen=True)
class Sample:
    """The resources at one moment. A value of None could not be read."""

    descriptors: tuple[int, int] | None = None
    """Free descriptors, and the limit."""
    memory: Memory | None = None
    disks: Mapping[str, Disk] = field(default_factory=dict[str, Disk])
    """By name of the fault."""

    def faults(self, limits: ResourcesSettings) -> Iterator[tuple[str, str]]:
        """Yields the name and text of each resource below its limit."""
        if self.descriptors is not None and self.descriptors[0] < limits.min_free_descriptors:
            free, limit = self.descriptors
            yield (
                DESCRIPTORS,
                f"are almost used up: {free:,} of {limit:,} are free; raise the limit (ulimit -n)",
            )
        if self.memory is not None and self.memory.free < limits.min_free_memory:
            yield (
                MEMORY,
                f"is almost used up: {_mib(self.memory.free)} are free below the limit of "
                f"{self.memory.source}, {_mib(self.memory.limit)}; raise the limit, or lower pools.maxBytes",
            )
        for name, disk in self.disks.items():
            if disk.free < limits.min_free_disk:
                yield (
                    name,
                    f"is almost full: {_mib(disk.free)} of {_mib(disk.total)} are free in {disk.folder}; "
                    "free disk space, or PostgreSQL and the log will fail",
                )


class ResourceWatch:
    """Takes samples on a thread of its own, from `start` to `stop`."""

    def __init__(
        self,
        limits: ResourcesSettings,
        data: Path | None,
        log_folder: Path | None,
        switch_interval: float | None = None,
    ) -> None:
        """`data` is the folder of the embedded PostgreSQL, `log_folder` that of the log file.

        `switch_interval` is that of the interpreter, in seconds. None keeps what it has.
        """
        self._switch_interval = sys.getswitchinterval() if switch_interval is None else switch_interval
        self._limits = limits
        self._folders = {name: path for name, path in ((DATA_DISK, data), (LOG_DISK, log_folder)) if path}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="meltica-resources", daemon=True)
        self.sample = Sample()
        self.faults: Mapping[str, str] = {}
        """The text of each fault in the latest sample, by name."""

    def start(self) -> None:
        """Takes the first sample, and further ones in the background."""
        self.check()
        self._thread.start()

    def stop(self) -> None:
        """Ends the samples."""
        self._stopping.set()

    def check(self) -> None:
        """Takes a sample, logs the faults that began or ended, and restores the switch interval."""
        self._restore_switch_interval()
        self.sample = Sample(
            descriptors=_descriptors(),
            memory=memory() or self.sample.memory,
            disks={name: disk for name, path in self._folders.items() if (disk := _disk(path)) is not None},
        )
        faults = dict(self.sample.faults(self._limits))
        before, self.faults = self.faults, faults
        for name in faults.keys() - before.keys():
            log.error("%s %s", name, faults[name])
        for name in before.keys() - faults.keys():
            log.warning("%s: the shortage has ended", name)

    def _restore_switch_interval(self) -> None:
        """Undoes a change by a lambda, which would delay all others."""
        before = sys.getswitchinterval()
        sys.setswitchinterval(self._switch_interval)
        if sys.getswitchinterval() != before:
            log.error(
                "code of a lambda or a library set the switch interval to %g s; restored to %g s",
                before,
                self._switch_interval,
            )

    def _run(self) -> None:
        while not self._stopping.wait(self._limits.check_interval.total_seconds()):
            try:
                self.check()
            except Exception:
                log.exception("the check of resources failed")


def _descriptors() -> tuple[int, int] | None:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        # One of them lists the directory.
        used = sum(1 for _ in Path("/proc/self/fd").iterdir()) - 1
    except OSError as error:
        return (0, limit) if error.errno in (errno.EMFILE, errno.ENFILE) else None
    return max(limit - used, 0), limit


def _disk(folder: Path) -> Disk | None:
    try:
        stats = os.statvfs(folder)
    except OSError:
        return None
    return Disk(folder, stats.f_bavail * stats.f_frsize, stats.f_blocks * stats.f_frsize)


def _mib(count: int) -> str:
    return f"{count / (1 << 20):,.1f} MiB"
