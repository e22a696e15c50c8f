"""How many requests of one token are in progress."""

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager

from meltica.http.errors import HttpError
from meltica.http.protocol import max_connections


class ClientLimit:
    """Leaves half of the connections to other tokens, whatever one token requests.

    A request counts from its authentication to the end of its response, and so does a stream of events.
    """

    def __init__(self) -> None:
        self._requests: Counter[str] = Counter()

    @contextmanager
    def serving(self, token: str | None) -> Generator[None]:
        """Counts a request; one without a token does not count. Raises HttpError above the limit."""
        if token is None:
            yield
            return
        limit = max(1, max_connections() // 2)
        if self._requests[token] >= limit:
            text = (
                f"too many requests: at most {limit} of one token are in progress; wait, or use another token"
            )
            raise HttpError(429, "too_many_requests", text, headers={"retry-after": "1"})
        self._requests[token] += 1
        try:
            yield
        finally:
            self._requests[token] -= 1
            if not self._requests[token]:
                del self._requests[token]
