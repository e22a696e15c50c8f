"""Lambdas that trade, where nothing is traded: in a replay, and before the instance exists."""

from typing import Any

import pytest

import meltica
from meltica._core import Core
from meltica.errors import LambdaError, OrderRefused
from meltica.lambdas.instances import add_instance
from meltica.testing import event, replay

TRADE = event("Trade", "BTC-USDT", at=1, price="100", quantity="1")


class Tries(meltica.Lambda):
    """Tries everything that a replay refuses."""

    def on_start(self) -> None:
        self.refusals: list[str] = []
        self.loaded = False

    def on_load(self, state: object) -> None:
        self.loaded = True

    def on_trade(self, trade: meltica.Trade) -> None:
        for attempt in (
            lambda: self.buy(trade.symbol, 1),
            lambda: self.sell(trade.symbol, "all"),
            lambda: self.instrument(trade.symbol),
        ):
            try:
                attempt()
            except OrderRefused as refused:
                self.refusals.append(str(refused))
        self.cancel_all()
        self.seen: tuple[Any, ...] = (
            self.trading,
            list(self.orders()),
            self.order("x"),
            self.position("BTC/USDT").quantity,
            self.position(trade.symbol).flat,
            self.balance("USDT"),
            self.fees(trade.symbol),
            self.pnl().net,
            self.close(trade.symbol),
        )

    def on_save(self) -> object:
        raise AssertionError("a replay saves nothing")


def test_a_replay_refuses_orders_with_a_reason() -> None:
    run = replay(Tries, [TRADE])
    reason = (
        "replay: a replay places no orders; "
        "run the lambda in the gateway with `dryRun: true` to trade on paper"
    )
    assert run.instance.refusals == [reason] * 3
    assert run.instance.seen == ((False, "replay"), [], None, 0, True, None, None, 0, None)
    assert (run.instance.loaded, run.report["callback_errors"]) == (False, 0)


def test_a_refusal_that_a_lambda_does_not_catch_is_an_error_of_its_callback() -> None:
    class Buys(meltica.Lambda):
        def on_trade(self, trade: meltica.Trade) -> None:
            self.buy(trade.symbol, 1)

    run = replay(Buys, [TRADE], allow_errors=True)
    assert run.report["callback_errors"] == 1
    assert run.report["lambdas"][0]["last_error"].startswith(
        "OrderRefused: replay: a replay places no orders"
    )


def test_helpers_cannot_be_used_before_the_instance_exists() -> None:
    class Early(meltica.Lambda):
        places_orders = True

    subject = Early()
    for use in (lambda: subject.buy("BTC-USDT", 1), lambda: subject.trading, subject.pnl):
        with pytest.raises(LambdaError, match="before the instance exists"):
            use()


def test_a_class_that_does_not_trade_has_no_helpers_of_trading() -> None:
    faults: list[str] = []

    def buy(subject: meltica.Lambda) -> None:
        try:
            subject.buy("BTC-USDT", 1)
        except LambdaError as error:
            faults.append(str(error))

    class Quiet(meltica.Lambda):
        def on_start(self) -> None:
            buy(self)

        def on_trade(self, trade: meltica.Trade) -> None: ...

    host = Core().host("thread")
    instance = add_instance(host, Quiet, id="x", scope={"p": "*"})
    assert instance.trading is None
    instance.start()
    assert host.stop()
    assert faults == [
        "self.buy is not available: no method of Quiet uses it, so the lambda does not trade; "
        "set `places_orders = True` in the class"
    ]


def test_a_lambda_that_trades_needs_no_events() -> None:
    class Timed(meltica.Lambda):
        def on_order_filled(self, order: meltica.Order, fill: meltica.Fill | None) -> None: ...

    host = Core().host("thread")
    add_instance(host, Timed, id="x", scope={"p": "*"}).start()
    assert host.stop()
