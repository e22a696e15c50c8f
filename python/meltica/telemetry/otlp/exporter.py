"""`Exporter`: the thread that builds, encodes and sends spans and metrics.

1. Other threads append to a bounded queue and never wait. What does not fit is dropped and counted.
2. A request that a collector may accept later is repeated with growing pauses, or when its Retry-After says.
   Metrics are not repeated: the next snapshot includes them.
3. A change between working and failing is one line of the log.
4. A stop sends what waits, within `STOP_SECONDS`.
"""

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from meltica._core import Metrics
from meltica.errors import one_line
from meltica.runtime.backoff import Backoff
from meltica.telemetry.families import counter
from meltica.telemetry.otlp.sender import Answer, Sender
from meltica.telemetry.otlp.spans import Span
from meltica.telemetry.otlp.target import Target
from meltica.telemetry.registry import Reading, Scrape

log = logging.getLogger("meltica.telemetry")

QUEUE: Final = 2048
"""Most entries that wait: a request is one, and an order with its fills."""
BATCH: Final = 512
"""Most entries of one request."""
PAUSES: Final = 1.0, 60.0
STOP_SECONDS: Final = 0.6
FLUSH_SECONDS: Final = 0.4
"""How much of the stop is for what waits."""
SIGNALS: Final = ("traces", "metrics")
OUTCOMES: Final = ("sent", "retry", "refused")
CAUSES: Final = ("queue_full", "refused", "rejected", "failed", "stopped")

Build = Callable[[], Sequence[Span]]
"""Builds the spans of one entry, on the exporting thread."""


class Counts:
    """What was exported since the gateway started, over all exporters."""

    def __init__(self) -> None:
        self.requests = Counter(dict.fromkeys(((s, o) for s in SIGNALS for o in OUTCOMES), 0))
        """(signal, outcome) -> number of requests."""
        self.dropped = Counter(dict.fromkeys(CAUSES, 0))
        """Cause -> number of spans; of `queue_full`, `failed` and `stopped`, of entries."""
        self.spans = 0

    def source(self) -> Reading:
        """Copies the counts."""
        requests, dropped, spans = dict(self.requests), dict(self.dropped), self.spans

        def reading() -> Iterator[Metrics]:
            yield counter(
                "meltica_otlp_requests", "Exports to the collector.", ("signal", "outcome"), requests.items()
            )
            yield counter("meltica_otlp_spans", "Spans that the collector accepted.", (), [((), spans)])
            causes = [((cause,), count) for cause, count in dropped.items()]
            yield counter("meltica_otlp_spans_dropped", "Spans that were not exported.", ("cause",), causes)

        return reading


class _Signal:
    """Traces or metrics, with the state of their exports."""

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self.url = url
        self.failure: str | None = None
        self.due = 0.0
        self.backoff = Backoff(*PAUSES)
        self.body: bytes | None = None
        """What is being sent."""
        self.count = 0
        """How many spans it has."""

    def failed(self, answer: Answer) -> None:
        if self.failure is None:
            text = "repeated" if answer.outcome == "retry" else "dropped"
            log.warning("%s are not exported: %s; they are %s until it works", self.name, answer.text, text)
        self.failure = answer.text
        pause = self.backoff.next()
        self.due = time.monotonic() + max(pause, answer.retry_after or 0.0)

    def worked(self) -> None:
        if self.failure is not None:
            log.info("%s are exported again", self.name)
        self.failure = None
        self.backoff.reset()


