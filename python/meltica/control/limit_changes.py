"""Changes of risk limits: from the body of a request to the limits of each scope.

1. A body has the limits of the global scope, or those of several scopes as GET answers them.
2. Keys are accepted in any case, as existing clients send PascalCase.
3. An absent key keeps its limit, so that a client that does not have a newer limit does not remove it. A null
   removes the limit. A blank or zero cooldown or threshold of a circuit breaker that is off counts as absent.
4. Numbers below LEAST become the least one, as for clients that send 0 or less for it.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
from pydantic import BaseModel, ValidationError

from meltica.adapters import registry
from meltica.api import risk
from meltica.api.envelope import without_nulls
from meltica.control.bodies import invalid
from meltica.errors import suggestion
from meltica.model.amounts import amount_text
from meltica.trading.risk.configured import GLOBAL, INSTANCE, PROVIDER, as_json, limits_class
from meltica.trading.risk.limits import RiskLimits, missing_for_live
from meltica.validation.models import Loc, Locations, faults, keys, masked, model_of

if TYPE_CHECKING:
    from meltica.control.services import ControlServices

SCOPES: Final = {"limits": GLOBAL, "providers": PROVIDER, "instances": INSTANCE}
"""Key of a body with several scopes -> what the names of these scopes begin with."""
ANSWERED: Final = frozenset({"status"})

LEAST: Final = {"orderBurst": 1, "maxRiskBreaches": 0}
_NUMBERS = frozenset({"orderThrottle", "priceBandPercent", "maxDrawdownPercent", "staleMarketSeconds"})
"""Limits that existing clients read as numbers; the others are amounts."""

Found = list[tuple[Loc, str]]


def configured(services: "ControlServices") -> dict[str, Any]:
    """Returns the limits that are in force: their version is made of them."""
    return {scope: as_json(limits) for scope, limits in services.trading.limits.all().items()}


def limits_of(limits: RiskLimits) -> risk.RiskLimits:
    """Returns the limits of a scope as GET answers them."""
    dumped: dict[str, Any] = without_nulls(masked(limits))
    values = {name: float(each) if name in _NUMBERS else each for name, each in dumped.items()}
    for attribute, field in type(limits).model_fields.items():
        name, exact = field.alias or attribute, getattr(limits, attribute)
        if isinstance(exact, Decimal) and name not in _NUMBERS:
            values[name] = amount_text(exact)
    return msgspec.convert(values, risk.RiskLimits)


def changed_limits(services: "ControlServices", body: Mapping[str, Any]) -> dict[str, RiskLimits]:
    """Returns the limits of the scopes that a body changes. Raises HttpError with every fault."""
    found: Found = []
    wanted: dict[str, RiskLimits] = {}
    for scope, loc, given in _scopes(body, found):
        limits = merged_limits(services, scope, loc, given, found)
        if limits is not None and limits != services.trading.limits.of(scope):
            wanted[scope] = limits
    found += _unknown_names(services, body)
    if found:
        raise invalid(found)
    return wanted


def _scopes(body: Mapping[str, Any], found: Found) -> Iterator[tuple[str, Loc, Mapping[str, Any]]]:
    """1: yields the scopes of a body, with the location of their limits."""
    names = {key.lower(): key for key in body}
    if not names.keys() & SCOPES.keys():
        yield GLOBAL, (), {key: value for key, value in body.items() if key.lower() not in ANSWERED}
        return
    for lower, key in names.items():
        if lower not in SCOPES and lower not in ANSWERED:
            found.append(((key,), f"`{key}` is unknown{suggestion(key, SCOPES)}"))
    for lower, prefix in SCOPES.items():
        value = body.get(names.get(lower, lower))
        loc: Loc = (lower,)
        if value is None:
            continue
        if not isinstance(value, Mapping):
            found.append((loc, f"`{lower}`: expected keys with values"))
        elif lower == "limits":
            yield prefix, loc, cast(Mapping[str, Any], value)
        else:
            for name, limits in cast(Mapping[str, Any], value).items():
                if isinstance(limits, Mapping):
                    yield f"{prefix}{name}", (*loc, name), cast(Mapping[str, Any], limits)
                else:
                    found.append(((*loc, name), f"`{lower}.{name}`: expected keys with values"))


def merged_limits(
    services: "ControlServices", scope: str, loc: Loc, given: Mapping[str, Any], found: Found
) -> RiskLimits | None:
    """3: returns the limits of a scope after a change; None if there are faults."""
    cls = limits_class(scope)
    try:
        limits = cls.model_validate(
            _merge(cls, as_json(services.trading.limits.of(scope)), given, loc, found)
        )
    except ValidationError as error:
        found += faults(cls, error.errors(), Locations(), loc)
        return None
    return None if _live_faults(services, scope, limits, loc, found) else limits


def _merge(
    cls: type[BaseModel], stored: Mapping[str, Any], given: Mapping[str, Any], loc: Loc, found: Found
) -> dict[str, Any]:
    """2 to 4: returns the stored values with those that are given."""
    fields = keys(cls)
    spelled = {name.lower(): name for name in fields}
    merged = dict(stored)
    taken: dict[str, str] = {}
    for key, value in given.items():
        name = spelled.get(key.lower(), key)
        if name in taken:
            text = f"`{key}` and `{taken[name]}` are the same limit; give it once"
            found.append(((*loc, key), text))
        taken[name] = key
        inner = model_of(fields[name].annotation) if name in fields else None
        if inner is not None and isinstance(value, Mapping):
            before = cast(Mapping[str, Any], stored.get(name) or {})
            given_inner = _without_blanks_of_off(cast(Mapping[str, Any], value))
            value = _merge(inner, before, given_inner, (*loc, name), found)
        elif name in LEAST and _is_number(value):
            value = max(value, LEAST[name])
        merged[name] = value
    return merged


def _without_blanks_of_off(breaker: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns a circuit breaker; one that is off may have a threshold and a cooldown that mean nothing."""
    if not any(key.lower() == "enabled" and value is False for key, value in breaker.items()):
        return breaker
    return {
        key: value
        for key, value in breaker.items()
        if not (key.lower() == "cooldown" and value in ("", "0s", 0))
        and not (key.lower() == "threshold" and _is_number(value) and value <= 0)
    }


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _live_faults(
    services: "ControlServices", scope: str, limits: RiskLimits, loc: Loc, found: Found
) -> list[str]:
    """Adds the limits that a provider for real money would lack; returns them."""
    name = scope.removeprefix(PROVIDER)
    if scope == name or name not in services.providers:
        return []
    spec = services.providers.get(name).spec
    missing = missing_for_live(limits) if spec.live and not registry.adapter(spec.adapter).simulated else []
    for key in missing:
        text = "expected a limit: a provider with `live: true` states it itself"
        found.append(((*loc, key), f"`{'.'.join(map(str, (*loc, key)))}`: {text}"))
    return missing


def _unknown_names(services: "ControlServices", body: Mapping[str, Any]) -> Found:
    """Returns the faults of scopes that do not exist."""
    instances = [each.id for each in services.instances.all()]
    exist = {"providers": [each.name for each in services.providers.all()], "instances": instances}
    found: Found = []
    for key, value in body.items():
        lower = key.lower()
        if lower not in exist or not isinstance(value, Mapping):
            continue
        for name in cast(Mapping[str, Any], value):
            if name not in exist[lower]:
                text = f"`{lower}.{name}` does not exist{suggestion(name, exist[lower])}"
                found.append(((lower, name), text))
    return found
