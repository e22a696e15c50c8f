"""`/refusals`: the orders that were refused, by which rule, and how often."""

from typing import TYPE_CHECKING, Annotated

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter
from msgspec import UNSET

from meltica.api.envelope import optional
from meltica.api.refusals import Refusal, RefusalCount, RefusalCounts, Refusals
from meltica.control.access import VIEWER
from meltica.control.filters import Filters
from meltica.control.paging import Cursor, Limit, key_of, next_cursor
from meltica.control.services import ControlServices
from meltica.model.enums import Mode
from meltica.persistence.stores.trading.queries import IdKey, RefusalFilter

if TYPE_CHECKING:
    from meltica.persistence.stores.trading.queries import StoredRefusal

MS = 10**6
Time = Annotated[int | None, QueryParameter(ge=0, le=10**13, description="Milliseconds since 1970.")]


class RefusalsController(Controller):
    """Refused orders and amendments."""

    path = "/refusals"
    tags = ["risk"]
    guards = [VIEWER]

    @get(summary="List refused orders", operation_id="listRefusals")
    async def list_refusals(
        self,
        services: NamedDependency[ControlServices],
        limit: Limit = 100,
        cursor: Cursor = None,
        instance: FromQuery[str | None] = None,
        provider: FromQuery[str | None] = None,
        symbol: FromQuery[str | None] = None,
        rule: FromQuery[str | None] = None,
        mode: FromQuery[Mode | None] = None,
        since: Time = None,
        until: Time = None,
    ) -> Refusals:
        """Returns refusals, the latest first. Raises HttpError and DatabaseUnavailable."""
        names = Filters.of(services, instance=instance, provider=provider, symbol=symbol)
        only = _filter(instance, provider, names.symbol, rule, mode, since, until)
        found = await services.trading.queries.refusals(only, before=key_of(cursor, IdKey), limit=limit)
        if not found.rows:
            await names.refuse_unknown()
        return Refusals(
            refusals=[_refusal(row) for row in found.rows],
            count=len(found.rows),
            cursor=next_cursor(found, lambda row: (row.id,)),
        )

    @get("/counts", summary="Count refused orders", operation_id="countRefusals")
    async def count(
        self,
        services: NamedDependency[ControlServices],
        instance: FromQuery[str | None] = None,
        provider: FromQuery[str | None] = None,
        symbol: FromQuery[str | None] = None,
        rule: FromQuery[str | None] = None,
        mode: FromQuery[Mode | None] = None,
        since: Time = None,
        until: Time = None,
    ) -> RefusalCounts:
        """Returns how many orders were refused, by instance, mode and rule.

        Raises HttpError and DatabaseUnavailable.
        """
        names = Filters.of(services, instance=instance, provider=provider, symbol=symbol)
        only = _filter(instance, provider, names.symbol, rule, mode, since, until)
        rows = await services.trading.queries.refusal_totals(only)
        if not rows:
            await names.refuse_unknown()
        counts = [
            RefusalCount(
                instance=row.instance,
                mode=row.mode,
                rule=row.rule,
                count=row.count,
                last_refused_at=row.last_refused_at // MS,
            )
            for row in rows
        ]
        return RefusalCounts(counts=counts, total=sum(each.count for each in counts))


def _filter(
    instance: str | None,
    provider: str | None,
    symbol: str | None,
    rule: str | None,
    mode: Mode | None,
    since: int | None,
    until: int | None,
) -> RefusalFilter:
    return RefusalFilter(
        instance,
        provider,
        symbol,
        rule,
        mode,
        None if since is None else since * MS,
        None if until is None else until * MS,
    )


def _refusal(row: "StoredRefusal") -> Refusal:
    return Refusal(
        id=row.id,
        instance=row.instance,
        mode=row.mode,
        revision=optional(row.revision),
        provider=row.provider,
        symbol=row.symbol,
        order_id=UNSET if row.order_id is None else str(row.order_id),
        rule=row.rule,
        message=row.message,
        seen=optional(row.seen),
        limit=optional(row.limit),
        verdict=UNSET if row.verdict is None else row.verdict.value,
        count=row.count,
        refused_at=row.refused_at // MS,
        last_refused_at=row.last_refused_at // MS,
    )
