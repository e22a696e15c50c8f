"""`meltica.testing.replay`: strategies run on events, recordings and frames, in a test."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

import meltica
from meltica.errors import LambdaDefinitionError, LambdaError, LambdaLoadError, ReplayError
from meltica.testing import event, replay

FRAMES = [
    b'1700000000000000000 {"e":"trade","E":1700000000000,"s":"BTCUSDT","t":1,"p":"100","q":"1",'
    b'"T":1700000000000,"m":false}',
    b'1700000001000000000 {"e":"trade","E":1700000001000,"s":"BTCUSDT","t":2,"p":"101","q":"1",'
    b'"T":1700000001000,"m":true}',
]


class Counter(meltica.Lambda):
    class Config(meltica.LambdaConfig):
        seconds: float = 60

    def __init__(self) -> None:
        self.trades: list[meltica.Trade] = []
        self.stopped = False

    def on_start(self) -> None:
        self.every(self.config.seconds, self.report)

    def on_trade(self, trade: meltica.Trade) -> None:
        self.trades.append(trade)
        self.emit("trade", {"number": len(self.trades)})

    def report(self) -> None:
        self.log.info("%d trades", len(self.trades))

    def on_stop(self) -> None:
        self.stopped = True


def trades(*prices: str) -> list[meltica.Event]:
    return [
        event("Trade", "BTC-USDT", at=40 * i, price=price, quantity="1") for i, price in enumerate(prices)
    ]


def test_a_strategy_runs_on_written_events() -> None:
    run = replay(Counter, trades("100", "101", "102"))
    assert [trade.price for trade in run.instance.trades] == [100.0, 101.0, 102.0]
    assert run.instance.stopped
    assert run.logs == ["2 trades"], "the events' clock reached one minute"
    assert [(sent.name, sent.payload) for sent in run.emitted] == [
        ("trade", {"number": number}) for number in (1, 2, 3)
    ]
    assert run.report["status"] == "ok"
    assert [row["id"] for row in run.report["lambdas"]] == ["Counter"]


def test_config_and_symbols_reach_the_strategy() -> None:
    events = [*trades("100", "101"), event("Trade", "ETH-USDT", at=50, price="5", quantity="1")]
    run = replay(Counter, events, config={"seconds": 30}, symbols=["BTC-USDT"])
    assert [trade.symbol for trade in run.instance.trades] == ["BTC-USDT", "BTC-USDT"]
    assert run.logs == ["1 trades"]


def test_a_source_is_events_dicts_frames_or_a_file(tmp_path: Path) -> None:
    events = trades("100", "101")
    recording = tmp_path / "events.jsonl"
    recording.write_text("".join(json.dumps(each.to_dict()) + "\n" for each in events))
    for source in (events, [each.to_dict() for each in events], recording, str(recording)):
        assert [trade.price for trade in replay(Counter, source).instance.trades] == [100.0, 101.0]
    assert [trade.price for trade in replay(Counter, FRAMES, codec="binance").instance.trades] == [
        100.0,
        101.0,
    ]


def test_a_strategy_is_a_class_or_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "import meltica\nclass Mine(meltica.Lambda):\n    def on_trade(self, trade): self.last = trade\n"
    )
    for strategy in (path, str(path), f"{path}:Mine"):
        assert replay(strategy, trades("7")).instance.last.price == 7.0
    with pytest.raises(LambdaLoadError, match=r"mine\.py: class `Yours` does not exist"):
        replay(f"{path}:Yours", trades("7"))


def test_a_callback_that_raises_fails_the_test_unless_it_is_allowed() -> None:
    class Raises(meltica.Lambda):
        def on_trade(self, trade: meltica.Trade) -> None:
            raise ValueError(f"not at {trade.price}")

    with pytest.raises(LambdaError, match=r"Raises: 2 callbacks raised; the last: .*not at 101"):
        replay(Raises, trades("100", "101"))
    run = replay(Raises, trades("100"), allow_errors=True)
    assert run.report["callback_errors"] == 1
    assert run.logs == ["Trade raised ValueError"]


def test_what_keeps_a_strategy_from_running_is_raised(tmp_path: Path) -> None:
    class NoStart(meltica.Lambda):
        def on_start(self) -> None:
            raise RuntimeError("no key")

        def on_trade(self, trade: meltica.Trade) -> None: ...

    class Nothing(meltica.Lambda): ...

    with pytest.raises(LambdaError, match="NoStart: on_start raised RuntimeError: no key"):
        replay(NoStart, trades("100"))
    with pytest.raises(LambdaDefinitionError, match="nothing is subscribed"):
        replay(Nothing, trades("100"))
    with pytest.raises(ReplayError, match="missing"):
        replay(Counter, tmp_path / "missing")
    with pytest.raises(ReplayError, match="which need a codec"):
        replay(Counter, FRAMES)


def test_an_event_has_the_names_of_its_attributes() -> None:
    ticker = event("Ticker", "BTC-USDT", at=1.5, bid="99", ask=Decimal("101"), ask_quantity=2, last=100.5)
    assert isinstance(ticker, meltica.Ticker)
    assert (ticker.bid, ticker.ask, ticker.ask_quantity, ticker.last) == (99.0, 101.0, 2.0, 100.5)
    assert (ticker.venue_time or 0) % 10**10 == 1_500_000_000
    assert ticker.received_time == ticker.venue_time
    book = event("BookSnapshot", "BTC-USDT", bids=[{"price": "1", "quantity": "2"}], asks=[])
    assert isinstance(book, meltica.BookSnapshot)
    assert book.best_bid is not None
    assert tuple(book.best_bid) == (1.0, 2.0)
    assert book.best_ask is None


def test_an_event_with_a_wrong_field_is_refused() -> None:
    with pytest.raises(ValueError, match="Ticker: unknown fields bdi, nope"):
        event("Ticker", "BTC-USDT", bdi="1", nope="2")
    with pytest.raises(ValueError, match="price"):
        event("Trade", "BTC-USDT", quantity="1")
