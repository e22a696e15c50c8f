"""Changes of what is configured of instances: from the body of a request to the row that is stored."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from pydantic import ValidationError

from meltica.adapters import registry
from meltica.api.envelope import without_nulls
from meltica.api.instances import InstanceDetail, InstanceRequest, InstanceScope, StrategyRequest
from meltica.control.bodies import invalid, read_body
from meltica.errors import ConfigError, Conflict, LambdaError, NotFound, suggestion
from meltica.lambdas import loader, shipped
from meltica.lambdas.base import Lambda
from meltica.lambdas.failures import described
from meltica.lambdas.instances import LAMBDAS, start_faults
from meltica.lambdas.modules.names import Selector, parse, stored
from meltica.lambdas.modules.pins import pin_of, pinned
from meltica.model.symbols import upper
from meltica.persistence.stores.instances import InstanceRecord, InstanceRow, declaration
from meltica.persistence.stores.modules import LATEST
from meltica.runtime.threads import call, within
from meltica.settings.manifest import account_fault, config_faults
from meltica.trading.risk.limits import missing_for_live
from meltica.validation.models import MASK, Loc, Locations, is_secret, keys, read_texts

if TYPE_CHECKING:
    from meltica.control.services import ControlServices
    from meltica.lambdas.base import Lambda
    from meltica.lambdas.spec import LambdaSpec

LOAD_SECONDS = 5.0
"""How long loading a strategy may take."""
CONFIG: Loc = ("strategy", "config")
DRY_RUN = "dry_run"
"""Key of a config in which existing clients send `dryRun`, unless the strategy has a setting of this name."""

Declared = tuple["LambdaSpec", InstanceRecord]


def configured(record: InstanceRecord) -> dict[str, Any]:
    """Returns what is configured of an instance: its version is made of that."""
    names = InstanceRecord.__struct_fields__
    # The revision changes when the file of a strategy does, and `enabled` belongs to the config file.
    values = {name: getattr(record, name) for name in names if name not in ("revision", "enabled", "tag")}
    uid = getattr(record, "uid", None)
    return values if uid is None else {**values, "uid": str(uid)}


class Selected(NamedTuple):
    """The strategy that a body selects; empty if it is not valid."""

    name: str = ""
    selector: str = ""
    tag: str | None = None
    hash: str | None = None


class InstanceChanges:
    """Reads and checks the bodies of requests."""

    def __init__(self, services: "ControlServices") -> None:
        self._services = services

    async def created(self, body: Mapping[str, Any]) -> Declared:
        """Returns the instance that a body declares. Raises HttpError with every fault, and NotFound."""
        request = read_body(InstanceRequest, body, InstanceDetail)
        providers = {
            each.name: self.account_fault(each.name, each.spec.adapter, live=each.spec.live)
            for each in self._services.providers.all()
        }
        record, found = await self.record(request, providers)
        if found:
            raise invalid(found)
        return await self.spec(record), record

    async def record(
        self, request: InstanceRequest, providers: Mapping[str, str | None], *, pinned: bool = False
    ) -> tuple[InstanceRecord, list[tuple[Loc, str]]]:
        """Returns a declared instance and its faults; `providers` are those that exist, as `account_fault`.

        If it is `pinned`, its `hash` is the revision, and `selector` and `tag` are how that was selected.
        Raises NotFound.
        """
        found: list[tuple[Loc, str]] = []
        strategy = request.strategy or StrategyRequest()
        selected = await (self._pinned if pinned and strategy.hash else self._selected)(strategy, found)
        scope = normalized(request.scope or {})
        if not any(scope.values()):
            found.append((("scope",), "`scope`: expected at least one provider with its symbols, saw none"))
        found += [
            (("scope", name), f"`scope.{name}`: the provider does not exist{suggestion(name, providers)}")
            for name in scope
            if name not in (*providers, LAMBDAS)
        ]
        record = InstanceRecord(
            id=request.id,
            strategy=selected.name,
            selector=selected.selector,
            tag=selected.tag,
            revision=selected.hash,
            config=strategy.config or {},
            scope=cast(Any, scope),
            host=request.host or "thread",
            dry_run=request.dry_run is not False,
            on_stop=request.on_stop or "cancel",
        )
        if selected.name and DRY_RUN in record.config and not _has_setting(await self._class(record)):
            config, dry_run = without_dry_run(record.config, request.dry_run, found)
            record = declaration(record, config=config, dry_run=dry_run is not False)
        if not record.dry_run:
            faults = {name: providers.get(name) for name in scope}
            found += [(("dryRun",), f"`dryRun`: {text}") for text in faults.values() if text is not None]
        if selected.name:
            found += await self._faults(record)
        return record, found

    def account_fault(self, provider: str, adapter: str, *, live: bool) -> str | None:
        """Returns why no instance may trade on the account of a provider."""
        try:
            cls = registry.adapter(adapter)
        except ConfigError as error:
            return f"provider `{provider}`: {error}"
        missing = missing_for_live(self._services.trading.limits.of_provider(provider))
        return account_fault(provider, cls, live=live, missing=missing)

    async def spec(self, record: InstanceRecord) -> "LambdaSpec":
        """Returns the spec of a valid declaration, with its pin. Raises NotFound."""
        return await pinned(self._services.declarations.spec(record), record, self._services.modules)

    async def create(self, spec: "LambdaSpec", record: InstanceRecord) -> None:
        """Creates an instance; its providers cannot be deleted meanwhile.

        Raises NotFound and Conflict for a provider that was deleted, and what the manager raises.
        """
        providers = [self._services.providers.get(name) for name in spec.scope if name != LAMBDAS]
        for provider in providers:
            if provider.removing:
                text = f"provider `{provider.name}` is being deleted"
                raise Conflict(f"instance `{spec.id}` not created: {text}")
        for provider in providers:
            provider.reservations += 1
        try:
            await self._services.instances.create(spec, record)
        finally:
            for provider in providers:
                provider.reservations -= 1

    async def changed(
        self, id: str, body: Mapping[str, Any], cls: "type[Lambda] | None", row: InstanceRow
    ) -> "InstanceRequest":
        """Returns the body of a change; `cls` is None if the strategy cannot be loaded.

        Raises HttpError with every fault.
        """
        request = read_body(InstanceRequest, {"id": id, **body}, InstanceDetail)
        found: list[tuple[Loc, str]] = []
        if request.id != id:
            found.append((("id",), f"`id`: instance id mismatch: expected {id}, saw {request.id}"))
        strategy = request.strategy
        config = {} if strategy is None else strategy.config or {}
        if strategy is not None and DRY_RUN in {*config} - {*row.config} and not _has_setting(cls):
            config, dry_run = without_dry_run(config, request.dry_run, found)
            strategy = strategy.model_copy(update={"config": config})
            request = request.model_copy(update={"strategy": strategy, "dry_run": dry_run})
        if found:
            raise invalid(found)
        return request

    def refuse_immutable(self, request: InstanceRequest, row: InstanceRow, names: set[str]) -> None:
        """Raises Conflict for a value other than the stored one; `names` select the stored strategy."""
        stored = {
            provider: ["*"] if symbols == "*" else sorted(symbols) for provider, symbols in row.scope.items()
        }
        scope = request.scope
        if scope is not None:
            wanted = {name: sorted(symbols) for name, symbols in normalized(scope).items()}
            if wanted != stored:
                raise Conflict(f"instance `{row.id}` not changed: scope assignments are immutable")
        for name, key in (("host", "host"), ("dry_run", "dryRun"), ("on_stop", "onStop")):
            if getattr(request, name) not in (None, getattr(row, name)):
                raise Conflict(f"instance `{row.id}` not changed: `{key}` is immutable")
        if request.strategy is not None and not is_same(request.strategy, row, names):
            raise Conflict(
                f"instance `{row.id}` not changed: its strategy is immutable; a refresh moves it to the"
                " revision that its tag selects now"
            )

    def config(self, request: InstanceRequest, row: InstanceRow, shown: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the config that a change asks for. `shown` is what GET answers; a mask keeps its value."""
        wanted = None if request.strategy is None else request.strategy.config
        if wanted is None or without_nulls(dict(wanted)) == without_nulls(dict(shown)):
            return row.config
        return {key: row.config.get(key, value) if value == MASK else value for key, value in wanted.items()}

    async def is_same_config(
        self, cls: "type[Lambda] | None", one: Mapping[str, Any], other: Mapping[str, Any]
    ) -> bool:
        """Returns whether a strategy gets the same values of two configs; False if that cannot be said.

        `cls` is None if the strategy cannot be loaded. Its code runs on a thread.
        """
        if one == other or cls is None:
            return one == other
        check = partial(described, partial(_is_same_config, cls, one, other))
        try:
            return await within(LOAD_SECONDS, call(check, "meltica-strategy"))
        except (TimeoutError, LambdaError):
            return False

    async def check(self, record: InstanceRecord) -> None:
        """Raises HttpError with every fault of a declaration."""
        found = await self._faults(record)
        if found:
            raise invalid(found)

    async def _selected(self, strategy: StrategyRequest, found: list[tuple[Loc, str]]) -> Selected:
        """Returns the strategy that a body selects. Raises NotFound."""
        text = selector_of(strategy)
        if not text:
            found.append((("strategy", "identifier"), "`strategy.identifier` is required and was not given"))
            return Selected()
        name = shipped.find(_name(text))
        if name is not None:
            return _shipped(name, text)
        try:
            revision = await self._services.modules.resolve(text)
        except ValueError as error:
            found.append((("strategy", "selector"), f"`strategy.selector`: {error}"))
            return Selected()
        except NotFound as error:
            hint = suggestion(_name(text), shipped.names())
            raise NotFound(f"instance not created: {error}{hint}") from None
        return Selected(revision.name, revision.selector, revision.tag, revision.hash)

    async def _pinned(self, strategy: StrategyRequest, found: list[tuple[Loc, str]]) -> Selected:
        """Returns the revision that an instance was pinned to, however it was selected. Raises NotFound."""
        text = selector_of(strategy)
        if shipped.find(_name(text)) is not None:
            return await self._selected(strategy, found)
        try:
            name, pin = parse(text), parse(str(strategy.hash))
        except ValueError as error:
            found.append((("strategy", "selector"), f"`strategy.selector`: {error}"))
            return Selected()
        if pin.hash is None or name.hash not in (None, pin.hash):
            text = f"expected `sha256:` and 64 hex digits, the same as in the selector, saw {strategy.hash!r}"
            found.append((("strategy", "hash"), f"`strategy.hash`: {text}"))
            return Selected()
        module, row = await self._services.modules.find(Selector(name.name, hash=pin.hash))
        tag = None if name.hash else name.tag or LATEST
        return Selected(module.name, str(Selector(module.name, tag, name.hash)), tag, row.hash)

    async def _class(self, record: InstanceRecord) -> "type[Lambda] | None":
        """Returns the class of a declaration; None if it cannot be loaded, which is one of its faults."""
        try:
            return await within(LOAD_SECONDS, call(await self._load(record), "meltica-strategy"))
        except (TimeoutError, LambdaError):
            return None

    async def _load(self, record: InstanceRecord) -> "Callable[[], type[Lambda]]":
        """Returns what loads the class of a declaration. Raises NotFound."""
        module = await pin_of(record, self._services.modules)
        return partial(loader.load, record.selector) if module is None else module.load

    async def _faults(self, record: InstanceRecord) -> list[tuple[Loc, str]]:
        """Returns the faults of a declaration. The strategy is loaded on a thread, as that runs its code."""
        found = [
            (loc, text) for loc, text in self._services.declarations.faults(record) if loc[:1] != ("config",)
        ]
        try:
            load = await self._load(record)
            check = partial(described, lambda: list(_strategy_faults(load(), record.config)))
            return [*found, *await within(LOAD_SECONDS, call(check, "meltica-strategy"))]
        except TimeoutError:
            text = f"`strategy`: it did not load within {LOAD_SECONDS:g} s"
            return [*found, (("strategy",), text)]
        except LambdaError as error:
            return [*found, (("strategy",), f"`strategy`: {error}")]


