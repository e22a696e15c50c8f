"""The rules that an order is checked against, in the order of the checks.

Each function raises `OrderRefused` for the first rule that is broken. `docs/risk.md` describes every rule.
"""

from decimal import Decimal
from enum import StrEnum
from typing import NoReturn, Protocol

from meltica.errors import OrderRefused
from meltica.model.enums import OrderType, Side, TimeInForce
from meltica.model.instruments import Instrument
from meltica.trading.exact import ZERO
from meltica.trading.risk.market import Market, Quote, rate
from meltica.trading.risk.scopes import Lane

_MOST = Decimal("1E28")
_FINEST = Decimal("1E-28")
"""Numbers between these two keep every sum and product exact."""

_GTC, _BUY, _MARKET = TimeInForce.GTC, Side.BUY, OrderType.MARKET


class Rule(StrEnum):
    """The rules, in the order of the checks."""

    OUT_OF_SCOPE = "out_of_scope"
    HALTED = "halted"
    BREAKER_OPEN = "breaker_open"
    NOT_RECONCILED = "not_reconciled"
    UNKNOWN_ORDER = "unknown_order"
    ORDER_ENDED = "order_ended"
    AMENDMENT_PENDING = "amendment_pending"
    DIFFERENCE = "difference"
    DAILY_LOSS = "max_daily_loss"
    DRAWDOWN = "max_drawdown_percent"
    THROTTLE = "throttle"
    ORDER_TYPE = "order_type"
    INVALID_ORDER = "invalid_order"
    INSTRUMENT = "instrument"
    PRICE_INCREMENT = "price_increment"
    QUANTITY_INCREMENT = "quantity_increment"
    MIN_QUANTITY = "min_quantity"
    MAX_QUANTITY = "max_quantity"
    NO_REFERENCE = "no_reference"
    MARKET_STALE = "market_stale"
    FEED_LAG = "feed_lag"
    PRICE_BAND = "price_band"
    BOOK_DEPTH = "book_depth"
    MIN_NOTIONAL = "min_notional"
    MAX_NOTIONAL = "max_notional"
    REDUCE_ONLY = "reduce_only"
    POSITION_TO_SELL = "position_to_sell"
    ORDER_SIZE = "max_order_size"
    POSITION = "max_position_size"
    NO_RATE = "no_rate"
    NOTIONAL = "max_notional_value"
    CONCURRENT_ORDERS = "max_concurrent_orders"
    OPEN_ORDERS = "max_open_orders"
    BALANCE_UNKNOWN = "balance_unknown"
    BALANCE = "insufficient_balance"


BREACHES = frozenset(
    {
        Rule.OUT_OF_SCOPE,
        Rule.ORDER_TYPE,
        Rule.INVALID_ORDER,
        Rule.PRICE_INCREMENT,
        Rule.QUANTITY_INCREMENT,
        Rule.MIN_QUANTITY,
        Rule.MAX_QUANTITY,
        Rule.PRICE_BAND,
        Rule.MIN_NOTIONAL,
        Rule.MAX_NOTIONAL,
        Rule.REDUCE_ONLY,
        Rule.POSITION_TO_SELL,
        Rule.ORDER_SIZE,
        Rule.POSITION,
        Rule.NOTIONAL,
        Rule.CONCURRENT_ORDERS,
        Rule.OPEN_ORDERS,
    }
)
"""The rules whose refusals count as breaches: the strategy could have known better."""


class Balances(Protocol):
    """The balances that risk reads."""

    def spendable(self, provider: str, currency: str) -> Decimal | None:
        """Returns the venue's total with all later fills applied, less the holds of foreign orders.

        Holds of the orders of instances are not subtracted: risk reserves those itself. None while the
        balance is unknown.
        """
        ...


def refuse(rule: Rule, message: str, seen: object = None, limit: object = None) -> NoReturn:
    """Raises the refusal of an order."""
    raise OrderRefused(rule.value, message, seen, limit)


def check_halts(lane: Lane, *, reduce_only: bool) -> None:
    """Checks that no scope is halted."""
    if reduce_only:
        return
    for state in lane.states:
        if state.halt is not None:
            reason = state.halt.reason
            refuse(Rule.HALTED, f"{state.scope} is halted: {reason}; only orders with reduce_only pass")


def check_reconciled(lane: Lane) -> None:
    """Checks that every provider of the instance is reconciled."""
    if not lane.instance.ready:
        refuse(Rule.NOT_RECONCILED, "a provider in the scope of the instance is still reconciling")


