"""Construction of an instance from a `Lambda` class: routes, callbacks, state."""

import logging
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from meltica.errors import ConfigError, LambdaDefinitionError, LambdaError, suggestion
from meltica.lambdas.base import MAX_PAYLOAD, Lambda
from meltica.lambdas.definition import (
    CALLBACKS,
    KINDS,
    NOTICE_SOURCES,
    NOTICES,
    SOURCES,
    does_trade,
    helpers_used,
    overridden,
    policy_faults,
)
from meltica.lambdas.logs import ErrorLog, LambdaLogger
from meltica.lambdas.strategy import subscribed
from meltica.lambdas.trading_side import TradingSide
from meltica.model.symbols import ANY, canonical, currencies

if TYPE_CHECKING:
    from meltica._core import Host, Instance

log = logging.getLogger(__name__)

LOGGED_SYMBOLS = 10
"""How many of the symbols without room the log names."""

LAMBDAS = "meltica"
"""The provider name of events that lambdas emit."""

Scope = Mapping[str, Iterable[str] | Literal["*"]]
"""Provider -> symbols, `"*"` for all of them."""

Route = tuple[str, str, str | None]


class LambdaInstance:
    """One run of a strategy: the author's object and the core's handle on it."""

    def __init__(self, subject: Lambda, core: "Instance", trading: TradingSide | None) -> None:
        self.subject = subject
        self.core = core
        self.trading = trading
        """Its trading; None for a class that does not trade."""
        self._left_out = 0
        """How many symbols without room were logged."""

    @property
    def id(self) -> str:
        """The instance's id."""
        return self.core.id

    @property
    def state(self) -> str:
        """`created`, `running`, `stopping`, `stopped`, `failed` or `stuck`."""
        return self.core.state

    def start(self) -> None:
        """Runs `on_start`, then begins to deliver events. Raises what `on_start` raises."""
        self.core.start()

    def stop(self, timeout: float = 5.0) -> bool:
        """Stops delivery and runs `on_stop`; returns False when a callback outlasts `timeout` seconds."""
        return self.core.stop(timeout)

    def release(self) -> None:
        """Drops the author's object. Blocks while its finalizers run.

        A callback that does not return keeps the object until it does.
        """
        if self.trading is not None and self.state != "stuck":
            self.trading.release()
        vars(self).pop("subject", None)

    def stats(self) -> dict[str, Any]:
        """Returns counters and latency summaries (ns)."""
        return self.core.stats()

    def watch_room(self) -> None:
        """Logs the symbols for which the queue has no room, and requests the room again. Call it from time
        to time.
        """
        reason = self.core.refused_room
        if reason is None and not self._left_out:
            return
        left_out = self.core.left_out
        total = sum(map(len, left_out.values()))
        if reason is not None and total >= max(1, 2 * self._left_out):
            self._left_out = total
            for kind, symbols in left_out.items():
                names = ", ".join(f"{symbol} of {provider}" for provider, symbol in symbols[:LOGGED_SYMBOLS])
                log.warning(
                    "instance %s receives no %s of %d symbols, such as %s: %s",
                    self.id,
                    kind,
                    len(symbols),
                    names,
                    reason,
                )
        elif total == 0 and self._left_out:
            self._left_out = 0
            log.info("instance %s receives every symbol of its scope again", self.id)
        if reason is not None:
            self.core.retry_room()


