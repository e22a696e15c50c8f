"""Config files: scalar types of YAML, interpolation of `${NAME}`, and one line for an unusable file."""

from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from meltica.errors import ConfigError
from meltica.settings.document import MAX_BYTES, Document, interpolate, read

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "c.yaml"


def parse(file: Path, text: str, **environment: str) -> Document:
    file.write_text(text, encoding="utf-8")
    return read(file, environment)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("-5", -5),
        ("0", 0),
        ("010", "010"),
        ("0x10", "0x10"),
        ("0o17", "0o17"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("12:30:45", "12:30:45"),
        ("2025-01-01", "2025-01-01"),
        ("0.1", 0.1),
        (".5", 0.5),
        ("1.", 1.0),
        ("1e3", 1000.0),
        ("1.12345678901234567890", "1.12345678901234567890"),
        ("1e400", "1e400"),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("true", True),
        ("False", False),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("off", "off"),
        ("null", None),
        ("~", None),
        ("", None),
        ("'12'", "12"),
        ('"true"', "true"),
        ("!!str 12", "12"),
        ("!!int '12'", 12),
        ("[1, a]", [1, "a"]),
        ("{a: 1}", {"a": 1}),
    ],
)
def test_plain_types(file: Path, text: str, value: object) -> None:
    parsed = parse(file, f"key: {text}\n").values["key"]
    assert parsed == value
    assert type(parsed) is type(value)


def test_keys_are_strings(file: Path) -> None:
    assert parse(file, "1: a\nyes: b\nnull: c\n").values == {"1": "a", "yes": "b", "null": "c"}


def test_lines_and_aliases(file: Path) -> None:
    text = "base: &b\n  a: 1\n  b: 2\nother:\n  <<: *b\n  b: 3\nlist:\n  - x\n  - {c: *b}\n"
    document = parse(file, text)
    assert document.values["other"] == {"a": 1, "b": 3}
    assert document.values["list"] == ["x", {"c": {"a": 1, "b": 2}}]
    assert document.lines["base", "a"] == 2
    assert document.lines["other", "b"] == 6
    assert document.lines["list", 1, "c"] == 9
    assert not document.faults


def test_the_first_of_several_merged_mappings_takes_precedence(file: Path) -> None:
    document = parse(file, "a: &a {x: 1}\nb: &b {x: 2, y: 3}\nc: {<<: [*a, *b], z: 4}\n")
    assert document.values["c"] == {"x": 1, "y": 3, "z": 4}


