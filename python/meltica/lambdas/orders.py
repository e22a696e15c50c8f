"""The trading side of `Lambda`: orders, positions, balances, their callbacks, and checkpoints."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from meltica.model.enums import Side

if TYPE_CHECKING:
    from decimal import Decimal
    from uuid import UUID

    from meltica.model.account import FeeRates
    from meltica.model.fills import Fill
    from meltica.model.instruments import Instrument
    from meltica.model.trader import Number, Order, PnlView, PositionView, Trader, TradingStatus


class TradingMethods:
    """What a strategy trades with. `Lambda` inherits it.

    A class that uses one of these helpers, or overrides one of these callbacks, trades; no declaration is
    needed. Its instance starts when the accounts of its providers are reconciled. Money is exact: quantities,
    prices, balances and fees are `decimal.Decimal`. Times are in ns since 1970-01-01 UTC.

    For example:

        class Dip(meltica.Lambda):
            def on_ticker(self, ticker: meltica.Ticker) -> None:
                if self.trading and not self.orders() and ticker.ask < 100:
                    self.buy(ticker.symbol, "0.5", price=ticker.ask_decimal)

            def on_order_filled(self, order: meltica.Order, fill: meltica.Fill | None) -> None:
                self.log.info("position %s", self.position(order.symbol).quantity)
    """

    places_orders: ClassVar[bool] = False
    """Whether the lambda trades, for helpers that are used only outside the methods of the class."""

    if TYPE_CHECKING:

        def _trading(self, helper: str) -> Trader: ...

    # Callbacks: order, position and balance already hold what they report.

    def on_order_acknowledged(self, order: "Order", /) -> None:
        """Called when the venue has accepted an order."""

    def on_order_partial_fill(self, order: "Order", fill: "Fill", /) -> None:
        """Called for a fill after which a part of the order remains.

        Also called for a fill that is reported after the order has ended; position and fees include it.
        """

    def on_order_filled(self, order: "Order", fill: "Fill | None", /) -> None:
        """Called for the fill that completes an order.

        `fill` is None when the order was completed without one: by an amendment down to what was filled.
        """

    def on_order_cancelled(self, order: "Order", /) -> None:
        """Called when an order has ended before it was filled: by a cancel, or as IOC or FOK.

        `order.reason` says why, `order.filled_quantity` how much was filled.
        """

    def on_order_rejected(self, order: "Order", /) -> None:
        """Called when an order did not reach the venue, or the venue refused it; `order.reason` says why."""

    def on_order_expired(self, order: "Order", /) -> None:
        """Called when an order has ended because its time was up."""

    def on_order_unknown(self, order: "Order", /) -> None:
        """Called when it is unknown whether an order is at the venue, because an answer was lost.

        Meltica queries the venue until it is certain. Until then, new orders of the symbol are refused.
        """

    def on_order_amended(self, order: "Order", /) -> None:
        """Called when the venue has changed an order as requested."""

    def on_order_amend_rejected(self, order: "Order", /) -> None:
        """Called when an amendment was refused; `order.reason` says why. The order is as before."""

    def on_order_cancel_rejected(self, order: "Order", /) -> None:
        """Called when the venue refused a cancel; `order.reason` says why. The cancel is repeated."""

    def on_trading_changed(self, provider: str, on: bool, why: str | None, /) -> None:
        """Called when orders begin or cease to go out at a provider, for example after a halt or a reconnect.

        `why` says why they do not go out. When a lambda starts, the first call says that they do.
        """

    def on_save(self) -> object:
        """Returns the state to keep over a restart: any value that JSON can represent, at most 1 MiB.

        Called every 10 s, after `on_stop`, and after `on_start` when no state was saved before. Decimals are
        saved as strings. What was saved last goes to `on_load` at the next start; fills and ends of orders
        after it are then delivered again, with `order.recovered`. So a state that is changed in callbacks of
        orders only is never wrong.
        """
        return None

    def on_load(self, state: object, /) -> None:
        """Called before `on_start` with the state that was saved last; not called if there is none.

        An exception here prevents the instance from starting.
        """

    # Helpers.

    def buy(
        self,
        symbol: str,
        quantity: "Number | None" = None,
        price: "Number | None" = None,
        *,
        cost: "Number | None" = None,
        provider: str | None = None,
        time_in_force: str = "GTC",
        post_only: bool = False,
        reduce_only: bool = False,
        expires_in: float | None = None,
        round: bool = False,
        tag: str | None = None,
    ) -> "Order":
        """Places an order to buy, and returns it in the state PENDING; what happens next is a callback.

        `self.buy("BTC-USDT", "0.5", 60_000)` is a limit order of 0.5 BTC at 60,000 USDT,
        `self.buy("BTC-USDT", cost=100)` a market order for about 100 USDT.

        - `quantity`: in base. A number may be Decimal, str, int or float.
        - `price`: the limit, in quote; None for a market order, which never trades beyond the price band.
        - `cost`: instead of `quantity`, the amount of quote to spend; the quantity is rounded down.
        - `provider`: needed if several providers of the scope have the symbol.
        - `time_in_force`: `GTC`, `IOC` or `FOK`.
        - `post_only`: the venue rejects the order rather than let it take liquidity.
        - `reduce_only`: the order is refused if it could increase a position.
        - `expires_in`: seconds after which the order is cancelled.
        - `round`: rounds quantity and price to the instrument's increments: quantity and the price to buy
          down, the price to sell up. Without it, a number between two increments is refused.
        - `tag`: a text of your own, for `orders(tag=...)`.

        Raises OrderRefused, whose `rule` names what refused the order: a rule of the instrument, a risk
        limit, the balance, or that orders do not go out now. Nothing else happens then.
        """
        return self._trading("buy").place(
            Side.BUY,
            symbol,
            quantity,
            price,
            cost=cost,
            provider=provider,
            time_in_force=time_in_force,
            post_only=post_only,
            reduce_only=reduce_only,
            expires_in=expires_in,
            round=round,
            tag=tag,
        )

    def sell(
        self,
        symbol: str,
        quantity: "Number | Literal['all'] | None" = None,
        price: "Number | None" = None,
        *,
        cost: "Number | None" = None,
        provider: str | None = None,
        time_in_force: str = "GTC",
        post_only: bool = False,
        reduce_only: bool = False,
        expires_in: float | None = None,
        round: bool = False,
        tag: str | None = None,
    ) -> "Order":
        """Places an order to sell; as `buy`.

        `self.sell("BTC-USDT", "all")` sells the whole position down to the lot. At a spot market, a lambda
        sells at most its own position. Raises OrderRefused.
        """
        return self._trading("sell").place(
            Side.SELL,
            symbol,
            quantity,
            price,
            cost=cost,
            provider=provider,
            time_in_force=time_in_force,
            post_only=post_only,
            reduce_only=reduce_only,
            expires_in=expires_in,
            round=round,
            tag=tag,
        )

    def cancel(self, order: "Order") -> None:
        """Requests the end of an order: `self.cancel(order)`; the order then has `pending_cancel`.

        The request is repeated until the venue reports the end, as `on_order_cancelled` or a last fill. It
        also goes out while orders do not, and in `on_stop`. Nothing happens for an order that has ended.
        """
        self._trading("cancel").cancel(order)

    def amend(
        self, order: "Order", *, price: "Number | None" = None, quantity: "Number | None" = None
    ) -> None:
        """Requests another price or quantity of an open order: `self.amend(order, price="59990.5")`.

        `quantity` is the whole one, in base, fills included. The order has `pending_amend` until
        `on_order_amended` or `on_order_amend_rejected`; it is one amendment at a time. Raises OrderRefused:
        `amend_unsupported` where the venue cannot, otherwise as `buy`.
        """
        self._trading("amend").amend(order, price=price, quantity=quantity)

    def cancel_all(self, symbol: str | None = None) -> None:
        """Requests the end of all open orders of this lambda, of one symbol or all; as `cancel`."""
        self._trading("cancel_all").cancel_all(symbol)

    def close(self, symbol: str, provider: str | None = None) -> "Order | None":
        """Cancels the orders of a symbol and sells its position at the market: `self.close("BTC-USDT")`.

        Returns the order that sells. Returns None without a position, or if what is left is too little for an
        order. Also returns None if orders of the symbol are open: the sale then follows their ends, so that
        it never sells more than the position. Its order has the tag `close` and is reported by callbacks.
        Until it is placed, other orders of the symbol are refused as `closing`; `cancel_all` and a stop end
        that.

        Raises OrderRefused; the cancels are requested all the same.
        """
        return self._trading("close").close(symbol, provider)

    def order(self, id: "UUID | str") -> "Order | None":
        """Returns an order of this lambda by `order.id` or `order.client_order_id`; None for any other.

        Ended orders are kept as well, the last 1,000 of them.
        """
        return self._trading("order").order(id)

    def orders(self, symbol: str | None = None, tag: str | None = None) -> "Sequence[Order]":
        """Returns the open orders, oldest first: `self.orders("BTC-USDT", tag="entry")`.

        An order is one object for life. It changes between callbacks only, so it may be kept and compared.
        """
        return self._trading("orders").orders(symbol, tag)

    def fills(self, order: "Order") -> "Sequence[Fill]":
        """Returns the fills of an order that its callbacks reported, oldest first."""
        return self._trading("fills").fills(order)

    def position(self, symbol: str, provider: str | None = None) -> "PositionView":
        """Returns the position of this lambda in a symbol: `self.position("BTC-USDT").quantity`.

        It is the sum of its own fills. `sellable` is the quantity down to the lot; `flat` says that what is
        left is too little for an order. Raises OrderRefused for a symbol outside the scope.
        """
        return self._trading("position").position(symbol, provider)

    def balance(self, currency: str, provider: str | None = None) -> "Decimal | None":
        """Returns what orders may still spend of a currency: `self.balance("USDT")`.

        Open orders of all lambdas are deducted. None while the balance is unknown: before the account was
        read, and while it cannot be explained.
        """
        return self._trading("balance").balance(currency, provider)

    def fees(self, symbol: str, provider: str | None = None) -> "FeeRates | None":
        """Returns the fee rates of a symbol: `self.fees("BTC-USDT").maker` is 0.001 for 0.1 % of the value.

        A negative rate is a rebate. None while the account is disconnected, and where the venue does not
        state its fees. What was paid is in `order.fees` and `position(symbol).fees`.
        """
        return self._trading("fees").fees(symbol, provider)

    def pnl(self) -> "PnlView":
        """Returns profit and loss over all symbols, since the instance was created: `self.pnl().net`.

        The amounts are in `currency`, the configured `notionalCurrency`. `unvalued` names what has no price
        in it now and is in none of the amounts.
        """
        return self._trading("pnl").pnl()

    def instrument(self, symbol: str, provider: str | None = None) -> "Instrument":
        """Returns the rules of a symbol: `self.instrument("BTC-USDT").price_increment`.

        Raises OrderRefused for a symbol outside the scope, and while the provider has not sent the rules.
        """
        return self._trading("instrument").instrument(symbol, provider)

    @property
    def trading(self) -> "TradingStatus":
        """TradingStatus: Whether orders go out now; true in `if self.trading`, with `why` if not."""
        return self._trading("trading").trading
