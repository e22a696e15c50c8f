import sys, json, subprocess, time, itertools
from decimal import Decimal
from typing import ClassVar
import httpx, pytest
from meltica.providers.base import AdapterSettings
from meltica.providers.fake.wire import FakeWire
from meltica.testing import AdapterContract, Book, Stage

SYMBOLS = ("BTC-USDT", "ETH-USDT", "XRP-USDT")
CONFIG = """
market:
  seed: 7
  symbols: [BTC-USDT, ETH-USDT, XRP-USDT]
  trade_interval: 100ms
  ticker_interval: 100ms
  book_snapshot_interval: 50ms
rate_limit: 0
"""
SIZES = {"BTC-USDT": Decimal("0.01"), "ETH-USDT": Decimal("0.1"), "XRP-USDT": Decimal(2)}
KINDS = {"trade": "Trade", "ticker": "Ticker", "depth": "BookSnapshot", "candle": "KlineSummary"}

class Wire(Stage):
    symbols: ClassVar[tuple[str, ...]] = SYMBOLS
    def __init__(self, tmp):
        (tmp/"v.yaml").write_text(CONFIG)
        self.p = subprocess.Popen(["/work/wt-venue/.venv/bin/meltica","venue","serve","--port","0","--json","--config",str(tmp/"v.yaml")],stdout=subprocess.PIPE,stderr=open(tmp/"err","wb"),text=True)
        self.at = json.loads(self.p.stdout.readline())["address"]
        self.http = httpx.Client(base_url=self.at, trust_env=False, timeout=30)
        self.ad = None
    def close(self):
        self.http.close(); self.p.kill(); self.p.wait(); self.p.stdout.close()
    def adapter(self, **s):
        self.ad = FakeWire(AdapterSettings(), self.at, s.get("key","main"), s.get("secret","main-secret"))
        return self.ad
    def book(self, symbol):
        while not (r := self.http.get("/v1/depth", params={"symbol": symbol, "limit": 100})).is_success: time.sleep(0.01)
        d = r.json()
        side = lambda k: tuple((Decimal(p), Decimal(q)) for p, q in d[k])
        return Book(d["last"], side("bids"), side("asks"))
    def fault(self, **f):
        r = self.http.post("/v1/faults", json=f); assert r.is_success, r.text
    def lose_depth(self, symbol): self.fault(skipDepth={"symbol": symbol, "frames": 1})
    def disconnect(self, seconds): self.fault(disconnect=f"{int(seconds*1000)}ms")
    def subscriptions(self):
        out=set()
        for c in self.http.get("/v1/clients").json()["clients"]:
            for ch in c["channels"]:
                k,_,s = ch.partition(":")
                if k in KINDS: out.add((KINDS[k], s))
        return out
    def behave(self, **f):
        self.fault(behavior={k: (f"{int(v*1000)}ms" if k.endswith(("_for","_min","_max")) else v) for k,v in f.items()})
    def skew(self, seconds):
        wall = self.ad.clock.wall
        self.ad.clock.wall = lambda: wall() - int(seconds*1000)
    def strangers(self): return {"secret": "wrong"}
    def order_size(self, symbol): return SIZES[symbol]

class TestWire(AdapterContract):
    @pytest.fixture
    def stage(self, tmp_path):
        with Wire(tmp_path) as s: yield s
