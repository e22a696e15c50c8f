"""`Sender`: posts to a collector, within a time limit that covers the whole request."""

import http.client
import socket
import ssl
import threading
import time
from email.utils import parsedate_to_datetime
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from meltica._core import __version__
from meltica.errors import one_line
from meltica.telemetry.otlp.target import Target

RETRIED: Final = frozenset({429, 502, 503, 504})
"""Answers that promise that a repetition may succeed."""
MAX_ANSWER: Final = 64 << 10
MAX_RETRY_AFTER: Final = 300.0


class Answer(NamedTuple):
    """What became of a request."""

    outcome: str
    """`sent`, `retry` or `refused`."""
    text: str = ""
    """Why it was not accepted."""
    body: bytes = b""
    retry_after: float | None = None
    """Seconds that the collector asks to wait."""


class Sender:
    """One connection after another to a collector; used by one thread, `abort` by any."""

    def __init__(self, target: Target) -> None:
        """Reads the certificates. Raises OSError, of which a certificate that is not valid is one."""
        self._target = target
        urls = (target.traces, target.metrics)
        self._tls = _tls(target) if any(url and url.startswith("https:") for url in urls) else None
        self._lock = threading.Lock()
        self._connection: http.client.HTTPConnection | None = None

    def post(self, url: str, body: bytes, timeout: float | None = None) -> Answer:
        """Posts a message; `timeout` is the longest duration, by default that of the target."""
        seconds = min(self._target.timeout, timeout or self._target.timeout)
        connection = self._connect(url, seconds)
        # The time limit of a socket is that of one read: a collector could answer byte by byte.
        timer = threading.Timer(seconds, self.abort)
        timer.daemon = True
        timer.start()
        try:
            connection.connect()
            parts = urlsplit(url)
            connection.request("POST", parts.path or "/", body, self._headers())
            response = connection.getresponse()
            return _answer(response, response.read(MAX_ANSWER))
        except TimeoutError:
            return Answer("retry", f"no answer within {seconds:g} s")
        except (OSError, http.client.HTTPException, ValueError) as error:
            return Answer("retry", one_line(error) or type(error).__name__)
        finally:
            timer.cancel()
            with self._lock:
                self._connection = None
            connection.close()

    def abort(self) -> None:
        """Ends the request that is being sent, if there is one."""
        with self._lock:
            connection = self._connection
            sock = None if connection is None else connection.sock
            if sock is not None:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    return  # the peer has closed it already

    def _connect(self, url: str, seconds: float) -> http.client.HTTPConnection:
        parts = urlsplit(url)
        host = parts.hostname or ""
        connection = (
            http.client.HTTPConnection(host, parts.port or 80, timeout=seconds)
            if parts.scheme == "http"
            else http.client.HTTPSConnection(host, parts.port or 443, timeout=seconds, context=self._tls)
        )
        with self._lock:
            self._connection = connection
        return connection

    def _headers(self) -> dict[str, str]:
        fixed = {"content-type": "application/x-protobuf", "user-agent": f"meltica/{__version__}"}
        return {**self._target.headers, **fixed}


def _tls(target: Target) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=target.ca)
    if target.certificate is not None:
        context.load_cert_chain(target.certificate, target.key)
    return context


def _answer(response: http.client.HTTPResponse, body: bytes) -> Answer:
    if 200 <= response.status < 300:
        return Answer("sent", body=body)
    text = f"HTTP {response.status}"
    if response.status in RETRIED:
        return Answer("retry", text, retry_after=_retry_after(response.getheader("retry-after")))
    return Answer("refused", text)


def _retry_after(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = float(text) if text.isdigit() else parsedate_to_datetime(text).timestamp() - time.time()
    except ValueError:
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)
