"""Rust names Python modules by string, where import-linter cannot see them: layers are checked here."""

import re
from importlib import import_module

import pytest

from meltica import _core
from tests.support.english import ROOT

SOURCES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "crates/meltica-python/src").rglob("*.rs"))
}
MODULE = r'"(meltica(?:\.\w+)+)"'
CLASS = re.compile(r'#\[pyclass\(\s*module = "([\w.]+)",\s*name = "(\w+)"')
IMPORT = re.compile(MODULE + r',\s*"(\w+)"')
ALLOWED = re.compile(r"meltica\.(?:errors|model\.\w+)")


def imports(source: str) -> list[tuple[str, str]]:
    """Returns the module and the name of each import in a Rust source."""
    return IMPORT.findall(source)


def modules(source: str) -> list[str]:
    """Returns every Python module that a Rust source names, other than the module of a class of its own."""
    return re.findall(rf"(?<!module = ){MODULE}", source)


IMPORTS = sorted({pair for source in SOURCES.values() for pair in imports(source)})


@pytest.mark.parametrize(("module", "name"), IMPORTS)
def test_an_import_of_rust_is_in_a_lower_layer_and_exists(module: str, name: str) -> None:
    assert ALLOWED.fullmatch(module), f"expected meltica.errors or meltica.model.*, saw {module}"
    assert isinstance(getattr(import_module(module), name), type)


def test_every_module_that_rust_names_is_imported_with_a_name() -> None:
    unread = {path: modules(source) for path, source in SOURCES.items() if modules(source)}
    read = {
        path: [module for module, _ in imports(source)] for path, source in SOURCES.items() if imports(source)
    }
    assert unread == read
    assert ("meltica.errors", "OrderRefused") in IMPORTS


@pytest.mark.parametrize(
    ("module", "name"), sorted({pair for source in SOURCES.values() for pair in CLASS.findall(source)})
)
def test_a_class_is_where_it_says(module: str, name: str) -> None:
    """Otherwise it could not be pickled."""
    assert getattr(import_module(module), name) is getattr(_core, name)


def test_the_module_declares_that_it_needs_the_gil() -> None:
    """PyO3 declares the opposite by default, and interpreters with a GIL do not read the declaration."""
    source = SOURCES["crates/meltica-python/src/lib.rs"]
    assert re.findall(r"#\[pymodule\b(.*)\]", source) == ["(gil_used = true)"]


def test_imports_are_found_in_rust() -> None:
    source = """
    #[pyclass(module = "meltica.simulator", name = "A")]
    A.import(
        py,
        "meltica.model.enums",
        "Side",
    );
    py.import("meltica.gateway")?
    """
    assert imports(source) == [("meltica.model.enums", "Side")]
    assert modules(source) == ["meltica.model.enums", "meltica.gateway"]
