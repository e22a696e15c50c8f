"""The definition of a `Lambda` class: its callbacks, and the checks of its declarations.

All checks work on classes before any instance exists, and inspect code objects only: strategy code does not
run.
"""

from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from types import CodeType, FunctionType
from typing import Final, cast

from meltica._core import FILTER_FIELDS, FILTER_LIMIT, FILTER_OPERATORS, check_filter
from meltica.errors import suggestion
from meltica.model.enums import PRIVATE_KINDS, EventKind, OverflowPolicy

CALLBACKS: Final[dict[str, str]] = {
    "on_trade": EventKind.TRADE.value,
    "on_ticker": EventKind.TICKER.value,
    "on_book_snapshot": EventKind.BOOK_SNAPSHOT.value,
    "on_kline_summary": EventKind.KLINE_SUMMARY.value,
    "on_instrument_update": EventKind.INSTRUMENT_UPDATE.value,
    "on_balance_update": EventKind.BALANCE_UPDATE.value,
    "on_risk_control": EventKind.RISK_CONTROL.value,
    "on_extension": EventKind.EXTENSION.value,
}
"""Callback -> the event kind that it subscribes to."""

NOTICES: Final[dict[str, str]] = {"on_gap": "BookGap", "on_stale": "MarketStale"}
"""Callbacks for notices about market data; the subscriptions in `NOTICE_SOURCES` include them."""

NOTICE_SOURCES: Final[dict[str, frozenset[str]]] = {
    "on_gap": frozenset({"BookSnapshot"}),
    "on_stale": frozenset({"BookSnapshot", "Trade", "Ticker"}),
}
"""Callback for a notice -> the kinds whose subscribers receive it."""

PARAMETERS: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys((*CALLBACKS, *NOTICES), ("event",)),
    "on_start": (),
    "on_stop": (),
    "on_save": (),
    "on_load": ("state",),
    "on_order_acknowledged": ("order",),
    "on_order_partial_fill": ("order", "fill"),
    "on_order_filled": ("order", "fill"),
    "on_order_cancelled": ("order",),
    "on_order_rejected": ("order",),
    "on_order_expired": ("order",),
    "on_order_unknown": ("order",),
    "on_order_amended": ("order",),
    "on_order_amend_rejected": ("order",),
    "on_order_cancel_rejected": ("order",),
    "on_trading_changed": ("provider", "on", "why"),
}
"""Callback -> its parameters besides self."""

TRADING_CALLBACKS: Final = tuple(
    name for name in PARAMETERS if name not in (*CALLBACKS, *NOTICES, "on_start", "on_stop")
)
"""Callbacks that only a lambda that trades receives."""

TRADING_HELPERS: Final = frozenset(
    {
        "amend",
        "balance",
        "buy",
        "cancel",
        "cancel_all",
        "close",
        "fees",
        "fills",
        "instrument",
        "order",
        "orders",
        "pnl",
        "position",
        "sell",
        "trading",
    }
)
"""Helpers that only a lambda that trades may use."""

KINDS: Final = tuple(CALLBACKS.values())
"""Kinds that a lambda can subscribe to."""

SOURCES: Final[dict[str, frozenset[str]]] = {
    "market": frozenset({"Trade", "Ticker", "BookSnapshot"}),
    "book": frozenset({"BookSnapshot"}),
}
"""Helper -> the kinds that can be its source; one of them must be subscribed."""

NOT_CONFLATED: Final = frozenset({EventKind.TRADE.value, EventKind.EXTENSION.value})
"""Kinds that cannot be conflated: each event carries information that a later one does not replace."""

MAX_BOOK_DEPTH: Final = 5000

_COROUTINE, _GENERATOR, _ASYNC_GENERATOR = 0x80, 0x20, 0x200
_VARARGS = 0x04


def faults_of(cls: type, base: type) -> list[str]:
    """Returns the faults in the declarations of `cls`, a subclass of `base`."""
    faults: list[str] = []
    for owner in own_classes(cls, base):
        for name, value in vars(owner).items():
            faults.extend(_callback_faults(name, value))
    faults.extend(_declaration_faults(cls))
    return list(dict.fromkeys(faults))


def own_classes(cls: type, base: type) -> Iterator[type]:
    """Yields the author's classes: the MRO of `cls` without `base` and its bases."""
    return (owner for owner in cls.__mro__ if owner not in base.__mro__)


def overridden(cls: type, base: type, names: Iterable[str]) -> list[str]:
    """Returns the `names` that `cls` overrides, in the order given."""
    return [name for name in names if getattr(cls, name, None) is not getattr(base, name, None)]


def helpers_used(cls: type, base: type) -> set[str]:
    """Returns which of `self.market` and `self.book` the code of `cls` calls."""
    return _attributes(cls, base, SOURCES.keys())[0]


