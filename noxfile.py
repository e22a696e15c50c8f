"""The project's checks: `nox -s tests`, `nox -s lint`, and the rest by `nox --list`."""

from pathlib import Path

import nox

nox.needs_version = ">=2025.10"
nox.options.sessions = ["tests", "lint"]
nox.options.reuse_existing_virtualenvs = True

GROUPS = nox.project.load_toml("pyproject.toml")
LOOM = {"RUSTFLAGS": "--cfg loom"}


def install(session: nox.Session, *groups: str) -> None:
    """Builds and installs the package, and the tools of some groups."""
    session.install(*nox.project.dependency_groups(GROUPS, *groups), ".")


@nox.session
def tests(session: nox.Session) -> None:
    """Rust tests, loom models, Python tests."""
    cargo(session, "test", "-p", "meltica-core", "--locked")
    loom(session)
    install(session, "test")
    session.run("pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Formatting, lints and types of both languages, and the stubs against the compiled module."""
    cargo(session, "fmt", "--all", "--check")
    cargo(session, "clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings")
    install(session, "lint", "test")
    session.install("nox")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("basedpyright", "--pythonpath", str(Path(session.bin) / "python"))
    session.run("python", "-m", "mypy.stubtest", "meltica._core")


@nox.session
def coverage(session: nox.Session) -> None:
    """Python tests; fails when they run less than 80 % of the Python lines."""
    install(session, "test")
    session.run("pytest", "--cov", "--cov-config=pyproject.toml", "--cov-report=term", *session.posargs)


@nox.session
def contract(session: nox.Session) -> None:
    """What every adapter must keep."""
    install(session, "test")
    session.run("pytest", "tests/contract", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """What each step of an event's path costs here."""
    install(session)
    session.run("meltica", "bench", *session.posargs)


@nox.session
def build(session: nox.Session) -> None:
    """The wheel to publish, in dist/."""
    session.install("maturin>=1.16,<2")
    session.run("maturin", "build", "--profile", "dist", "--locked", "--out", "dist")
    session.log("%s", ", ".join(path.name for path in sorted(Path("dist").glob("*.whl"))))


def cargo(session: nox.Session, *arguments: str) -> None:
    """Runs cargo."""
    session.run("cargo", *arguments, external=True)


def loom(session: nox.Session) -> None:
    """Runs the models of everything threads share; built apart, because they need another `cfg`."""
    arguments = (
        "test",
        "-p",
        "meltica-core",
        "--release",
        "--locked",
        "--lib",
        "--target-dir",
        "target/loom",
        "loom",
    )
    session.run("cargo", *arguments, env=LOOM, external=True)
