"""How the project is written: plain English, short lines in pages, short files and functions."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import english, rust_source
from tests.support.english import findings, search
from tests.support.paths import ROOT

FILE_LINES = 450
FUNCTION_LINES = 70
PAGE_COLUMNS = 120
CELL_COLUMNS = 120
PAGES = [
    page
    for folder, pattern in (("", "*.md"), ("docs", "**/*.md"), ("python/meltica/project", "**/*.md"))
    for page in sorted((ROOT / folder).glob(pattern))
]


def test_prose_has_no_words_to_avoid() -> None:
    found = [f"{finding.path}:{finding.line}: {finding.words}" for finding in findings()]
    assert not found, "see `How we write` in CONTRIBUTING.md"


@pytest.mark.parametrize(
    ("name", "source", "expected"),
    [
        ("a.py", '"""What the user is told."""\n', [(1, "told")]),
        ("a.py", "x = 1  # Nobody\ntold = x\n", [(1, "Nobody")]),
        ("a.py", "# there is\n# no such thing\n", [(1, "is no")]),
        ("a.py", 'raise ValueError("there are "\n    "no keys")\n', [(1, "are no")]),
        ("a.py", 'x = f"{a:{b}} is no {c} {d!r:>{e}} told"\n', [(1, "is no"), (1, "told")]),
        ("a.py", 'x = f"{told} {(\'anew\')}"\n', [(1, "anew")]),
        ("a.py", 'x = b"anew"\n', [(1, "anew")]),
        ("a.py", '"""It is no longer so.\n\nAt present\nit stands."""\n', [(3, "At present"), (4, "stands")]),
        ("a.py", "# It stands for\n# it. It stands\n# for it.\n", []),
        ("a.py", 'x = {"user": "nobody", "b": "user nobody", "c": "so nobody"}\n', [(1, "nobody")]),
        ("a.pyi", "def f() -> None:\n    '''Told.'''\n", [(2, "Told")]),
        ("a.rs", "/// Told.\nfn told() {}\n", [(1, "Told")]),
        ("a.rs", "//! there is\n//! no\n\n// other\n", [(1, "is no")]),
        ("a.rs", "/* one /* told */ anew */ told", [(1, "told"), (1, "anew")]),
        ("a.rs", "let x = \"is \\\n     no\";", [(1, "is no")]),
        ("a.rs", "let x = r#\"a \"told\" \\\"#; let told = 1;", [(1, "told")]),
        ("a.rs", "fn f<'told>(x: &'told str) { let q = '\"'; told } // anew", [(1, "anew")]),
        ("a.rs", "let q = '\\''; let r = b'\"'; let r#told = c\"anew\";", [(1, "anew")]),
        ("a.sql", "-- nobody\nselect 'told -- anew' /* whoever\n */;", [(1, "nobody"), (2, "whoever")]),
        ("a.yaml", "a: 'told # anew'\nb: it's # told\n# is\n# no\n", [(2, "told"), (3, "is no")]),
        ("a.toml", 'a = """\n# told\n"""\nb = "\\"# anew"  # whoever\n', [(4, "whoever")]),
        ("a.md", "No key\nis no\nkey.\n\nIt is\n\nno.\n", [(2, "is no")]),
    ],
)  # fmt: skip
def test_words_are_found_in_prose_alone(name: str, source: str, expected: list[tuple[int, str]]) -> None:
    assert sorted((finding.line, finding.words) for finding in search(name, source)) == sorted(expected)


def test_a_finding_counts_for_its_package() -> None:
    packages = {
        "README.md": ".",
        "docs/development/write-through-cache.md": "docs",
        "python/meltica/errors.py": "python/meltica",
        "python/meltica/adapters/live/rest.py": "python/meltica/adapters",
        "crates/meltica-core/src/venue/market/wire.rs": "crates/meltica-core/src/venue",
        "tests/unit/test_english.py": "tests/unit",
    }
    assert {path: english.Finding(path, 1, "").package for path in packages} == packages


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def code() -> Iterator[Path]:
    yield from (path for path in english.sources() if path.suffix in (".py", ".rs"))


def functions(path: Path) -> Iterator[rust_source.Function]:
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".rs":
        yield from rust_source.functions(source)
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            yield rust_source.Function(node.name, node.lineno, length)


def test_files_can_be_read_in_one_sitting() -> None:
    long = {
        path.relative_to(ROOT).as_posix(): len(lines(path))
        for path in code()
        if len(lines(path)) > FILE_LINES
    }
    assert not long


def test_functions_fit_a_screen() -> None:
    long = {
        f"{path.relative_to(ROOT).as_posix()}:{function.name}": function.lines
        for path in code()
        for function in functions(path)
        if function.lines > FUNCTION_LINES
    }
    assert not long


def test_functions_of_rust_are_found_with_their_length() -> None:
    source = """
trait Shape {
    fn area(&self) -> [u8; 4];
    fn name(&self) -> &'static str {
        "}" // }
    }
}
fn outer<F: Fn() -> u8>(f: F) -> u8
where
    F: Send,
{
    fn inner() {}
    f()
}
"""
    assert list(rust_source.functions(source)) == [
        rust_source.Function("name", 4, 3),
        rust_source.Function("outer", 8, 7),
        rust_source.Function("inner", 12, 1),
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_pages_have_short_lines(page: Path) -> None:
    long = {number: len(line) for number, line in enumerate(lines(page), 1) if len(line) > PAGE_COLUMNS}
    # A row of a table cannot be wrapped: its cells are limited instead.
    assert not {
        number: length for number, length in long.items() if not lines(page)[number - 1].startswith("|")
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_cells_of_tables_are_short(page: Path) -> None:
    rows = ((number, line) for number, line in enumerate(lines(page), 1) if line.startswith("|"))
    cells = ((number, cell.strip()) for number, row in rows for cell in re.split(r"(?<!\\)\|", row))
    assert not {(number, cell) for number, cell in cells if len(cell) > CELL_COLUMNS}