def check_unknown(lane: Lane) -> None:
    """Checks that the state of every order of the symbol is known."""
    listing = lane.listing
    if listing.unknown:
        count = len(listing.unknown)
        refuse(Rule.UNKNOWN_ORDER, f"the state of {count} orders of {listing.symbol} is unknown", count, 0)


def check_state(lane: Lane, now: int, *, reduce_only: bool) -> None:
    """Checks halts, the breaker, reconciliation, unknown orders, differences and losses."""
    check_halts(lane, reduce_only=reduce_only)
    if not reduce_only and lane.instance.breaches.is_open(now):
        wait = (lane.instance.breaches.closed_at - now) // 1_000_000
        refuse(Rule.BREAKER_OPEN, f"the circuit breaker is open for another {wait} ms", wait)
    check_reconciled(lane)
    check_unknown(lane)
    if reduce_only:
        return
    for funds in (lane.listing.base, lane.listing.quote):
        if funds.difference:
            name = f"{funds.currency} at {funds.provider}"
            text = f"{name} differs from the venue's balance by {funds.difference}"
            refuse(Rule.DIFFERENCE, text, funds.difference, ZERO)
    for state, loss, has_drawdown in lane.losses:
        if not loss.is_valued(now):
            refuse(Rule.DAILY_LOSS, f"the profit of {state.scope} cannot be valued now")
        if has_drawdown and not loss.base:
            text = f"{state.scope} has neither capital nor equity that a drawdown is measured against"
            refuse(Rule.DRAWDOWN, text)


def check_throttles(lane: Lane, now: int, *, reduce_only: bool) -> None:
    """Checks that each throttle has a token, or for an order that only reduces, its reserve; takes none."""
    reserve = lane.reserve
    if reduce_only:
        if reserve is not None and not reserve.has_token(now):
            text = f"more than {reserve.burst} orders with reduce_only at once, or too many a second"
            refuse(Rule.THROTTLE, text)
        return
    for name, bucket in lane.buckets:
        if not bucket.has_token(now):
            text = f"{name}: more than {bucket.burst} orders at once, or too many orders a second"
            refuse(Rule.THROTTLE, text)


def check_form(
    lane: Lane,
    side: Side,
    kind: OrderType,
    time_in_force: TimeInForce,
    price: Decimal | None,
    *,
    post_only: bool,
) -> Instrument:
    """Checks the combination of an order's fields and returns its instrument."""
    if kind not in lane.limits.allowed_types:
        allowed = ", ".join(sorted(lane.limits.allowed_types)) or "none"
        refuse(Rule.ORDER_TYPE, f"expected one of {allowed}, saw {kind}", str(kind), allowed)
    if side is not _BUY and side is not Side.SELL:
        refuse(Rule.INVALID_ORDER, f"expected a side, saw {side!r}", repr(side))
    if (price is None) != (kind is _MARKET):
        refuse(Rule.INVALID_ORDER, "expected a price for a limit order and none for a market order")
    if post_only and (kind is _MARKET or time_in_force is not _GTC):
        text = f"expected a GTC limit order for post-only, saw {kind} {time_in_force}"
        refuse(Rule.INVALID_ORDER, text, str(time_in_force))
    instrument = check_listed(lane)
    if instrument.type != "spot":
        refuse(Rule.INSTRUMENT, f"expected a spot instrument, saw {instrument.type}", instrument.type, "spot")
    return instrument


def check_listed(lane: Lane) -> Instrument:
    """Checks that the venue trades the symbol now, and returns its instrument."""
    listing = lane.listing
    instrument = listing.instrument
    if instrument is None:
        text = f"{listing.symbol} is not in the instrument list of {listing.provider}"
        refuse(Rule.INSTRUMENT, text)
    if instrument.halted:
        refuse(Rule.INSTRUMENT, f"{listing.provider} has halted trading in {listing.symbol}", "halted")
    return instrument


def check_quantity(instrument: Instrument, quantity: Decimal) -> None:
    """Checks a quantity against the instrument."""
    if not quantity.is_finite() or not ZERO < quantity < _MOST:
        refuse(Rule.INVALID_ORDER, f"quantity: expected a number above 0, saw {quantity}", quantity)
    least, most = instrument.min_quantity, instrument.max_quantity
    step = instrument.quantity_increment or _FINEST
    if most is not None and quantity > most:
        refuse(Rule.MAX_QUANTITY, f"expected at most {most}, saw {quantity}", quantity, most)
    if quantity % step:
        refuse(Rule.QUANTITY_INCREMENT, _nearest("quantity", quantity, step), quantity, step)
    if least is not None and quantity < least:
        refuse(Rule.MIN_QUANTITY, f"expected at least {least}, saw {quantity}", quantity, least)


