"""An OTLP collector on loopback that decodes what it receives, and fails in the ways that collectors do."""

import ssl
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

PATIENCE = 20.0
Answer = tuple[int, dict[str, str], bytes]
ACCEPTED: Answer = 200, {}, b""


class Collector:
    """What was received, and how the next requests are answered."""

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.answer: Callable[[str], Answer] = lambda _path: ACCEPTED
        self.hold = threading.Event()
        """Requests are answered while it is set."""
        self.hold.set()
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.spans: list[Span] = []
        self.metrics: list[Metric] = []
        self.resources: list[dict[str, str]] = []
        self._changed = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._server.daemon_threads = True
        if tls is not None:
            # The handshake is made by the thread of the request.
            listener = self._server.socket
            self._server.socket = tls.wrap_socket(listener, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), name="collector")
        self._thread.start()
        self.port: int = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Answers nothing any more."""
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def receive(self, path: str, headers: dict[str, str], body: bytes) -> Answer:
        """Decodes a request; what is not accepted is not kept."""
        answer = self.answer(path)
        with self._changed:
            self.requests.append((path, headers))
            self._changed.notify_all()
        if not self.hold.wait(PATIENCE):
            return 500, {}, b""
        if answer[0] == 200:
            self._take(path, body)
        return answer

    def _take(self, path: str, body: bytes) -> None:
        with self._changed:
            if path.endswith("/v1/traces"):
                for each in ExportTraceServiceRequest.FromString(body).resource_spans:
                    self.resources.append(_attributes(each.resource))
                    self.spans += [span for scope in each.scope_spans for span in scope.spans]
            else:
                for each in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                    self.resources.append(_attributes(each.resource))
                    self.metrics += [metric for scope in each.scope_metrics for metric in scope.metrics]
            self._changed.notify_all()

    def wait(self, condition: Callable[[], bool]) -> None:
        """Waits until what was received has a property."""
        with self._changed:
            assert self._changed.wait_for(condition, PATIENCE), self.requests


@contextmanager
def collecting(port: int = 0, tls: ssl.SSLContext | None = None) -> Generator[Collector]:
    """Runs a collector."""
    collector = Collector(port, tls)
    try:
        yield collector
    finally:
        collector.close()


def attributes(message: Any) -> dict[str, Any]:
    """Returns the attributes of a span or of a point."""
    return _attributes(message)


def _attributes(message: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in message.attributes}


def _handler(collector: Collector) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                self.close_connection = True  # the handshake failed

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, more, answer = collector.receive(self.path, headers, body)
            try:
                self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)
            except OSError:
                self.close_connection = True  # the client has gone

        def log_message(self, format: str, *args: Any) -> None:
            """Writes nothing."""

    return Handler