def _strategy_faults(cls: type[Lambda], config: Mapping[str, Any]) -> Iterator[tuple[Loc, str]]:
    """Yields the faults of a class and of its config. Runs code of the strategy, so it has a thread."""
    yield from ((("strategy",), f"`strategy`: {text}") for text in start_faults(cls))
    yield from config_faults(cls, config, Locations(), CONFIG)
    fields = {} if cls.Config is None else cls.Config.model_fields
    for key in config:
        if is_secret(key, fields[key].annotation if key in fields else None):
            text = "expected no secret: the config of an instance that is created over REST is not encrypted"
            yield (*CONFIG, key), f"`strategy.config.{key}`: {text}; use the config file"


def without_dry_run(
    config: Mapping[str, Any], given: bool | None, found: list[tuple[Loc, str]]
) -> tuple[dict[str, Any], bool | None]:
    """Returns a config without the `dry_run` of existing clients, and that as `dryRun`; adds its faults."""
    value, path = config[DRY_RUN], f"{'.'.join(map(str, CONFIG))}.{DRY_RUN}"
    if not isinstance(value, bool | None):
        found.append(((*CONFIG, DRY_RUN), f"`{path}`: expected true or false, saw {str(value)[:40]!r}"))
    elif value is not None and given not in (None, value):
        found.append(((*CONFIG, DRY_RUN), f"`{path}`: `dryRun` has another value; give one of them"))
    return {key: each for key, each in config.items() if key != DRY_RUN}, given if value is None else value


