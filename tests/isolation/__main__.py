"""Prints the table of the docs: an innocent instance beside each hostile one."""

import argparse
import sys

from tests.isolation.hostile import HOSTILE
from tests.isolation.innocent import Outcome, beside


def _row(outcome: Outcome) -> str:
    figures = (outcome.p50_ns, outcome.p99_ns, outcome.max_ns)
    times = " | ".join(f"{ns / 1000:,.0f} µs" for ns in figures)
    events = f"{outcome.received:,} of {outcome.sent:,}"
    return f"| {outcome.hostile.replace('_', ' ')} | {events} | {times} |"


def main() -> int:
    """Runs the harness and returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.isolation", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("hostile", nargs="*", help=f"of {', '.join(HOSTILE)}; default: all")
    arguments = parser.parse_args()
    failed = 0
    print("| beside | events received | p50 | p99 | max |\n|---|---|---|---|---|")
    for name in arguments.hostile or HOSTILE:
        try:
            outcome = beside(name, arguments.seconds)
        except RuntimeError as error:
            failed += 1
            print(f"fault: {error}", file=sys.stderr)
            continue
        print(_row(outcome), flush=True)
        if not outcome.complete:
            failed += 1
            detail = f"{outcome.first_fault}; {outcome.losses}; hostile: {outcome.hostile_stats}"
            print(f"fault: {name}: {detail}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
