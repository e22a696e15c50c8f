"""The project's checks: `nox -s tests`, `nox -s lint`, and the rest by `nox --list`."""

from pathlib import Path

import nox

nox.needs_version = ">=2025.10"
nox.options.sessions = ["tests", "lint"]
nox.options.reuse_existing_virtualenvs = True

FUZZ_TARGETS = ("decode", "feed", "book", "resync", "plan", "decimal")
GROUPS = nox.project.load_toml("pyproject.toml")
LOOM = {"RUSTFLAGS": "--cfg loom"}


def install(session: nox.Session, *groups: str) -> None:
    """Builds and installs the package, and the tools of some groups."""
    session.install(*nox.project.dependency_groups(GROUPS, *groups), ".")


@nox.session
def tests(session: nox.Session) -> None:
    """Rust tests, loom models, six mutants of what they test, Python tests."""
    cargo(session, "test", "--workspace", "--all-features", "--locked")
    loom(session)
    session.run("python", "-m", "tests.mutants", "--ci")
    install(session, "test")
    # Two at a time: most tests wait for a server or a process. Fixtures of a module are made once.
    session.run("pytest", "--numprocesses", "2", "--dist", "loadfile", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Formatting, lints and types of both languages, and the stubs against the compiled module."""
    cargo(session, "fmt", "--all", "--check")
    cargo(
        session,
        "clippy",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--locked",
        "--",
        "-D",
        "warnings",
    )
    fuzz_crate = ("--manifest-path", "fuzz/Cargo.toml")
    cargo(session, "fmt", *fuzz_crate, "--check")
    checked = (*fuzz_crate, "--no-default-features", "--target-dir", "target", "--locked")
    cargo(session, "clippy", *checked, "--", "-D", "warnings")
    install(session, "lint", "test")
    session.install("nox")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("lint-imports", env={"PYTHONPATH": "python"})
    session.run("basedpyright", "--pythonpath", str(Path(session.bin) / "python"))
    session.run("python", "-m", "mypy.stubtest", "meltica._core")


@nox.session(python=False)
def fuzz(session: nox.Session) -> None:
    """Fuzzes codec, feed, books and decimals: 60 seconds each, or `-- SECONDS TARGET...`.

    Needs cargo-fuzz. Failing inputs are saved in fuzz/artifacts; the next run continues from fuzz/corpus.
    """
    seconds, *targets = session.posargs or ["60"]
    for target in targets or FUZZ_TARGETS:
        corpus, seeds = Path("fuzz/corpus") / target, Path("fuzz/seeds") / target
        corpus.mkdir(parents=True, exist_ok=True)
        folders = [str(folder) for folder in (corpus, seeds) if folder.is_dir()]
        limits = [f"-max_total_time={seconds}", "-timeout=10", "-max_len=16384", "-dict=fuzz/frames.dict"]
        # The sanitizer needs nightly flags; this variable enables them in a stable compiler.
        environment = {"RUSTC_BOOTSTRAP": "1"}
        cargo(session, "fuzz", "run", target, *folders, "--", *limits, env=environment)


@nox.session
def soak(session: nox.Session) -> None:
    """Runs the soak tests: 50 million events, then a venue, a gateway and its trading with every fault.

    `-- events`, `-- restarts`, `-- venue`, `-- gateway`, `-- control` or `-- trading` runs one of them, with
    its length after it. `-- trading kills 200` kills a trading gateway 200 times.
    """
    install(session, "test")
    which, *length = session.posargs or ["all"]
    for name in ("events", "restarts", "venue", "gateway", "control", "trading"):
        if which in (name, "all"):
            session.run("python", "-m", f"tests.soak.{name}", *length)


@nox.session
def isolation(session: nox.Session) -> None:
    """Measures an innocent instance beside each hostile one; fails if it misses an event.

    `-- --seconds 10 NAME...` sets the length and selects hostile instances.
    """
    install(session, "test")
    session.run("python", "-m", "tests.isolation", *session.posargs)


@nox.session
def mutants(session: nox.Session) -> None:
    """Applies each mutant of the lists in tests/mutants; fails if its test does not detect it.

    `-- NAME...` selects mutants of the data plane, `-- trading [NAME...]` those of trading.
    """
    trading = session.posargs[:1] == ["trading"]
    if not trading:
        session.run("python", "-m", "tests.mutants", *session.posargs)
    if trading or not session.posargs:
        install(session, "test")
        session.run("python", "-m", "tests.mutants.trading", *session.posargs[1:])


@nox.session
def coverage(session: nox.Session) -> None:
    """Python tests with coverage; fails below 80 % of the Python lines."""
    install(session, "test")
    measure = ("--cov", "--cov-config=pyproject.toml", "--cov-report=term", "-m", "not untraced")
    session.run("pytest", *measure, *session.posargs)


@nox.session
def contract(session: nox.Session) -> None:
    """The contract of adapters, then generated REST requests for five minutes, or `-- SECONDS`."""
    install(session, "test")
    session.run("pytest", "tests/contract")
    (seconds,) = session.posargs or ["300"]
    requests = {"MELTICA_CONTRACT_SECONDS": seconds}
    session.run("pytest", "-s", "tests/integration/test_rest_contract.py", env=requests)


@nox.session
def otel(session: nox.Session) -> None:
    """Builds an OpenTelemetry collector from source, and exports to it. Needs Go and three minutes."""
    install(session, "test")
    tools = Path(session.create_tmp()).resolve()
    builder = "go.opentelemetry.io/collector/cmd/builder@v0.165.0"
    session.run("go", "install", builder, env={"GOBIN": str(tools)}, external=True)
    manifest = str(Path("tests/support/collector.yaml").resolve())
    with session.chdir(tools):
        session.run(str(tools / "builder"), "--config", manifest, external=True)
    binary = {"MELTICA_COLLECTOR": str(tools / "build" / "otelcol")}
    session.run("pytest", "-s", "tests/integration/test_otlp_collector.py", env=binary)


@nox.session
def bench(session: nox.Session) -> None:
    """Runs the benchmarks of the event path."""
    install(session)
    session.run("meltica", "bench", *session.posargs)


@nox.session
def load(session: nox.Session) -> None:
    """Measures requests and orders beside each other on a market that runs flat out.

    `-- --seconds 60 --clients 8` sets the length of each phase and the number of clients.
    """
    install(session, "test")
    session.run("python", "-m", "tests.load", *session.posargs)


@nox.session
def chart(session: nox.Session) -> None:
    """Draws docs/charts/market.svg: an hour of the fake venue, in 36 seconds."""
    install(session)
    session.run("python", "docs/charts/market.py", "docs/charts/market.svg", *session.posargs)


@nox.session
def build(session: nox.Session) -> None:
    """The wheel to publish, in dist/."""
    session.install("maturin>=1.16,<2")
    session.run("maturin", "build", "--profile", "dist", "--locked", "--out", "dist")
    session.log("%s", ", ".join(path.name for path in sorted(Path("dist").glob("*.whl"))))


def cargo(session: nox.Session, *arguments: str, env: dict[str, str] | None = None) -> None:
    """Runs cargo."""
    session.run("cargo", *arguments, env=env, external=True)


def loom(session: nox.Session) -> None:
    """Runs the loom models of shared state with overflow checks.

    They have a target directory of their own because of their `cfg`.
    """
    arguments = (
        "test",
        "-p",
        "meltica-core",
        "--profile",
        "loom",
        "--locked",
        "--lib",
        "--target-dir",
        "target/loom",
        "loom",
    )
    cargo(session, *arguments, env=LOOM)
