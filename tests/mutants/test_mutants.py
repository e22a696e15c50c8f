"""The list of mutants follows the Rust sources."""

from itertools import groupby, pairwise
from pathlib import Path

from tests.mutants.runner import load, place, switched
from tests.support.paths import ROOT

MUTANTS = load()


def test_each_mutant_changes_one_place_of_its_own() -> None:
    by_file = sorted(MUTANTS, key=lambda mutant: mutant.file)
    for name, mutants in groupby(by_file, key=lambda mutant: mutant.file):
        source = (ROOT / name).read_text(encoding="utf-8")
        own = dict(enumerate(mutants))
        places = sorted(place(mutant, source) for mutant in own.values())
        assert all(end <= start for (_, end), (start, _) in pairwise(places)), name
        assert all(f"is_mutant({number})" in switched(source, own) for number in own)


def test_each_named_test_exists() -> None:
    for mutant in MUTANTS:
        *modules, function = mutant.test.split("::")
        sources = ROOT.joinpath("crates", mutant.package, "src")
        folders = [Path(*modules[:depth]) for depth in range(1, len(modules) + 1)]
        candidates = [sources / folder.with_suffix(".rs") for folder in folders]
        text = "".join(path.read_text(encoding="utf-8") for path in candidates if path.is_file())
        assert f"fn {function}(" in text, mutant.test


def test_ci_runs_six_of_at_least_twenty_mutants() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 20
    assert sum(mutant.ci for mutant in MUTANTS) == 6