def does_trade(cls: type, base: type) -> bool:
    """Returns whether a class trades.

    It does if it says `places_orders = True`, overrides a callback of orders, trading or checkpoints, or
    reads a trading helper from self. A name that the class assigns or defines is its own, not the helper,
    unless it extends the helper by `super()`.
    """
    if getattr(cls, "places_orders", False) or overridden(cls, base, TRADING_CALLBACKS):
        return True
    read, own = _attributes(cls, base, TRADING_HELPERS)
    return bool(read - own)


def _attributes(cls: type, base: type, names: AbstractSet[str]) -> tuple[set[str], set[str]]:
    """Returns which of `names` the code of a class reads from self, and which it defines or assigns."""
    read, own = set[str](), set[str]()
    for owner in own_classes(cls, base):
        for name, value in vars(owner).items():
            functions = list(_functions(value))
            for function in functions:
                attributes, assigned = _attributes_of_self(function.__code__, names)
                read |= attributes
                own |= assigned
            if name in names:
                extends = any({"super", name} <= set(each.__code__.co_names) for each in functions)
                (read if extends else own).add(name)
    return read & names, own


def _callback_faults(name: str, value: object) -> Iterator[str]:
    parameters = PARAMETERS.get(name)
    if parameters is None:
        if _looks_like_callback(name, value):
            hint = suggestion(name, PARAMETERS)
            yield f"`{name}` is not a callback{hint} (methods of your own need a name without `on_`)"
        return
    if not _is_function(value):
        yield f"`{name}` must be a function, {type(value).__name__} was given"
        return
    code = getattr(value, "__code__", None)
    inner = getattr(getattr(value, "__wrapped__", None), "__code__", None)
    flags = (code.co_flags if isinstance(code, CodeType) else 0) | (
        inner.co_flags if isinstance(inner, CodeType) else 0
    )
    if flags & (_COROUTINE | _ASYNC_GENERATOR):
        yield f"`{name}` is `async def`; callbacks are plain functions: write `def {name}`"
    elif flags & _GENERATOR:
        yield f"`{name}` contains `yield`, so calling it would run nothing; callbacks are plain functions"
    elif not _takes(value, len(parameters)):
        form = f"def {name}({', '.join(('self', *parameters))})"
        count = ("no argument", "one argument", "two arguments", "three arguments")[len(parameters)]
        yield f"`{name}` must take {count} besides self: write `{form}`"


def _is_function(value: object) -> bool:
    return callable(value) or isinstance(value, staticmethod | classmethod)


def _looks_like_callback(name: str, value: object) -> bool:
    if not _is_function(value) or isinstance(value, type):
        return False
    flat = name.replace("_", "").lower()
    return name.startswith("on_") or any(flat == callback.replace("_", "") for callback in PARAMETERS)


def _takes(value: object, count: int) -> bool:
    """Returns whether a class attribute, called on an instance, accepts `count` positional arguments."""
    if isinstance(value, FunctionType):
        code = value.__code__
        most = code.co_argcount - 1
        least = most - len(value.__defaults__ or ())
        keywords = code.co_kwonlyargcount - len(value.__kwdefaults__ or {})
        return (most >= count or bool(code.co_flags & _VARARGS)) and least <= count and keywords == 0
    from inspect import signature

    function: object = getattr(value, "__func__", value)
    bound = 1 if isinstance(value, classmethod) else 0
    try:
        signature(cast(Callable[..., object], function)).bind(*[None] * (count + bound))
    except TypeError:
        return False
    except ValueError:
        return True
    return True


def _declaration_faults(cls: type) -> Iterator[str]:
    yield from _needs_faults(getattr(cls, "needs", None))
    yield from _filter_faults(getattr(cls, "filters", None))
    yield from _policy_faults(getattr(cls, "policies", None))
    places: object = getattr(cls, "places_orders", None)
    if not isinstance(places, bool):
        yield f"`places_orders` must be True or False, {places!r} was given"
    depth: object = getattr(cls, "book_depth", None)
    if not isinstance(depth, int) or isinstance(depth, bool) or not 1 <= depth <= MAX_BOOK_DEPTH:
        yield f"`book_depth` must be 1 to {MAX_BOOK_DEPTH} levels, {depth!r} was given"
    config: object = getattr(cls, "Config", None)
    if config is not None and not (isinstance(config, type) and hasattr(config, "model_fields")):
        yield "`Config` must be a subclass of meltica.LambdaConfig: write `class Config(LambdaConfig)`"


def _needs_faults(needs: object) -> Iterator[str]:
    if isinstance(needs, str) or not isinstance(needs, set | frozenset | tuple | list):
        yield f"`needs` must be a set of kinds such as {{'Ticker'}}, {needs!r} was given"
        return
    for kind in cast(Iterable[object], needs):
        yield from _kind_faults("needs", kind)


