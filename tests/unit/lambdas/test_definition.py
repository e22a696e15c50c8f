"""Declarations of Lambda subclasses: faults are reported when the class is defined."""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
import functools
from decimal import Decimal
from typing import Any

import pytest

import meltica
from meltica._core import FILTER_FIELDS
from meltica.errors import LambdaDefinitionError
from meltica.lambdas.base import Filter, Lambda
from meltica.lambdas.definition import KINDS, TRADING_CALLBACKS, TRADING_HELPERS, does_trade, helpers_used
from meltica.lambdas.strategy import describe, subscribed


def define(**members: Any) -> type[Lambda]:
    return type("Defined", (Lambda,), members)


def fault(**members: Any) -> str:
    with pytest.raises(LambdaDefinitionError) as caught:
        define(**members)
    return str(caught.value)


def test_overriding_a_callback_subscribes_to_its_kind() -> None:
    class Both(Lambda):
        needs = {"Ticker"}

        def on_trade(self, trade: meltica.Trade) -> None: ...
        def on_book_snapshot(self, book: meltica.BookSnapshot) -> None: ...

    class Child(Both):
        def on_extension(self, extension: meltica.Extension) -> None: ...

    assert subscribed(Both) == ["Trade", "Ticker", "BookSnapshot"]
    assert subscribed(Child) == ["Trade", "Ticker", "BookSnapshot", "Extension"]
    assert subscribed(Lambda) == []


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("on_trades", "on_trade"),
        ("on_tick", "on_ticker"),
        ("on_book", "on_book_snapshot"),
        ("onTrade", "on_trade"),
        ("on_init", "on_"),
    ],
)
def test_misspelt_callbacks_are_refused(name: str, nearest: str) -> None:
    text = fault(**{name: lambda self, event: None})
    assert f"`{name}` is not a callback" in text
    assert nearest in text


def test_async_and_generator_callbacks_are_refused() -> None:
    async def coroutine(self: Lambda, event: object) -> None: ...
    async def stream(self: Lambda, event: object) -> Any:
        yield event

    def generator(self: Lambda, event: object) -> Any:
        yield event

    @functools.wraps(coroutine)
    def wrapped(*args: Any) -> Any: ...

    assert "async def" in fault(on_trade=coroutine)
    assert "async def" in fault(on_trade=stream)
    assert "async def" in fault(on_trade=wrapped)
    assert "yield" in fault(on_trade=generator)
    assert "async def" in fault(on_start=coroutine)


@pytest.mark.parametrize(
    "callback",
    [
        lambda self: None,
        lambda: None,
        lambda self, a, b: None,
        lambda self, trade, *, key: None,
        staticmethod(lambda: None),
        classmethod(lambda cls: None),
        functools.partial(lambda: None),
    ],
)
def test_wrong_signatures_are_refused(callback: object) -> None:
    assert "one argument besides self: write `def on_trade(self, event)`" in fault(on_trade=callback)


@pytest.mark.parametrize(
    "callback",
    [
        lambda self, trade: None,
        lambda self, trade, extra=None, *, key=1: None,
        lambda self, *args: None,
        lambda *args, **keywords: None,
        staticmethod(lambda trade: None),
        classmethod(lambda cls, trade: None),
        functools.partial(lambda trade: None),
    ],
)
def test_compatible_signatures_are_accepted(callback: object) -> None:
    assert subscribed(define(on_trade=callback)) == ["Trade"]


def test_life_cycle_callbacks_take_no_arguments() -> None:
    assert "no argument besides self: write `def on_start(self)`" in fault(on_start=lambda self, event: None)
    define(on_start=lambda self: None, on_stop=lambda self: None)


def test_a_callback_must_be_a_function() -> None:
    assert "`on_trade` must be a function, NoneType was given" in fault(on_trade=None)


def test_the_fault_of_an_unknown_kind_names_the_nearest() -> None:
    assert "unknown kind 'Tickers'; did you mean `Ticker`?" in fault(needs={"Tickers"})
    assert "unknown kind 'trade'; did you mean `Trade`?" in fault(filters={"trade": []})
    assert "unknown kind 'Book'" in fault(policies={"Book": "block"})
    assert "must be a set of kinds" in fault(needs="Ticker")


