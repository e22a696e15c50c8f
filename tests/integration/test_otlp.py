"""Traces and metrics of a gateway that trades, as a collector receives them."""

import subprocess
import sys
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from meltica.telemetry.otlp import encode
from tests.integration.test_serve_trading import CONFIG, STRATEGY
from tests.support.collector import Collector, attributes, collecting
from tests.support.gateway import Running, running
from tests.support.paths import ROOT

WITHOUT = """
import asyncio, sys
from pathlib import Path
from meltica.gateway.gateway import Gateway
from meltica.settings import load

async def main():
    settings = {"database": {"dsn": sys.argv[2]}, "apiServer": {"addr": "127.0.0.1:0", "auth": "none"}}
    gateway = Gateway(load(Path(sys.argv[1]), settings, environ={}))
    await gateway.start()
    gateway.metrics.scrape().render("")
    await gateway.stop()
    assert not gateway.left_behind

asyncio.run(main())
# The web framework looks for `opentelemetry`, which is an empty namespace.
print(sorted(name for name in sys.modules if name.startswith(("opentelemetry.", "google."))))
"""


@pytest.fixture(name="collector")
def _collector() -> Generator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture(name="config")
def _config(tmp_path: Path) -> Path:
    (tmp_path / "trader.py").write_text(STRATEGY)
    config = tmp_path / "meltica.yaml"
    config.write_text(CONFIG)
    return config


def roots(collector: Collector) -> list[Any]:
    return [each for each in collector.spans if each.name == "order"]


def children(collector: Collector, root: Any) -> list[Any]:
    return [each for each in collector.spans if each.parent_span_id == root.span_id]


def test_ended_orders_and_metrics_arrive(
    config: Path, database_url: str, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = set[str]()
    for name in ("traces", "metrics"):
        original = getattr(encode, name)

        def record(*given: Any, original: Any = original) -> bytes:
            threads.add(threading.current_thread().name)
            return original(*given)

        monkeypatch.setattr(encode, name, record)
    telemetry = {"otlpEndpoint": collector.url, "serviceName": "desk"}
    environ = {"OTEL_METRIC_EXPORT_INTERVAL": "200"}
    with running(config, database_url, environ, telemetry=telemetry) as gateway:
        modes = {"paper", "live"}
        filled = "meltica.order.filled_quantity"
        collector.wait(
            lambda: (
                {
                    attributes(each)["meltica.mode"]
                    for each in roots(collector)
                    if attributes(each)[filled] != "0"
                }
                == modes
            )
        )
        collector.wait(lambda: any(each.name == "meltica_trading_fills" for each in collector.metrics))
        check_order(gateway, collector)
    assert threads == {"meltica-telemetry"}
    assert {each["service.name"] for each in collector.resources} == {"desk"}
    check_metrics(collector)


def check_order(gateway: Running, collector: Collector) -> None:
    """Compares the spans of an order with its trace over REST."""
    root = next(each for each in roots(collector) if attributes(each)["meltica.order.state"] == "FILLED")
    id = UUID(bytes=root.trace_id)
    assert attributes(root)["meltica.order.id"] == str(id)
    trace = gateway.client.get(f"/orders/{id}/trace").json()
    steps = [each["step"] for each in trace["steps"]]
    spans = sorted(children(collector, root), key=lambda each: (each.end_time_unix_nano, each.name))
    assert sorted(each.name for each in spans) == sorted(f"order.{step}" for step in steps[1:])
    assert {"dispatched", "read", "callback", "intent", "committed", "sent"} <= set(steps)
    for each in spans:
        assert root.start_time_unix_nano <= each.start_time_unix_nano <= each.end_time_unix_nano
        assert each.end_time_unix_nano <= root.end_time_unix_nano
    spent = [each for each in trace["steps"] if each["step"] == "committed"]
    [committed] = [each for each in spans if each.name == "order.committed"]
    assert committed.end_time_unix_nano - committed.start_time_unix_nano == spent[0]["afterNs"]


def check_metrics(collector: Collector) -> None:
    """Checks the kinds of metrics, and that no series is there twice in a snapshot."""
    last = {each.name: each for each in collector.metrics}
    histogram = last["meltica_dispatcher_processing_duration"]
    assert histogram.unit == "ns"
    [point] = histogram.exponential_histogram.data_points
    assert (point.scale, point.positive.offset) == (0, 9)
    assert point.count == sum(point.positive.bucket_counts) > 0
    assert last["meltica_trading_fills"].sum.is_monotonic
    assert last["meltica_uptime_seconds"].WhichOneof("data") == "gauge"
    for each in last.values():
        data = getattr(each, each.WhichOneof("data") or "gauge")
        labels = [tuple(sorted(attributes(point).items())) for point in data.data_points]
        assert len(labels) == len(set(labels)), each.name


def test_a_change_of_the_settings_applies_at_once(
    config: Path, database_url: str, collector: Collector
) -> None:
    with running(config, database_url) as gateway:
        gateway.client.get("/version").raise_for_status()
        assert not collector.requests
        body = {"telemetry": {"otlpEndpoint": f"127.0.0.1:{collector.port}", "otlpInsecure": True}}
        assert gateway.client.put("/config/runtime", json=body).json()["restartRequired"] == []
        collector.wait(lambda: bool(roots(collector)) and bool(collector.metrics))
        gateway.client.put("/config/runtime", json={"telemetry": {"otlpEndpoint": None}}).raise_for_status()
        gateway.until(lambda: "meltica-telemetry" not in {each.name for each in threading.enumerate()})


def test_a_gateway_without_a_collector_imports_nothing_of_it(config: Path, database_url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(config), database_url],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=config.parent,
    )
    assert (done.stdout.strip().rpartition("\n")[2], done.returncode) == ("[]", 0), done.stderr


