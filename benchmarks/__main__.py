"""``python -m benchmarks``: everybody in turn on one PostgreSQL, some rounds, ratios of a round."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import machine, plot, report
from benchmarks.bench import Bench, Sizes
from benchmarks.contestants import chosen
from benchmarks.measures import MEASURES
from benchmarks.server import SETTINGS, running

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.contestants import Contestant

QUICK = Sizes(tasks=80_000, singles=800, starts=150, scheduled=60)
QUICK_MEASURES = ("drain", "schedule", "latency")


def main() -> None:
    """Measure, print, and write what was measured."""
    # Killed by a time limit it would leave its server behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = _options()
    contestants = _present(options.peers)
    sizes = QUICK if options.quick else Sizes()
    given = {name: value for name in Sizes.__slots__ if (value := getattr(options, name))}
    sizes = replace(sizes, **given)
    if (warning := machine.busy()) is not None:
        print(warning, flush=True)
    settings = dict(SETTINGS)
    for name in options.only:
        settings |= MEASURES[name].settings
    facts: dict[str, Any] = {
        "machine": machine.describe(),
        "versions": machine.versions(contestants),
        "postgres_settings": settings,
        "busy": warning is not None,
    }
    with running(settings) as server:
        facts["postgres"] = server.version
        bench = Bench(server, contestants, sizes, quick=options.quick)
        asyncio.run(_measure(bench, options.only, options.rounds))
    facts["load_at_the_end"] = machine.load()
    print(*report.table(bench.figures), sep="\n")
    for name in options.only:
        if (tables := MEASURES[name].tables) is not None:
            print("", *tables(bench.figures), "", _conditions(facts, options), sep="\n")
    for failure in bench.failures:
        print(f"FAILED: {failure}")
    if warning is not None:
        print(warning)
    if options.json is not None:
        text = json.dumps(report.document(bench, facts), indent=1)
        options.json.write_text(text + "\n", "utf-8")
    if options.svg is not None:
        options.svg.write_text(plot.picture(bench.figures, _captions(facts)), "utf-8")
    print(json.dumps(report.summary(bench.figures)), flush=True)
    sys.exit(1 if bench.failures else 0)


async def _measure(bench: Bench, names: Sequence[str], rounds: int) -> None:
    for number_of_round in range(rounds):
        for name in names:
            if MEASURES[name].once and number_of_round:
                continue
            bench.number_of_round = number_of_round
            known, began = len(bench.figures), time.monotonic()
            await MEASURES[name].run(bench)
            seconds = time.monotonic() - began
            print(f"round {number_of_round + 1} of {rounds}, {name}, {seconds:.0f} s:", flush=True)
            for figure in bench.figures[known:]:
                print(f"  {figure.contestant}: {report.progress([figure])}", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="How fast it is, beside its peers, on a PostgreSQL that this starts itself.",
        epilog=f"Measures: {', '.join(MEASURES)}.",
    )
    default = [name for name, measure in MEASURES.items() if measure.by_default]
    parser.add_argument("--quick", action="store_true", help="ours and the bare loop, small")
    parser.add_argument("--only", type=_measures, help=f"measures ({','.join(default)})")
    parser.add_argument("--peers", type=_names, help="some of the peers, or 'none' (all)")
    parser.add_argument("--rounds", type=int, help="(3)")
    for name, kind in Sizes.__annotations__.items():
        parser.add_argument(
            f"--{name}",
            type=float if "float" in str(kind) else int,
            help=f"({getattr(Sizes(), name):,})",
        )
    parser.add_argument("--json", type=Path, help="where to write every figure")
    parser.add_argument("--svg", type=Path, help="where to draw")
    options = parser.parse_args()
    options.only = options.only or (list(QUICK_MEASURES) if options.quick else default)
    options.rounds = options.rounds or (1 if options.quick else 3)
    if options.quick and options.peers is None:
        options.peers = []
    return options


def _names(text: str) -> list[str]:
    return [] if text == "none" else text.split(",")


def _measures(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in MEASURES]:
        message = f"no measure is called {', '.join(unknown)}; there are {', '.join(MEASURES)}"
        raise argparse.ArgumentTypeError(message)
    return names


def _present(names: list[str] | None) -> list[Contestant]:
    """Return who takes part, and say aloud who does not."""
    try:
        wanted = chosen(names)
    except ValueError as error:
        sys.exit(str(error))
    for each in wanted:
        if each.missing is not None:
            print(f"LEFT OUT: {each.name}: {each.missing}", flush=True)
    return [each for each in wanted if each.missing is None]


def _conditions(facts: dict[str, Any], options: argparse.Namespace) -> str:
    """Say in a sentence what such figures are worth."""
    on = facts["machine"]
    return (
        f"{on['at'][:10]}, rounds: {options.rounds}, {on['cores']} cores, PostgreSQL "
        f"{facts['postgres']} on the same; load average {on['load']} before, "
        f"{facts['load_at_the_end']} after."
    )


def _captions(facts: dict[str, Any]) -> list[str]:
    on = facts["machine"]
    return [
        (
            f"{on['at'][:10]}; {on['cores']} cores, {on['processor']}; "
            f"PostgreSQL {facts['postgres']}, synchronous_commit on."
        ),
        (
            f"Median and, as a line, range of the rounds. Load average {on['load']} before, "
            f"{facts['load_at_the_end']} after."
        ),
    ]


if __name__ == "__main__":
    main()