def add_instance(
    host: "Host",
    cls: type[Lambda],
    *,
    id: str,
    scope: Scope,
    config: Mapping[str, object] | None = None,
    policies: Mapping[str, str] | None = None,
    capacity: int = 1024,
    max_errors: int = 0,
    slow_ns: int = 100_000_000,
    max_payload: int = MAX_PAYLOAD,
    nonblocking: Container[str] = (),
) -> LambdaInstance:
    """Creates an instance on `host`; strategy code other than `__init__` runs from `LambdaInstance.start` on.

    - `policies`: overflow policies that override those of the class.
    - `capacity`: length of the market queue.
    - `max_errors`: consecutive failing callbacks that stop the instance; 0 disables the limit.
    - `slow_ns`: duration from which a callback counts as slow.
    - `max_payload`: largest JSON payload, in bytes, of an emitted event.
    - `nonblocking`: providers that must not wait for a queue; the policy `block` is refused for them.

    Raises LambdaDefinitionError when the class cannot run, ConfigError when the config is invalid,
    CapacityError when the pools have no memory for its queues, and what the class's `__init__` raises.

    """
    overrides = dict(policies or {})
    valid_scope = canonical_scope(scope)
    kinds = subscribed(cls)
    effective_policies = {
        kind: str(policy) for kind, policy in {**cls.policies, **overrides}.items() if kind in kinds
    }
    refuse_block = [provider for provider in valid_scope if provider in nonblocking]
    faults = [
        *start_faults(cls),
        *_override_faults(overrides),
        *_block_faults(effective_policies, refuse_block),
    ]
    if faults:
        raise LambdaDefinitionError(cls.__name__, faults)
    subject = _construct(cls, id, valid_scope, _config(cls, config or {}))
    keeps = frozenset(kept(cls))
    errors = ErrorLog(subject.log)
    trading = TradingSide(subject, errors) if does_trade(cls, Lambda) else None
    start, stop = _ends(subject) if trading is None else (trading.start, trading.stop)
    instance = host.add(
        id,
        callbacks=callbacks_of(subject),
        routes=list(routes(kinds, valid_scope)),
        filters={kind: list(conditions) for kind, conditions in cls.filters.items()},
        policies=effective_policies,
        capacity=capacity,
        book_depth=cls.book_depth,
        keep_market="market" in keeps,
        keep_book="book" in keeps,
        on_start=start,
        on_stop=stop,
        on_error=errors,
        max_errors=max_errors,
        slow_ns=slow_ns,
    )
    subject._attach(instance, keeps, max_payload)  # pyright: ignore[reportPrivateUsage]
    if trading is not None:
        trading.attach(instance)
    return LambdaInstance(subject, instance, trading)


def canonical_scope(scope: Scope) -> dict[str, tuple[str, ...]]:
    """Returns the scope with canonical symbols, each once. Raises LambdaError with every invalid symbol."""
    valid: dict[str, tuple[str, ...]] = {}
    faults: list[str] = []
    for provider, symbols in scope.items():
        names = [symbols] if isinstance(symbols, str) else list(symbols)
        if ANY in names:
            valid[provider] = (ANY,)
            continue
        canonical_names: dict[str, None] = {}
        for name in names:
            try:
                canonical_names[canonical(name)] = None
            except ValueError as error:
                faults.append(f"{provider}: {error}")
        if not names:
            faults.append(f"{provider}: expected symbols or {ANY!r} for all of them, saw none")
        valid[provider] = tuple(canonical_names)
    if not scope:
        faults.append("expected at least one provider, saw none")
    if faults:
        raise LambdaError(f"scope: {'; '.join(faults)}")
    return valid


def routes(kinds: Iterable[str], scope: Mapping[str, tuple[str, ...]]) -> Iterator[Route]:
    """Yields the (provider, kind, symbol) routes of an instance; the symbol None is every symbol."""
    for kind in kinds:
        for provider, symbols in scope.items():
            if kind == "Extension" or ANY in symbols:
                yield (provider, kind, None)
            elif kind == "BalanceUpdate":
                owned = dict.fromkeys(currency for symbol in symbols for currency in currencies(symbol))
                yield from ((provider, kind, currency) for currency in owned)
            else:
                yield from ((provider, kind, symbol) for symbol in symbols)
        if kind == "Extension" and LAMBDAS not in scope:
            yield (LAMBDAS, kind, None)


