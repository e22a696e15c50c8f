"""The command line: fast help, one clear line for bad input, exit codes, JSON."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import meltica
from meltica.cli import cli
from meltica.cli.replay.summary import counts, duration
from tests.support.paths import ROOT


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def commands(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        else:
            yield (*path, name)


def codes(text: str) -> set[int]:
    """Returns the exit codes of the table in a command's help."""
    return {int(code) for code in re.findall(r"^ +(\d+) ", text.partition("Exit codes:\n")[2], re.MULTILINE)}


@pytest.mark.parametrize("path", [*commands(cli)], ids=" ".join)
def test_every_command_lists_its_exit_codes(path: tuple[str, ...]) -> None:
    result = invoke(*path, "--help")
    assert result.exit_code == 0
    assert {0, 1, 2} <= codes(result.output)


def every_command() -> Iterator[tuple[str, click.Command]]:
    """Yields the commands and groups with their paths, each group before its commands."""
    waiting: list[tuple[str, click.Command]] = [("meltica", cli)]
    for path, command in waiting:
        yield path, command
        if isinstance(command, click.Group):
            context = click.Context(command)
            found = ((name, command.get_command(context, name)) for name in command.list_commands(context))
            waiting += [(f"{path} {name}", each) for name, each in found if each is not None]


def test_the_line_of_each_command_in_the_help_of_its_group_is_whole() -> None:
    for path, command in every_command():
        if isinstance(command, click.Group):
            help = command.get_help(click.Context(command, terminal_width=80, max_content_width=80))
            assert "..." not in help.partition("Commands:")[2], path


def test_the_help_of_a_command_names_its_arguments() -> None:
    missing: list[str] = []
    for path, command in every_command():
        for argument in command.params:
            if isinstance(argument, click.Argument) and not isinstance(argument.type, click.Choice):
                name = (argument.metavar or str(argument.name).upper()).strip("[].")
                missing += [] if name in str(command.help) else [f"{path} {name}"]
    assert missing == []


@pytest.mark.parametrize(("option", "text"), [("--url", "Address of the gateway"), ("--dsn", "atabase")])
def test_an_option_selects_the_same_in_each_command(option: str, text: str) -> None:
    helps = {
        path: each.help
        for path, command in every_command()
        for each in command.params
        if isinstance(each, click.Option) and option in each.opts
    }
    assert len(helps) > 5
    assert {path: found for path, found in helps.items() if text not in str(found)} == {}


@pytest.mark.parametrize(
    ("page", "paths"),
    [
        ("gateway.md", [("serve",)]),
        ("replay.md", [("replay",)]),
        ("database.md", [("db", name) for name in ("up", "down", "status", "dump", "restore")]),
    ],
)
def test_the_docs_list_the_same_exit_codes(page: str, paths: list[tuple[str, ...]]) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    explained = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    assert explained == set().union(*(codes(invoke(*path, "--help").output) for path in paths))


def test_help_lists_commands() -> None:
    result = invoke("--help")
    assert result.exit_code == 0
    for text in (
        "replay",
        "config",
        "init",
        "sample",
        "bench",
        "db",
        "venue",
    ):
        assert text in result.output


def test_help_and_import_load_nothing_heavy() -> None:
    heavy = ("pydantic", "rich", "orjson", "asyncio", "yaml", "psycopg")
    show = f"import sys; print([m for m in {heavy} if m in sys.modules])"
    assert python(f"import meltica; {show}") == "[]\n"
    assert python(f"import meltica.__main__; {show}") == "[]\n"


def test_lambda_config_is_imported_lazily() -> None:
    assert python("import meltica; print(meltica.LambdaConfig.__name__)") == "LambdaConfig\n"
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        getattr(meltica, "Nothing")  # noqa: B009
    assert "LambdaConfig" in dir(meltica)


def test_a_misspelt_command_names_the_nearest() -> None:
    result = invoke("reply")
    assert result.exit_code == 2
    assert "no such command `reply`; did you mean `replay`?" in result.output


@pytest.mark.parametrize("name", ["MELTICA_TOKEN", "MELTICA_URL", "MELTICA_HOME", "DATABASE_URL"])
def test_a_variable_that_is_not_utf8_is_refused(name: str) -> None:
    environment = {**os.environ, name: os.fsdecode(b"\xff")}
    for command in (["risk", "status", "--offline"], ["status"]):
        done = subprocess.run(
            [sys.executable, "-m", "meltica", *command], check=False, capture_output=True, env=environment
        )
        expected = f"Error: the variable {name} is not valid UTF-8\n".encode()
        assert (done.returncode, done.stdout, done.stderr) == (2, b"", expected)


@pytest.mark.parametrize("token", ["mk_é", "mk_a\nb", "mk_a b"])
def test_a_token_that_no_header_can_have_is_refused_and_not_shown(token: str) -> None:
    done = CliRunner().invoke(cli, ["status", "--url", "http://127.0.0.1:9"], env={"MELTICA_TOKEN": token})
    assert done.exit_code == 10, done.output
    assert "the token is not valid: expected `mk_ID_SECRET`" in done.stderr
    assert "mk_a" not in done.output
    assert "é" not in done.output


def test_version() -> None:
    assert invoke("--version").output == f"meltica {meltica.__version__}\n"
    versions = json.loads(invoke("version", "--json").output)
    assert set(versions) == {"meltica", "python", "implementation", "platform", "build", "target"}
    assert versions["build"] in ("dev", "release", "dist", "custom")
    assert versions["target"].count("-") >= 2
    shown = [line.split(maxsplit=1) for line in invoke("version").output.splitlines()]
    assert dict(shown) == versions


def test_sample(tmp_path: Path) -> None:
    path = tmp_path / "s.gz"
    assert "frames" in invoke("sample", str(path)).output
    assert path.read_bytes()[:2] == b"\x1f\x8b"
    result = invoke("sample", str(tmp_path / "no" / "s.gz"))
    assert result.exit_code == 2
    assert "cannot be written" in result.output


@pytest.mark.parametrize(
    ("ns", "text"),
    [(0, "0 ns"), (412, "412 ns"), (3100, "3.1 us"), (250_000, "250 us"), (12e6, "12 ms"), (4.2e9, "4.2 s")],
)
def test_durations_have_units(ns: float, text: str) -> None:
    assert duration(ns) == text


def test_counts() -> None:
    assert counts({}) == "none"
    assert counts({"Trade": 1234, "Ticker": 1}) == "Trade 1,234, Ticker 1"


def test_sample_as_json(tmp_path: Path) -> None:
    output = json.loads(invoke("sample", str(tmp_path / "made.gz"), "--json").stdout)
    assert output == {"path": str(tmp_path / "made.gz"), "frames": output["frames"], "codec": "binance"}
    assert output["frames"] > 1000


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands(shell: str) -> None:
    script = CliRunner().invoke(cli, ["completion", shell]).output
    assert f"_MELTICA_COMPLETE={shell}_complete" in script
    environment = {"_MELTICA_COMPLETE": "bash_complete", "COMP_WORDS": "meltica inst", "COMP_CWORD": "1"}
    assert CliRunner().invoke(cli, [], env=environment, prog_name="meltica").output == "plain,instances\n"