def _filter_faults(filters: object) -> Iterator[str]:
    if not isinstance(filters, dict):
        form = "{'Trade': [Filter('side', 'eq', 'Buy')]}"
        yield f"`filters` must be a dict such as {form}, {filters!r} was given"
        return
    for kind, conditions in cast(dict[object, object], filters).items():
        where = f"`filters[{kind!r}]`"
        unknown = list(_kind_faults("filters", kind))
        yield from unknown
        if not isinstance(conditions, list | tuple) or _is_condition(cast(object, conditions)):
            yield f"{where} must be a list of Filter, {conditions!r} was given"
            continue
        count = len(cast(list[object], conditions))
        if count > FILTER_LIMIT:
            yield f"{where} must have at most {FILTER_LIMIT} conditions, {count} were given"
        for condition in cast(Iterable[object], conditions):
            if not _is_condition(condition):
                yield f"{where} must hold Filter(field, operator, value), {condition!r} was given"
            elif not unknown:
                fault = _condition_fault(str(kind), *cast(tuple[str, str, object], condition))
                yield from [f"{where}: {fault}"] if fault else []


def _condition_fault(kind: str, field: str, operator: str, value: object) -> str | None:
    """Returns why no event of the kind can match a condition, or None. The core defines the fields."""
    if field not in FILTER_FIELDS[kind]:
        return f"{kind} has no field {field!r} to filter on{suggestion(field, FILTER_FIELDS[kind])}"
    if operator not in FILTER_OPERATORS:
        return f"the operator {operator!r} of {field!r} is unknown{suggestion(operator, FILTER_OPERATORS)}"
    if (operator == "in") != isinstance(value, list | tuple | set | frozenset):
        expected = "a list of values" if operator == "in" else "one value"
        return f"`{operator}` on {field!r} takes {expected}, {value!r} was given"
    try:
        check_filter(kind, field, operator, value)
    except ValueError as error:
        return str(error)
    return None


def _is_condition(value: object) -> bool:
    if not isinstance(value, tuple):
        return False
    parts = cast(tuple[object, ...], value)
    return len(parts) == 3 and isinstance(parts[0], str) and isinstance(parts[1], str)


def _policy_faults(policies: object) -> Iterator[str]:
    if not isinstance(policies, dict):
        yield f"`policies` must be a dict such as {{'Trade': 'block'}}, {policies!r} was given"
        return
    for kind, policy in cast(dict[object, object], policies).items():
        faults = list(_kind_faults("policies", kind))
        yield from faults or policy_faults(str(kind), policy)


def policy_faults(kind: str, policy: object) -> Iterator[str]:
    """Yields the faults of an overflow policy for a valid kind."""
    names = [p.value for p in OverflowPolicy]
    if policy not in names:
        yield f"`policies[{kind!r}]`: {policy!r} is not a policy{suggestion(str(policy), names)}"
    elif kind in PRIVATE_KINDS:
        yield f"`policies[{kind!r}]`: {kind} is never dropped, so a policy does not apply; remove it"
    elif policy == OverflowPolicy.CONFLATE and kind in NOT_CONFLATED:
        yield f"`policies[{kind!r}]`: {kind} events cannot be conflated; use drop_oldest or block"


def _kind_faults(where: str, kind: object) -> Iterator[str]:
    if not isinstance(kind, str) or kind not in KINDS:
        yield f"`{where}` names the unknown kind {kind!r}{suggestion(str(kind), KINDS)}"


def _functions(value: object) -> Iterator[FunctionType]:
    if isinstance(value, property):
        parts: tuple[object, ...] = (value.fget, value.fset)
    elif isinstance(value, staticmethod | classmethod):
        parts = (cast(object, value.__func__),)
    else:
        parts = (value, getattr(value, "func", None))
    for part in parts:
        inner = part
        while inner is not None:
            if isinstance(inner, FunctionType):
                yield inner
            inner = cast(object, getattr(inner, "__wrapped__", None))


def _attributes_of_self(code: CodeType, names: AbstractSet[str]) -> tuple[set[str], set[str]]:
    """Returns the attributes that code reads from, and assigns to, its first argument.

    Nested functions are included. Only code that has one of `names` is read.
    """
    if not code.co_argcount:
        return set(), set()
    name, read, assigned = code.co_varnames[0], set[str](), set[str]()
    pending = [code]
    while pending:
        inner = pending.pop()
        pending.extend(const for const in inner.co_consts if isinstance(const, CodeType))
        if names & set(inner.co_names):
            _read(inner, name, read, assigned)
    return read, assigned


def _read(code: CodeType, name: str, read: set[str], assigned: set[str]) -> None:
    from dis import get_instructions

    on_top = False
    for instruction in get_instructions(code):
        if on_top and instruction.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            read.add(str(instruction.argval))
        elif on_top and instruction.opname == "STORE_ATTR":
            assigned.add(str(instruction.argval))
        value = cast(object, instruction.argval)
        # Newer interpreters load two locals at once; the later one is on top of the stack.
        if isinstance(value, tuple) and value:
            value = cast(tuple[object, ...], value)[-1]
        on_top = instruction.opname.startswith(("LOAD_FAST", "LOAD_DEREF")) and value == name
