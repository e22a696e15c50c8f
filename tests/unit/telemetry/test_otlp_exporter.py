"""The exporter and collectors that are down, slow, refuse, and come back."""

import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)

from meltica.telemetry.otlp import exporter as module
from meltica.telemetry.otlp.exporter import QUEUE, Counts, Exporter
from meltica.telemetry.otlp.sender import MAX_RETRY_AFTER, Sender
from meltica.telemetry.otlp.spans import Span, SpanContext, span_id
from meltica.telemetry.otlp.target import Target, target_of
from tests.support.certificates import Pair
from tests.support.collector import ACCEPTED, Collector, attributes, collecting

TRACE = bytes(range(16))


@pytest.fixture(name="collector")
def _collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSES", (0.01, 0.02))


def target(url: str, **environment: str) -> Target:
    found = target_of(
        environment, endpoint=url, insecure=None, metrics=None, service_name="desk", attributes={"k": "v"}
    )
    assert found is not None
    return found


def started(url: str, **environment: str) -> tuple[Exporter, Counts]:
    counts = Counts()
    exporter = Exporter(target(url, **environment), counts)
    exporter.start()
    return exporter, counts


def span(number: int) -> Span:
    context = SpanContext(TRACE, span_id(TRACE, str(number)))
    return Span(
        context, None, f"span {number}", "server", 10, 20, {"n": number, "s": "x", "b": True, "f": 0.5}
    )


def add(exporter: Exporter, *numbers: int) -> None:
    for number in numbers:
        exporter.add(lambda number=number: [span(number)])