@pytest.mark.parametrize(
    ("filters", "text"),
    [
        ({"Trade": Filter("side", "eq", "Buy")}, "must be a list of Filter"),
        ({"Trade": [Filter("price", "in", range(2))]}, "`in` on 'price' takes a list of values"),
        ({"Trade": [Filter("price", "in", list(range(1001)))]}, "expected at most 1000 values"),
        ({"Trade": [Filter("side", "eq", "Buy")] * 17}, "must have at most 16 conditions, 17 were given"),
        ({"Trade": ["side"]}, "must hold Filter(field, operator, value)"),
        ({"Trade": [Filter("side", "equals", "Buy")]}, "operator 'equals' of 'side' is unknown"),
        ({"Trade": [Filter("side", "in", "Buy")]}, "`in` on 'side' takes a list of values"),
        ({"Trade": [Filter("side", "eq", ["Buy"])]}, "`eq` on 'side' takes one value"),
        (
            {"Trade": [Filter("prise", "eq", 1)]},
            "Trade has no field 'prise' to filter on; did you mean `price`?",
        ),
        ({"BookSnapshot": [Filter("bids", "eq", 1)]}, "BookSnapshot has no field 'bids' to filter on"),
        ({"Trade": [Filter("side", "eq", "BUY")]}, "expected Buy or Sell to compare `side` with, saw `BUY`"),
        ({"Trade": [Filter("side", "in", ["Buy", "Sel"])]}, "saw `Sel`"),
        ({"Trade": [Filter("side", "in", [])]}, "expected one value or more for the operator `in`, saw 0"),
        ({"Trade": [Filter("side", "eq", True)]}, "expected Buy or Sell to compare `side` with, saw `true`"),
        ({"Trade": [Filter("price", "eq", "cheap")]}, "expected a number to compare `price` with"),
        ({"Trade": [Filter("price", "eq", float("nan"))]}, "expected a number to compare `price` with"),
        ({"Trade": [Filter("price", "eq", True)]}, "expected a number to compare `price` with"),
        (
            {"Trade": [Filter("price", "prefix", "6")]},
            "expected text for the operator `prefix`, and `price` is a number",
        ),
        (
            {"KlineSummary": [Filter("closed", "eq", "yes")]},
            "expected true or false to compare `closed` with",
        ),
        ({"KlineSummary": [Filter("interval", "eq", None)]}, "expected text, a number, True or False"),
        ([], "must be a dict"),
    ],
)
def test_filters_are_checked(filters: object, text: str) -> None:
    assert text in fault(filters=filters)


def test_all_faults_of_filters_are_reported_at_once() -> None:
    with pytest.raises(LambdaDefinitionError) as caught:
        define(
            filters={
                "Trade": [Filter("prise", "eq", 1), Filter("side", "is", "Buy"), Filter("side", "eq", "Up")],
                "Tickers": [Filter("bid", "eq", 1)],
            }
        )
    assert len(caught.value.faults) == 4


@pytest.mark.parametrize(
    "condition",
    [
        Filter("side", "eq", meltica.Side.BUY),
        Filter("side", "in", {"Buy", meltica.Side.SELL}),
        Filter("side", "prefix", "B"),
        Filter("price", "eq", 61000),
        Filter("price", "neq", 0.1),
        Filter("price", "in", (Decimal("1.50"), "2e3", 1e-7)),
        Filter("trade_id", "prefix", "17"),
        ("trade_id", "eq", 17),
    ],
)
def test_filters_that_an_event_can_match_are_accepted(condition: tuple[str, str, object]) -> None:
    define(filters={"Trade": [condition]}, on_trade=lambda self, trade: None)


def test_each_field_of_the_core_can_be_used_in_filters() -> None:
    for kind in KINDS:
        for field in FILTER_FIELDS[kind]:
            assert hasattr(getattr(meltica, kind), field) or kind == "InstrumentUpdate", (kind, field)
            with pytest.raises(LambdaDefinitionError, match=f"of '{field}' is unknown"):
                define(filters={kind: [Filter(field, "near", "x")]})


@pytest.mark.parametrize(
    ("policies", "text"),
    [
        ({"Trade": "conflate"}, "Trade events cannot be conflated"),
        ({"Ticker": "conflat"}, "did you mean `conflate`?"),
        ({"BalanceUpdate": "block"}, "never dropped"),
        ([], "must be a dict"),
    ],
)
def test_policies_are_checked(policies: object, text: str) -> None:
    assert text in fault(policies=policies)


@pytest.mark.parametrize("depth", [0, 5001, True, "25", 2.0])
def test_book_depth_is_checked(depth: object) -> None:
    assert "`book_depth` must be 1 to 5000 levels" in fault(book_depth=depth)


def test_all_faults_are_reported_at_once() -> None:
    with pytest.raises(LambdaDefinitionError) as caught:
        define(on_trades=lambda self: None, needs={"X"}, book_depth=0)
    assert len(caught.value.faults) == 3


def test_a_config_must_be_a_subclass_of_lambda_config() -> None:
    class Config: ...

    assert "`Config` must be a subclass of meltica.LambdaConfig" in fault(Config=Config)


def test_calls_of_helpers_are_detected_in_the_code() -> None:
    class Direct(Lambda):
        def on_start(self) -> None:
            self.market("BTC-USDT")

    class Nested(Lambda):
        def on_start(self) -> None:
            self.every(1, lambda: self.book("BTC-USDT"))

    class Inherited(Direct):
        @property
        def middle(self) -> object:
            return [self.book(symbol) for symbol in ("A-B",)]

    class Unrelated(Lambda):
        def on_start(self) -> None:
            other: Any = object()
            print(other.market, other.book)

    assert helpers_used(Direct, Lambda) == {"market"}
    assert helpers_used(Nested, Lambda) == {"book"}
    assert helpers_used(Inherited, Lambda) == {"market", "book"}
    assert helpers_used(Unrelated, Lambda) == set()


