"""Changes of the settings: from the body of a request to what is stored.

1. A body is the settings, or what GET answers, which has them under `config` (or `runtime`).
2. An absent key keeps its setting. A null lets the config file decide again, and removes a limit.
3. What equals the config file is not stored, so that an edit of the file applies.
4. A setting that environment or command line give cannot be changed, and neither can one that is only in the
   file: a change that would have no effect is refused.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
from msgspec import UNSET

from meltica.api.configuration import RuntimeConfig, RuntimeSnapshot
from meltica.control.bodies import ANSWERED as ANSWERED_BY_OTHERS
from meltica.control.bodies import invalid
from meltica.control.limit_changes import limits_of, merged_limits
from meltica.errors import suggestion
from meltica.http.errors import HttpError
from meltica.persistence.stores.limits import Document
from meltica.settings import shipped
from meltica.settings.loading import START
from meltica.settings.model import Settings
from meltica.settings.runtime import (
    SECTIONS,
    SOURCE,
    Values,
    is_fixed,
    key_of,
    layer,
    nested,
    settings_of,
)
from meltica.trading.risk.configured import GLOBAL, as_json
from meltica.validation.models import MASK, Loc, dotted, keys, model_of, unknown_key

if TYPE_CHECKING:
    from meltica.control.services import ControlServices
    from meltica.trading.risk.limits import RiskLimits

ANSWERED: Final = {*RuntimeSnapshot.__struct_encode_fields__, *ANSWERED_BY_OTHERS, "filePath"} - {"config"}
"""Keys beside the settings, which only answers have."""
WRAPPERS: Final = ("config", "runtime")
ELSEWHERE: Final = {"providers": "/providers", "lambdas": "/strategy/instances", "risk": "/risk/limits"}
"""Keys of the config file -> the path that changes them."""
EXPECTED: Final[Values] = {
    "eventbus.fanoutWorkers": "default",
    "pools.event.size": 8192,
    "pools.event.waitQueueSize": 8192,
    "pools.orderRequest.size": 4096,
    "pools.orderRequest.waitQueueSize": 4096,
    "telemetry.otlpEndpoint": "",
    "telemetry.otlpInsecure": False,
    "telemetry.enableMetrics": True,
}
"""Keys that existing clients require, and their values while they are not given."""

Found = list[tuple[Loc, str]]


@dataclass(frozen=True)
class WantedConfiguration:
    """What a request wants to be stored; None changes nothing."""

    before: dict[str, Any]
    after: dict[str, Any]
    settings: Values | None
    limits: tuple[Document, Document] | None
    restart_required: list[str]
    """The keys that would wait for the next start."""


def configured(services: "ControlServices") -> dict[str, Any]:
    """Returns the settings and the global limits by key: their version is made of them."""
    return _described(shown(services.configuration.next.settings), services.trading.limits.of(GLOBAL))


def shown(settings: Settings) -> Values:
    """Returns the settings as GET answers them, without limits."""
    return EXPECTED | settings_of(settings)


def snapshot(services: "ControlServices") -> RuntimeSnapshot:
    """Returns what GET answers."""
    configuration, limits = services.configuration, services.trading.limits
    # Every section is an object, also one whose keys are all absent.
    sections = {key: Values() for key in SECTIONS} | nested(shown(configuration.next.settings))
    sections["risk"] = msgspec.to_builtins(limits_of(limits.of(GLOBAL)))
    row = configuration.row
    is_set = bool(configuration.stored) or limits.is_set(GLOBAL)
    has_file = configuration.next.path != shipped("default")
    return RuntimeSnapshot(
        config=msgspec.convert(sections, RuntimeConfig),
        source="runtime" if is_set else "file" if has_file else "bootstrap",
        persisted_at=_time(row.updated_at) if row is not None and row.settings else UNSET,
        restart_required=configuration.restart_required(),
        sources=_sources(services),
        warnings=list(configuration.next.warnings),
        fault=UNSET if configuration.fault is None else configuration.fault,
    )


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def changed(services: "ControlServices", body: Mapping[str, Any]) -> WantedConfiguration:
    """Returns what a body changes. Raises HttpError with every fault."""
    found: Found = []
    given, prefix = _unwrapped(body, found)
    limits = _limits(services, given.pop("risk", UNSET), (*prefix, "risk"), found)
    stored = services.configuration.stored
    before = shown(services.configuration.next.settings)
    wanted, new = dict(stored), Values()
    for loc, value, is_section in _leaves(Settings, given):
        key, at = key_of(loc), (*prefix, *loc)
        if unknown_key(Settings, loc) is not None or loc[0] not in SECTIONS:
            found.append((at, _unknown(loc, at)))
        elif value is None:
            wanted = {each: set for each, set in wanted.items() if not f"{each}.".startswith(f"{key}.")}
        elif is_section:
            found.append((at, f"`{dotted(at)}`: expected keys with values"))
        elif not _equals(value, before.get(key)) and not (value == MASK and key == "database.dsn"):
            new[key] = value
    source = layer(wanted | {k: v for k, v in new.items() if not is_fixed(k)})
    settings, faults = services.configuration.file.inputs.check(source)
    found += [((*prefix, *loc), _placed(text, loc, prefix)) for loc, text in faults]
    immutable = dict(_immutable(services, new))
    if found:
        raise invalid([*found, *(((*prefix, *key.split(".")), text) for key, text in immutable.items())])
    if immutable:
        texts = {dotted((*prefix, *key.split("."))): text for key, text in immutable.items()}
        raise HttpError(409, "conflict", f"nothing changed: {'; '.join(immutable.values())}", texts)
    assert settings is not None
    return _wanted(services, wanted, list(new), settings, limits)


def restored(services: "ControlServices", given: Mapping[str, Any], found: Found) -> tuple[Values, list[str]]:
    """Returns the settings that a backup states, and the keys that something comes before here."""
    values, skipped, configuration = Values(), list[str](), services.configuration
    for loc, value, is_section in _leaves(Settings, given):
        key, at = key_of(loc), ("runtime", *loc)
        if unknown_key(Settings, loc) is not None or loc[0] not in SECTIONS:
            found.append((at, _unknown(loc, at)))
        elif is_section or value is None:
            found.append((at, f"`{dotted(at)}`: expected {'keys with values' if is_section else 'a value'}"))
        elif is_fixed(key):
            found.append((at, f"`{dotted(at)}` is only in the config file; remove it"))
        elif configuration.file.inputs.above(loc) is not None:
            skipped.append(key)
        else:
            values[key] = value
    settings, faults = configuration.file.inputs.check(layer(values))
    found += [(("runtime", *loc), _placed(text, loc, ("runtime",))) for loc, text in faults]
    if settings is None:
        return values, skipped
    after, file = settings_of(settings), settings_of(configuration.file.settings)
    return {key: after[key] for key in values if not _equals(after[key], file.get(key))}, skipped


def reverted(services: "ControlServices") -> WantedConfiguration:
    """Returns the change that lets the config file decide again, also about the global limits."""
    limits = services.trading.limits
    file, row = services.configuration.file.settings, services.configuration.row
    before, after = configured(services), _described(shown(file), limits.of_file(GLOBAL))
    return WantedConfiguration(
        before=before,
        after=after,
        settings={} if row is not None and row.settings else None,
        limits=limits.documents_without(GLOBAL) if limits.is_set(GLOBAL) else None,
        restart_required=services.configuration.restart_required(file),
    )


def _wanted(
    services: "ControlServices",
    wanted: Values,
    new: list[str],
    settings: Settings,
    limits: "RiskLimits | None",
) -> WantedConfiguration:
    """3: returns the change, with the values in their own form."""
    configuration, of_limits = services.configuration, services.trading.limits
    file, after = settings_of(configuration.file.settings), settings_of(settings)
    for key in new:
        if key in after and not _equals(after[key], file.get(key)):
            wanted[key] = after[key]
        else:
            wanted.pop(key, None)
    before_limits = of_limits.of(GLOBAL)
    after_limits = before_limits if limits is None else limits
    return WantedConfiguration(
        before=configured(services),
        after=_described(EXPECTED | after, after_limits),
        settings=None if wanted == configuration.stored else wanted,
        limits=None if after_limits == before_limits else of_limits.documents({GLOBAL: after_limits}),
        restart_required=configuration.restart_required(settings),
    )


def _described(settings: Values, limits: "RiskLimits") -> dict[str, Any]:
    return settings | {f"risk.{key}": value for key, value in as_json(limits).items() if value is not None}


def _unwrapped(body: Mapping[str, Any], found: Found) -> tuple[dict[str, Any], Loc]:
    """1: returns the settings of a body, and their location."""
    wrappers = [key for key in WRAPPERS if key in body]
    if not wrappers:
        return {key: value for key, value in body.items() if key not in ANSWERED}, ()
    wrapper = wrappers[0]
    for key in body:
        if key in wrappers[1:]:
            found.append(((key,), f"`{key}`: the settings are given as `{wrapper}` already; keep one"))
        elif key != wrapper and key not in ANSWERED:
            found.append(((key,), f"`{key}` is unknown{suggestion(key, WRAPPERS)}"))
    given = body[wrapper]
    if not isinstance(given, Mapping):
        found.append(((wrapper,), f"`{wrapper}`: expected keys with values"))
        return {}, (wrapper,)
    return dict(cast(Mapping[str, Any], given)), (wrapper,)


def _limits(services: "ControlServices", given: Any, loc: Loc, found: Found) -> "RiskLimits | None":
    if given is UNSET:
        return None
    if not isinstance(given, Mapping):
        found.append((loc, f"`{dotted(loc)}`: expected keys with values"))
        return None
    return merged_limits(services, GLOBAL, loc, cast(Mapping[str, Any], given), found)


def _leaves(
    annotation: object, values: Mapping[str, Any], under: Loc = ()
) -> Iterator[tuple[Loc, Any, bool]]:
    """Yields the values of settings, and whether a section is expected; what a setting holds is one value."""
    model = model_of(annotation)
    fields = {} if model is None else keys(model)
    for key, value in values.items():
        inner = fields[key].annotation if key in fields else None
        if isinstance(value, Mapping) and model_of(inner) is not None:
            yield from _leaves(inner, cast(Mapping[str, Any], value), (*under, key))
        else:
            yield (*under, key), value, model_of(inner) is not None


def _unknown(loc: Loc, at: Loc) -> str:
    cause = unknown_key(Settings, loc)
    if cause is None:
        cause = f" is not a setting: use `{ELSEWHERE[str(loc[0])]}`"
    return f"`{dotted(at)}`{cause}"


def _placed(text: str, loc: Loc, prefix: Loc) -> str:
    return text.replace(f"`{dotted(loc)}`", f"`{dotted((*prefix, *loc))}`", 1)


def _immutable(services: "ControlServices", new: Values) -> Iterator[tuple[str, str]]:
    """4: yields the keys whose change would have no effect, each with the reason."""
    inputs = services.configuration.file.inputs
    for key in sorted(new):
        above = inputs.above(tuple(key.split(".")))
        if is_fixed(key):
            yield key, f"`{key}` is only in the config file and the environment; change it there and restart"
        elif above is not None:
            origin = "the command line" if above == START else above
            yield key, f"`{key}` is set by {origin}, which comes first; change it there and restart"


def _equals(one: Any, other: Any) -> bool:
    """Returns whether two values are the same; in Python, true equals 1."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _sources(services: "ControlServices") -> dict[str, str]:
    """Returns where values are from, without those of providers and lambdas."""
    configuration, limits = services.configuration, services.trading.limits
    values = shown(configuration.next.settings)
    found = {
        key: source
        for key, source in configuration.next.sources.items()
        if key in values or (key.startswith("risk.") and not limits.is_set(GLOBAL))
    }
    if limits.is_set(GLOBAL):
        found |= {
            f"risk.{key}": SOURCE for key, value in as_json(limits.of(GLOBAL)).items() if value is not None
        }
    return found
