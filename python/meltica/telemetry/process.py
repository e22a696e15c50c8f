"""Process metrics that prometheus_client does not have."""

from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily, Metric

STATUS = Path("/proc/self/status")


def threads() -> Iterator[Metric]:
    """Yields the number of threads, including the core's; nothing if the system does not report it."""
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        if line.startswith("Threads:"):
            yield GaugeMetricFamily("process_threads", "Number of OS threads.", int(line.split()[1]))