class Exporter:
    """One collector's exporter, from `start` to `stop`."""

    def __init__(self, target: Target, counts: Counts) -> None:
        """Raises OSError if a certificate cannot be read."""
        self._target = target
        self._counts = counts
        self._sender = Sender(target)
        self._queue: deque[Build] = deque()
        self._scrape: Scrape | None = None
        self._traces = None if target.traces is None else _Signal("traces", target.traces)
        self._metrics = None if target.metrics is None else _Signal("metrics", target.metrics)
        self._began = time.time_ns()
        self._wanted = threading.Event()
        self._stop_by: float | None = None
        self._thread = threading.Thread(target=self._run, name="meltica-telemetry", daemon=True)

    @property
    def wants_traces(self) -> bool:
        """Whether traces are exported."""
        return self._traces is not None

    @property
    def room(self) -> int:
        """How many orders fit: half of the queue is left to requests."""
        return max(QUEUE // 2 - len(self._queue), 0) if self._traces is not None else 0

    @property
    def interval(self) -> float | None:
        """Seconds between two snapshots of the metrics; None if they are not exported."""
        return None if self._metrics is None else self._target.interval

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> bool:
        """Sends what waits and ends the thread; returns False if it is abandoned."""
        self._stop_by = time.monotonic() + FLUSH_SECONDS
        self._wanted.set()
        self._thread.join(FLUSH_SECONDS)
        self._sender.abort()
        self._thread.join(STOP_SECONDS - FLUSH_SECONDS)
        return not self._thread.is_alive()

    def add(self, build: Build) -> None:
        """Queues spans; drops them if the queue is full (1)."""
        if self._traces is None:
            return
        if len(self._queue) >= QUEUE:
            self._counts.dropped["queue_full"] += 1
            return
        self._queue.append(build)
        self._wanted.set()

    def snapshot(self, scrape: Scrape) -> None:
        """Takes a snapshot of the metrics in place of one that was not sent."""
        self._scrape = scrape
        self._wanted.set()

    def _run(self) -> None:
        while self._stop_by is None:
            self._wanted.wait(self._pause())
            self._wanted.clear()
            try:
                self._export()
            except Exception:
                log.exception("telemetry not exported")
        try:
            self._flush()
        except Exception:
            log.exception("telemetry not exported")
        traces = self._traces
        if left := len(self._queue) + (traces.count if traces is not None and traces.body is not None else 0):
            self._counts.dropped["stopped"] += left
            log.warning("%d orders, requests or spans were not exported before the stop", left)

    def _pause(self) -> float | None:
        """Returns for how long nothing is to be done; None until something is added."""
        waiting = self._traces is not None and (self._traces.body is not None or self._queue)
        due = [self._traces.due] if self._traces is not None and waiting else []
        if self._metrics is not None and self._scrape is not None:
            due.append(self._metrics.due)
        return max(min(due) - time.monotonic(), 0.0) if due else None

    def _export(self) -> None:
        now = time.monotonic()
        if self._metrics is not None and self._scrape is not None and now >= self._metrics.due:
            self._send_metrics(self._metrics)
        if self._traces is not None and now >= self._traces.due:
            self._send_traces(self._traces)

    def _flush(self) -> None:
        """Sends what waits; a collector that failed before is not tried again (4)."""
        traces = self._traces
        if traces is None or traces.failure is not None:
            return
        while (self._queue or traces.body is not None) and traces.failure is None:
            if self._left() <= 0:
                return
            self._send_traces(traces)

    def _left(self) -> float:
        return self._target.timeout if self._stop_by is None else self._stop_by - time.monotonic()

    def _send_traces(self, signal: _Signal) -> None:
        from meltica.telemetry.otlp import encode

        if signal.body is None:
            spans = list(self._built(islice(iter(self._popped, None), BATCH)))
            if not spans:
                return
            signal.body, signal.count = encode.traces(self._target.resource, spans), len(spans)
        if self._send(signal) != "retry":
            signal.body = None
        # The rest is sent when the thread looks again.
        if self._queue and signal.body is None:
            self._wanted.set()

    def _popped(self) -> Build | None:
        return self._queue.popleft() if self._queue else None

    def _built(self, entries: Iterable[Build]) -> Iterator[Span]:
        for build in entries:
            try:
                yield from build()
            except Exception:
                self._counts.dropped["failed"] += 1
                log.exception("spans not built")

    def _send_metrics(self, signal: _Signal) -> None:
        from meltica.telemetry.otlp import encode
        from meltica.telemetry.otlp.points import families

        scrape, self._scrape = self._scrape, None
        assert scrape is not None
        found = families(scrape.families())
        signal.body = encode.metrics(self._target.resource, found, self._began, time.time_ns())
        self._send(signal)
        signal.body = None

    def _send(self, signal: _Signal) -> str:
        from google.protobuf.message import DecodeError

        from meltica.telemetry.otlp.encode import rejected

        assert signal.body is not None
        answer = self._sender.post(signal.url, signal.body, max(self._left(), 0.01))
        self._counts.requests[signal.name, answer.outcome] += 1
        if answer.outcome != "sent":
            if self._stop_by is None:
                signal.failed(answer)
            else:
                signal.failure = answer.text
            if answer.outcome == "refused" and signal.name == "traces":
                self._counts.dropped["refused"] += signal.count
            return answer.outcome
        try:
            lost, text = rejected(signal.name, answer.body)
        except DecodeError as error:
            # Accepted all the same; some collectors answer with JSON or text.
            lost, text = 0, one_line(error)
        if lost:
            signal.failed(Answer("refused", f"the collector rejected {lost}: {text[:200]!r}"))
        else:
            signal.worked()
        if signal.name == "traces":
            self._counts.dropped["rejected"] += lost
            self._counts.spans += signal.count - lost
        return answer.outcome
