"""`meltica venue serve` as a child process, and a client of its protocol: signed requests and streams."""

import contextlib
import hashlib
import hmac
import json
import subprocess
import time
from collections.abc import Callable, Generator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, TypedDict

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.support.serving import PATIENCE, PROGRAM, environment

Frame = dict[str, Any]
Levels = tuple[tuple[Decimal, Decimal], ...]


class Signer(TypedDict):
    """The credentials of an account."""

    key: str
    secret: str


KEY, SECRET = "main", "main-secret"
CONFIG = """
market:
  symbols: [BTC-USDT, ETH-USDT]
  start: 2026-01-01T00:00:00Z
  trade_interval: 50ms
rate_limit: 0
"""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def amounts(balances: list[Frame]) -> dict[str, tuple[str, str]]:
    """Returns total and available amount of balances, by currency."""
    return {each["currency"]: (each["total"], each["available"]) for each in balances}


def signature(secret: str, time: object, method: str, path: str, body: bytes = b"") -> str:
    """Returns a signature, computed independently of the implementation under test."""
    return hmac.new(secret.encode(), f"{time}{method}{path}".encode() + body, hashlib.sha256).hexdigest()


class Venue:
    """A venue process."""

    def __init__(self, folder: Path, *arguments: str, config: str = CONFIG) -> None:
        self.config = folder / "venue.yaml"
        self.config.write_text(config)
        self.log = folder / "venue.log"
        command = [*PROGRAM, "venue", "serve", "--port", "0", "--json", "--config", str(self.config)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *arguments], stdout=subprocess.PIPE, stderr=log, text=True, env=environment()
            )
        self.client = httpx.Client(timeout=30, trust_env=False)
        self.ready: Frame = {}

    @property
    def address(self) -> str:
        return self.ready["address"]

    def read_line(self) -> Frame:
        """Returns the next line of its stdout."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"it ended: {self.log.read_text()[-2000:]}"
        return json.loads(line)

    def wait_started(self) -> None:
        self.ready = self.read_line()
        assert self.ready["event"] == "ready", self.ready
        self.client.base_url = self.address

    def logged(self) -> list[str]:
        """Returns the messages of its log so far."""
        lines = self.log.read_text().splitlines(keepends=True)
        return [json.loads(line)["message"] for line in lines if line.endswith("\n")]

    def ended(self) -> int:
        return self.process.wait(PATIENCE)

    def get(self, path: str) -> Frame:
        """Returns the response of a public path."""
        response = self.client.get(path)
        assert response.status_code == 200, response.text
        return response.json()

    def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | bytes | None = None,
        *,
        key: str = KEY,
        secret: str = SECRET,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Sends a signed request; `headers` override the default ones."""
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        sent = now_ms()
        defaults = {
            "X-Venue-Key": key,
            "X-Venue-Time": str(sent),
            "X-Venue-Signature": signature(secret, sent, method, path, raw),
        }
        if raw:
            defaults["content-type"] = "application/json"
        return self.client.request(method, path, content=raw, headers={**defaults, **(headers or {})})

    def done(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        key: str = KEY,
        secret: str = SECRET,
    ) -> Frame:
        """Sends a signed request that must succeed, and returns its response."""
        response = self.ask(method, path, body, key=key, secret=secret)
        assert response.is_success, response.text
        return response.json()

    def order(
        self,
        id: str,
        changes: Mapping[str, object] | None = None,
        *,
        key: str = KEY,
        secret: str = SECRET,
        **fields: object,
    ) -> httpx.Response:
        """Sends an order, by default a buy order that rests."""
        basic = {"clientOrderId": id, "symbol": "BTC-USDT", "side": "buy", "orderType": "limit"}
        price = {} if fields.get("orderType") == "market" else {"price": "30000"}
        body = {**basic, "quantity": "0.01", **price, **fields, **(changes or {})}
        return self.ask("POST", "/v1/orders", body, key=key, secret=secret)

    def amounts(self, *, key: str = KEY, secret: str = SECRET) -> dict[str, tuple[str, str]]:
        """Returns total and available amount of an account, by currency."""
        return amounts(self.done("GET", "/v1/balances", key=key, secret=secret)["balances"])

    def depth(self, symbol: str, levels: int) -> tuple[int, Levels, Levels] | None:
        """Returns the venue's book as update id, bids and asks, or None while it is disconnected."""
        response = self.client.get(f"/v1/depth?symbol={symbol}&limit={levels}")
        if response.status_code == 503:
            return None
        assert response.status_code == 200, response.text
        book = response.json()
        bids, asks = (
            tuple((Decimal(price), Decimal(quantity)) for price, quantity in book[side])
            for side in ("bids", "asks")
        )
        return book["last"], bids, asks

    def fault(self, **faults: object) -> Frame:
        response = self.client.post("/v1/faults", json=faults)
        assert response.status_code == 200, response.text
        return response.json()

    @contextlib.contextmanager
    def stream(self) -> Generator["Stream"]:
        with connect(
            self.ready["stream"], max_size=None, max_queue=None, compression=None, proxy=None
        ) as connection:
            yield Stream(connection)

    def close(self) -> None:
        self.client.close()
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextlib.contextmanager
def serving(folder: Path, *arguments: str, config: str = CONFIG) -> Generator[Venue]:
    """Yields a venue that has started; kills it at the end if it is still running."""
    venue = Venue(folder, *arguments, config=config)
    try:
        venue.wait_started()
        yield venue
    finally:
        venue.close()


class Stream:
    """A websocket. `frames` are the received frames that no test has consumed yet, in order."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.frames: list[Frame] = []
        self._id = 0

    def op(self, op: str, **fields: object) -> Frame:
        """Sends an operation and returns its response."""
        self._id += 1
        self.connection.send(json.dumps({"op": op, "id": self._id, **fields}))
        while True:
            frame = self.read()
            if "op" in frame:
                assert frame["id"] == self._id, frame
                return frame
            self.frames.append(frame)

    def subscribe(self, *channels: str) -> None:
        response = self.op("subscribe", channels=list(channels))
        assert response == {"op": "subscribed", "id": self._id, "channels": list(channels)}, response

    def log_in(self, key: str = KEY, secret: str = SECRET) -> Frame:
        sent = now_ms()
        return self.op("login", key=key, time=sent, signature=signature(secret, sent, "GET", "/v1/stream"))

    def next(self, matches: Callable[[Frame], object]) -> Frame:
        """Consumes frames up to the next one that matches, and returns it."""
        while True:
            frame = self.frames.pop(0) if self.frames else self.read()
            if matches(frame):
                return frame

    def read(self) -> Frame:
        return json.loads(self.connection.recv(timeout=PATIENCE))

    def closed(self) -> int:
        """Reads to the end and returns the close code."""
        try:
            while True:
                self.read()
        except ConnectionClosed as end:
            return end.rcvd.code if end.rcvd else 1006
