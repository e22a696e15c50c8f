"""Signatures of requests: how clients make them and how the venue verifies them.

A signature is the hex HMAC-SHA256, under the account's secret, of time + METHOD + path with query + body.
"""

import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from meltica.http.errors import HttpError

KEY_HEADER = "X-Venue-Key"
TIME_HEADER = "X-Venue-Time"
SIGNATURE_HEADER = "X-Venue-Signature"

WINDOW_MS = 5_000
"""Most difference between the time of a request and the venue's clock, in either direction."""


def wall_ms() -> int:
    """Returns the wall clock in milliseconds."""
    return time.time_ns() // 1_000_000


def sign(secret: str, time: str, method: str, path: str, body: bytes = b"") -> str:
    """Returns the signature of a request. `path` is that of the request line, query included."""
    return hmac.new(secret.encode(), f"{time}{method}{path}".encode() + body, "sha256").hexdigest()


@dataclass(frozen=True, repr=False)
class Credentials:
    """The account and the secret of a key."""

    account: str
    secret: str


@dataclass(frozen=True)
class Signed:
    """A request and its signature, as received."""

    key: str | None
    time: str | None
    """Milliseconds, as received."""
    signature: str | None
    method: str
    path: str
    body: bytes = b""


class SkewedClock:
    """The venue's clock: the wall clock, off by `skew_ms`."""

    def __init__(self, wall: Callable[[], int] = wall_ms) -> None:
        self.skew_ms = 0
        self._wall = wall

    def now(self) -> int:
        """Returns the time in milliseconds."""
        return self._wall() + self.skew_ms


class Keys:
    """The keys of all accounts."""

    def __init__(self, keys: Mapping[str, Credentials], clock: SkewedClock) -> None:
        self._keys = keys
        self._clock = clock

    def account(self, request: Signed) -> str:
        """Returns the account that signed a request.

        Raises HttpError: `unknown_key`, `bad_signature` or `bad_time`.
        """
        credentials = self._keys.get(request.key or "")
        if credentials is None:
            key = "none" if request.key is None else repr(request.key[:80])
            raise HttpError(401, "unknown_key", f"expected a key of this venue, saw {key}")
        sent = request.time or ""
        expected = sign(credentials.secret, sent, request.method, request.path, request.body)
        # As bytes, because compare_digest refuses text that is not ASCII.
        if not hmac.compare_digest(expected.encode(), (request.signature or "").lower().encode()):
            raise HttpError(
                401,
                "bad_signature",
                "expected the hex HMAC-SHA256 of time + method + path with query + body under its secret,"
                f" saw {'none' if request.signature is None else 'another'}",
            )
        now = self._clock.now()
        if not (sent.isascii() and sent.isdigit() and len(sent) <= 16) or abs(int(sent) - now) > WINDOW_MS:
            text = f"expected a time within {WINDOW_MS} ms of the venue's {now}, saw {sent[:20] or 'none'}"
            raise HttpError(401, "bad_time", text)
        return credentials.account
