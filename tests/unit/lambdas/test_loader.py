"""Loading a Lambda from a file: selection of the class, and one clear line for each failure."""

import pickle
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from textwrap import dedent
from types import ModuleType

import pytest

from meltica.errors import LambdaLoadError
from meltica.lambdas.base import Lambda
from meltica.lambdas.loader import load, resolve
from meltica.strategies.large_trades import LargeTrades

GOOD = """
    import dataclasses
    import meltica

    @dataclasses.dataclass
    class Note:
        text: str

    class Base(meltica.Lambda):
        def on_trade(self, trade):
            raise ValueError("here")

    class Child(Base):
        note = Note("x")
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mine.py"


def write(file: Path, text: str) -> str:
    file.write_text(dedent(text))
    return str(file)


def fault(reference: str) -> str:
    with pytest.raises(LambdaLoadError) as caught:
        load(reference)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_class_is_selected_by_name_or_as_the_only_one(file: Path) -> None:
    path = write(file, GOOD)
    assert load(f"{path}:Base").__name__ == "Base"
    assert load(path).__name__ == "Child"
    assert load(f"{path}:Base") is load(f"{path}:Child").__mro__[1]


def test_the_module_is_registered(file: Path) -> None:
    cls = load(write(file, GOOD))
    module = sys.modules[cls.__module__]
    assert pickle.loads(pickle.dumps(module.Note("y"))) == module.Note("y")
    assert pickle.loads(pickle.dumps(cls)) is cls


def test_tracebacks_show_the_source(file: Path) -> None:
    cls = load(write(file, GOOD))
    with pytest.raises(ValueError, match="here") as caught:
        cls.on_trade(cls.__new__(cls), None)  # pyright: ignore[reportArgumentType]
    assert 'raise ValueError("here")' in "".join(traceback.format_exception(caught.value))


def test_changed_content_is_another_module(file: Path) -> None:
    first = load(write(file, GOOD))
    second = load(write(file, GOOD + "\n    # changed\n"))
    assert first is not second
    assert first.__module__ != second.__module__


def test_concurrent_loads_of_a_file_return_the_complete_module(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signals = ModuleType("signals")
    entered, gate = threading.Event(), threading.Event()
    vars(signals).update(entered=entered, gate=gate)
    monkeypatch.setitem(sys.modules, "signals", signals)
    head = "import signals\nsignals.entered.set()\nassert signals.gate.wait(20)\n"
    reference = write(file, head + dedent(GOOD))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(load, reference)
        assert entered.wait(20)
        second = pool.submit(load, reference)
        # A load that does not wait for the first one would be done long before.
        wait([second], timeout=0.1)
        gate.set()
        assert first.result(20) is second.result(20)


def test_modules_next_to_the_file_can_be_imported(file: Path) -> None:
    (file.parent / "meltica_test_neighbour.py").write_text("SIZE = 3\n")
    source = "import meltica, meltica_test_neighbour as n\nclass A(meltica.Lambda):\n    size = n.SIZE\n"
    cls = load(write(file, source))
    assert getattr(cls, "size") == 3  # noqa: B009
    assert str(file.parent) not in sys.path


def test_a_search_of_the_path_during_a_load_sees_each_folder_once(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A removal from the list itself would shift it under the search, which would then skip an entry."""
    before, during = list(sys.path), ModuleType("during")
    monkeypatch.setitem(sys.modules, "during", during)
    head = "import during, sys\nduring.search = iter(sys.path)\nnext(during.search)\n"
    load(write(file, head + dedent(GOOD)))
    assert list(vars(during)["search"]) == before == sys.path


@pytest.mark.parametrize(
    ("source", "name", "text"),
    [
        ("class A:\n  x = (\n", "", "line 2: syntax error"),
        ("import meltica\nimport no_such_module_x\n", "", "line 2: ModuleNotFoundError: No module"),
        ("def f():\n    return 1 / 0\nf()\n", "", "line 2: ZeroDivisionError: division by zero"),
        ("import meltica\nclass Spread(meltica.Lambda): ...\n", ":Sprad", "`Sprad` does not exist; did"),
        ("class Spread: ...\n", ":Spread", "`Spread` is not a subclass of meltica.Lambda; none"),
        ("x = 1\n", "", "expected exactly one Lambda, saw none"),
        (
            "from meltica import Lambda as L\nclass A(L): ...\nclass B(L): ...\n",
            "",
            "saw several: A, B; give",
        ),
        (
            "from meltica import Lambda as L\nclass A(L):\n  def on_trades(self, t): ...\n",
            "",
            "line 2: A: `on_tr",
        ),
        ("\0", "", "mine.py"),
        ("raise SystemExit(3)\n", "", "line 1: SystemExit: 3"),
    ],
)
def test_each_failure_is_one_clear_line(file: Path, source: str, name: str, text: str) -> None:
    file.write_text(source)
    assert text in fault(f"{file}{name}")


def test_missing_files_and_directories(tmp_path: Path) -> None:
    assert "but it does not exist" in fault(f"{tmp_path}/no.py:A")
    assert "but it is a directory" in fault(f"{tmp_path}:A")
    assert "but it is a directory" in fault(str(tmp_path))
    assert "cannot be read: File name too long" in fault(f"{'x' * 300}.py:A")


def test_shipped_strategies_have_names() -> None:
    assert load("large-trades") is load("LargeTrades") is load("large_trades") is LargeTrades
    assert fault("large-trade") == (
        "`large-trade` is neither FILE.py:ClassName nor a shipped strategy; did you mean `large-trades`?"
    )


HASH = "a" * 64


@pytest.mark.parametrize(
    ("reference", "selector"),
    [
        ("grid:1.0.0", "grid:1.0.0"),
        (" GRID:Latest ", "grid:Latest"),
        (f"grid@{HASH}", f"grid@sha256:{HASH}"),
        (f"grid@SHA256:{HASH.upper()}", None),
    ],
)
def test_a_stored_module_is_selected_by_a_tag_or_a_hash(reference: str, selector: str | None) -> None:
    if selector is None:
        with pytest.raises(LambdaLoadError, match="expected `name@sha256:` and 64 hex digits"):
            resolve(reference)
        return
    assert resolve(reference) == selector
    text = f"strategy `{selector}` not loaded: only a gateway whose database has this module can load it"
    assert text in fault(reference)


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("grid", "`grid` is neither FILE.py:ClassName nor a shipped strategy"),
        ("grid.py:1", "expected a Python file, but it does not exist"),
        ("folder/grid:1", "expected a Python file, but it does not exist"),
        ("grid:a/b", "the tag 'a/b' is not valid"),
        ("grid@x", "expected `name@sha256:` and 64 hex digits, saw 'x'"),
        ("large_trades:1", "a shipped strategy has neither tags nor hashes; give its name"),
        (f"sha256:{HASH}", "expected a module and a hash"),
    ],
)
def test_what_does_not_select_a_stored_module(reference: str, text: str) -> None:
    assert text in fault(reference)


def test_imported_lambdas_are_not_candidates(file: Path) -> None:
    path = write(file, "import meltica\nfrom meltica import Lambda\nclass Mine(Lambda): ...\n")
    assert load(path).__name__ == "Mine"
    assert issubclass(load(path), Lambda)
