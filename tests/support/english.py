"""Words that the project's prose avoids, found in comments, docstrings, strings and pages.

`python -m tests.support.english` prints the count of each package; with a PATH, each place under it.
"""

import ast
import io
import re
import sys
import tokenize
from bisect import bisect
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tests.support import rust_source
from tests.support.paths import ROOT

FOLDERS = ("python", "crates", "tests", "docs", "fuzz")
GENERATED = {"target", "artifacts", "corpus", "__pycache__", "node_modules"}
SUFFIXES = {".py", ".pyi", ".rs", ".sql", ".yaml", ".yml", ".toml", ".md"}

# The first two contain the words they search for. A migration that ran must not change.
EXEMPT = {
    "tests/support/english.py",
    "tests/unit/test_english.py",
    "python/meltica/migrations/0001_initial.up.sql",
    "python/meltica/migrations/0002_enabled.up.sql",
}

_GAP = r"(?:[^\S\n]+|[^\S\n]*\n[^\S\n]*)"
WORDS = re.compile(
    r"\b(?:told|whoever|(?<!user )(?<!`)nobody|anew"
    rf"|at{_GAP}present|stands(?!{_GAP}for\b)|(?:is|are){_GAP}no(?!{_GAP}longer\b))\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Prose:
    """Text for people, and the line that it begins on."""

    line: int
    text: str


@dataclass(frozen=True)
class Finding:
    """A word to avoid, and where."""

    path: str
    line: int
    words: str

    @property
    def package(self) -> str:
        """The folder that it is counted under."""
        parts = Path(self.path).parent.parts
        depth = {"python": 3, "crates": 4, "tests": 2}.get(parts[0], 1) if parts else 0
        return "/".join(parts[:depth]) or "."


def findings(paths: Iterable[Path] | None = None) -> list[Finding]:
    """Returns every word to avoid in the given files, by default in all of the project."""
    return [
        finding
        for path in (sources() if paths is None else paths)
        if (name := path.relative_to(ROOT).as_posix()) not in EXEMPT
        for finding in search(name, path.read_text(encoding="utf-8"))
    ]


def search(name: str, source: str) -> Iterator[Finding]:
    """Yields the words to avoid in the prose of a file."""
    for prose in read(name, source):
        if prose.text == "nobody":
            continue  # the system user, also written `nobody` in backquotes or "user nobody"
        for match in WORDS.finditer(prose.text):
            line = prose.line + prose.text.count("\n", 0, match.start())
            yield Finding(name, line, " ".join(match[0].split()))


def sources() -> Iterator[Path]:
    """Yields the files that are searched: sources and pages, without what a build leaves behind."""
    yield from (path for path in sorted(ROOT.iterdir()) if path.suffix in SUFFIXES)
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            inside = path.relative_to(ROOT).parts
            if path.suffix in SUFFIXES and path.is_file() and not GENERATED.intersection(inside):
                yield path


def read(name: str, source: str) -> Iterator[Prose]:
    """Yields the prose of a file, by the rules of its language."""
    suffix = Path(name).suffix
    if suffix in (".py", ".pyi"):
        yield from python(source)
    elif suffix == ".rs":
        yield from rust(source)
    elif suffix == ".md":
        yield Prose(1, source)
    elif suffix == ".sql":
        yield from _marked(source, _DASHES)
    else:
        yield from _marked(source, _HASH)


def python(source: str) -> Iterator[Prose]:
    """Yields strings, docstrings and comments; comments on lines that follow each other are one text."""
    yield from _strings(ast.parse(source))
    own: list[tuple[int, str]] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            text = token.string.lstrip("#!:")
            if token.line.lstrip().startswith("#"):
                own.append((token.start[0], text))
            else:
                yield Prose(token.start[0], text)
    yield from _together(own)


def rust(source: str) -> Iterator[Prose]:
    """Yields strings and comments; line comments that follow each other are one text."""
    lines: list[tuple[int, str]] = []
    breaks = [match.start() for match in re.finditer("\n", source)]
    for token in rust_source.tokens(source):
        line = bisect(breaks, token.start) + 1
        if token.kind == "line comment":
            lines.append((line, token.text))
        else:
            yield Prose(line, token.text)
    yield from _together(lines)


def counts(found: Iterable[Finding]) -> Counter[str]:
    """Returns how many words to avoid each package has."""
    return Counter(finding.package for finding in found)


def _strings(node: ast.AST) -> Iterator[Prose]:
    """Yields the literals of a tree; an f-string is one text, followed by the literals of its expressions."""
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
        yield Prose(node.lineno, "".join(map(str, parts)))
        children: Iterable[ast.AST] = [part for part in node.values if not isinstance(part, ast.Constant)]
    else:
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
            text = node.value if isinstance(node.value, str) else node.value.decode("latin-1")
            yield Prose(node.lineno, text)
        children = ast.iter_child_nodes(node)
    for child in children:
        yield from _strings(child)


def _together(lines: list[tuple[int, str]]) -> Iterator[Prose]:
    """Joins comments on lines that follow each other."""
    block: list[str] = []
    for (line, text), (following, _) in pairwise([*lines, (sys.maxsize, "")]):
        block.append(text)
        if following != line + 1:
            yield Prose(line - len(block) + 1, "\n".join(block))
            block = []


# Quoted text, and a comment: it begins a line or follows a space. An apostrophe inside a word quotes nothing.
_HASH = re.compile(
    r"""(?s:\"{3}.*?\"{3}|'{3}.*?'{3})|(?<![\w"])"(?:\\.|[^"\\\n])*"|(?<![\w'])'[^'\n]*'|(?:(?<=\s)|^)\#(?P<comment>[^\n]*)""",
    re.MULTILINE,
)
_DASHES = re.compile(r"'[^']*'|--(?P<comment>[^\n]*)|(?s:/\*(?P<block>.*?)\*/)")


def _marked(source: str, pattern: re.Pattern[str]) -> Iterator[Prose]:
    """Yields the comments that a pattern matches."""
    lines: list[tuple[int, str]] = []
    for match in pattern.finditer(source):
        line = source.count("\n", 0, match.start()) + 1
        comment = match.group("comment")
        if comment is not None:
            lines.append((line, comment.lstrip("#")))
        elif (block := match.groupdict().get("block")) is not None:
            yield Prose(line, block)
    yield from _together(lines)


def main() -> None:
    """Prints the counts, or the places under the paths that are given."""
    found = findings()
    for finding in found:
        if any(finding.path.startswith(path.removeprefix("./")) for path in sys.argv[1:]):
            print(f"{finding.path}:{finding.line}: {finding.words}")
    if len(sys.argv) == 1:
        for package, count in sorted(counts(found).items()):
            print(f"{count:5} {package}")
        print(f"{len(found):5}")


if __name__ == "__main__":
    main()
