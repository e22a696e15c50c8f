from tests.mutants.trading import load
from tests.support.paths import ROOT


def test_the_mutants_of_trading_apply_and_name_their_tests() -> None:
    mutants = load()
    assert len({mutant.name for mutant in mutants}) == len(mutants)
    for mutant in mutants:
        source = (ROOT / mutant.file).read_text(encoding="utf-8")
        assert mutant.apply(source) != source
        path, _, name = mutant.test.partition("::")
        assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8")
