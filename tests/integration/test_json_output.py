"""With `--json`, stdout holds JSON and nothing else, whatever a strategy writes there."""

import json
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from meltica.adapters.replay import sample
from tests.support.serving import Project, project

STRATEGIES = {
    "prints": "print('from the strategy')",
    "writes": "os.write(1, b'from the strategy\\n')",
    "spawns": "subprocess.run(['echo', 'from the strategy'], check=True)",
    "closes": "print('from the strategy', flush=True); sys.stdout.close()",
    "closes_descriptor": "print('from the strategy', flush=True); os.close(1)",
    "replaces": "print('from the strategy', flush=True); sys.stdout = None",
    "at_exit": "atexit.register(print, 'from the strategy')",
}
SOURCE = """
import atexit, os, subprocess, sys
import meltica

print("while it is imported")

class Writer(meltica.Lambda):
    def on_start(self):
        {statement}

    def on_trade(self, trade):
        pass
"""
each_strategy = pytest.mark.parametrize("statement", STRATEGIES.values(), ids=STRATEGIES)


@pytest.fixture(name="project")
def _project() -> Generator[Project]:
    with project() as made:
        yield made


@each_strategy
def test_replay(tmp_path: Path, statement: str) -> None:
    sample.write(tmp_path / "s.gz", steps=20)
    (tmp_path / "mine.py").write_text(SOURCE.format(statement=statement))
    command = ["replay", "s.gz", "--codec", "binance", "--lambda", "mine.py", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "meltica", *command],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "ok"
    assert "while it is imported\n" in done.stderr
    assert "from the strategy\n" in done.stderr


@each_strategy
def test_serve(project: Project, database_url: str, statement: str) -> None:
    (project.folder / "watch.py").write_text(SOURCE.format(statement=statement))
    with project.serving(database=database_url) as gateway:
        gateway.process.terminate()
        out, _ = gateway.process.communicate(timeout=60)
    assert [json.loads(line)["event"] for line in out.splitlines()] == ["stopped"], (
        "after the line of `ready`"
    )
    assert "while it is imported\n" in gateway.log.read_text()
    assert "from the strategy\n" in gateway.log.read_text()


def test_without_json_a_strategy_prints_to_stdout(tmp_path: Path) -> None:
    sample.write(tmp_path / "s.gz", steps=20)
    (tmp_path / "mine.py").write_text(SOURCE.format(statement=STRATEGIES["prints"]))
    command = ["replay", "s.gz", "--codec", "binance", "--lambda", "mine.py"]
    done = subprocess.run(
        [sys.executable, "-m", "meltica", *command],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert "from the strategy\n" in done.stdout


def test_a_refused_config_is_json_too(project: Project) -> None:
    project.edit("level: info", "level: loud")
    done = project.refused()
    assert done.returncode == 2
    assert json.loads(done.stdout)["part"] == "configuration"