def test_describe() -> None:
    class GridMaker(Lambda):
        """Quotes on a grid.

        More about it.
        """

        version = "1.2"

        class Config(meltica.LambdaConfig):
            levels: int = 5
            """Orders on either side."""
            symbol: str

        def on_trade(self, trade: meltica.Trade) -> None: ...

    levels = {"name": "levels", "type": "int", "description": "Orders on either side.", "default": 5}
    assert describe(GridMaker) == {
        "name": "GridMaker",
        "displayName": "Grid Maker",
        "description": "Quotes on a grid.",
        "version": "1.2",
        "config": [
            {**levels, "required": False},
            {"name": "symbol", "type": "string", "description": "", "required": True},
        ],
        "events": ["Trade"],
    }
    assert "version" not in describe(Lambda)


def test_helpers_cannot_be_used_before_the_instance_exists() -> None:
    subject = define()()
    for use in (
        subject.now,
        lambda: subject.delivered_at,
        lambda: subject.market("BTC-USDT"),
        lambda: subject.book("BTC-USDT"),
        lambda: subject.emit("x", 1),
        lambda: subject.every(1, lambda: None),
    ):
        with pytest.raises(meltica.LambdaError, match="before the instance exists"):
            use()


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("on_order_fill", "on_order_filled"),
        ("on_order_canceled", "on_order_cancelled"),
        ("on_order_partially_filled", "on_order_"),
        ("on_trading_change", "on_trading_changed"),
        ("onOrderFilled", "on_order_filled"),
        ("on_saved", "on_save"),
    ],
)
def test_misspelt_callbacks_of_orders_are_refused(name: str, nearest: str) -> None:
    text = fault(**{name: lambda self, *_: None})
    assert f"`{name}` is not a callback" in text
    assert nearest in text


@pytest.mark.parametrize(
    ("name", "callback", "form"),
    [
        (
            "on_order_filled",
            lambda self, order: None,
            "two arguments besides self: write `def on_order_filled(self, order, fill)`",
        ),
        (
            "on_order_cancelled",
            lambda self, order, fill: None,
            "one argument besides self: write `def on_order_cancelled(self, order)`",
        ),
        (
            "on_trading_changed",
            lambda self, on: None,
            "three arguments besides self: write `def on_trading_changed(self, provider, on, why)`",
        ),
        ("on_save", lambda self, state: None, "no argument besides self: write `def on_save(self)`"),
        ("on_load", lambda self: None, "one argument besides self: write `def on_load(self, state)`"),
    ],
)
def test_callbacks_of_orders_take_their_parameters(name: str, callback: Any, form: str) -> None:
    assert fault(**{name: callback}) == f"Defined: `{name}` must take {form}"


def test_callbacks_of_orders_are_plain_functions() -> None:
    async def coroutine(self: Lambda, order: object, fill: object) -> None: ...

    assert "async def" in fault(on_order_filled=coroutine)
    assert "`places_orders` must be True or False, 1 was given" in fault(places_orders=1)


@pytest.mark.parametrize("name", TRADING_CALLBACKS)
def test_a_class_with_a_callback_of_orders_trades(name: str) -> None:
    assert does_trade(define(**{name: lambda self, *_: None}), Lambda)


@pytest.mark.parametrize("name", sorted(TRADING_HELPERS))
def test_a_class_that_reads_a_trading_helper_trades(name: str) -> None:
    space: dict[str, Any] = {}
    exec(f"def on_trade(self, trade):\n    return [self.{name} for _ in range(2)]", space)
    assert does_trade(define(on_trade=space["on_trade"]), Lambda)


def test_trading_helpers_are_members_of_a_lambda() -> None:
    assert all(hasattr(Lambda, name) for name in TRADING_HELPERS)


def test_a_class_may_say_that_it_trades() -> None:
    def outside(subject: Lambda) -> None:
        subject.buy("BTC-USDT", 1)

    def on_trade(self: Lambda, trade: object) -> None:
        outside(self)

    assert not does_trade(define(on_trade=on_trade), Lambda)
    assert does_trade(define(on_trade=on_trade, places_orders=True), Lambda)


def test_a_class_that_has_names_of_helpers_for_its_own_does_not_trade() -> None:
    class Counts(Lambda):
        position: Any = 0

        def on_start(self) -> None:
            self.fills: Any = 0

        def close(self) -> None:  # type: ignore[override]
            self.fills += self.position

        def on_trade(self, trade: meltica.Trade) -> None:
            print(self.fills, self.position, self.close())

    assert not does_trade(Counts, Lambda)


def test_a_class_that_extends_a_helper_trades() -> None:
    class Logs(Lambda):
        def buy(self, *arguments: Any, **options: Any) -> Any:
            self.log.info("buys")
            return super().buy(*arguments, **options)

        def on_trade(self, trade: meltica.Trade) -> None:
            self.buy("BTC-USDT", 1)

    assert does_trade(Logs, Lambda)