def _has_setting(cls: "type[Lambda] | None") -> bool:
    return cls is not None and cls.Config is not None and DRY_RUN in keys(cls.Config)


def normalized(scope: Mapping[str, InstanceScope]) -> dict[str, list[str]]:
    """Returns the symbols by provider: trimmed, in upper case, each once."""
    return {
        name.strip(): list(dict.fromkeys(upper(symbol.strip()) for symbol in entry.symbols))
        for name, entry in scope.items()
    }


def selector_of(strategy: StrategyRequest) -> str:
    """Returns the selector of a body: `selector` decides, else `hash`, else `tag`, else `identifier`."""
    selector, name = (strategy.selector or "").strip(), strategy.identifier.strip()
    hash, tag = (strategy.hash or "").strip(), (strategy.tag or "").strip()
    if selector:
        return selector
    if hash:
        return f"{name}@{hash}" if name else hash
    return f"{name}:{tag}" if name and tag else name


def is_same(strategy: StrategyRequest, row: InstanceRow, names: set[str]) -> bool:
    """Returns whether a body selects the stored strategy. A part that is absent is not compared."""
    name, own = _name(strategy.selector or strategy.identifier), {each.lower() for each in names}
    if stored(row.selector) is None or not (strategy.selector or strategy.hash or strategy.tag):
        return not name or name.lower() in own
    if strategy.selector:
        return _canonical(strategy.selector) in (row.selector.lower(), row.revision)
    wanted, actual = (strategy.hash, row.revision) if strategy.hash else (strategy.tag, row.tag)
    return (not name or name.lower() in own) and str(wanted).strip().lower() == str(actual).lower()


def _is_same_config(cls: type[Lambda], one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    if (model := cls.Config) is None:
        return False
    try:
        values = [model.model_validate(read_texts(model, each)) for each in (one, other)]
    except ValidationError:
        return False
    return values[0] == values[1]


def _canonical(selector: str) -> str:
    """Returns a selector in its canonical form, a name alone with its tag."""
    text = selector.strip().lower()
    return text if ":" in text or "@" in text else f"{text}:{LATEST}"


def _shipped(name: str, selector: str) -> Selected:
    """Returns a shipped strategy; it has one revision and the tag `latest`. Raises NotFound."""
    hash = loader.revision(loader.source_of(name))
    wanted, tag = selector.partition("@")[2], selector.partition("@")[0].partition(":")[2]
    if wanted and wanted != hash:
        raise NotFound(f"strategy `{name}` has no revision {wanted[:80]}")
    if tag and tag.lower() != LATEST:
        raise NotFound(f"strategy `{name}` has no tag `{tag[:80]}`")
    return Selected(name, name, None, hash)


def _name(selector: str) -> str:
    return selector.partition("@")[0].partition(":")[0].strip()
