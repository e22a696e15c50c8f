"""The state of risk as JSON, to rebuild it after a restart: halts, losses, breaches, throttles, reservations.

Positions, balances, limits and instruments are not part of it: they have rows and settings of their own.
"""

from collections import deque
from decimal import Decimal
from typing import cast
from uuid import UUID

from meltica.model.enums import Mode
from meltica.trading.order import Owner
from meltica.trading.risk.loss import Loss
from meltica.trading.risk.reservations import Reservation
from meltica.trading.risk.risk import Risk
from meltica.trading.risk.scopes import Halt, InstanceState, Scope

_LOSS_NUMBERS = ("opening", "profit", "peak", "base")


def export_state(risk: Risk) -> dict[str, object]:
    """Returns the state as JSON."""
    scopes: dict[str, object] = {}
    for state in risk.registry.scopes.values():
        scopes[str(state.scope)] = {
            "halt": None if state.halt is None else list(state.halt),
            "loss": _loss_as_json(state.loss),
            "throttle": None if state.bucket is None else state.bucket.full_at,
            "breaches": list(state.breaches.times) if isinstance(state, InstanceState) else [],
            "breaker": [state.breaches.closed_at, state.breaches.cooldown]
            if isinstance(state, InstanceState)
            else [0, 0],
        }
    throttles = [
        [listing.provider, listing.symbol, listing.bucket.full_at]
        for listing in risk.registry.listings.values()
        if listing.bucket is not None
    ]
    reservations = [_reservation_as_json(reservation) for reservation in risk.reservations.all()]
    return {"scopes": scopes, "throttles": throttles, "reservations": reservations}


def load_state(risk: Risk, state: dict[str, object]) -> None:
    """Rebuilds the state of a new `Risk` from the JSON of `export_state`, before its first order.

    Limits and instances are set first: throttles without a limit are dropped. An order that is reserved keeps
    its reservation.
    """
    for text, entry in cast(dict[str, dict[str, object]], state["scopes"]).items():
        scope = risk.registry.state(Scope.parse(text))
        if entry["halt"] is not None:
            rule, reason, by, since = cast(tuple[str, str, str, int], entry["halt"])
            scope.halt = Halt(rule, reason, by, since)
        _load_loss(scope.loss, cast(dict[str, object], entry["loss"]))
        if scope.bucket is not None and entry["throttle"] is not None:
            scope.bucket.full_at = cast(int, entry["throttle"])
        if isinstance(scope, InstanceState):
            scope.breaches.times = deque(cast(list[int], entry["breaches"]))
            scope.breaches.closed_at, scope.breaches.cooldown = cast(list[int], entry["breaker"])
    for provider, symbol, full_at in cast(list[tuple[str, str, int]], state["throttles"]):
        bucket = risk.registry.listing(provider, symbol).bucket
        if bucket is not None:
            bucket.full_at = full_at
    for row in cast(list[dict[str, object]], state["reservations"]):
        risk.restore(_load_reservation(risk, row))


def _loss_as_json(loss: Loss) -> dict[str, object]:
    numbers = {name: cast(Decimal | None, getattr(loss, name)) for name in _LOSS_NUMBERS}
    texts = {name: None if number is None else str(number) for name, number in numbers.items()}
    return {"day": loss.day, "valuedAt": loss.valued_at, **texts}


def _load_loss(loss: Loss, entry: dict[str, object]) -> None:
    loss.day = cast(int | None, entry["day"])
    loss.valued_at = cast(int, entry["valuedAt"])
    for name in _LOSS_NUMBERS:
        text = entry[name]
        setattr(loss, name, None if text is None else Decimal(cast(str, text)))


def _reservation_as_json(reservation: Reservation) -> dict[str, object]:
    owner, listing = reservation.lane.owner, reservation.lane.listing
    pending = reservation.next_remaining
    return {
        "orderId": str(reservation.order_id),
        "owner": [owner.instance, str(owner.uid), owner.mode.value, owner.revision],
        "provider": listing.provider,
        "symbol": listing.symbol,
        "isBuy": reservation.is_buy,
        "reduceOnly": reservation.reduce_only,
        "remaining": str(reservation.remaining),
        "price": str(reservation.price),
        "factor": str(reservation.factor),
        "amendment": None if pending is None else [str(pending), str(reservation.next_price)],
        "unknown": reservation.unknown,
    }


def _load_reservation(risk: Risk, row: dict[str, object]) -> Reservation:
    instance, uid, mode, revision = cast(tuple[str, str, str, str | None], row["owner"])
    owner = Owner(instance, UUID(uid), Mode(mode), revision)
    reservation = Reservation(
        order_id=UUID(cast(str, row["orderId"])),
        lane=risk.registry.lane(owner, cast(str, row["provider"]), cast(str, row["symbol"])),
        is_buy=cast(bool, row["isBuy"]),
        reduce_only=cast(bool, row["reduceOnly"]),
        remaining=Decimal(cast(str, row["remaining"])),
        price=Decimal(cast(str, row["price"])),
        factor=Decimal(cast(str, row["factor"])),
        unknown=cast(bool, row["unknown"]),
    )
    if row["amendment"] is not None:
        quantity, price = cast(tuple[str, str], row["amendment"])
        reservation.next_remaining, reservation.next_price = Decimal(quantity), Decimal(price)
    return reservation
