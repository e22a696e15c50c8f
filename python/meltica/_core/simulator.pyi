"""The simulated exchange: a matching engine, and a synthetic market on a virtual clock.

Numbers are Decimal, str, int or float; results are exact decimals. `docs/simulator.md` has the rules.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Self, TypeAlias, final, overload

from meltica._core import Producer
from meltica.model.balances import Balance
from meltica.model.books import OrderBook
from meltica.model.fills import EngineTrade, Fill

__all__ = [
    "MatchingEngine",
    "SyntheticMarket",
    "VenueOperator",
]

_Number: TypeAlias = Decimal | str | float

@final
class SyntheticMarket:
    """A market with background traders on a virtual clock, and accounts that trade on it.

    Background traders and accounts share the book of each symbol. With a `producer`, market data and the reports of the
    first account are published there. Without one they become frames, as described in `docs/venue.md`, which `poll`
    returns. Equal options and equal calls at equal virtual times give equal events and equal faults.

    `options` and `symbols` come from `meltica.simulator.settings`; `accounts` has the balances by currency, by the
    account's name. Methods without an `account` use the first one.

    Raises `ConfigError`, which lists every fault.
    """

    TAKERS: Final[float]
    """The smallest part of the background traders' actions that take liquidity."""

    def __new__(
        cls,
        producer: Producer | None,
        options: Mapping[str, object],
        symbols: Sequence[Mapping[str, object]],
        accounts: Mapping[str, Mapping[str, Decimal | str]],
    ) -> Self: ...
    @property
    def now(self) -> int:
        """The virtual time, in ns."""
    def announce(self) -> None:
        """Publishes every instrument and every balance."""
    def run(self, *, speed: float | None = None, until: int | None = None) -> None:
        """Runs until the virtual time `until` or `Producer.stop`.

        `speed` is relative to the wall clock, above 0 and at most 1e6; None runs as fast as possible.

        Raises `ValueError` for another speed, or for a market without a producer.
        """
    def advance(self, until: int) -> None:
        """Advances the virtual clock to `until`, in ns. An earlier time changes nothing."""
    @overload
    def submit(
        self,
        client_order_id: str,
        symbol: str,
        side: str,
        quantity: _Number,
        price: _Number | None = None,
        time_in_force: str = "GTC",
        post_only: bool = False,
        *,
        account: str | None = None,
        delay: None = None,
    ) -> str:
        """Submits an order at the current virtual time and returns the venue's id of it.

        The reports on the order are published as well. Numbers are as for `MatchingEngine.submit`. An order with an
        empty id is one of another client of the account. With a `delay` (virtual ns), the market carries the request out
        that much later, and None is returned. Raises `OrderRefused`; the order then changes nothing.
        """
    @overload
    def submit(
        self,
        client_order_id: str,
        symbol: str,
        side: str,
        quantity: _Number,
        price: _Number | None = None,
        time_in_force: str = "GTC",
        post_only: bool = False,
        *,
        account: str | None = None,
        delay: int,
    ) -> None:
        """Submits an order at the current virtual time and returns the venue's id of it.

        The reports on the order are published as well. Numbers are as for `MatchingEngine.submit`. An order with an
        empty id is one of another client of the account. With a `delay` (virtual ns), the market carries the request out
        that much later, and None is returned. Raises `OrderRefused`; the order then changes nothing.
        """
    def cancel(self, client_order_id: str, *, account: str | None = None, delay: int | None = None) -> None:
        """Cancels an open order, after a `delay` (virtual ns) if given. Raises `OrderRefused` if the order is not open."""
    def cancel_all(self, symbol: str | None = None, *, account: str | None = None) -> list[str]:
        """Cancels all open orders, or those of a symbol; returns their client order ids, oldest first."""
    def amend(
        self,
        client_order_id: str,
        quantity: _Number | None = None,
        price: _Number | None = None,
        *,
        account: str | None = None,
        delay: int | None = None,
    ) -> None:
        """Changes an open order, as `MatchingEngine.amend`, after a `delay` (virtual ns) if given.

        Raises `OrderRefused`; the order is then unchanged.
        """
    def order(self, client_order_id: str, *, account: str | None = None) -> dict[str, Any] | None:
        """Returns the latest report on an order with its `symbol` and `time` (virtual ns); None if it is unknown.

        The venue keeps open orders and the last 100,000 closed ones.
        """
    def open_orders(self, *, account: str | None = None) -> list[dict[str, Any]]:
        """Returns the open orders, oldest first, in the form of `order`."""
    def fills_since(
        self, number: int = 0, *, time: int = 0, limit: int | None = None, account: str | None = None
    ) -> list[Fill]:
        """Returns the fills numbered above `number` and not before `time` (virtual ns), at most the first `limit`.

        The venue keeps the last 1,048,576 fills.
        """
    def balances(self, *, account: str | None = None) -> dict[str, Balance]:
        """Returns the account's balances, by currency."""
    def ledger(self) -> dict[str, Any]:
        """Returns all balances of the market: the totals of each currency add up to zero.

        - `time`: the virtual time, in ns
        - `accounts`: name -> currency -> Balance
        - `outside`: currency -> total of the background traders
        - `fees`: currency -> total of the fees
        - `fills`: the number of fills so far
        """
    def book(self, symbol: str, depth: int | None = None) -> OrderBook:
        """Returns the best `depth` levels of each side, or the whole book.

        Raises `ValueError` for an unknown symbol.
        """
    def request_fate(self, kind: str | None = None) -> tuple[int, str | int | None]:
        """Draws the latency of one request (virtual ns) and its failure.

        The failure is `before` or `after` execution, `never` executed with the answer lost, the delay (virtual ns) after
        which it is to be executed with the answer lost, or None. `kind` is `submit`, `cancel` or `amend`, or None for a
        query.
        """
    @property
    def operator(self) -> VenueOperator:
        """The operator of the venue: deposits, fees, and simulated faults on demand."""
    @property
    def connected(self) -> bool:
        """Whether clients are connected."""
    @property
    def cuts(self) -> int:
        """How many times all connections were cut. Compare it to notice a cut that is already over."""
    def pace(self, speed: float) -> None:
        """Lets the virtual clock run at `speed` times the wall clock from now on.

        Raises `ValueError` for a market with a producer, or unless 0 < speed <= 1e6.
        """
    def poll(self) -> list[tuple[str, str]]:
        """Advances to the current time and returns the new frames in order, as (channel, frame).

        Raises `ValueError` for a market with a producer.
        """
    def wake_in(self) -> float:
        """Returns for how many seconds of the wall clock nothing is due, at most 0.05.

        Raises `ValueError` before `pace`.
        """
    def lag(self) -> float:
        """Returns how many seconds of the wall clock the market is behind its pace, 0.0 without `pace`.

        More than a few milliseconds mean that the machine is too slow for the pace.
        """
    def want(self, channel: str, wanted: bool) -> None:
        """Starts or stops making the frames of a channel.

        Channels are `trade:BTC-USDT`, `ticker:..`, `depth:..`, `candle:..`, `instruments` and `account:NAME`. Raises
        `ValueError` for an unknown channel, or for a market with a producer.
        """
    def depth(self, symbol: str, limit: int | None = None) -> bytes:
        """Returns a frame with the best `limit` levels of each side, or the whole book."""

