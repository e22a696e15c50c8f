"""One-line mutants of the data plane, each of which a named test or model must detect.

    python -m tests.mutants [--ci] [NAME...]       or       nox -s mutants

`mutants.toml` lists them. The runner copies the Rust sources with a switch between old and new code for each
mutant, builds the tests once, and runs each named test with its mutant on: it must fail. The session fails if
a mutant survives, if the mutants do not compile, or if the text of one does not occur exactly once. It also
fails if a named test fails without a mutant; CI, which has just run the tests, does not repeat them.
"""
