"""What came of a run: a table for people, JSON for machines, and the quick run's one line."""

from __future__ import annotations

import statistics
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from benchmarks.bench import BARE, OURS
from benchmarks.figures import number, ratios, spread

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.bench import Bench, Figure


def names_of(figures: Iterable[Figure]) -> list[str]:
    """Return what was measured, in the order in which it was."""
    return list(dict.fromkeys(figure.name for figure in figures))


def by_round(figures: Iterable[Figure], name: str, contestant: str) -> dict[int, float]:
    """Return the values of one contestant, by round."""
    return {
        figure.number_of_round: figure.value
        for figure in figures
        if figure.name == name and figure.contestant == contestant
    }


def table(figures: Sequence[Figure]) -> list[str]:
    """Write the lines of a Markdown table: the figure, and how many times better ours is."""
    lines = [
        "| measured | who | median [range] | ours is better by, per round | rounds |",
        "|---|---|---|---|---|",
    ]
    for name in names_of(figures):
        of_name = [figure for figure in figures if figure.name == name]
        ours = by_round(of_name, name, OURS)
        for contestant in dict.fromkeys(figure.contestant for figure in of_name):
            values = by_round(of_name, name, contestant)
            found = spread(values.values())
            assert found is not None
            lower = of_name[0].lower_is_better
            compared = None
            if contestant != OURS:
                compared = spread(ratios(ours, values, lower_is_better=lower))
            lines.append(
                f"| {name}, {of_name[0].unit} | {contestant} | {found.text} "
                f"| {'' if compared is None else compared.text + ' times'} | {found.rounds} |"
            )
    return lines


def document(bench: Bench, facts: dict[str, Any]) -> dict[str, Any]:
    """Return all that is known about the run."""
    return {
        **facts,
        "sizes": asdict(bench.sizes),
        "settings": {each.name: each.settings for each in bench.contestants},
        "failures": bench.failures,
        "figures": [asdict(figure) for figure in bench.figures],
    }


def summary(figures: Sequence[Figure]) -> dict[str, float]:
    """Return the medians that a quick run is judged by; those of what was measured."""

    def median(values: Iterable[float]) -> float | None:
        found = list(values)
        return statistics.median(found) if found else None

    def against(name: str, contestant: str, other: str) -> float | None:
        return median(
            ratios(by_round(figures, name, contestant), by_round(figures, other, OURS))
            if contestant == OURS
            else ratios(by_round(figures, name, OURS), by_round(figures, other, contestant))
        )

    found = {
        "drain_1_vs_bare": against("drain 1", BARE, "drain 1"),
        "drain_2_vs_bare": against("drain 2", BARE, "drain 2"),
        "drain_2_vs_1": against("drain 2", OURS, "drain 1"),
        "single_vs_bare": against("schedule 1", BARE, "schedule 1"),
        "10_at_once_vs_bare": against("schedule 10 callers", BARE, "schedule 10 callers"),
        "100_at_once_vs_bare": against("schedule 100 callers", BARE, "schedule 100 callers"),
        "bulk_vs_copy": against("schedule in bulk", BARE, "schedule in bulk"),
        "start_p50_ms": median(by_round(figures, "start p50", OURS).values()),
        "start_p99_ms": median(by_round(figures, "start p99", OURS).values()),
        "scheduled_p50_ms": median(by_round(figures, "scheduled start p50", OURS).values()),
        "scheduled_p99_ms": median(by_round(figures, "scheduled start p99", OURS).values()),
    }
    short = {name: round(value, 3) for name, value in found.items() if value is not None}
    early = sum(by_round(figures, "begun early", OURS).values())
    return {**short, "early": int(early)}


def progress(figures: Sequence[Figure]) -> str:
    """Say the last figures in a line."""
    return ", ".join(f"{each.name} {number(each.value)} {each.unit}" for each in figures)