def callbacks_of(subject: Lambda) -> dict[str, Callable[[Any], object]]:
    """Returns the bound methods of the overridden callbacks, by kind or notice."""
    names = overridden(type(subject), Lambda, [*CALLBACKS, *NOTICES])
    return {(CALLBACKS | NOTICES)[name]: getattr(subject, name) for name in names}


def _ends(subject: Lambda) -> tuple[Callable[[], None] | None, Callable[[], None] | None]:
    """Returns `on_start` and `on_stop`, None for one that is not overridden."""
    names = overridden(type(subject), Lambda, ["on_start", "on_stop"])
    return (
        subject.on_start if "on_start" in names else None,
        subject.on_stop if "on_stop" in names else None,
    )


def kept(cls: type[Lambda]) -> set[str]:
    """Returns the helpers whose state is kept: those that the class calls or that `needs` has a source of."""
    return helpers_used(cls, Lambda) | {name for name, kinds in SOURCES.items() if kinds & set(cls.needs)}


def start_faults(cls: type[Lambda]) -> Iterator[str]:
    """Yields why an instance of a class would never receive an event; does not create one."""
    kinds = subscribed(cls)
    for helper in sorted(helpers_used(cls, Lambda)):
        if not SOURCES[helper] & set(kinds):
            names = sorted(SOURCES[helper])
            yield f"self.{helper}() has no source: override one of {' or '.join(names)}, or use `needs`"
    for notice in overridden(cls, Lambda, NOTICES):
        sources = NOTICE_SOURCES[notice]
        if not sources & set(kinds):
            names = " or ".join(sorted(sources))
            yield f"`{notice}` is never called: override a callback of {names}, or add one of them to `needs`"
    if not kinds and not does_trade(cls, Lambda):
        yield f"nothing is subscribed: override one of {', '.join(CALLBACKS)}"
    if not kinds:
        return
    for attribute in ("filters", "policies"):
        for kind in getattr(cls, attribute):
            if kind not in kinds:
                yield f"`{attribute}` contains {kind}, but only {', '.join(kinds)} is subscribed"


def check_class(cls: type[Lambda], config: Mapping[str, object]) -> None:
    """Raises LambdaDefinitionError if a class cannot run, and ConfigError for an invalid config."""
    faults = list(start_faults(cls))
    if faults:
        raise LambdaDefinitionError(cls.__name__, faults)
    _config(cls, config)


def _block_faults(policies: Mapping[str, str], providers: Collection[str]) -> Iterator[str]:
    """Yields the policies that would make live providers wait for an instance."""
    for kind, policy in policies.items():
        if policy == "block" and providers:
            names = ", ".join(providers)
            yield f"`policies[{kind!r}]`: `block` would make {names} wait for this lambda; use drop_oldest"


def _override_faults(policies: Mapping[str, str]) -> Iterator[str]:
    for kind, policy in policies.items():
        if kind not in KINDS:
            yield f"a policy is given for the unknown kind {kind!r}{suggestion(kind, KINDS)}"
        elif policy != "block":
            yield from policy_faults(kind, policy)


def _config(cls: type[Lambda], values: Mapping[str, object]) -> object:
    if cls.Config is None:
        if values:
            keys = ", ".join(f"`{key}`" for key in values)
            raise ConfigError(f"config of {cls.__name__}", [f"{keys} was given, but the class has no Config"])
        return None
    from meltica.lambdas.config import load_config

    return load_config(cls.Config, values)


def _construct(cls: type[Lambda], id: str, scope: Mapping[str, tuple[str, ...]], config: object) -> Lambda:
    """Constructs the strategy; its `__init__` takes no arguments and can use config, id, scope and log."""
    subject = cls.__new__(cls)
    subject.id, subject.scope, subject.config, subject.log = id, scope, config, LambdaLogger(id)
    try:
        subject.__init__()
    except TypeError as error:
        if error.__traceback__ is not None and error.__traceback__.tb_next is None:
            raise LambdaError(f"{cls.__name__}.__init__ must take nothing but self: {error}") from None
        raise
    return subject
