"""One-line mutants of the data plane, each of which a named test or model must detect.

    python -m tests.mutants [NAME...]       or       nox -s mutants

`mutants.toml` lists them. The runner copies the Rust sources, applies one mutant at a time, builds, and runs
the named test, which must fail. The session fails if a mutant survives, if it does not compile, or if its
text does not occur exactly once. It also fails if a named test fails without a mutant.
"""