@final
class VenueOperator:
    """The operator of a `SyntheticMarket`: deposits and withdrawals, fees, and simulated faults on demand.

    Methods without an `account` use the first one.
    """

    def transfer(self, currency: str, amount: _Number, *, account: str | None = None) -> str:
        """Deposits an amount into an account, or withdraws a negative one; returns the venue's id of the transfer.

        The balance is published with the transfer. Raises `OrderRefused` with `insufficient_funds` if less is available.
        """
    def set_fees(
        self, maker: _Number, taker: _Number, currency: str = "quote", price: _Number | None = None
    ) -> None:
        """Changes the fee rates of later trades, also of open orders; a negative rate is a rebate.

        `currency` is `quote`, `base`, `received`, or a currency of the symbols with its `price` in quote. In a trade of
        that currency, or of an account with too little of it, the fee is charged in what was received.

        Raises `ConfigError` for values that do not fit, or when an account cannot pay the new fees of its open orders.
        """
    def cancel(self, symbol: str, venue_order_id: str, *, account: str | None = None) -> None:
        """Cancels an open order of an account by the venue's id. Raises `OrderRefused` if the order is not open."""
    def forget(self, client_order_id: str, *, account: str | None = None) -> None:
        """Forgets an order: it leaves the book without a report, and queries no longer find it.

        Its fills remain. Raises `OrderRefused` if the order is unknown.
        """
    def resend_older_balance(self, currency: str, *, account: str | None = None) -> bool:
        """Publishes the balance before the last one again, with its time; returns False if there was none."""
    def mute(self, muted: bool) -> None:
        """Loses the reports and balances of all accounts from now on, or publishes them again."""
    def set_report_faults(
        self, *, withhold_fills: bool | None = None, fills_after_end: bool | None = None
    ) -> None:
        """Starts or ends faults of reports; None changes nothing.

        - `withhold_fills`: new fills are neither reported nor listed; at the end of the fault they are listed.
        - `fills_after_end`: a fill that leaves its order open is reported after the end of the order, or of the fault.
        """
    def lose_answers(self, kind: str, count: int = 1, carried_out_after: int | None = None) -> None:
        """Loses the answers to the next `count` requests of a kind: `submit`, `cancel` or `amend`.

        The venue carries them out after `carried_out_after` virtual ns, at most 10 s, or never for None.

        Raises `ConfigError` for another delay.
        """
    def disconnect(self, duration: int | None = None) -> None:
        """Cuts all connections for `duration` virtual ns, or for as long as the behavior says."""
    def set_behavior(self, changes: dict[str, Any]) -> None:
        """Changes fault settings (times in ns). Raises `ConfigError`; the behavior is then unchanged."""
    def rest(self, resting: bool) -> None:
        """Pauses or resumes the background traders; clock, candles and accounts go on."""
    def skip_depth(self, symbol: str, frames: int = 1) -> None:
        """Drops the next depth frames of a symbol. Raises `ValueError` for a market with a producer."""
    @property
    def faults(self) -> dict[str, Any]:
        """The current faults: `muted`, `withhold_fills`, `fills_after_end`, and `lost_answers` by kind."""

