"""Checks the shape of a codec's declaration: each value against the annotation of its dataclass.

The core checks the contents afterwards, of the messages that have their shape.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from meltica.adapters.codec import Checksum, Codec, Message, SymbolRule

SHOWN = 60
"""Characters of a value that are shown."""
_TEXTS: dict[object, str] = {
    str: "a text",
    int: "a whole number",
    bool: "True or False",
    NoneType: "None",
}


def sound(declaration: Codec) -> tuple[Codec | None, list[str]]:
    """Returns the part of a declaration that can be checked further, if any, and the faults of the rest."""
    faults = list(_faults("codec", declaration, Codec))
    if not faults:
        return declaration, faults
    hints = _hints(Codec)
    faulty = {name for name, hint in hints.items() if [*_faults(name, getattr(declaration, name), hint)]}
    messages: list[Message] = []
    if "messages" not in faulty:
        messages = list(declaration.messages)
    elif _fits(declaration.messages, tuple[Message, ...]):
        given = cast("tuple[object, ...]", declaration.messages)
        whole = [each for each in given if isinstance(each, Message) and not [*_faults("", each, Message)]]
        # Such a message refers to another one, which may be at fault.
        messages = [each for each in whole if each.snapshot != "history"]
    if not messages or faulty & {"name", "envelope"}:
        return None, faults
    rule: SymbolRule | Mapping[str, SymbolRule] = SymbolRule(separator="-")
    if "symbols" not in faulty:
        rule = declaration.symbols
    optional = dict.fromkeys(faulty - {"messages", "symbols"})
    return replace(declaration, symbols=rule, messages=tuple(messages), **cast("Any", optional)), faults


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _faults(place: str, value: object, hint: Any) -> Iterator[str]:
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    fitting = [option for option in options if _fits(value, option)]
    if fitting:
        yield from min(([*_inner(place, value, option)] for option in fitting), key=len)
        return
    expected = " or ".join(_TEXTS.get(option) or _named(option) for option in options)
    yield f"{place}: expected {expected}, saw {_seen(value)}{_remedy(value, options)}"


def _fits(value: object, option: Any) -> bool:
    """Returns whether a value has the outer type of an option."""
    origin, args = get_origin(option), get_args(option)
    if origin is Literal:
        return isinstance(value, str) and value in args
    if origin is tuple and args[-1] is not ...:
        return isinstance(value, tuple) and len(cast("tuple[object, ...]", value)) == len(args)
    if origin is tuple:
        return isinstance(value, tuple | list)
    return isinstance(value, origin or option) and (option is bool or not isinstance(value, bool))


def _inner(place: str, value: Any, option: Any) -> Iterator[str]:
    """Yields the faults of the parts of a value."""
    origin, args = get_origin(option), get_args(option)
    if origin is tuple and args[-1] is ...:
        for index, each in enumerate(value):
            yield from _faults(_of_element(place, index, each), each, args[0])
    elif origin is tuple:
        for each, hint in zip(value, args, strict=True):
            yield from _faults(place, each, hint)
    elif origin is Mapping:
        for key, each in value.items():
            yield from _faults(place, key, args[0])
            yield from _faults(f"{place}.{key}", each, args[1])
    elif is_dataclass(option):
        owner = cast("type", option)
        inside = "" if option is Codec else f"{place}."
        for field in fields(option):
            part = getattr(value, field.name)
            yield from _faults(f"{inside}{field.name}", part, _hints(owner)[field.name])
            is_character = field.name.endswith("separator") and owner is not Checksum
            if is_character and isinstance(part, str) and len(part) != 1:
                yield f"{inside}{field.name}: expected one character, saw {part!r}"


def _of_element(place: str, index: int, element: Any) -> str:
    """Returns the place of an element: that of its name in the message or codec, or of its position."""
    parts = _parts(element)
    name = getattr(parts[0] if len(parts) == 1 else element, "name", None)
    owner = place.rpartition(".")[0]
    return f"{place}[{index}]" if not isinstance(name, str) else f"{owner}.{name}" if owner else name


def _parts(value: object) -> tuple[object, ...]:
    """Returns the parts of a tuple; none of another value."""
    return cast("tuple[object, ...]", value) if isinstance(value, tuple) else ()


def _named(option: Any) -> str:
    origin, args = get_origin(option), get_args(option)
    if origin is Literal:
        return " or ".join(f'"{each}"' for each in args)
    if origin is tuple and args[-1] is not ...:
        return f"a tuple ({', '.join(_TEXTS.get(each) or _named(each) for each in args)})"
    if origin in (Union, UnionType):
        return " or ".join(_TEXTS.get(each) or _named(each) for each in args)
    if origin is not None:
        kind = "a tuple" if origin is tuple else "a mapping"
        of = args[0] if origin is tuple else args[-1]
        one = _TEXTS.get(of)
        return f"{kind} of {_named(of) if one is None else one.removeprefix('a ') + 's'}"
    return f"`{option.__name__}`" if isinstance(option, type) else str(option)


def _seen(value: object) -> str:
    if is_dataclass(value) and not isinstance(value, type):
        return f"`{type(value).__name__}(...)`"
    if isinstance(value, tuple | list | Mapping):
        return f"a {type(cast('object', value)).__name__} of {len(cast('tuple[object, ...]', value))}"
    if callable(value):
        return f"`{getattr(value, '__name__', value)}`"
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _remedy(value: Any, options: tuple[Any, ...]) -> str:
    """Returns what to write instead, for mistakes that are easily made."""
    for option in options:
        origin, args = get_origin(option), get_args(option)
        if origin is tuple and args[-1] is ... and _fits(value, args[0]):
            return f"; a comma makes a tuple of one: ({_seen(value).strip('`')},)"
        if origin is tuple and isinstance(value, list):
            return "; write a tuple (...) in place of a list [...]"
        parts = _parts(value)
        if len(parts) == 1 and _fits(parts[0], option):
            return "; remove the comma after it"
        if callable(value) and is_dataclass(option):
            return f"; call it: {getattr(value, '__name__', value)}(...)"
    return ""
