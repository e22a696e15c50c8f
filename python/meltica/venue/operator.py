"""`Operator`: faults on demand, and what other clients of an account and its owner do at the venue."""

import logging
from typing import TYPE_CHECKING

from msgspec import UNSET

from meltica.errors import ConfigError
from meltica.http.errors import HttpError
from meltica.simulator.account import LONGEST_DELAY
from meltica.simulator.settings import MarketSettings, VenueBehavior, nanos
from meltica.validation.models import load
from meltica.validation.units import format_duration, parse_duration
from meltica.venue import schemas

if TYPE_CHECKING:
    from datetime import timedelta

    from meltica.venue.exchange import Exchange

log = logging.getLogger(__name__)

METHODS = {"POST": "submit", "PATCH": "amend", "DELETE": "cancel"}
"""Method of a request about one order -> kind of the core."""


class Operator:
    """The operator of one venue. No fault applies to its requests."""

    def __init__(self, venue: "Exchange", market: MarketSettings) -> None:
        self._venue = venue
        self._market = venue.market
        self._core = venue.market.operator
        self._behavior = market.venue_behavior
        self._quiet = False
        self._fees = schemas.Fees(
            maker=schemas.text(market.maker_fee),
            taker=schemas.text(market.taker_fee),
            currency=market.fee_currency,
            price=UNSET if market.fee_price is None else schemas.text(market.fee_price),
        )

    def faults(self) -> schemas.Faults:
        """Returns the current faults."""
        core = self._core.faults
        return schemas.Faults(
            connected=self._market.connected,
            behavior=self._behavior.model_dump(mode="json"),
            quiet=self._quiet,
            clock_skew=self._venue.clock.skew_ms,
            rate_limit=self._venue.limit.rate,
            fees=self._fees,
            mute=core["muted"],
            withhold_fills=core["withhold_fills"],
            fills_after_end=core["fills_after_end"],
            lost_answers={method: core["lost_answers"][kind] for method, kind in METHODS.items()},
        )

    def fault(self, request: schemas.FaultRequest) -> None:
        """Injects faults. Raises HttpError, and changes nothing, for an invalid one."""
        behavior = _behavior(self._behavior, request.behavior) if request.behavior else self._behavior
        duration = _outage(request.disconnect) if isinstance(request.disconnect, str) else None
        lost = request.lose_answers
        carried_out = None if lost is None else _carried_out(lost.carried_out)
        if request.skip_depth is not None:
            self._venue.check_symbol(request.skip_depth.symbol)
        if request.fees is not None:
            # The only fault that can still be refused, so the first one.
            self._set_fees(request.fees)
        if request.behavior:
            self._behavior = behavior
            self._core.set_behavior(behavior.options())
            values = behavior.model_dump(mode="json")
            changes = ", ".join(f"{name} {values[name]}" for name in request.behavior)
            log.info("fault: behavior %s", changes)
        if lost is not None:
            self._core.lose_answers(METHODS[lost.method], lost.count, carried_out)
            log.info("fault: loseAnswers %s, count %d, %s", lost.method, lost.count, lost.carried_out)
        self._fault_streams(request)
        if request.clock_skew is not None:
            self._venue.clock.skew_ms = request.clock_skew
            log.info("fault: clockSkew %d ms", request.clock_skew)
        if request.rate_limit is not None:
            self._venue.limit.rate = request.rate_limit
            log.info("fault: rateLimit %g", request.rate_limit)
        if request.disconnect is not None:
            self._core.disconnect(None if duration is None else nanos(duration))
            log.info("fault: disconnect %s", format_duration(duration or behavior.disconnect_for))
        self._venue.nudge()

    def _fault_streams(self, request: schemas.FaultRequest) -> None:
        """Injects the faults of what streams send."""
        if request.skip_depth is not None:
            self._core.skip_depth(request.skip_depth.symbol, request.skip_depth.frames)
            log.info("fault: skipDepth %s, frames %d", request.skip_depth.symbol, request.skip_depth.frames)
        if request.quiet is not None:
            self._core.rest(request.quiet)
            self._quiet = request.quiet
            log.info("fault: quiet %s", str(request.quiet).lower())
        if request.mute is not None:
            self._core.mute(request.mute)
            log.info("fault: mute %s", str(request.mute).lower())
        if request.withhold_fills is not None:
            self._core.set_report_faults(withhold_fills=request.withhold_fills)
            log.info("fault: withholdFills %s", str(request.withhold_fills).lower())
        if request.fills_after_end is not None:
            self._core.set_report_faults(fills_after_end=request.fills_after_end)
            log.info("fault: fillsAfterEnd %s", str(request.fills_after_end).lower())

    def _set_fees(self, fees: schemas.Fees) -> None:
        price = None if fees.price is UNSET else schemas.number("fees.price", fees.price)
        rates = schemas.number("fees.maker", fees.maker), schemas.number("fees.taker", fees.taker)
        try:
            self._core.set_fees(*rates, fees.currency, price)
        except (ConfigError, ValueError) as error:
            raise HttpError(400, "bad_request", f"`fees`: {error}") from None
        self._fees = fees
        log.info("fault: fees %s, %s in %s", fees.maker, fees.taker, fees.currency)

    def transfer(self, account: str, request: schemas.TransferRequest) -> schemas.TransferJson:
        """Deposits an amount into an account, or withdraws a negative one.

        Raises HttpError and OrderRefused.
        """
        self._venue.account(account)
        amount = schemas.number("amount", request.amount)
        try:
            id = self._core.transfer(request.currency, amount, account=account)
        except ValueError as error:
            raise HttpError(400, "bad_request", str(error)) from None
        log.info("transfer %s of %s: %s %s", id, account, amount, request.currency)
        return schemas.TransferJson(transfer_id=id, currency=request.currency, amount=schemas.text(amount))

    def place(self, account: str, request: schemas.ForeignOrderRequest) -> schemas.PlacedOrder:
        """Places an order of another client of an account. Raises HttpError and OrderRefused."""
        self._venue.account(account)
        self._venue.check_symbol(request.symbol)
        id = self._market.submit(
            "",
            request.symbol,
            request.side,
            schemas.number("quantity", request.quantity),
            None if request.price is None else schemas.number("price", request.price),
            request.time_in_force,
            request.post_only,
            account=account,
        )
        return schemas.PlacedOrder(symbol=request.symbol, venue_order_id=id)

    def cancel(self, account: str, symbol: str, venue_order_id: str) -> None:
        """Cancels an order by the venue's id. Raises HttpError and OrderRefused."""
        self._venue.account(account)
        self._venue.check_symbol(symbol)
        self._core.cancel(symbol, venue_order_id, account=account)

    def forget(self, account: str, request: schemas.ForgetRequest) -> None:
        """Forgets an order. Raises HttpError and OrderRefused."""
        self._venue.account(account)
        self._core.forget(request.client_order_id, account=account)
        log.info("fault: order %s of %s forgotten", request.client_order_id, account)

    def send_older_balance(self, account: str, request: schemas.OlderBalanceRequest) -> None:
        """Sends the balance before the last one again. Raises HttpError if there is none."""
        self._venue.account(account)
        try:
            sent = self._core.resend_older_balance(request.currency, account=account)
        except ValueError as error:
            raise HttpError(400, "bad_request", str(error)) from None
        if not sent:
            raise HttpError(409, "no_older_balance", f"{request.currency} of {account} has not changed yet")
        log.info("fault: older balance of %s in %s", account, request.currency)


