"""Runs the mutants and prints a line for each."""

import argparse
import sys
import time

from tests.mutants.runner import Tree, load


def main() -> int:
    """Returns 0 if every mutant was detected."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("name", nargs="*", help="default: all")
    parser.add_argument("--ci", action="store_true", help="only those of CI, whose tests have just passed")
    arguments = parser.parse_args()
    mutants = [mutant for mutant in load() if not arguments.name or mutant.name in arguments.name]
    mutants = [mutant for mutant in mutants if mutant.ci or not arguments.ci]
    unknown = set(arguments.name) - {mutant.name for mutant in mutants}
    if unknown:
        parser.error(f"unknown mutants: {', '.join(sorted(unknown))}")
    tree = Tree()
    faults = [] if arguments.ci else list(tree.broken(mutants))
    if not faults:
        for mutant in sorted(mutants, key=lambda each: (each.loom, each.package)):
            started = time.monotonic()
            if survived := tree.survived(mutant):
                faults.append(f"{mutant.name}: survived {mutant.test}")
            verdict = "survived" if survived else "detected by"
            print(f"{mutant.name}: {verdict} {mutant.test} ({time.monotonic() - started:.1f} s)", flush=True)
        print(f"{len(mutants) - len(faults)} of {len(mutants)} mutants detected")
    for fault in faults:
        print(f"fault: {fault}", file=sys.stderr)
    return 1 if faults or not mutants else 0


if __name__ == "__main__":
    sys.exit(main())
