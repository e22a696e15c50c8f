"""Every public name has a docstring: `help(meltica.Trade)` shows what the stub says."""

import ast
import dataclasses
import inspect
import pickle
import pydoc
import re
import textwrap
from collections.abc import Iterator
from enum import EnumType
from functools import cached_property
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import meltica
from meltica import _core
from meltica.lambdas.definition import CALLBACKS, NOTICES
from meltica.testing import Replayed, event, replay

STUBS = Path(meltica.__file__).with_name("_core")
SUBMODULES = sorted(stub.stem for stub in STUBS.glob("*.pyi"))


def module_of(stub: str) -> ModuleType:
    return _core if stub == "__init__" else import_module(f"meltica._core.{stub}")


def documented(node: ast.Module | ast.ClassDef, prefix: str = "") -> Iterator[tuple[str, str | None]]:
    """Yields the public names that a stub defines, with their docstrings."""
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef) and not child.name.startswith("_"):
            yield prefix + child.name, ast.get_docstring(child)
            if isinstance(child, ast.ClassDef):
                yield from documented(child, f"{child.name}.")


def stub_entries() -> Iterator[tuple[str, str, str | None]]:
    for stub in SUBMODULES:
        tree = ast.parse((STUBS / f"{stub}.pyi").read_text(encoding="utf-8"))
        yield stub, "", ast.get_docstring(tree)
        yield from ((stub, name, doc) for name, doc in documented(tree))


def runtime_entries() -> Iterator[str]:
    """Yields the public functions, classes and attributes of classes of the compiled module."""
    for name in _core.__all__:
        value = getattr(_core, name)
        if callable(value):
            yield name
        if isinstance(value, type):
            own = (member for member in vars(value) if not member.startswith("_"))
            yield from (f"{name}.{member}" for member in own if is_described(value, member))


def is_described(owner: type, member: str) -> bool:
    """Whether a class attribute can have a docstring of its own: a plain value such as a number cannot."""
    value = inspect.getattr_static(owner, member)
    return isinstance(value, property | staticmethod | classmethod | cached_property) or callable(value)


def find(root: object, path: str) -> object:
    for part in path.split(".") if path else ():
        root = inspect.getattr_static(root, part)
    return getattr(root, "__func__", root)


def is_event_class(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, meltica.Event) and value is not meltica.Event


ENTRIES = list(stub_entries())


@pytest.mark.parametrize(
    ("stub", "name", "expected"), ENTRIES, ids=[f"{stub}:{name}" for stub, name, _ in ENTRIES]
)
def test_a_name_has_the_docstring_of_its_stub(stub: str, name: str, expected: str | None) -> None:
    assert expected, "the stub has no docstring"
    assert inspect.getdoc(find(module_of(stub), name)) == expected


def test_the_stubs_describe_every_public_name() -> None:
    described = {name for _, name, _ in ENTRIES}
    assert [name for name in runtime_entries() if name not in described] == []


def signatures() -> Iterator[tuple[str, str, list[str]]]:
    """Yields the parameters of each method and function, as the stubs have them."""
    for stub in SUBMODULES:
        tree = ast.parse((STUBS / f"{stub}.pyi").read_text(encoding="utf-8"))
        owners: list[ast.Module | ast.ClassDef] = [tree]
        owners += [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name[0] != "_"]
        for owner in owners:
            prefix = f"{owner.name}." if isinstance(owner, ast.ClassDef) else ""
            for node in owner.body:
                if (
                    isinstance(node, ast.FunctionDef)
                    and not node.name.startswith("_")
                    and not is_property(node)
                ):
                    arguments = node.args
                    every = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
                    yield stub, prefix + node.name, [argument.arg for argument in every]


def is_property(node: ast.FunctionDef) -> bool:
    return any(isinstance(mark, ast.Name) and mark.id == "property" for mark in node.decorator_list)


SIGNATURES = list(signatures())


@pytest.mark.parametrize(("stub", "name", "parameters"), SIGNATURES, ids=[name for _, name, _ in SIGNATURES])
def test_a_function_shows_its_parameters(stub: str, name: str, parameters: list[str]) -> None:
    function: Any = find(module_of(stub), name)
    assert list(inspect.signature(function).parameters) == parameters


def test_classes_show_their_parameters() -> None:
    assert str(inspect.signature(_core.PriceLevel)) == "(price, quantity)"
    assert list(inspect.signature(_core.Core).parameters) == ["max_pool_bytes"]


def test_help_shows_units_and_absence() -> None:
    # As a user sees it, not as an attribute of the class.
    text = shown(meltica.Ticker)
    assert "float | None: Quantity at the best bid, in base currency; None if not sent." in text
    assert "int: When the bytes arrived by the local clock, in ns since 1970-01-01 UTC" in text


@pytest.mark.parametrize(
    ("cls", "payload", "expected"),
    [
        (meltica.Trade, {"price": "100", "quantity": "2", "side": "Buy"}, "Buy 2.0 at 100.0"),
        (meltica.Ticker, {"bid": "99", "ask": "101.5"}, "spread 2.50"),
        (
            meltica.BookSnapshot,
            {"bids": [{"price": "99", "quantity": "2"}], "asks": [{"price": "101", "quantity": "1"}]},
            "2.0 bid at 99.0",
        ),
    ],
)
def test_the_example_of_a_docstring_runs(cls: type, payload: dict[str, Any], expected: str) -> None:
    example = inspect.cleandoc(cls.__doc__ or "").partition("Example:\n")[2]
    names: dict[str, Any] = {"meltica": meltica}
    exec(f"class Strategy(meltica.Lambda):\n{example}", names)
    run = replay(names["Strategy"], [event(cls.__name__, "BTC-USDT", at=1, **payload)])
    assert run.logs == [expected]


