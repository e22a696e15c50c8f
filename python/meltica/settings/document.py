"""Reads a config file: the scalar types of YAML 1.2, `${NAME}` from the environment, the line of each value.

PyYAML parses the nodes; this module resolves their values. Unlike in YAML 1.1, `010` is not 8, `1:30` is not
90, `yes` and `on` are strings, and a duplicate key is a fault.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from math import isfinite
from pathlib import Path
from typing import Final

import yaml

from meltica.errors import ConfigError
from meltica.validation.models import Loc

MAX_BYTES: Final = 1 << 20
MAX_VALUES: Final = 20_000
MAX_DEPTH: Final = 32

_TAG: Final = "tag:yaml.org,2002:"
_PLAIN: Final = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "null": (r"~|null|Null|NULL|", "~nN"),
    "int": (r"[-+]?(0|[1-9][0-9]{0,39})", "-+0123456789"),
    "float": (
        r"[-+]?((0|[1-9][0-9]{0,39})(\.[0-9]{0,39})?|\.[0-9]{1,39})([eE][-+]?[0-9]{1,3})?",
        "-+.0123456789",
    ),
}
_VARIABLE: Final = re.compile(r"\$(?:(\$)|\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\{)")


class _Loader(yaml.SafeLoader):
    """Resolves strings, numbers, booleans and null by the rules of YAML 1.2."""

    yaml_implicit_resolvers = {}


for _kind, (_form, _start) in _PLAIN.items():
    _Loader.add_implicit_resolver(  # pyright: ignore[reportUnknownMemberType]
        f"{_TAG}{_kind}", re.compile(rf"(?:{_form})\Z"), [*_start, ""]
    )


@dataclass
class Document:
    """The contents of a file, with the line of each value and the variables interpolated into it."""

    path: Path
    values: dict[str, object] = field(default_factory=dict[str, object])
    lines: dict[Loc, int] = field(default_factory=dict[Loc, int])
    variables: dict[Loc, tuple[str, ...]] = field(default_factory=dict[Loc, tuple[str, ...]])
    faults: list[tuple[Loc, str]] = field(default_factory=list[tuple[Loc, str]])

    def placeholder(self, loc: Loc) -> str | None:
        """Returns the text to show instead of a value that contains variables; None for any other value."""
        names = self.variables.get(loc)
        return f"the value of {' and '.join(f'${{{name}}}' for name in names)}" if names else None


def read(path: Path, environment: Mapping[str, str]) -> Document:
    """Reads a file; faults of single values are collected in the document.

    Raises ConfigError when the file as a whole cannot be used.
    """
    try:
        root = _compose(path)
        if isinstance(root, yaml.MappingNode):
            return _Reader(Document(path), environment).read(root)
    except RecursionError:
        raise ConfigError(str(path), [f"is nested more than {MAX_DEPTH} levels deep"]) from None
    if root is None:
        advice = "run `meltica init DIR` for a project to start from"
        raise ConfigError(str(path), [f"expected settings, but the file is empty; {advice}"])
    kind = "a list" if isinstance(root, yaml.SequenceNode) else "a single value"
    raise ConfigError(str(path), [f"expected keys with values, such as `environment: dev`, saw {kind}"])


def interpolate(text: str, environment: Mapping[str, str]) -> tuple[str, tuple[str, ...], list[str]]:
    """Replaces `${NAME}` and `${NAME:-default}` in a string; returns it, the names used, and the faults.

    `$$` is a dollar sign, and so is a single `$` that begins no variable. A default applies when the variable
    is unset or empty.
    """
    used: list[str] = []
    faults: list[str] = []

    def fill(match: re.Match[str]) -> str:
        dollar, name, default = match.groups()
        if dollar:
            return "$"
        if not name:
            faults.append(": expected ${NAME} or ${NAME:-default}; write $$ for a dollar sign")
            return ""
        value = environment.get(name)
        if value is None and default is None:
            faults.append(
                f": ${{{name}}} is not set in the environment; set it, or give a default: ${{{name}:-...}}"
            )
            return ""
        if not value and default is not None:
            return default
        used.append(name)
        return value or ""

    return _VARIABLE.sub(fill, text), tuple(used), faults


def _compose(path: Path) -> yaml.Node | None:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ConfigError(str(path), [f"expected at most {MAX_BYTES} bytes"])
        return yaml.compose(data.decode("utf-8-sig"), Loader=_Loader)
    except OSError as error:
        raise ConfigError(str(path), [f"cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), [f"is not valid UTF-8 at byte {error.start}"]) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        cause = ", ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(str(path), [f"{where}not valid YAML: {' '.join(cause.split())}"]) from None
    except yaml.YAMLError as error:
        raise ConfigError(str(path), [f"not valid YAML: {' '.join(str(error).split())}"]) from None


class _Reader:
    """Converts the nodes in one pass. Aliases are expanded, so the number of values is limited."""

    def __init__(self, document: Document, environment: Mapping[str, str]) -> None:
        self._document = document
        self._environment = environment
        self._count = 0

    def read(self, root: yaml.MappingNode) -> Document:
        self._document.values = self._mapping(root, ())
        return self._document

    def _value(self, node: yaml.Node, loc: Loc) -> object:
        self._count += 1
        if self._count > MAX_VALUES or len(loc) > MAX_DEPTH:
            bounds = f"{MAX_VALUES} values, each alias counted in full, and {MAX_DEPTH} levels"
            raise ConfigError(str(self._document.path), [f"expected at most {bounds}"])
        self._document.lines.setdefault(loc, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, loc)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*loc, number)) for number, item in enumerate(node.value)]
        return self._scalar(node, loc)

    def _mapping(self, node: yaml.MappingNode, loc: Loc) -> dict[str, object]:
        values: dict[str, object] = {}
        for key_node, value_node, merged in self._pairs(node, loc):
            if not isinstance(key_node, yaml.ScalarNode):
                self._fault(loc, ": a key must be a string")
                continue
            key: str = key_node.value
            place = (*loc, key)
            if key not in values:
                self._document.lines[place] = key_node.start_mark.line + 1
                values[key] = self._value(value_node, place)
            elif not merged:
                lines = f"lines {self._document.lines[place]} and {key_node.start_mark.line + 1}"
                self._fault(place, f" is given twice, in {lines}")
        return values

    def _pairs(self, node: yaml.MappingNode, loc: Loc) -> Iterator[tuple[yaml.Node, yaml.Node, bool]]:
        """Yields the keys and values of a mapping, then those that `<<` merges into it."""
        merges: list[yaml.Node] = []
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == "<<" and key.style is None:
                merges.extend(value.value if isinstance(value, yaml.SequenceNode) else [value])
            else:
                yield key, value, False
        for source in merges:
            self._count += 1
            if not isinstance(source, yaml.MappingNode):
                self._fault((*loc, "<<"), ": expected keys with values to merge")
            elif self._count <= MAX_VALUES:
                yield from ((key, value, True) for key, value, _ in self._pairs(source, loc))

    def _scalar(self, node: yaml.Node, loc: Loc) -> object:
        text: str = node.value
        kind = node.tag.removeprefix(_TAG)
        if kind in _PLAIN and re.fullmatch(_PLAIN[kind][0], text) is None:
            self._fault(loc, f": the tag !!{kind} does not fit its value")
            return None
        match kind:
            case "str":
                return self._text(text, loc)
            case "bool":
                return text.lower() == "true"
            case "null":
                return None
            case "int":
                return int(text)
            case "float":
                return _number(text)
            case other:
                self._fault(loc, f": the tag {other} is unknown")
                return None

    def _text(self, text: str, loc: Loc) -> str:
        if "$" not in text:
            return text
        filled, used, faults = interpolate(text, self._environment)
        if used:
            self._document.variables[loc] = used
        for fault in faults:
            self._fault(loc, fault)
        return filled

    def _fault(self, loc: Loc, text: str) -> None:
        self._document.faults.append((loc, text))


def _number(text: str) -> float | str:
    """Returns the number, or the string itself when a float cannot represent its value exactly."""
    value = float(text)
    return value if isfinite(value) and Decimal(repr(value)) == Decimal(text) else text
