"""``python -m tests.mutants``: make each mutant, run its tests, and tell which survived."""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from tests.mutants.catalogue import MUTANTS
from tests.mutants.runner import Verdict, judge


def main() -> int:
    """Judge the mutants that were asked for; return 1 unless all were killed."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--only", action="append", help="part of a name; repeatable")
    parser.add_argument("--list", action="store_true", help="name them, and do no more")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many at once")
    given = parser.parse_args()
    chosen = [
        each for each in MUTANTS if not given.only or any(part in each.name for part in given.only)
    ]
    for each in chosen:
        each.applied()
    if given.list:
        print("\n".join(each.name for each in chosen))
        return 0
    if not chosen:
        parser.error("no mutant has such a name")
    began = time.monotonic()
    verdicts: list[Verdict] = []
    with ThreadPoolExecutor(given.jobs) as pool:
        for verdict in pool.map(judge, chosen):
            print(f"{verdict.word:9} {verdict.mutant.name}: {verdict.why}", flush=True)
            verdicts.append(verdict)
    left = [each for each in verdicts if not each.killed]
    killed = len(verdicts) - len(left)
    print(f"\n{killed} of {len(verdicts)} mutants killed, {time.monotonic() - began:.0f} s")
    for each in left:
        print(f"{each.word} {each.mutant.name} ({each.mutant.tests} -k '{each.mutant.only}')")
    return int(bool(left))


if __name__ == "__main__":
    sys.exit(main())
