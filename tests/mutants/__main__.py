"""Runs the mutants and prints a line for each."""

import argparse
import sys
import time

from tests.mutants.runner import Tree, load


def main() -> int:
    """Returns 0 if every mutant was detected."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("name", nargs="*", help="default: all")
    arguments = parser.parse_args()
    mutants = [mutant for mutant in load() if not arguments.name or mutant.name in arguments.name]
    unknown = set(arguments.name) - {mutant.name for mutant in mutants}
    if unknown:
        parser.error(f"unknown mutants: {', '.join(sorted(unknown))}")
    tree = Tree()
    faults = list(tree.broken(mutants))
    if not faults:
        for mutant in sorted(mutants, key=lambda each: (each.loom, each.package)):
            started = time.monotonic()
            fault = tree.fault(mutant)
            faults += [f"{mutant.name}: {fault}"] if fault else []
            verdict = fault or f"detected by {mutant.test}"
            print(f"{mutant.name}: {verdict} ({time.monotonic() - started:.0f} s)", flush=True)
    print(f"{len(mutants) - len(faults)} of {len(mutants)} mutants detected")
    for fault in faults:
        print(f"fault: {fault}", file=sys.stderr)
    return 1 if faults or not mutants else 0


if __name__ == "__main__":
    sys.exit(main())