@pytest.mark.parametrize(
    ("text", "place", "fault"),
    [
        ("a: 1\nb: 2\na: 3\n", ("a",), " is given twice, in lines 1 and 3"),
        ("a: {b: 1, b: 1}\n", ("a", "b"), " is given twice, in lines 1 and 1"),
        ("[1]: 2\n", (), ": a key must be a string"),
        ("a: {<<: 1}\n", ("a", "<<"), ": expected keys with values to merge"),
        ("a: !x 1\n", ("a",), ": the tag !x is unknown"),
        ("a: !!python/object:os.system x\n", ("a",), ": the tag python/object:os.system is unknown"),
        ("a: !!int x\n", ("a",), ": the tag !!int does not fit its value"),
        (
            "a: ${NO}\n",
            ("a",),
            ": ${NO} is not set in the environment; set it, or give a default: ${NO:-...}",
        ),
        ("a: [x, '${']\n", ("a", 1), ": expected ${NAME} or ${NAME:-default}; write $$ for a dollar sign"),
    ],
)
def test_faults_of_values(file: Path, text: str, place: tuple[object, ...], fault: str) -> None:
    assert parse(file, text).faults == [(place, fault)]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "expected settings, but the file is empty; run `meltica init DIR` for a project to start from"),
        ("# only a remark\n", "expected settings, but the file is empty"),
        ("- 1\n", "expected keys with values, such as `environment: dev`, saw a list"),
        ("text\n", "expected keys with values, such as `environment: dev`, saw a single value"),
        ("a: 1\n---\nb: 2\n", "line 2, column 1: not valid YAML: expected a single document in the stream"),
        ("a: [1\nb: 2\n", "line 2, column 2: not valid YAML: while parsing a flow sequence, expected ','"),
        ("a:\n\tb: 1\n", "line 2, column 1: not valid YAML: while scanning for the next token, found"),
        ("a: b: c\n", "line 1, column 5: not valid YAML: mapping values are not allowed here"),
        ("a: *b\n", "line 1, column 4: not valid YAML: found undefined alias 'b'"),
        ("a: \x01\n", "not valid YAML: unacceptable character #x0001"),
        ("a: " + "[" * 5000, "is nested more than 32 levels deep"),
        ("a: " + "[" * 40 + "]" * 40, "expected at most 20000 values, each alias counted in full, and 32"),
        ("a: &a [*a, *a]\n", "expected at most 20000 values"),
        ("a: &a {<<: *a}\n", "is nested more than 32 levels deep"),
        ("a: &a [x,x,x,x,x,x,x,x]\n" + "".join(f"{c}: &{c} [*{b},*{b},*{b},*{b},*{b},*{b},*{b},*{b}]\n"
          for b, c in zip("abcdef", "bcdefg", strict=True)), "expected at most 20000 values"),
        ("a: " + "x" * MAX_BYTES, "expected at most 1048576 bytes"),
    ],
)  # fmt: skip
def test_an_unusable_file_is_reported_in_one_line(file: Path, text: str, fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(file, text)
    (line,) = caught.value.faults
    assert line.startswith(fault)
    assert "\n" not in line
    assert str(file) in str(caught.value)


def test_bytes_directories_and_missing_files(file: Path) -> None:
    file.write_bytes(b"a: \xff\n")
    with pytest.raises(ConfigError, match="is not valid UTF-8 at byte 3"):
        read(file, {})
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read(file.parent, {})
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read(file.parent / "no.yaml", {})
    file.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read(file, {}).values == {"a": 1}


@pytest.mark.parametrize(
    ("text", "filled", "used"),
    [
        ("${A}", "one", ("A",)),
        ("x-${A}-${B}-y", "x-one-two-y", ("A", "B")),
        ("${A:-d}", "one", ("A",)),
        ("${NO:-d}", "d", ()),
        ("${NO:-}", "", ()),
        ("${EMPTY:-d}", "d", ()),
        ("${EMPTY}", "", ("EMPTY",)),
        ("$$", "$", ()),
        ("$${A}", "${A}", ()),
        ("$$${A}", "$one", ("A",)),
        ("pa$$word$", "pa$word$", ()),
        ("$A", "$A", ()),
        ("${NO:-a:-b$c}", "a:-b$c", ()),
    ],
)
def test_interpolation(text: str, filled: str, used: tuple[str, ...]) -> None:
    environment = {"A": "one", "B": "two", "EMPTY": ""}
    assert interpolate(text, environment) == (filled, used, [])


def test_interpolation_applies_to_string_values_after_parsing(file: Path) -> None:
    document = parse(file, 'a: ${X}\nb: "${X}"\nc: [x, "${X}"]\n"${X}": 1\n', X="y: {z: 1} # no")
    assert document.values == {
        "a": "y: {z: 1} # no",
        "b": "y: {z: 1} # no",
        "c": ["x", "y: {z: 1} # no"],
        "${X}": 1,
    }
    assert document.variables == {("a",): ("X",), ("b",): ("X",), ("c", 1): ("X",)}


@given(st.text())
def test_any_string_can_be_written_with_doubled_dollar_signs(text: str) -> None:
    assert interpolate(text.replace("$", "$$"), {}) == (text, (), [])


@given(st.dictionaries(names, st.text(), min_size=1), st.text().filter(lambda text: "$" not in text))
def test_each_variable_is_replaced_once_by_its_literal_value(
    environment: dict[str, str], between: str
) -> None:
    text = between.join(f"${{{name}}}" for name in environment)
    assert interpolate(text, environment) == (between.join(environment.values()), tuple(environment), [])


@given(st.text(alphabet="${}:-Ab ", max_size=20))
def test_any_string_is_interpolated_or_reported(text: str) -> None:
    filled, used, faults = interpolate(text, {"A": "1"})
    assert set(used) <= {"A"}
    if not faults and "$" not in text:
        assert filled == text


plain = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="$"))
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | plain


def containers(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.lists(inner, max_size=3) | st.dictionaries(plain, inner, max_size=3)


class Quoted(yaml.SafeDumper):
    """Quotes every string: PyYAML leaves some unquoted that are numbers in YAML 1.2, such as 0E0."""


def quoted(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    represent = cast(Callable[..., yaml.ScalarNode], dumper.represent_scalar)
    return represent("tag:yaml.org,2002:str", text, style='"')


Quoted.add_representer(str, quoted)


@given(st.recursive(scalars, containers, max_leaves=12))
def test_values_survive_a_round_trip_through_yaml(
    tmp_path_factory: pytest.TempPathFactory, value: object
) -> None:
    file = tmp_path_factory.getbasetemp() / "round.yaml"
    text = yaml.dump({"key": value}, Dumper=Quoted)  # pyright: ignore[reportUnknownMemberType]
    file.write_text(text, encoding="utf-8")
    assert read(file, {}).values == {"key": as_read(value)}


def as_read(value: object) -> object:
    """Returns a value as `read` returns it: an integer with too many digits stays a string."""
    if isinstance(value, dict):
        return {key: as_read(inner) for key, inner in cast(dict[str, object], value).items()}
    if isinstance(value, list):
        return [as_read(inner) for inner in cast(list[object], value)]
    return str(value) if isinstance(value, int) and len(str(abs(value))) > 40 else value
