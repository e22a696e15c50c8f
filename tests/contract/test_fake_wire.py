"""The contract for `fake` with `meltica venue serve` in another process."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import ClassVar

import pytest

from meltica.adapters.base import Adapter
from meltica.adapters.fake.adapter import FakeAdapter
from meltica.testing import AdapterContract, Book, Stage
from tests.contract.stages import MARKET, SIZES, SYMBOLS
from tests.support.venues import KEY, SECRET, Venue, serving


class Wire(Stage):
    """A venue in another process, controlled through the operator's routes."""

    symbols: ClassVar[tuple[str, ...]] = SYMBOLS

    def __init__(self, venue: Venue) -> None:
        self._venue = venue

    def adapter(self, **settings: object) -> Adapter:
        wire = {"endpoint": self._venue.address, "key": KEY, "secret": SECRET}
        return FakeAdapter.configure({**wire, **settings})

    def book(self, symbol: str) -> Book:
        book = self._venue.depth(symbol, 25)
        while book is None:
            # The venue is disconnected for a moment.
            book = self._venue.depth(symbol, 25)
        return Book(*book)

    def lose_depth(self, symbol: str) -> None:
        # The first frame may hold no change that the last snapshot lacks.
        self._venue.fault(skipDepth={"symbol": symbol, "frames": 2})

    def disconnect(self, seconds: float) -> None:
        self._venue.fault(disconnect=f"{int(seconds * 1000)}ms")

    def subscriptions(self) -> set[tuple[str, str]]:
        kinds = {"trade": "Trade", "ticker": "Ticker", "depth": "BookSnapshot", "candle": "KlineSummary"}
        channels = [
            channel.partition(":")
            for client in self._venue.get("/v1/clients")["clients"]
            for channel in client["channels"]
        ]
        return {(kinds[kind], symbol) for kind, _, symbol in channels if kind in kinds}

    def behave(self, **faults: float) -> None:
        self._venue.fault(
            behavior={
                name: f"{int(value * 1000)}ms" if name.endswith(("_for", "_min", "_max")) else value
                for name, value in faults.items()
            }
        )

    def skew(self, seconds: float) -> None:
        self._venue.fault(clockSkew=int(seconds * 1000))

    def limit(self, requests: int) -> None:
        self._venue.fault(rateLimit=requests)

    def wrong_credentials(self) -> dict[str, object]:
        return {"key": KEY, "secret": "not the secret"}

    def order_size(self, symbol: str) -> Decimal:
        return SIZES[symbol]


class TestWire(AdapterContract):
    @pytest.fixture
    def stage(self, tmp_path: Path) -> Iterator[Stage]:
        with serving(tmp_path, config=json.dumps({"market": MARKET, "rate_limit": 0})) as venue:
            yield Wire(venue)
            venue.process.terminate()
            assert venue.ended() == 0