def check_price(instrument: Instrument, price: Decimal) -> None:
    """Checks a limit price against the instrument."""
    if not price.is_finite() or not ZERO < price < _MOST:
        refuse(Rule.INVALID_ORDER, f"price: expected a number above 0, saw {price}", price)
    tick = instrument.price_increment or _FINEST
    if price % tick:
        refuse(Rule.PRICE_INCREMENT, _nearest("price", price, tick), price, tick)


def check_notional(instrument: Instrument, quantity: Decimal, price: Decimal) -> Decimal:
    """Checks the value of an order against the instrument and returns it."""
    value = quantity * price
    least, most = instrument.min_notional, instrument.max_notional
    if least is not None and value < least:
        refuse(Rule.MIN_NOTIONAL, f"expected at least {least} {instrument.quote}, saw {value}", value, least)
    if most is not None and value > most:
        refuse(Rule.MAX_NOTIONAL, f"expected at most {most} {instrument.quote}, saw {value}", value, most)
    return value


def check_market(lane: Lane, market: Market, now: int, *, rests: bool) -> Decimal:
    """Checks that the market is fresh and returns its reference price."""
    listing, limits = lane.listing, lane.limits
    quote = market.quote(listing.provider, listing.symbol)
    reference = None if quote is None else quote.reference
    if quote is None or reference is None or reference <= 0:
        crossed = quote is not None and quote.crossed
        cause = (
            "is crossed: its bid reached its ask" if crossed else "has neither bid and ask nor a last price"
        )
        refuse(Rule.NO_REFERENCE, f"{listing.symbol} at {listing.provider} {cause}")
    if limits.stale_ns is not None and now > quote.fresh_until(limits.stale_ns):
        age = (now - quote.fresh_until(0)) // 1_000_000
        most = limits.stale_ns // 1_000_000
        refuse(Rule.MARKET_STALE, f"the {quote.source} of {listing.symbol}: {age} ms old", age, most)
    if rests and limits.max_lag_ns is not None and lags(lane, quote):
        lag = None if quote.lag is None else quote.lag // 1_000_000
        text = f"the feed of {listing.symbol} lags by {'an unknown time' if lag is None else f'{lag} ms'}"
        refuse(Rule.FEED_LAG, text, lag, limits.max_lag_ns // 1_000_000)
    return reference


def fresh_reference(lane: Lane, market: Market, now: int) -> Decimal | None:
    """Returns the reference price for a limit order that only reduces; None without a fresh one.

    Such an order passes without a reference: the worst that it can lead to is its own price.
    """
    quote, stale = market.quote(lane.listing.provider, lane.listing.symbol), lane.limits.stale_ns
    reference = None if quote is None else quote.reference
    if quote is None or reference is None or reference <= 0:
        return None
    return None if stale is not None and now > quote.fresh_until(stale) else reference


def lags(lane: Lane, quote: Quote) -> bool:
    """Returns whether a feed lags by more than the limit, or by an unknown time: no order may rest then."""
    most = lane.limits.max_lag_ns
    return most is not None and (quote.lag is None or quote.lag > most)


def check_band(lane: Lane, instrument: Instrument, price: Decimal, reference: Decimal | None) -> None:
    """Checks that a limit price is within the price band around the reference, if it has one."""
    lower, upper = lane.limits.lower_factor, lane.limits.upper_factor
    if lower is None or upper is None or reference is None:
        return
    if price > reference * upper:
        nearest = _floor(reference * upper, instrument.price_increment)
    elif price < reference * lower:
        nearest = _ceiling(reference * lower, instrument.price_increment)
    else:
        return
    percent = lane.limits.band_percent
    text = f"expected a price within {percent} % of {reference}, saw {price}; nearest valid: {nearest}"
    refuse(Rule.PRICE_BAND, text, price, nearest)


def market_limit(
    lane: Lane, instrument: Instrument, market: Market, side: Side, quantity: Decimal, reference: Decimal
) -> Decimal:
    """Returns the limit of a market order: the edge of the price band, if the book is deep enough there."""
    lower, upper, tick = lane.limits.lower_factor, lane.limits.upper_factor, instrument.price_increment
    if lower is None or upper is None:
        text = "a market order needs the setting priceBandPercent: its limit is the edge of the band"
        refuse(Rule.PRICE_BAND, text)
    limit = _floor(reference * upper, tick) if side is _BUY else _ceiling(reference * lower, tick)
    if limit <= 0:
        refuse(Rule.PRICE_BAND, f"the tick size {tick} leaves no price within the band", limit)
    listing = lane.listing
    depth = market.depth(listing.provider, listing.symbol, side, limit)
    if depth is None or depth < quantity:
        found = "no complete book" if depth is None else depth
        text = f"expected a book with {quantity} up to {limit}, saw {found}"
        refuse(Rule.BOOK_DEPTH, text, depth, quantity)
    return limit


def check_sell(lane: Lane, more: Decimal, *, reduce_only: bool) -> None:
    """Checks that the open sells of the lane, with `more`, do not pass the position."""
    if lane.sells + more > lane.position:
        rule = Rule.REDUCE_ONLY if reduce_only else Rule.POSITION_TO_SELL
        left = max(ZERO, lane.position - lane.sells)
        text = f"expected at most {left}, saw {more}; position {lane.position}, open sells {lane.sells}"
        refuse(rule, text, more, left)


def check_size(lane: Lane, quantity: Decimal) -> None:
    """Checks the quantity of an order that does not only reduce."""
    most = lane.limits.max_order_size
    if most is not None and quantity > most:
        refuse(Rule.ORDER_SIZE, f"expected at most {most}, saw {quantity}", quantity, most)


def check_exposure(
    lane: Lane, more: Decimal, dearer: Decimal, mark: Decimal, market: Market, now: int
) -> None:
    """Checks position and notional of each scope with `more` quantity and `dearer` cost reserved."""
    quote = lane.listing.quote
    for state, exposure, max_position, max_notional, currency, _, _ in lane.scopes:
        if max_position is not None and exposure.size + more > max_position:
            size = exposure.size + more
            text = f"{state.scope}: expected at most {max_position}, saw {size} with all open buys filled"
            refuse(Rule.POSITION, text, size, max_position)
        if max_notional is None:
            continue
        value = exposure.held * mark + exposure.cost + dearer
        if currency != quote.currency:
            price = rate(market, quote.provider, quote.currency, currency, now, lane.limits.stale_ns)
            if price is None:
                refuse(Rule.NO_RATE, f"{quote.provider} has no fresh price of {quote.currency} in {currency}")
            value *= price
        if value > max_notional:
            name = f"{max_notional} {currency}"
            text = f"{state.scope}: expected at most {name}, saw {value} with all open buys filled"
            refuse(Rule.NOTIONAL, text, value, max_notional)


def check_counts(lane: Lane) -> None:
    """Checks the number of open orders of each scope, with one more."""
    for state, exposure, _, _, _, concurrent, most in lane.scopes:
        if concurrent and exposure.orders >= concurrent:
            symbol = lane.listing.symbol
            text = f"{state.scope}: {exposure.orders} orders of {symbol} are open, of {concurrent} allowed"
            refuse(Rule.CONCURRENT_ORDERS, text, exposure.orders, concurrent)
        if most and state.open_orders >= most:
            text = f"{state.scope}: {state.open_orders} orders are open, of {most} allowed"
            refuse(Rule.OPEN_ORDERS, text, state.open_orders, most)


def check_funds(lane: Lane, balances: Balances, more: Decimal, *, is_buy: bool) -> None:
    """Checks that the free balance covers `more`."""
    funds = lane.listing.quote if is_buy else lane.listing.base
    total = balances.spendable(funds.provider, funds.currency)
    if total is None:
        refuse(Rule.BALANCE_UNKNOWN, f"the balance of {funds.currency} at {funds.provider} is unknown")
    free = total - funds.held
    if more > free:
        name = f"{free} {funds.currency} at {funds.provider}"
        text = f"expected at most the free {name}, saw {more}, fees included"
        refuse(Rule.BALANCE, text, more, free)


def _nearest(name: str, value: Decimal, step: Decimal) -> str:
    lower, upper = _floor(value, step), _ceiling(value, step)
    closest = upper if lower <= 0 or upper - value < value - lower else lower
    return f"{name}: expected a multiple of {step}, saw {value}; nearest valid: {closest}"


def _floor(value: Decimal, step: Decimal | None) -> Decimal:
    return value if step is None else value - value % step


def _ceiling(value: Decimal, step: Decimal | None) -> Decimal:
    if step is None:
        return value
    rest = value % step
    return value + (step - rest if rest else ZERO)
