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
    """What an account signs with."""

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


def signature(secret: str, time: object, method: str, path: str, body: bytes = b"") -> str:
    """Written out here, as any client would: the venue's own function must not be what checks it."""
    return hmac.new(secret.encode(), f"{time}{method}{path}".encode() + body, hashlib.sha256).hexdigest()


class Venue:
    """One process."""

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
        """What a public path says."""
        answer = self.client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

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
        """A signed request; `headers` win over those that it would have."""
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        sent = now_ms()
        known = {
            "X-Venue-Key": key,
            "X-Venue-Time": str(sent),
            "X-Venue-Signature": signature(secret, sent, method, path, raw),
        }
        if raw:
            known["content-type"] = "application/json"
        return self.client.request(method, path, content=raw, headers={**known, **(headers or {})})

    def done(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        key: str = KEY,
        secret: str = SECRET,
    ) -> Frame:
        """What a signed request that must succeed says."""
        answer = self.ask(method, path, body, key=key, secret=secret)
        assert answer.is_success, answer.text
        return answer.json()

    def order(
        self,
        id: str,
        changes: Mapping[str, object] | None = None,
        *,
        key: str = KEY,
        secret: str = SECRET,
        **fields: object,
    ) -> httpx.Response:
        """Sends an order: by default one to buy that rests."""
        asked = {"clientOrderId": id, "symbol": "BTC-USDT", "side": "buy", "orderType": "limit"}
        price = {} if fields.get("orderType") == "market" else {"price": "30000"}
        body = {**asked, "quantity": "0.01", **price, **fields, **(changes or {})}
        return self.ask("POST", "/v1/orders", body, key=key, secret=secret)

    def depth(self, symbol: str, levels: int) -> tuple[int, Levels, Levels] | None:
        """Its own book: update id, bids and asks. None while it is away."""
        answer = self.client.get(f"/v1/depth?symbol={symbol}&limit={levels}")
        if answer.status_code == 503:
            return None
        assert answer.status_code == 200, answer.text
        book = answer.json()
        bids, asks = (
            tuple((Decimal(price), Decimal(quantity)) for price, quantity in book[side])
            for side in ("bids", "asks")
        )
        return book["last"], bids, asks

    def fault(self, **faults: object) -> Frame:
        answer = self.client.post("/v1/faults", json=faults)
        assert answer.status_code == 200, answer.text
        return answer.json()

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
    """A venue that is ready; killed at the end if it still runs."""
    venue = Venue(folder, *arguments, config=config)
    try:
        venue.wait_started()
        yield venue
    finally:
        venue.close()


class Stream:
    """One websocket. `frames` are those that have come and no test has taken yet, in order."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.frames: list[Frame] = []
        self._id = 0

    def op(self, op: str, **fields: object) -> Frame:
        """Says something and returns the answer to it."""
        self._id += 1
        self.connection.send(json.dumps({"op": op, "id": self._id, **fields}))
        while True:
            frame = self.read()
            if "op" in frame:
                assert frame["id"] == self._id, frame
                return frame
            self.frames.append(frame)

    def subscribe(self, *channels: str) -> None:
        answer = self.op("subscribe", channels=list(channels))
        assert answer == {"op": "subscribed", "id": self._id, "channels": list(channels)}, answer

    def log_in(self, key: str = KEY, secret: str = SECRET) -> Frame:
        sent = now_ms()
        return self.op("login", key=key, time=sent, signature=signature(secret, sent, "GET", "/v1/stream"))

    def next(self, wanted: Callable[[Frame], object]) -> Frame:
        """Takes the next frame that is wanted, and those before it."""
        while True:
            frame = self.frames.pop(0) if self.frames else self.read()
            if wanted(frame):
                return frame

    def read(self) -> Frame:
        return json.loads(self.connection.recv(timeout=PATIENCE))

    def closed(self) -> int:
        """Reads to the end; the code it was closed with."""
        try:
            while True:
                self.read()
        except ConnectionClosed as end:
            return end.rcvd.code if end.rcvd else 1006