def _behavior(current: VenueBehavior, changes: schemas.JsonObject) -> VenueBehavior:
    """Returns a behavior with some values changed. Raises HttpError."""
    try:
        return load(VenueBehavior, {**dict(current), **changes}, subject="behavior")
    except ConfigError as error:
        raise HttpError(400, "bad_request", str(error)) from None


def _outage(text: str) -> "timedelta":
    """Returns the duration of a disconnect. Raises HttpError."""
    duration = _duration("disconnect", text)
    if not duration:
        raise HttpError(400, "bad_request", "`disconnect`: expected a duration above 0, saw none")
    return duration


def _carried_out(text: str) -> int | None:
    """Returns the delay of a request whose answer is lost, in ns; None for `never`. Raises HttpError."""
    if text == "never":
        return None
    duration = _duration("loseAnswers.carriedOut", text)
    if duration.total_seconds() > LONGEST_DELAY:
        longest = f"{LONGEST_DELAY:g}s"
        raise HttpError(
            400, "bad_request", f"`loseAnswers.carriedOut`: expected at most {longest}, saw {text}"
        )
    return nanos(duration)


def _duration(key: str, text: str) -> "timedelta":
    """Parses a duration. Raises HttpError."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise HttpError(400, "bad_request", f"`{key}`: {error}, saw {text[:80]!r}") from None
