"""The commands of a page, run one after another as on a terminal, and what each of them prints."""

import contextlib
import doctest
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path
from typing import Any, cast

from tests.support.pages import VARIABLE, Block, Step
from tests.support.serving import PATIENCE, PROGRAM, Gateway, Project, environment
from tests.support.terminal import Terminal

READS = re.compile(
    r"meltica (?:why|status|(?:orders|positions) list|logs|instances show|api GET) |curl (?!.*(?: -d | -X ))"
)
"""Commands that a reader repeats until they show what he waits for."""
FOLLOWS = re.compile(r"meltica (?:events(?!.*--limit)|logs .*--follow|venue serve)")
"""Commands that a reader interrupts when they have shown what he waits for."""
OFFLINE = {"meltica secrets rotate"}
"""Commands that refuse to run while a gateway does."""
HOME = "$HOME/.local/share/meltica"
"""The home on the pages."""
TOKEN = "0123456789ab"
"""The id of a token on the pages."""
CREATED = """$(meltica tokens create leaver --json | sed 's/.*"id": *"\\([0-9a-z]*\\)".*/\\1/')"""
"""The id of a token that is created for the command."""
GATEWAY, VENUE = 8880, 8890
"""The ports on the pages."""
PASSPHRASE = "correct horse battery staple\n"
"""What is typed at each prompt."""
MATCH = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Session:
    """The terminals of a reader in one folder, and the processes that run in them."""

    def __init__(self, folder: Path, project: Project, gateways: dict[Path, Gateway]) -> None:
        """`project` has the home; `gateways` has those that run, by home."""
        self.folder = folder
        self._project = project
        self._gateways = gateways
        self._venue: int | None = None
        self._following = contextlib.ExitStack()
        programs = folder / ".venv" / "bin"
        programs.mkdir(parents=True)
        for name in ("meltica", "pytest"):
            (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {name} "$@"\n')
            (programs / name).chmod(0o755)
        (folder / ".curlrc").write_text("silent\nshow-error\n")
        self._variables = {
            **environment(),
            "PATH": f"{programs}:{os.environ['PATH']}",
            "CURL_HOME": str(folder),
            "MELTICA_HOME": str(project.home),
            # `meltica doctor` checks whether it is free.
            "MELTICA_APISERVER__ADDR": "127.0.0.1:0",
        }

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self._following.close()

    def follow(self, step: Step) -> None:
        """Runs a command; raises unless it prints what the page shows, and ends as the page says."""
        command = self._here(step.command)
        if setting := VARIABLE.fullmatch(command):
            self._variables[setting[1]] = setting[2]
        elif command.startswith("meltica serve"):
            self._serve(command, step)
        elif command in OFFLINE:
            served = self._gateways[self._project.home].process.args
            self.stop(self._project.home)
            self._run(command, step)
            self._launch(self._project, cast("list[str]", served))
        elif FOLLOWS.match(command):
            self._watch(command, step)
        else:
            self._run(command, step)

    def save(self, block: Block) -> None:
        """Saves the block in the file that the page names, if any."""
        if block.file is not None:
            saved = Block(block.language, self._here(block.code), block.before)
            saved.save(self.folder, block.file)
        if block.file == "pyproject.toml":
            self._install(tomllib.loads(block.code)["project"])

    def _install(self, package: dict[str, Any]) -> None:
        """Lets the entry points of a package be found, as `pip install -e .` does."""
        folder = self.folder / f"{package['name']}-{package['version']}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Name: {package['name']}\nVersion: {package['version']}\n")
        lines = list[str]()
        for group, points in package["entry-points"].items():
            lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
        (folder / "entry_points.txt").write_text("\n".join(lines))

    def _serve(self, command: str, step: Step) -> None:
        """Starts a gateway, instead of one that has this home; stops it if the page shows what it prints."""
        words = shlex.split(command)
        project = self._project
        if "--home" in words:
            project = Project(self.folder)
            project.home = self.folder / words[words.index("--home") + 1]
        if project.home in self._gateways:
            self.stop(project.home)
        where = ["--home", str(project.home), "--port", "0", "--json"]
        ready = self._launch(project, [*PROGRAM, *words[1:], *where])
        if step.output is not None:
            printed = self._shown(json.dumps(ready))
            printed += "\n" + json.dumps(self.stop(project.home))
            assert _as_shown(step, printed), f"$ {command}\n{printed}"

    def _launch(self, project: Project, command: list[str]) -> dict[str, Any]:
        """Starts a gateway; returns what it prints when it is ready."""
        with contextlib.chdir(self.folder):
            gateway = self._gateways[project.home] = Gateway(project, command)
        ready = gateway.wait_started()
        gateway.wait_ready()
        return ready

    def stop(self, home: Path) -> dict[str, Any]:
        """Interrupts the gateway of a home, which must end orderly; returns what it prints then."""
        gateway = self._gateways.pop(home)
        try:
            gateway.signal(signal.SIGINT)
            stopped = gateway.read_line()
            assert gateway.ended() == 0, gateway.tail()
        finally:
            gateway.kill()
        return stopped

    def _run(self, command: str, step: Step) -> None:
        """Runs a command until it prints what is expected; one that changes something runs once."""
        until = time.monotonic() + PATIENCE
        while True:
            done = subprocess.run(
                command,
                shell=True,
                cwd=self.folder,
                env=self._variables,
                input=2 * PASSPHRASE,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
                start_new_session=True,  # without a terminal, prompts read stdin
            )
            printed = self._shown(done.stdout + done.stderr)
            if step.code in (None, done.returncode) and _as_shown(step, printed):
                return
            failed = f"$ {command}\n{printed}exit code {done.returncode}"
            assert step.output is not None, failed
            assert READS.match(command), failed
            assert time.monotonic() < until, failed

    def _watch(self, command: str, step: Step) -> None:
        """Runs a command until it has printed what is expected, or a line. A venue runs until the end."""
        is_venue = command.startswith("meltica venue")
        words = [*shlex.split(command), *(["--port", "0"] if is_venue else [])]
        with contextlib.ExitStack() as running:
            terminal = Terminal(words, folder=self.folder, variables=self._variables)
            running.callback(terminal.close)
            watchdog = threading.Timer(PATIENCE, terminal.process.kill)
            running.callback(watchdog.cancel)
            watchdog.start()
            if is_venue:
                self._venue = int(terminal.read_until(r"http://127\.0\.0\.1:\d+").rpartition(":")[2])
            while not _begins_as_shown(step, self._shown(terminal.text)):
                assert terminal.read(), f"$ {command}\n{terminal.text}"
            watchdog.cancel()
            running.callback(_interrupt, terminal, 0 if is_venue else 130)
            if is_venue:
                self._following.push(running.pop_all())

    def _here(self, command: str) -> str:
        """Returns a command with the home and the ports that are used in place of those of the page."""
        command = command.replace(HOME, str(self._project.home)).replace(TOKEN, CREATED)
        for port, used in self._ports().items():
            command = re.sub(rf"\b(127\.0\.0\.1|localhost):{port}\b", rf"\g<1>:{used}", command)
        return command

    def _shown(self, printed: str) -> str:
        """Returns an output with the ports of the page in place of those that are used."""
        for port, used in self._ports().items():
            printed = printed.replace(f"127.0.0.1:{used}", f"127.0.0.1:{port}")
        return printed

    def _ports(self) -> dict[int, int]:
        """Returns the ports that are used, by those of the page."""
        gateway = self._gateways.get(self._project.home)
        served = None if gateway is None else int(gateway.address.rpartition(":")[2])
        return {port: used for port, used in ((GATEWAY, served), (VENUE, self._venue)) if used is not None}


def _interrupt(terminal: Terminal, code: int) -> None:
    """Ends a command by Ctrl-C."""
    assert terminal.end(signal.SIGINT) == code, terminal.text


def _begins_as_shown(step: Step, printed: str) -> bool:
    """Returns whether the first lines of an output are those of the page."""
    lines = printed.splitlines(keepends=True)
    complete = range(1, len(lines) + printed.endswith("\n"))
    return any(_as_shown(step, "".join(lines[:count])) for count in complete)


def _as_shown(step: Step, printed: str) -> bool:
    """Returns whether an output is that of the page, as far as the page shows it."""
    if step.output is None:
        return True
    return doctest.OutputChecker().check_output(_flat(step.output), _flat(printed), MATCH)


def _flat(text: str) -> str:
    """Returns a text without the spaces and line breaks by which a page wraps JSON."""
    return re.sub(r"(?:(?<=[{\[,:])|(?<=\.\.\.))\s+", "", text.strip())
