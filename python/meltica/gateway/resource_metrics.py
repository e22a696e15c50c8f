"""Metrics of file descriptors, disks and memory."""

from collections.abc import Callable, Iterator

from meltica._core import Metrics
from meltica.gateway.resources import NAMES, ResourceWatch
from meltica.telemetry.families import counter, gauge
from meltica.telemetry.registry import Reading, Source


def resource_metrics(watch: ResourceWatch, refused: Callable[[], int]) -> Source:
    """Returns the collector of a watch; `refused` counts connections without a file descriptor."""

    def source() -> Reading:
        return lambda: _metrics(watch, refused())

    return source


def _metrics(watch: ResourceWatch, refused: int) -> Iterator[Metrics]:
    sample, faults = watch.sample, watch.faults
    yield gauge(
        "meltica_resource_shortage",
        "1 while less than the configured minimum of a resource is free.",
        ("resource",),
        [((name.replace(" ", "_"),), name in faults) for name in NAMES],
    )
    free = [] if sample.descriptors is None else [((), sample.descriptors[0])]
    yield gauge("meltica_file_descriptors_free", "Free file descriptors of the gateway.", (), free)
    yield gauge(
        "meltica_memory_free_bytes",
        "Free memory below the tightest limit.",
        (),
        [] if sample.memory is None else [((), sample.memory.free)],
    )
    yield gauge(
        "meltica_disk_free_bytes",
        "Free space of the disks of the embedded database and of the log file.",
        ("disk",),
        [((name.partition(" ")[0],), disk.free) for name, disk in sample.disks.items()],
    )
    yield counter(
        "meltica_api_connections_refused",
        "Connections refused because no file descriptor was free.",
        (),
        [((), refused)],
    )
