"""`/providers/{name}`: the four lines of an account, their ledger, and lost orders."""

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody
from msgspec import UNSET, UnsetType, convert

from meltica.api.accounts import (
    AdoptRequest,
    Booked,
    BookRequest,
    DisownRequest,
    LedgerEntries,
    LedgerEntry,
    Line,
    Lines,
    LostOrder,
    LostOrderChange,
)
from meltica.control.access import OPERATOR, VIEWER
from meltica.control.bodies import QUERY, checked, invalid
from meltica.control.changes import ChangeRunner
from meltica.control.operations import act_of, operator_of, owner_of_lost, run
from meltica.control.paging import Cursor, Limit, key_of, next_cursor
from meltica.control.preconditions import CHANGE_QUERY, Precondition
from meltica.control.routes.openapi import CONFLICT, NOT_FOUND, VENUE, response
from meltica.control.services import ControlServices
from meltica.control.streams.events import entry_json
from meltica.errors import ChangeInDoubt, NotFound
from meltica.model.amounts import amount_text
from meltica.model.enums import Mode
from meltica.model.symbols import upper
from meltica.persistence.stores.trading.queries import IdKey
from meltica.persistence.stores.trading.rows import EntryKind

if TYPE_CHECKING:
    from meltica.trading.desk import Desk

MS = 10**6
LATE = response(202, Booked, "The booking acts and is not recorded yet")
GOES_ON = response(202, LostOrderChange, "The request goes on, or is not recorded yet")
REFUSALS = NOT_FOUND | CONFLICT


class AccountsController(Controller):
    """What an account has, and whose it is."""

    path = "/providers/{name:str}"
    tags = ["balances"]
    guards = [VIEWER]

    @get("/lines", summary="Get the four lines of an account", operation_id="getLines", responses=NOT_FOUND)
    async def lines(
        self,
        name: FromPath[str],
        services: NamedDependency[ControlServices],
        mode: FromQuery[Mode | None] = None,
    ) -> Lines:
        """Returns the lines of each currency; none while nothing trades. Raises NotFound."""
        desk = services.trading.desk()
        lines: list[Line] = []
        lost: list[LostOrder] = []
        if desk is not None:
            with desk.lock.reading:
                for each in _modes(desk, name):
                    if mode in (None, each):
                        lines += _lines(desk, name, each)
                        lost += [LostOrder(mode=each, client_order_id=id) for id in _lost(desk, name, each)]
        if not lines:
            services.providers.get(name)
        return Lines(trading=desk is not None, lines=lines, lost_orders=lost)

    @get(
        "/ledger",
        summary="List what belongs to an account and to no instance",
        operation_id="listLedger",
    )
    async def ledger(
        self,
        name: FromPath[str],
        services: NamedDependency[ControlServices],
        limit: Limit = 100,
        cursor: Cursor = None,
        mode: FromQuery[Mode | None] = None,
        currency: FromQuery[str | None] = None,
        kind: FromQuery[EntryKind | None] = None,
    ) -> LedgerEntries:
        """Returns the entries of an account, which has none if it does not exist."""
        found = await services.trading.queries.ledger_entries(
            name,
            mode=mode,
            currency=None if currency is None else upper(currency.strip()),
            kind=kind,
            before=key_of(cursor, IdKey),
            limit=limit,
        )
        return LedgerEntries(
            entries=[convert({"id": row.id, **entry_json(row)}, LedgerEntry) for row in found.rows],
            count=len(found.rows),
            cursor=next_cursor(found, lambda row: (row.id,)),
        )

    @post(
        "/lines/book",
        status_code=200,
        summary="Book the difference of a currency as not ours",
        operation_id="bookDifference",
        opt={QUERY: CHANGE_QUERY},
        guards=[OPERATOR],
        responses=LATE | REFUSALS,
    )
    async def book(
        self,
        name: FromPath[str],
        data: JSONBody[BookRequest],
        actor: NamedDependency[str],
        services: NamedDependency[ControlServices],
        changes: NamedDependency[ChangeRunner],
        precondition: NamedDependency[Precondition],
    ) -> Response[Booked]:
        """Books a difference, which ends its fault. Raises Conflict unless the amount is the difference."""
        amount, act = checked(lambda: _amount(data.amount), lambda: act_of(actor, data.reason))
        operator = operator_of(services)
        _check_account(services, name, data.mode)
        try:
            with precondition.rehearsal():
                work = operator.book(name, data.mode, data.currency, amount, act)
                row = await run(changes, work, f"booking of {data.currency} at {name}")
        except ChangeInDoubt:
            row = None
        body = Booked(
            provider=name,
            mode=data.mode,
            currency=data.currency,
            amount=amount_text(amount),
            recorded=_recorded(row),
        )
        return Response(body, status_code=200 if row is not None else 202)

    @post(
        "/lost-orders/adopt",
        status_code=200,
        summary="Give a lost order to an instance",
        operation_id="adoptOrder",
        opt={QUERY: CHANGE_QUERY},
        guards=[OPERATOR],
        responses=GOES_ON | REFUSALS | VENUE,
    )
    async def adopt(
        self,
        name: FromPath[str],
        data: JSONBody[AdoptRequest],
        actor: NamedDependency[str],
        services: NamedDependency[ControlServices],
        changes: NamedDependency[ChangeRunner],
        precondition: NamedDependency[Precondition],
    ) -> Response[LostOrderChange]:
        """Makes a lost order one of an instance. Raises NotFound unless it is lost, and Conflict."""
        act, operator, id = act_of(actor, data.reason), operator_of(services), data.client_order_id
        _check_account(services, name, data.mode)
        owner = owner_of_lost(services, data.instance, data.mode)
        try:
            with precondition.rehearsal():
                work = operator.adopt(name, data.mode, id, owner, act)
                record = await run(changes, work, f"adoption of {id}")
        except ChangeInDoubt:
            record = None
        body = LostOrderChange(
            mode=data.mode,
            client_order_id=id,
            order_id=UNSET if record is None else str(record.id),
            state=UNSET if record is None else record.state,
            recorded=_recorded(record),
        )
        return Response(body, status_code=200 if record is not None else 202)

    @post(
        "/lost-orders/disown",
        status_code=200,
        summary="Cancel a lost order, whose fills belong to no instance",
        operation_id="disownOrder",
        opt={QUERY: CHANGE_QUERY},
        guards=[OPERATOR],
        responses=GOES_ON | REFUSALS | VENUE,
    )
    async def disown(
        self,
        name: FromPath[str],
        data: JSONBody[DisownRequest],
        actor: NamedDependency[str],
        services: NamedDependency[ControlServices],
        changes: NamedDependency[ChangeRunner],
        precondition: NamedDependency[Precondition],
    ) -> Response[LostOrderChange]:
        """Cancels a lost order. Raises NotFound unless it is lost, and VenueError; repeat it then."""
        act, operator, id = act_of(actor, data.reason), operator_of(services), data.client_order_id
        _check_account(services, name, data.mode)
        with precondition.rehearsal():
            work = operator.disown(name, data.mode, id, act)
            in_time = await changes.run(work, f"cancel of lost order {id}", lambda: True)
        body = LostOrderChange(mode=data.mode, client_order_id=id, recorded=UNSET if in_time else False)
        return Response(body, status_code=200 if in_time else 202)


