"""Scopes, routes and helpers of instances, and the checks before an instance exists."""

import logging
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

import meltica
from meltica._core import Core, Host
from meltica.errors import ConfigError, LambdaDefinitionError, LambdaError
from meltica.lambdas.instances import Scope, add_instance, canonical_scope, kept, routes
from meltica.lambdas.logs import ErrorLog, LambdaLogger
from meltica.lambdas.payload import encode

TICKER = {"bidPrice": "100.10", "askPrice": "100.30"}
BOOK = {"bids": [{"price": "9", "quantity": "1"}], "asks": [{"price": "11", "quantity": "2"}]}


class Trades(meltica.Lambda):
    def on_trade(self, trade: meltica.Trade) -> None: ...


@pytest.fixture(name="core")
def _core() -> Core:
    return Core()


@pytest.fixture(name="host")
def _host(core: Core) -> Iterator[Host]:
    host = core.host("shared", clock="event")
    yield host
    assert host.stop()


def add(host: Host, cls: type[meltica.Lambda], scope: Scope | None = None, **options: Any) -> meltica.Lambda:
    return add_instance(host, cls, id="x", scope=scope or {"p": ["BTC-USDT"]}, **options).subject


def test_scope_is_canonical() -> None:
    assert canonical_scope({"a": ["BTC/USDT", "btc-usdt", "ETH-USDT"], "b": "*"}) == {
        "a": ("BTC-USDT", "ETH-USDT"),
        "b": ("*",),
    }
    with pytest.raises(LambdaError) as caught:
        canonical_scope({"a": ["btc_usdt"], "b": [], "c": ["x"]})
    assert str(caught.value).count(";") >= 2
    with pytest.raises(LambdaError, match="at least one provider"):
        canonical_scope({})


def test_routes() -> None:
    scope = {"a": ("BTC-USDT", "ETH-USDT"), "b": ("*",)}
    assert list(routes(["Trade"], scope)) == [
        ("a", "Trade", "BTC-USDT"),
        ("a", "Trade", "ETH-USDT"),
        ("b", "Trade", None),
    ]
    balances = [symbol for _, _, symbol in routes(["BalanceUpdate"], scope)]
    assert balances == ["BTC", "USDT", "ETH", None]
    providers = [(provider, symbol) for provider, _, symbol in routes(["Extension"], scope)]
    assert providers == [("a", None), ("b", None), ("meltica", None)]


def test_helpers_need_a_source(host: Host) -> None:
    class NoMarket(meltica.Lambda):
        def on_kline_summary(self, kline: meltica.KlineSummary) -> None:
            self.market("BTC-USDT")

    class NoBook(Trades):
        def on_start(self) -> None:
            self.book("BTC-USDT")

    class Fed(NoBook):
        needs = {"BookSnapshot"}

    with pytest.raises(LambdaDefinitionError, match=r"self\.market\(\) has no source.*needs"):
        add(host, NoMarket)
    with pytest.raises(LambdaDefinitionError, match=r"self\.book\(\) has no source"):
        add(host, NoBook)
    assert kept(Fed) == {"book", "market"}
    assert kept(Trades) == set()


def test_classes_that_would_never_receive_events_are_refused(host: Host) -> None:
    class Nothing(meltica.Lambda): ...

    class Notices(Trades):
        def on_gap(self, gap: meltica.BookGap) -> None: ...

    class Filters(Trades):
        filters = {"Ticker": [meltica.Filter("bid", "eq", 1)]}

    faults = {
        Nothing: "nothing is subscribed",
        Notices: "`on_gap` is never called",
        Filters: "`filters` contains Ticker",
    }
    for cls, text in faults.items():
        with pytest.raises(LambdaDefinitionError, match=text):
            add(host, cls)


def test_the_core_refuses_filters_too(host: Host) -> None:
    for condition, text in {
        ("prize", "eq", 1): "no field `prize`",
        ("price", "near", 1): "expected the operator eq, neq, in or prefix, saw `near`",
        ("price", "eq", "cheap"): "expected a number",
    }.items():
        with pytest.raises(ValueError, match=text):
            host.add("a", callbacks={}, routes=[], filters={"Trade": [condition]})


def test_policies_of_the_caller_are_checked(host: Host) -> None:
    with pytest.raises(LambdaDefinitionError, match="Trade events cannot be conflated"):
        add(host, Trades, policies={"Trade": "conflate"})
    with pytest.raises(LambdaDefinitionError, match="unknown kind 'Trades'"):
        add(host, Trades, policies={"Trades": "block"})


def test_config_is_validated_before_the_strategy_is_constructed(host: Host) -> None:
    constructed: list[object] = []

    class Sized(Trades):
        class Config(meltica.LambdaConfig):
            size: int

        def __init__(self) -> None:
            constructed.append((self.config.size, self.id, dict(self.scope)))

    with pytest.raises(ConfigError, match=r"config of .*Sized: `size` is required"):
        add(host, Sized)
    assert not constructed
    add(host, Sized, {"p": ["BTC/USDT"]}, config={"size": "3"})
    assert constructed == [(3, "x", {"p": ("BTC-USDT",)})]


def test_a_config_for_a_class_without_one_is_refused(host: Host) -> None:
    with pytest.raises(ConfigError, match="`size` was given, but the class has no Config"):
        add(host, Trades, config={"size": 1})
    assert add(host, Trades).config is None


def test_init_takes_no_arguments(host: Host) -> None:
    class WithArgument(Trades):
        def __init__(self, size: int) -> None: ...

    with pytest.raises(LambdaError, match="must take nothing but self"):
        add(host, WithArgument)