def names(collector: Collector) -> list[str]:
    return [each.name for each in collector.spans]


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(r.levelname, r.getMessage()) for r in caplog.records if r.name == "meltica.telemetry"]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_spans_arrive_as_they_are(collector: Collector) -> None:
    exporter, counts = started(collector.url, OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20abc")
    add(exporter, 1)
    collector.wait(lambda: bool(collector.spans))
    assert exporter.stop()
    [found] = collector.spans
    assert (found.name, found.trace_id, found.start_time_unix_nano, found.end_time_unix_nano) == (
        "span 1",
        TRACE,
        10,
        20,
    )
    assert attributes(found) == {"n": 1, "s": "x", "b": True, "f": 0.5}
    assert collector.resources == [{"k": "v", "service.name": "desk"}]
    [(path, headers)] = collector.requests
    assert (path, headers["authorization"]) == ("/v1/traces", "Bearer abc")
    assert headers["content-type"] == "application/x-protobuf"
    assert (counts.spans, counts.requests["traces", "sent"]) == (1, 1)


def test_spans_of_a_collector_that_is_down_arrive_when_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    port = free_port()
    exporter, counts = started(f"http://127.0.0.1:{port}")
    add(exporter, 1, 2)
    while counts.requests["traces", "retry"] < 5:
        time.sleep(0.001)
    with collecting(port) as collector:
        collector.wait(lambda: len(collector.spans) == 2)
        add(exporter, 3)
        collector.wait(lambda: len(collector.spans) == 3)
        assert exporter.stop()
    assert names(collector) == ["span 1", "span 2", "span 3"]
    assert sum(counts.dropped.values()) == 0
    (first, text), second = lines(caplog)
    assert (first, "traces are not exported: " in text) == ("WARNING", True)
    assert second == ("INFO", "traces are exported again")


def test_a_queue_that_is_full_drops_and_counts(collector: Collector) -> None:
    collector.hold.clear()
    exporter, counts = started(collector.url)
    add(exporter, 0)
    collector.wait(lambda: bool(collector.requests))
    began = time.monotonic()
    add(exporter, *range(1, QUEUE + 11))
    assert time.monotonic() - began < 5
    assert (counts.dropped["queue_full"], exporter.room) == (10, 0)
    collector.hold.set()
    collector.wait(lambda: len(collector.spans) == QUEUE + 1)
    assert exporter.stop()
    assert counts.spans == QUEUE + 1


@pytest.mark.parametrize("status", [400, 401, 404, 500])
def test_a_collector_that_refuses_is_one_line_and_its_spans_are_counted(
    status: int, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    collector.answer = lambda _: (status, {}, b"no")
    exporter, counts = started(collector.url)
    for number in range(1, 4):
        add(exporter, number)
        collector.wait(lambda number=number: len(collector.requests) == number)
    while counts.dropped["refused"] < 3:
        time.sleep(0.001)
    collector.answer = lambda _: (200, {}, b"not protobuf: accepted all the same")
    add(exporter, 4)
    collector.wait(lambda: bool(collector.spans))
    assert exporter.stop()
    assert names(collector) == ["span 4"]
    assert lines(caplog) == [
        ("WARNING", f"traces are not exported: HTTP {status}; they are dropped until it works"),
        ("INFO", "traces are exported again"),
    ]


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_collector_that_is_busy_gets_the_spans_again(status: int, collector: Collector) -> None:
    answers = iter([(status, {"retry-after": "0"}, b""), (status, {"retry-after": "soon"}, b"")])
    collector.answer = lambda _: next(answers, ACCEPTED)
    exporter, counts = started(collector.url)
    add(exporter, 1)
    collector.wait(lambda: bool(collector.spans))
    assert exporter.stop()
    assert (names(collector), len(collector.requests)) == (["span 1"], 3)
    assert counts.requests["traces", "retry"] == 2


@pytest.mark.parametrize(
    ("text", "seconds"), [("7", 7.0), ("999999", MAX_RETRY_AFTER), ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0)]
)
def test_the_collector_says_when_to_try_again(text: str, seconds: float, collector: Collector) -> None:
    collector.answer = lambda _: (503, {"retry-after": text}, b"")
    answer = Sender(target(collector.url)).post(f"{collector.url}/v1/traces", b"")
    assert (answer.outcome, answer.retry_after) == ("retry", seconds)


def test_what_the_collector_rejects_is_counted(collector: Collector) -> None:
    partial = ExportTracePartialSuccess(rejected_spans=2, error_message="too old")
    answer = ExportTraceServiceResponse(partial_success=partial).SerializeToString()
    collector.answer = lambda _: (200, {}, answer)
    exporter, counts = started(collector.url)
    exporter.add(lambda: [span(1), span(2), span(3)])
    while not counts.dropped["rejected"]:
        time.sleep(0.001)
    assert exporter.stop()
    assert (counts.dropped["rejected"], counts.spans) == (2, 1)


def test_a_fault_of_one_entry_costs_no_other(collector: Collector, caplog: pytest.LogCaptureFixture) -> None:
    exporter, counts = started(collector.url)
    exporter.add(lambda: [span(1 // 0)])
    add(exporter, 2)
    collector.wait(lambda: bool(collector.spans))
    assert exporter.stop()
    assert (names(collector), counts.dropped["failed"]) == (["span 2"], 1)
    assert "spans not built" in caplog.text


def test_a_stop_sends_what_waits(collector: Collector) -> None:
    exporter, _ = started(collector.url)
    add(exporter, *range(1500))
    assert exporter.stop()
    assert len(collector.spans) == 1500


def test_a_stop_does_not_wait_for_a_collector_that_does_not_answer(collector: Collector) -> None:
    collector.hold.clear()
    exporter, counts = started(collector.url)
    add(exporter, 1)
    collector.wait(lambda: bool(collector.requests))
    add(exporter, 2)
    began = time.monotonic()
    assert exporter.stop()
    assert time.monotonic() - began < 1.0
    assert counts.dropped["stopped"] == 2


def test_an_answer_byte_by_byte_ends_with_the_time_limit() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        sender = Sender(target(url, OTEL_EXPORTER_OTLP_TIMEOUT="200"))

        def trickle() -> None:
            peer, _ = server.accept()
            with peer:
                peer.recv(1000)
                try:
                    for byte in b"HTTP/1.1 200 OK\r\n" + b"x-a: b\r\n" * 1000:
                        peer.sendall(bytes([byte]))
                        threading.Event().wait(0.05)
                except OSError:
                    return

        thread = threading.Thread(target=trickle)
        thread.start()
        answer = sender.post(f"{url}/v1/traces", b"")
        thread.join(20)
    assert answer.outcome == "retry"
    assert not thread.is_alive()


@pytest.mark.parametrize("trusted", [True, False])
def test_the_collector_must_have_a_certificate_that_is_trusted(trusted: bool, tmp_path: Path) -> None:
    pair, other = Pair(tmp_path), Pair(_folder(tmp_path / "other"))
    pair.write()
    other.write()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pair.chain, pair.key)
    # The gateway shows a certificate as well.
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_verify_locations(other.chain)
    files = {
        "OTEL_EXPORTER_OTLP_CERTIFICATE": str(pair.chain if trusted else other.chain),
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": str(other.chain),
        "OTEL_EXPORTER_OTLP_CLIENT_KEY": str(other.key),
    }
    with collecting(tls=tls) as collector:
        url = f"https://127.0.0.1:{collector.port}"
        answer = Sender(target(url, **files)).post(f"{url}/v1/traces", b"")
        requests = [path for path, _ in collector.requests]
    assert (answer.outcome, requests) == (("sent", ["/v1/traces"]) if trusted else ("retry", []))
    assert trusted or "CERTIFICATE_VERIFY_FAILED" in answer.text


def test_a_certificate_that_cannot_be_read_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        Sender(target("https://a", OTEL_EXPORTER_OTLP_CERTIFICATE=str(tmp_path / "none.pem")))


def _folder(path: Path) -> Path:
    path.mkdir()
    return path