def _modes(desk: "Desk", provider: str) -> list[Mode]:
    """Returns the modes in which a provider has an account. The caller holds the lock of trading."""
    return [mode for name, mode in desk.accounts.keys() if name == provider]  # noqa: SIM118


def _lost(desk: "Desk", provider: str, mode: Mode) -> tuple[str, ...]:
    return desk.accounts.link(provider, mode).lost


def _lines(desk: "Desk", provider: str, mode: Mode) -> list[Line]:
    balances = desk.accounts.balances[mode]
    found: list[Line] = []
    for currency in balances.currencies(provider):
        venue, instances, not_ours, difference = balances.lines(provider, currency)
        found.append(
            Line(
                mode=mode,
                currency=currency,
                venue=UNSET if venue is None else amount_text(venue),
                instances=amount_text(instances),
                not_ours=amount_text(not_ours),
                difference=UNSET if difference is None else amount_text(difference),
                fault=bool(balances.fault(provider, currency)),
            )
        )
    return found


def _check_account(services: ControlServices, provider: str, mode: Mode) -> None:
    """Raises NotFound unless a provider has an account in a mode."""
    desk = services.trading.desk()
    assert desk is not None, "an operator acts on it"
    with desk.lock.reading:
        found = mode in _modes(desk, provider)
    if not found:
        services.providers.get(provider)
        raise NotFound(f"provider `{provider}` has no account, mode {mode.value}")


def _recorded(result: object) -> bool | UnsetType:
    return False if result is None else UNSET


def _amount(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("nan")
    if not amount.is_finite() or not text.isascii() or len(text) > 100:
        raise invalid([(("amount",), f"`amount`: expected a decimal, saw {text[:100]!r}")])
    return amount