def test_helpers_return_the_latest_state(core: Core, host: Host) -> None:
    class UsesHelpers(meltica.Lambda):
        needs = {"Ticker", "BookSnapshot"}
        book_depth = 1

        def on_start(self) -> None:
            self.results: list[Any] = []
            assert self.market("BTC-USDT") is self.book("BTC-USDT") is None

        def on_trade(self, trade: meltica.Trade) -> None:
            market, book = self.market("BTC/USDT"), self.book("BTC-USDT", "p")
            self.results += [market, book, self.now(), self.delivered_at]

    producer = core.producer("p")
    subject = add_instance(host, UsesHelpers, id="x", scope={"p": "*"})
    subject.start()
    producer.publish("Ticker", "BTC-USDT", TICKER, received_time=1)
    producer.publish("BookSnapshot", "BTC-USDT", BOOK, received_time=2)
    trade = {"tradeId": "1", "price": "10", "quantity": "1"}
    producer.publish("Trade", "BTC-USDT", trade, received_time=3)
    assert producer.drain(10)
    results: list[Any] = vars(subject.subject)["results"]
    market, book, now, delivered_at = results
    assert (market.last, market.bid, market.ask, market.spread) == (10.0, 9.0, 11.0, 2.0)
    assert str(market) == "bid 9, ask 11, last 10"
    assert book.best_bid.price_decimal == Decimal(9)
    assert (now, delivered_at > 0) == (3, True)
    assert subject.stats()["errors"] == 0


def test_state_without_a_use_in_the_class_is_not_kept(core: Core, host: Host) -> None:
    faults: list[str] = []

    def peek(subject: meltica.Lambda) -> None:
        try:
            subject.market("BTC-USDT")
        except LambdaError as error:
            faults.append(str(error))

    class Indirect(Trades):
        def on_start(self) -> None:
            peek(self)

    add_instance(host, Indirect, id="x", scope={"p": "*"}).start()
    assert "no method of Indirect calls it; add 'BookSnapshot' or 'Ticker' or 'Trade' to `needs`" in faults[0]


def test_emitted_payloads_are_json_of_limited_size() -> None:
    assert encode("x", {"a": Decimal("1.10"), "é": None}, 100) == '{"a":"1.10","é":null}'
    with pytest.raises(
        LambdaError, match=r"emit 'x': the payload cannot be encoded as JSON: set has no JSON representation"
    ):
        encode("emit 'x': the payload", {1}, 100)
    with pytest.raises(LambdaError, match="cannot be encoded as JSON"):
        encode("x", float("nan"), 100)
    with pytest.raises(LambdaError, match=r"at most 10 bytes of JSON, saw 12; make it smaller"):
        encode("x", "é" * 5, 10)


def test_the_names_of_emitted_events_are_short(host: Host) -> None:
    faults: list[str] = []

    class Emits(meltica.Lambda):
        def on_trade(self, trade: meltica.Trade) -> None:
            return None

        def on_start(self) -> None:
            self.emit("x" * 256)
            for name in ("x" * 257, "\N{EURO SIGN}" * 86, " "):
                try:
                    self.emit(name)
                except LambdaError as error:
                    faults.append(str(error))

    add_instance(host, Emits, id="i", scope={"p": ["BTC-USDT"]}).start()
    assert faults == [
        "emit 'xxxxxxxxxxxxxxxxxxxx': expected a name of at most 256 bytes, saw 257",
        "emit '\N{EURO SIGN}\N{EURO SIGN}\N{EURO SIGN}\N{EURO SIGN}\N{EURO SIGN}"
        "\N{EURO SIGN}\N{EURO SIGN}\N{EURO SIGN}\N{EURO SIGN}\N{EURO SIGN}"
        "\N{EURO SIGN}\N{EURO SIGN}\N{EURO SIGN}\N{EURO SIGN}\N{EURO SIGN}"
        "\N{EURO SIGN}\N{EURO SIGN}\N{EURO SIGN}\N{EURO SIGN}\N{EURO SIGN}':"
        " expected a name of at most 256 bytes, saw 258",
        "emit: expected a name, ' ' was given",
    ]


def test_the_size_limit_of_emitted_payloads_is_a_setting(host: Host) -> None:
    faults: list[str] = []

    class Emits(Trades):
        def on_start(self) -> None:
            self.emit("x", "12345678")
            try:
                self.emit("x", "123456789")
            except LambdaError as error:
                faults.append(str(error))

    add_instance(host, Emits, id="x", scope={"p": "*"}, max_payload=10).start()
    assert [text.split("; ")[0] for text in faults] == [
        "emit 'x': the payload: expected at most 10 bytes of JSON, saw 11"
    ]


def test_the_policy_block_is_refused_for_live_providers(host: Host) -> None:
    class Blocks(Trades):
        policies = {"Trade": "block"}

    def add(provider: str) -> None:
        add_instance(host, Blocks, id="x", scope={provider: "*"}, nonblocking=["venue"])

    text = "`block` would make venue wait for this lambda; use drop_oldest"
    with pytest.raises(LambdaDefinitionError, match=text):
        add("venue")
    add("recording")


def test_repeated_errors_do_not_flood_the_log(caplog: pytest.LogCaptureFixture) -> None:
    log = LambdaLogger("flood")
    log.clock = lambda: 7
    report = ErrorLog(log)
    with caplog.at_level(logging.INFO):
        for _ in range(1000):
            report("Trade", ValueError("x"))
        report("every", ValueError("x"))
        report("Trade", meltica.LambdaStopped())
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == 5 + 3 + 1 + 1
    assert texts[-3] == "Trade raised ValueError (number 1,000)"
    assert "was interrupted" in texts[-1]
    assert {getattr(record, "event_time", None) for record in caplog.records} == {7}
