"""The export to a real OpenTelemetry collector, the binary of MELTICA_COLLECTOR: `nox -s otel` builds it."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from meltica.persistence.postgres.server import wait_until
from tests.integration.test_serve_trading import CONFIG, STRATEGY
from tests.support.gateway import running
from tests.support.serving import free_port

BINARY = os.environ.get("MELTICA_COLLECTOR", "")
PATIENCE = 60.0
COLLECTOR = """
receivers: {{otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{port}"}}}}}}}}
exporters: {{debug: {{verbosity: detailed}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [debug]}}
    metrics: {{receivers: [otlp], exporters: [debug]}}
"""
_ORDER = re.compile(r"Trace ID +: (\w+)\n +Parent ID +: *\n +ID +: \w+\n +Name +: order\n")
pytestmark = pytest.mark.skipif(not BINARY, reason="needs the collector that `nox -s otel` builds")


class Collector:
    """A process of the collector, and what all of its runs printed."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._printed = folder / "collector.log"
        self._config = folder / "collector.yaml"
        self._config.write_text(COLLECTOR.format(port=self.port))

    def start(self) -> None:
        """Starts a process."""
        with self._printed.open("ab") as file:
            command = [BINARY, "--config", f"file:{self._config}"]
            self._process = subprocess.Popen(command, stdout=file, stderr=file)

    def end(self) -> None:
        """Ends the process."""
        self._process.terminate()
        self._process.wait(PATIENCE)

    def text(self) -> str:
        """Returns what was printed."""
        return self._printed.read_text()

    def orders(self) -> list[str]:
        """Returns the trace ids of the spans of orders."""
        return _ORDER.findall(self.text())

    def wait(self, condition: Callable[[], bool]) -> None:
        """Waits until what was printed has a property."""
        assert wait_until(condition, PATIENCE), self.text()[-3000:]


def test_a_collector_gets_every_order_also_those_of_its_own_restart(
    tmp_path: Path, database_url: str
) -> None:
    (tmp_path / "trader.py").write_text(STRATEGY)
    config = tmp_path / "meltica.yaml"
    config.write_text(CONFIG)
    collector = Collector(tmp_path)
    collector.start()
    telemetry = {"otlpEndpoint": f"127.0.0.1:{collector.port}", "otlpInsecure": True}
    environ = {"OTEL_METRIC_EXPORT_INTERVAL": "500"}

    def ended() -> list[str]:
        with psycopg.connect(database_url) as connection:
            rows = connection.execute("select id from orders where ended_at is not null").fetchall()
        return sorted(id.hex for (id,) in rows)

    try:
        with running(config, database_url, environ, telemetry=telemetry) as gateway:
            collector.wait(lambda: len(collector.orders()) >= 10)
            collector.wait(lambda: "ExponentialHistogramDataPoints" in collector.text())
            collector.end()
            count = len(ended())
            assert wait_until(lambda: len(ended()) >= count + 20, PATIENCE)
            collector.start()
            collector.wait(lambda: len(collector.orders()) >= count + 20)
            counts = gateway.gateway.telemetry
            assert counts is not None
        assert sum(counts.counts.dropped.values()) == 0
        collector.wait(lambda: sorted(collector.orders()) == ended())
    finally:
        collector.end()
    print(len(ended()), "orders arrived")
