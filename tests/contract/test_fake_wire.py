"""`fake` against `meltica venue serve`, a process of its own, keeps the contract."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import pytest

from meltica.providers.base import Adapter
from meltica.providers.fake.adapter import FakeAdapter
from meltica.testing import AdapterContract, Book, Stage
from tests.contract.stages import MARKET, SIZES, SYMBOLS


class Wire(Stage):
    """`fake` against `meltica venue serve`, a process of its own."""

    symbols: ClassVar[tuple[str, ...]] = SYMBOLS

    def __init__(self, folder: Any) -> None:
        config = folder / "venue.yaml"
        config.write_text(json.dumps({"market": MARKET, "rate_limit": 0}))
        command = (sys.executable, "-m", "meltica", "venue", "serve", "--port", "0", "--json")
        self._process = subprocess.Popen(
            [*command, "--config", str(config)], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.address: str = json.loads(self._process.stdout.readline())["address"]

    def close(self) -> None:
        self._process.terminate()
        assert self._process.wait(20) == 0
        assert self._process.stdout is not None
        self._process.stdout.close()

    def adapter(self, **settings: object) -> Adapter:
        wire = {"endpoint": self.address, "key": "main", "secret": "main-secret"}
        return FakeAdapter.configure({**wire, **settings})

    def ask(self, path: str, body: object = None) -> Any:
        """Returns what the venue's operator is answered."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.address + path, data=data, headers={"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def book(self, symbol: str) -> Book:
        while True:
            try:
                book = self.ask(f"/v1/depth?symbol={symbol}&limit=25")
                break
            except urllib.error.HTTPError as error:
                # Away, which ends.
                if error.code != 503:
                    raise
        bids, asks = (
            tuple((Decimal(price), Decimal(quantity)) for price, quantity in book[side])
            for side in ("bids", "asks")
        )
        return Book(book["last"], bids, asks)

    def lose_depth(self, symbol: str) -> None:
        # The first may hold nothing that the last snapshot has not.
        self._fault({"skipDepth": {"symbol": symbol, "frames": 2}})

    def disconnect(self, seconds: float) -> None:
        self._fault({"disconnect": f"{int(seconds * 1000)}ms"})

    def subscriptions(self) -> set[tuple[str, str]]:
        kinds = {"trade": "Trade", "ticker": "Ticker", "depth": "BookSnapshot", "candle": "KlineSummary"}
        channels = [
            channel.partition(":")
            for client in self.ask("/v1/clients")["clients"]
            for channel in client["channels"]
        ]
        return {(kinds[kind], symbol) for kind, _, symbol in channels if kind in kinds}

    def behave(self, **faults: float) -> None:
        self._fault(
            {
                "behavior": {
                    name: f"{int(value * 1000)}ms" if name.endswith(("_for", "_min", "_max")) else value
                    for name, value in faults.items()
                }
            }
        )

    def skew(self, seconds: float) -> None:
        self._fault({"clockSkew": int(seconds * 1000)})

    def limit(self, requests: int) -> None:
        self._fault({"rateLimit": requests})

    def strangers(self) -> dict[str, object]:
        return {"key": "main", "secret": "not the secret"}

    def order_size(self, symbol: str) -> Decimal:
        return SIZES[symbol]

    def _fault(self, fault: dict[str, object]) -> None:
        self.ask("/v1/faults", fault)


class TestWire(AdapterContract):
    @pytest.fixture
    def stage(self, tmp_path: Path) -> Iterator[Stage]:
        with Wire(tmp_path) as stage:
            yield stage
