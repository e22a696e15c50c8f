"""How requests are signed, and how a venue checks that they are.

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
"""How far a request's time may be from the venue's, either way."""


def wall_ms() -> int:
    """Returns the wall clock's milliseconds."""
    return time.time_ns() // 1_000_000


def sign(secret: str, time: str, method: str, path: str, body: bytes = b"") -> str:
    """Returns a request's signature. `path` is what stands in the request line, its query included."""
    return hmac.new(secret.encode(), f"{time}{method}{path}".encode() + body, "sha256").hexdigest()


@dataclass(frozen=True, repr=False)
class Credentials:
    """Who a key stands for, and the secret that belongs to it."""

    account: str
    secret: str


@dataclass(frozen=True)
class Signed:
    """A request as its sender signed it."""

    key: str | None
    time: str | None
    """Milliseconds, as they were written."""
    signature: str | None
    method: str
    path: str
    body: bytes = b""


class Clock:
    """The wall's clock, as a venue has it: off by `skew_ms`."""

    def __init__(self, wall: Callable[[], int] = wall_ms) -> None:
        self.skew_ms = 0
        self._wall = wall

    def now(self) -> int:
        """Returns milliseconds."""
        return self._wall() + self.skew_ms


class Keys:
    """The keys that a venue knows."""

    def __init__(self, keys: Mapping[str, Credentials], clock: Clock) -> None:
        self._keys = keys
        self._clock = clock

    def account(self, request: Signed) -> str:
        """Returns whose request it is. Raises HttpError: `unknown_key`, `bad_signature` or `bad_time`."""
        known = self._keys.get(request.key or "")
        if known is None:
            seen = "none" if request.key is None else repr(request.key[:80])
            raise HttpError(401, "unknown_key", f"expected a key of this venue, saw {seen}")
        sent = request.time or ""
        right = sign(known.secret, sent, request.method, request.path, request.body)
        # Compared as bytes: a text with other letters than ASCII cannot be.
        if not hmac.compare_digest(right.encode(), (request.signature or "").lower().encode()):
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
        return known.account