@pytest.mark.parametrize("cls", [cls for cls in vars(meltica).values() if is_event_class(cls)])
def test_the_event_of_a_docstring_can_be_made(cls: type) -> None:
    call = re.search(r"`(meltica\.testing\.event\(.*?\))`", inspect.cleandoc(cls.__doc__ or ""), re.DOTALL)
    assert call is not None, "the docstring does not say how a test makes an event"
    assert type(eval(call[1], {"meltica": meltica})) is cls


@pytest.mark.parametrize("cls", [cls for cls in vars(meltica).values() if is_event_class(cls)])
def test_help_names_the_type_of_an_attribute(cls: type) -> None:
    stub = next(stub for stub in ("events", "account") if hasattr(module_of(stub), cls.__name__))
    tree = ast.parse((STUBS / f"{stub}.pyi").read_text(encoding="utf-8"))
    owner = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == cls.__name__)
    for node in owner.body:
        if isinstance(node, ast.FunctionDef) and is_property(node):
            assert node.returns is not None
            expected = re.sub(r"Literal\[.*\]", "str", ast.unparse(node.returns))
            expected = re.sub(r"\b(Side|PriceLevel)\b", r"meltica.\1", expected)
            assert (inspect.getdoc(getattr(cls, node.name)) or "").startswith(f"{expected}: ")


def shown(value: object) -> str:
    """Returns what `help(value)` prints."""
    return re.sub(r".\x08", "", pydoc.render_doc(value))


LAMBDA_ATTRIBUTES = sorted({*vars(meltica.Lambda), *meltica.Lambda.__annotations__})


@pytest.mark.parametrize("name", [name for name in LAMBDA_ATTRIBUTES if not name.startswith("_")])
def test_help_of_a_strategy_describes_each_attribute(name: str) -> None:
    text = shown(meltica.Lambda)
    if name in vars(meltica.Lambda) and is_described(meltica.Lambda, name):
        first = (inspect.getdoc(getattr(meltica.Lambda, name)) or "").splitlines()[0]
        assert re.search(rf"^ \|  {name}\b.*\n \|      {re.escape(first)}$", text, re.MULTILINE)
    else:
        assert re.search(rf"^ \|      {name}  +\S", text, re.MULTILINE), "missing in the class's docstring"


@pytest.mark.parametrize(("callback", "kind"), [*CALLBACKS.items(), *NOTICES.items()])
def test_help_of_a_callback_names_its_kind(callback: str, kind: str) -> None:
    text = inspect.getdoc(getattr(meltica.Lambda, callback)) or ""
    assert (f"Subscribes to `{kind}`." in text) == (callback in CALLBACKS)
    assert f"`{kind}`" in text


def test_help_of_a_definition_names_its_error() -> None:
    assert "Raises LambdaDefinitionError" in shown(meltica.Lambda)


def example_of(value: object) -> str:
    """Returns the indented lines after `For example:`."""
    text = (inspect.getdoc(value) or "").partition("For example:\n\n")[2]
    return textwrap.dedent(re.split(r"\n\n(?=\S)", text)[0])


def test_the_example_of_replay_runs() -> None:
    assert "assert run.logs == " in example_of(replay)
    exec(example_of(replay), {})


def test_the_example_of_a_strategy_runs() -> None:
    names: dict[str, Any] = {"meltica": meltica}
    exec(example_of(meltica.Lambda), names)
    tickers = [event("Ticker", "BTC-USDT", at=at, bid="99", ask="101.5") for at in (1, 62)]
    assert replay(names["Spread"], tickers).logs == ["spread 2.5"]


@pytest.mark.parametrize("name", inspect.signature(replay).parameters)
def test_help_of_replay_describes_each_parameter(name: str) -> None:
    assert f"- `{name}`: " in shown(replay)


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Replayed)])
def test_help_of_replay_describes_each_field_of_its_result(name: str) -> None:
    assert f"- `{name}`: " in shown(Replayed)
    assert re.search(rf"`{name}`\s+\(", shown(replay))


def own_attributes(cls: type) -> Iterator[str]:
    for owner in cls.__mro__:
        if owner.__module__.split(".")[0] == "meltica" and not hasattr(_core, owner.__name__):
            yield from (
                name for name in vars(owner) if not name.startswith("_") and is_described(owner, name)
            )


@pytest.mark.parametrize("name", [name for name in meltica.__all__ if name != "__version__"])
def test_the_public_face_has_docstrings(name: str) -> None:
    value: Any = getattr(meltica, name)
    assert value.__doc__, name
    if not isinstance(value, type) or isinstance(value, EnumType):
        return
    for attribute in own_attributes(value):
        assert inspect.getdoc(find(value, attribute)), f"{name}.{attribute}"


@pytest.mark.parametrize("stub", SUBMODULES)
def test_the_names_of_a_submodule_are_those_of_the_module(stub: str) -> None:
    module = module_of(stub)
    assert {name: getattr(_core, name) for name in module.__all__} == {
        name: getattr(module, name) for name in module.__all__
    }


def test_classes_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(meltica.Trade)) is meltica.Trade
