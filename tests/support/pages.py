"""The code blocks of a Markdown page, and their execution or validation."""

import ast
import contextlib
import doctest
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import click
import yaml

from meltica.cli import cli
from meltica.settings import load
from meltica.venue.config import load as load_venue
from tests.support.paths import ROOT

_BLOCK = re.compile(
    r"(?P<before>[^\n]*)\n+```(?P<language>\w+)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE
)
_SKIPPED = re.compile(r"<!-- not run: \S.* -->")
_VARIABLE = re.compile(r"[a-z]+=\S+$")
_FILE = re.compile(r"[Ss]ave this as `([\w./]+)`")

# Commands of `meltica` that end by themselves and need no database; other commands are only parsed.
HARMLESS = {"config", "init", "replay", "sample", "version"}
# Commands of these groups that need a gateway are only parsed, too.
ONLINE = {("config", "get"), ("config", "set"), ("config", "reset")}
# Programs that set up a machine or need a server.
OTHERS = {".", "cargo", "pip", "pip3", "python3", "maturin", "sed"}


@dataclass(frozen=True)
class Block:
    """A code block and the line of text before it."""

    language: str
    code: str
    before: str

    @property
    def skipped(self) -> bool:
        """Whether a comment explains why the block is not run."""
        return bool(_SKIPPED.fullmatch(self.before))


def blocks(page: Path) -> Iterator[Block]:
    """Yields the blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    for match in _BLOCK.finditer(text):
        yield Block(match["language"], match["code"], match["before"])


class Reader:
    """Runs the blocks of one page from top to bottom in a separate folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: dict[str, Any] = {"__name__": "__page__"}
        self._files = 0

    def follow(self, block: Block) -> None:
        """Runs or checks a block; raises when it does not work as the page describes."""
        check = getattr(self, f"_{block.language}", None)
        assert check is not None, f"expected a language that can be checked, saw {block.language!r}"
        with contextlib.chdir(self._folder):
            check(block)

    def _python(self, block: Block) -> None:
        """Runs the code with the names of earlier blocks; saves it if the page names a file."""
        self._files += 1
        path = self._save(block, f"block_{self._files}.py")
        exec(compile(block.code, str(path), "exec"), self._names)

    def _pycon(self, block: Block) -> None:
        """Runs a session and compares what it prints."""
        examples = doctest.DocTestParser().get_doctest(block.code, self._names, "page", None, 0)
        assert examples.examples
        runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
        assert runner.run(examples, clear_globs=False).failed == 0
        self._names.update(examples.globs)

    def _sh(self, block: Block) -> None:
        """Runs commands of Meltica that are harmless, and parses the others."""
        for line in block.code.splitlines():
            if not _VARIABLE.match(line):
                for words in _commands(line):
                    _check(words)

    def _console(self, block: Block) -> None:
        """Parses the commands of a session on a terminal."""
        for line in block.code.replace("\\\n", "").splitlines():
            if line.startswith("$ "):
                for words in _commands(line[2:]):
                    _check(words, run=False)

    def _yaml(self, block: Block) -> None:
        """Loads a config of the gateway or of the venue, and saves it if the page names a file.

        Other files must be YAML.
        """
        keys = set(cast("dict[str, object]", yaml.safe_load(block.code)))
        path = self._save(block, "block.yaml")
        if keys & {"market", "accounts"}:
            load_venue(path, {}, {})
        elif keys & {"providers", "lambdas"}:
            load(path, environ={})

    def _save(self, block: Block, name: str) -> Path:
        """Saves a block under the name that the page gives, or `name`."""
        named = _FILE.search(block.before)
        path = self._folder / (named[1] if named else name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.code, encoding="utf-8")
        return path

    def _json(self, block: Block) -> None:
        """Parses one object or several."""
        text, decoder = block.code.strip(), json.JSONDecoder()
        while text:
            _, end = decoder.raw_decode(text)
            text = text[end:].lstrip()

    def _toml(self, block: Block) -> None:
        """Parses the file."""
        tomllib.loads(block.code)


def inline_commands(page: Path) -> Iterator[list[str]]:
    """Yields the words of each `meltica ...` in the text of a page."""
    text = re.sub(r"```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for match in re.finditer(r"`meltica ([^`]+)`", text):
        yield match[1].split()


def check_names(words: list[str]) -> None:
    """Raises where a command or an option does not exist; arguments may be placeholders."""
    command, rest = _find(words)
    options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    for word in rest:
        assert not word.startswith("--") or word.partition("=")[0] in options, f"{words}: unknown {word}"


def _commands(line: str) -> Iterator[list[str]]:
    """Yields the words of each command of a line."""
    command: list[str] = []
    for word in [*shlex.split(line, comments=True), "&&"]:
        if word != "&&":
            command.append(word)
        elif command:
            yield command
            command = []


def _check(words: list[str], *, run: bool = True) -> None:
    program = Path(words[0]).name or words[0]
    if program == "meltica":
        parse(words[1:])
        if run and words[1] in HARMLESS and tuple(words[1:3]) not in ONLINE:
            _run(words)
    elif program == "pytest":
        _run(words)
    elif program == "curl":
        assert any(_served(word) for word in words), f"{words}: expected the URL of a route"
    elif program == "nox":
        sessions = {words[at + 1] for at, word in enumerate(words) if word == "-s"}
        assert sessions <= _sessions(), f"{words}: expected one of {_sessions()}"
    else:
        assert program in OTHERS, f"{words}: expected a program that can be checked"


def _run(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, f"{shlex.join(words)}: {done.returncode}, {done.stdout}{done.stderr}"


def _find(words: list[str]) -> tuple[click.Command, list[str]]:
    """Returns the command that words name, and the words after it."""
    command: click.Command = cli
    rest = list(words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        subcommand = command.get_command(click.Context(command), rest[0])
        assert subcommand is not None, f"meltica {' '.join(words)}: unknown command {rest[0]}"
        command, rest = subcommand, rest[1:]
    return command, rest


def parse(words: list[str]) -> None:
    """Parses a command line of Meltica without running it; its files may be missing."""
    command, rest = _find(words)
    try:
        command.make_context(command.name, rest)
    except click.BadParameter as error:
        if "does not exist" not in error.message:
            raise


def _served(url: str) -> bool:
    """Returns whether the gateway or the venue has a route for a URL of a page."""
    match = re.fullmatch(r"(?:\$api|(?:http://)?(?:localhost|127\.0\.0\.1):\d+)(/[^?]*).*", url)
    pages = ((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("rest.md", "venue.md"))
    routes = [route for page in pages for route in re.findall(r"`(?:[A-Z]+ )?(/[^`?]*)", page)]
    return match is not None and any(
        re.fullmatch(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(route)), match[1]) for route in routes
    )


def _sessions() -> set[str]:
    """Returns the names of the nox sessions."""
    tree = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.decorator_list}