def test_one_module_alone_imports_opentelemetry() -> None:
    package = ROOT / "python" / "meltica"
    found = [str(file.relative_to(package)) for file in package.rglob("*.py") if imports(file)]
    assert found == ["telemetry/otlp/encode.py"]


def imports(file: Path) -> bool:
    return any(line.startswith("from opentelemetry") for line in file.read_text().splitlines())


def test_orders_of_a_stopped_trading_are_exported_before_the_end(
    config: Path, database_url: str, collector: Collector
) -> None:
    with running(config, database_url, telemetry={"otlpEndpoint": collector.url}) as gateway:
        collector.wait(lambda: bool(roots(collector)))
        left = gateway.gateway
    assert left.left_behind == []
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("select id from orders where ended_at is not null").fetchall()
    assert {UUID(bytes=each.trace_id) for each in roots(collector)} == {id for (id,) in rows}


def test_requests_are_spans_that_continue_a_trace(
    config: Path, database_url: str, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"

    def spans() -> dict[str, Any]:
        return {each.name: each for each in collector.spans if each.name.partition(" ")[0] == "GET"}

    with running(config, database_url, telemetry={"otlpEndpoint": collector.url}) as gateway:
        headers = {"traceparent": f"00-{trace}-{parent}-01"}
        gateway.client.get("/providers", headers=headers).raise_for_status()
        gateway.client.get("/strategy/instances", headers={"traceparent": "00-no"}).raise_for_status()
        gateway.client.get(f"/orders/{UUID(int=1)}/trace", headers=headers)
        gateway.client.get("/risk/limits", headers={"traceparent": f"00-{trace}-{parent}-00"})
        gateway.client.get("/health/live").raise_for_status()
        collector.wait(lambda: "GET /health/live" in spans())
    found = spans()
    listed = found["GET /providers"]
    assert (listed.trace_id.hex(), listed.parent_span_id.hex(), listed.kind) == (trace, parent, 2)
    assert attributes(listed)["http.response.status_code"] == 200
    other = found["GET /strategy/instances"]
    assert other.trace_id.hex() != trace
    assert other.parent_span_id == b""
    [failed] = [each for name, each in found.items() if name.startswith("GET /orders/")]
    assert attributes(failed)["http.route"] == "/orders/{id}/trace"
    assert attributes(failed)["http.response.status_code"] == 404
    assert "GET /risk/limits" not in found


def test_an_order_is_linked_to_the_request_that_changed_it(
    config: Path, database_url: str, collector: Collector
) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    with (
        running(config, database_url, telemetry={"otlpEndpoint": collector.url}) as gateway,
        psycopg.connect(database_url, autocommit=True) as connection,
    ):

        def resting() -> list[tuple[UUID]]:
            return connection.execute(
                "select id from orders where state = 'ACK' and mode = 'live'"
            ).fetchall()

        gateway.until(lambda: bool(resting()))
        [(id,), *_] = resting()
        headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
        gateway.client.post(f"/orders/{id}/cancel", json={"reason": "x"}, headers=headers).raise_for_status()
        collector.wait(lambda: id.bytes in {each.trace_id for each in roots(collector)})
        collector.wait(lambda: any(each.name.startswith("POST /orders/") for each in collector.spans))
        query = "select event_type, headers from outbox where aggregate_id = %s and headers::text <> '{}'"
        events = connection.execute(query, [str(id)]).fetchall()
    request = next(each for each in collector.spans if each.name.startswith("POST /orders/"))
    assert request.trace_id.hex() == trace
    assert events == [("order.cancelled", {"traceparent": f"00-{trace}-{request.span_id.hex()}-01"})]
    [root] = [each for each in roots(collector) if each.trace_id == id.bytes]
    assert [(link.trace_id, link.span_id) for link in root.links] == [(request.trace_id, request.span_id)]
    assert not any(each.links for each in roots(collector) if each is not root)
