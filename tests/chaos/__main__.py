"""``python -m tests.chaos``: do harm, look on, judge, and tell it in a table."""

from __future__ import annotations

import argparse
import importlib
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.report import Options, Row, table

SCENARIOS = ("kills", "fires", "proxy", "postgres", "model", "clock", "fuzz")
VIOLATIONS_SHOWN = 20


def main() -> int:
    """Run the scenarios that were asked for; return 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--short", action="store_true", help="a little of each")
    parser.add_argument("--only", action="append", choices=SCENARIOS, help="repeatable")
    parser.add_argument("--seed", type=int, default=None, help="repeats the same choices")
    parser.add_argument("--tasks", type=int, default=None, help="how many tasks")
    parser.add_argument("--keep", type=Path, default=None, help="keep the records in this folder")
    given = parser.parse_args()
    seed = int(time.time()) % 100_000 if given.seed is None else given.seed
    folder = given.keep or Path(tempfile.mkdtemp(prefix="chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711)
    options = Options(short=given.short, seed=seed, tasks=given.tasks, folder=folder)
    rows: list[Row] = []
    for name in given.only or SCENARIOS:
        began = time.monotonic()
        print(f"{name} (seed {seed})", file=sys.stderr, flush=True)
        found = importlib.import_module(f"tests.chaos.scenarios.{name}").run(options)
        rows += found
        for row in found:
            tell(row)
        print(f"  {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    print(table(rows))
    broken = any(row.violations for row in rows)
    if broken:
        print(f"\nPROMISES WERE BROKEN; the records are in {folder}")
    elif given.keep is None:
        shutil.rmtree(folder, ignore_errors=True)
    return int(broken)


def tell(row: Row) -> None:
    """Say what the table has no room for."""
    for remark in row.remarks:
        print(f"  {row.fault}: {remark}", file=sys.stderr, flush=True)
    for text in row.violations[:VIOLATIONS_SHOWN]:
        print(f"  {row.fault}: VIOLATED: {text}", file=sys.stderr, flush=True)
    if (more := len(row.violations) - VIOLATIONS_SHOWN) > 0:
        print(f"  {row.fault}: and {more} more violations", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
