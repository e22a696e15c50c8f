"""A real Prometheus and Alertmanager: Debian's packages, unpacked into a cache, not installed."""

import contextlib
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest

from meltica.persistence.postgres.server import wait_until
from tests.support.serving import PATIENCE, free_port

PACKAGES = ("prometheus", "prometheus-alertmanager")
TEMPLATES = b"/usr/share/prometheus/alertmanager"
"""Where Debian's Alertmanager looks for its templates."""


class Server:
    """A running Prometheus or Alertmanager."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.log = log
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10)

    def is_ready(self) -> bool:
        """Whether it answers requests."""
        with contextlib.suppress(httpx.TransportError):
            return self.client.get("/-/ready").status_code == 200
        assert self.process.poll() is None, self.log.read_text()
        return False

    def query(self, expression: str) -> list[tuple[dict[str, str], str]]:
        """Returns the series of an expression: their labels and values."""
        answer = self.client.get("/api/v1/query", params={"query": expression}).json()
        assert answer["status"] == "success", (expression, answer)
        result: list[dict[str, Any]] = answer["data"]["result"]
        return [(series["metric"], series["value"][1]) for series in result]


@functools.cache
def programs() -> Path:
    """Returns the folder of the unpacked packages. Without them the test is skipped; in CI it fails."""
    parent = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "meltica-tests"
    folder = parent / "debian"
    if folder.is_dir():
        return folder
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent) as temporary:
        try:
            _unpack(Path(temporary))
        except (OSError, subprocess.SubprocessError) as error:
            output: bytes | None = getattr(error, "stderr", None)
            reason = f"cannot get Debian's packages of Prometheus: {error}; {(output or b'').decode()[-500:]}"
            if os.environ.get("CI") == "true":
                pytest.fail(reason)
            pytest.skip(reason)
        # Another process may have been faster.
        with contextlib.suppress(OSError):
            (Path(temporary) / "root").rename(folder)
    return folder


def _unpack(folder: Path) -> None:
    """Downloads the packages and unpacks them into the folder `root`."""

    def run(*command: str) -> None:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)

    try:
        run("apt-get", "download", *PACKAGES)
    except subprocess.CalledProcessError:
        # A new machine has no lists of packages yet.
        run("apt-get", "update")
        run("apt-get", "download", *PACKAGES)
    for package in folder.glob("*.deb"):
        run("dpkg", "-x", str(package), "root")
    # The same length, but relative: the program is not installed, and runs in the folder.
    program = folder / "root/usr/bin/prometheus-alertmanager"
    relative = TEMPLATES.removeprefix(b"/").replace(b"/", b"//", 1)
    program.write_bytes(program.read_bytes().replace(TEMPLATES, relative))


def promtool(*arguments: str, input: str | None = None) -> None:
    """Runs promtool, which must not find a fault."""
    tool = str(programs() / "usr/bin/promtool")
    done = subprocess.run(
        [tool, *arguments], input=input, check=False, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stdout + done.stderr


@contextlib.contextmanager
def prometheus(config: Path) -> Generator[Server]:
    """Runs Prometheus with a configuration."""
    options = (f"--config.file={config}", "--web.console.templates=none", "--web.console.libraries=none")
    with _serve("prometheus", "--storage.tsdb.path", *options) as server:
        yield server


@contextlib.contextmanager
def alertmanager(config: Path) -> Generator[Server]:
    """Runs Alertmanager with a configuration."""
    options = (f"--config.file={config}", "--cluster.listen-address=")
    with _serve("prometheus-alertmanager", "--storage.path", *options) as server:
        yield server


@contextlib.contextmanager
def _serve(program: str, storage: str, *options: str) -> Generator[Server]:
    folder, port = Path(tempfile.mkdtemp()), free_port()
    command = [str(programs() / "usr/bin" / program), *options, f"{storage}={folder}"]
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, f"--web.listen-address=127.0.0.1:{port}"], cwd=programs(), stdout=output, stderr=output
        )
    server = Server(process, port, log)
    try:
        assert wait_until(server.is_ready, PATIENCE), log.read_text()
        yield server
    finally:
        server.client.close()
        process.terminate()
        process.wait(PATIENCE)
        shutil.rmtree(folder)