@final
class MatchingEngine:
    """A limit order book of one instrument with price-time priority; `docs/simulator.md` has the rules.

    Without options the only limits are those of the numbers (64 bits, 8 decimal places): no fees, no balances. With
    `balances`, by account and currency, orders of these accounts need funds and reserve them; other accounts are
    refused, and orders without an account have unlimited funds.

    Fees are rates (0.001 is 0.1 %), charged in `quote`, in `base`, or in the currency that each side has `received`.
    `self_trade` says what happens when two orders of one account meet: `allow`, `expire_taker`, `expire_maker` or
    `expire_both`.

    Raises `ConfigError`, which lists every fault.
    """

    def __new__(
        cls,
        symbol: str = "BASE-QUOTE",
        *,
        tick_size: _Number | None = None,
        lot_size: _Number | None = None,
        min_quantity: _Number | None = None,
        max_quantity: _Number | None = None,
        min_notional: _Number | None = None,
        maker_fee: _Number | None = None,
        taker_fee: _Number | None = None,
        fee_in: str = "quote",
        self_trade: str = "allow",
        balances: Mapping[str, Mapping[str, _Number]] | None = None,
    ) -> Self: ...
    @property
    def symbol(self) -> str:
        """The instrument, such as `BTC-USDT`."""
    def submit(
        self,
        order_id: str | int,
        side: str,
        quantity: _Number,
        price: _Number | None = None,
        time_in_force: str = "GTC",
        post_only: bool = False,
        account: str | None = None,
        *,
        self_trade: str | None = None,
    ) -> list[EngineTrade]:
        """Matches a new order and returns its fills.

        `side` is `buy` or `sell` in any case, `time_in_force` is GTC, IOC or FOK. An order without a price is a market
        order: what it cannot fill expires. A sell at price 0 is one too.

        A float is rounded to the instrument's increment (quantity down, buy price down, sell price up) and refused if
        that changes it by more than 1e-9 of its value. Other types must be on the increment.

        Raises `OrderRefused`; the order then changes nothing and its id may be used again.
        """
    def amend(
        self,
        order_id: str | int,
        quantity: _Number | None = None,
        price: _Number | None = None,
    ) -> list[EngineTrade]:
        """Changes an open order and returns the fills that its new price causes.

        `quantity` is the total quantity, including what is filled: at or below the filled quantity, the order is
        cancelled. A lower quantity at the same price keeps the place in the queue; any other change loses it.

        Raises `OrderRefused`; the order is then unchanged.
        """
    def cancel(self, order_id: str | int) -> Decimal:
        """Cancels an open order and returns its unfilled quantity. Raises `OrderRefused` if the order is not open."""
    def remaining(self, order_id: str | int) -> Decimal:
        """Returns the quantity that an order still has in the book: 0 once it is filled, cancelled or expired."""
    def book(self, depth: int | None = None) -> OrderBook:
        """Returns the best `depth` levels of each side, or the whole book."""
    def balance(self, account: str) -> dict[str, Balance]:
        """Returns the balances of an account, by currency; negative ones only for an account without a funds check."""
    @property
    def fees(self) -> dict[str, Decimal]:
        """All fees charged so far, by currency."""
