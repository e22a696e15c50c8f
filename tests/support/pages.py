"""The code blocks of a Markdown page, and their execution or validation."""

import ast
import contextlib
import doctest
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import click
import yaml

from meltica.cli import cli
from meltica.settings import check_lambdas, load
from meltica.venue.config import load as load_venue
from tests.support.paths import ROOT

_BLOCK = re.compile(
    r"(?P<before>[^\n]*)\n+```(?P<language>\w+)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE
)
_FILE = re.compile(r"[Ss]ave this as `([\w./]+)`")
_COMMENT = re.compile(r"\s+# (?P<text>.*)$")

VARIABLE = re.compile(r"([a-z]+)=(\S+)")
"""The command that sets a variable of the shell."""
OTHERS = {".", "cargo", "pip", "pytest", "python", "python3", "maturin", "sed"}
"""Programs of pages whose arguments are not checked before they run."""
VENUE = {"market", "accounts"}
"""Keys of the config of a venue."""
FOREIGN = {"http", "scrape_configs", "startupProbe"}
"""Keys of files for other programs: Traefik, Prometheus and Kubernetes."""


@dataclass(frozen=True)
class Block:
    """A code block and the line of text before it."""

    language: str
    code: str
    before: str

    @property
    def file(self) -> str | None:
        """The file in which the page saves the block."""
        named = _FILE.search(self.before)
        return named[1] if named else None

    def save(self, folder: Path, name: str) -> Path:
        """Writes the block to a file of a folder."""
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.code, encoding="utf-8")
        return path


@dataclass(frozen=True)
class Step:
    """A command of a page, with what the page shows of its result."""

    command: str
    output: str | None = None
    code: int | None = None

    @property
    def words(self) -> list[str]:
        """The command in words, as a shell splits them."""
        return shlex.split(self.command)


def blocks(page: Path) -> Iterator[Block]:
    """Yields the blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    for match in _BLOCK.finditer(text):
        yield Block(match["language"], match["code"], match["before"])


def steps(block: Block) -> Iterator[Step]:
    """Yields the commands of a block; none if it has another language.

    `sh` shows no output, and every command succeeds unless its comment has another exit code. `console` shows
    the output of each command, which begins with `$ `.
    """
    code = block.code.replace("\\\n", "")
    if block.language == "sh":
        for line in filter(None, code.splitlines()):
            comment = _COMMENT.search(line)
            ends = re.match(r"exit code (\d+)", comment["text"]) if comment else None
            for command in _COMMENT.sub("", line).split(" && "):
                yield Step(command, code=int(ends[1]) if ends else 0)
    elif block.language == "console":
        before, *parts = re.split(r"^\$ ", code, flags=re.MULTILINE)
        assert not before, f"expected `$ COMMAND` before what it prints, saw {before}"
        for part in parts:
            command, _, output = part.partition("\n")
            yield Step(command, output)


class Reader:
    """Runs the Python of one page, and validates its other blocks, from top to bottom in one folder."""

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
        path = block.save(self._folder, block.file or f"block_{self._files}.py")
        exec(compile(block.code, str(path), "exec"), self._names)

    def _pycon(self, block: Block) -> None:
        """Runs a session and compares what it prints."""
        examples = doctest.DocTestParser().get_doctest(block.code, self._names, "page", None, 0)
        assert examples.examples
        runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
        assert runner.run(examples, clear_globs=False).failed == 0
        self._names.update(examples.globs)

    def _commands(self, block: Block) -> None:
        """Parses the commands."""
        for step in steps(block):
            check(step)

    _sh = _console = _commands

    def _yaml(self, block: Block) -> None:
        """Checks a config of the gateway or of the venue, and saves it if the page names a file."""
        keys = set(cast("dict[str, object]", yaml.safe_load(block.code)))
        path = block.save(self._folder, block.file or "block.yaml")
        if keys & VENUE:
            load_venue(path, {}, {})
        elif not keys & FOREIGN:
            assert not check_lambdas(load(path, environ={}))

    def _json(self, block: Block) -> None:
        """Parses one object or several."""
        text, decoder = block.code.strip(), json.JSONDecoder()
        while text:
            _, end = decoder.raw_decode(text)
            text = text[end:].lstrip()

    def _text(self, block: Block) -> None:
        """Saves the file that the page names."""
        assert block.file, "expected the name of a file in the line before"
        block.save(self._folder, block.file)

    def _toml(self, block: Block) -> None:
        """Parses the file."""
        tomllib.loads(block.code)


def inline_commands(page: Path) -> Iterator[list[str]]:
    """Yields the words of each `meltica ...` in the text of a page, and of those that are indented."""
    text = re.sub(r"```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for match in re.finditer(r"`meltica ([^`]+)`|^ {4}meltica (.*)$", text, re.MULTILINE):
        yield (match[1] or match[2]).split()


def check_names(words: list[str]) -> None:
    """Raises where a command or an option does not exist; arguments may be placeholders."""
    command, rest = _find(words)
    options = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    for word in rest:
        assert not word.startswith("--") or word.partition("=")[0] in options, f"{words}: unknown {word}"


def check(step: Step) -> None:
    """Raises where a command does not exist, or has arguments that it does not take."""
    program, *arguments = step.words
    program = Path(program).name or program
    if program == "meltica":
        parse(arguments)
    elif program == "curl":
        assert any(_served(word) for word in arguments), f"{step.command}: expected the URL of a route"
    elif program == "nox":
        sessions = {arguments[at + 1] for at, word in enumerate(arguments) if word == "-s"}
        assert sessions <= _sessions(), f"{step.command}: expected one of {_sessions()}"
    else:
        known = program in OTHERS or VARIABLE.fullmatch(step.command)
        assert known, f"{step.command}: expected a program that can be checked"


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
