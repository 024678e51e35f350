"""The benchmark's arithmetic: a wrong sum would be believed."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from benchmarks import plot, report
from benchmarks.bench import BARE, OURS, Figure
from benchmarks.contestants import ALL, chosen
from benchmarks.figures import Spread, number, percentile, ratios, rotated, spread
from benchmarks.measures import MEASURES
from benchmarks.measures.feeding import Sample, rate_between
from benchmarks.measures.latency import late_ms
from benchmarks.measures.wakeups import environment, start_name, tables, writers_name

if TYPE_CHECKING:
    from collections.abc import Sequence


def drains(ours: Sequence[float], bare: Sequence[float], name: str = "drain 1") -> list[Figure]:
    return [
        Figure(name, contestant, number_of_round, value, "tasks/s")
        for contestant, values in ((OURS, ours), (BARE, bare))
        for number_of_round, value in enumerate(values)
    ]


@pytest.mark.parametrize(
    ("values", "per_cent", "expected"),
    [
        ([7.0], 50, 7.0),
        ([7.0], 99, 7.0),
        ([3.0, 1.0, 2.0], 50, 2.0),
        ([1.0, 2.0, 3.0, 4.0], 50, 2.0),
        ([float(n) for n in range(1, 101)], 99, 99.0),
        ([float(n) for n in range(1, 101)], 100, 100.0),
        ([float(n) for n in range(1, 101)], 0, 1.0),
        ([float(n) for n in range(1, 11)], 99, 10.0),
    ],
)
def test_a_percentile_is_one_of_the_values(
    values: list[float], per_cent: float, expected: float
) -> None:
    assert percentile(values, per_cent) == expected


def test_there_is_no_percentile_of_nothing() -> None:
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 50)


def test_a_spread_is_the_median_and_the_range() -> None:
    assert spread([3.0, 9.0, 6.0]) == Spread(6.0, 3.0, 9.0, 3)
    assert spread([1.0, 2.0]) == Spread(1.5, 1.0, 2.0, 2)
    assert spread([]) is None
    assert Spread(6.0, 3.0, 9.0, 3).text == "6.00 [3.00-9.00]"
    assert Spread(6.0, 6.0, 6.0, 1).text == "6.00"


def test_ratios_are_taken_within_a_round() -> None:
    assert ratios({0: 10.0, 1: 30.0}, {0: 5.0, 1: 60.0}) == [2.0, 0.5]


def test_a_round_that_one_of_both_lacks_does_not_count() -> None:
    assert ratios({0: 10.0, 2: 30.0}, {1: 5.0, 2: 60.0}) == [0.5]
    assert ratios({0: 10.0}, {0: 0.0}) == []


def test_above_one_is_better_where_less_is_better() -> None:
    assert ratios({0: 2.0}, {0: 8.0}, lower_is_better=True) == [4.0]


def test_everybody_is_first_in_turn() -> None:
    names = ["a", "b", "c"]
    assert [rotated(names, number_of_round)[0] for number_of_round in range(4)] == [*names, "a"]
    assert sorted(rotated(names, 5)) == names
    assert rotated([], 1) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.12345, "0.123"),
        (0.0004, "0.000"),
        (3.14159, "3.14"),
        (31.4159, "31.4"),
        (314.159, "314"),
        (54321.9, "54,322"),
        (-2.5, "-2.50"),
        (float("inf"), "inf"),
    ],
)
def test_numbers_have_three_digits_that_say_something(value: float, text: str) -> None:
    assert number(value) == text


def test_lateness_is_in_milliseconds_and_early_is_below_zero() -> None:
    late = late_ms([(1, 10.0), (2, 20.0)], {1: 10.25, 2: 19.5, 3: 0.0})
    assert late == [250.0, -500.0]


def test_a_rate_is_that_of_its_window() -> None:
    samples = [Sample(float(second), second * second, 0) for second in range(11)]
    assert rate_between(samples, 0, 2) == 2.0
    assert rate_between(samples, 8, 10) == 18.0
    with pytest.raises(ValueError, match="no two samples"):
        rate_between(samples, 3.2, 3.8)


def test_the_summary_takes_medians_of_ratios_not_ratios_of_medians() -> None:
    figures = [
        *drains([10.0, 40.0, 90.0], [100.0, 100.0, 100.0]),
        *drains([20.0, 40.0, 270.0], [100.0, 200.0, 100.0], "drain 2"),
    ]
    assert report.summary(figures) == {
        "drain_1_vs_bare": 0.4,
        "drain_2_vs_bare": 0.2,
        "drain_2_vs_1": 2.0,
        "early": 0,
    }


def test_the_summary_has_what_a_quick_run_is_judged_by() -> None:
    figures = [
        *drains([50.0], [100.0]),
        *drains([80.0], [100.0], "drain 2"),
        Figure("start p99", OURS, 0, 3.25, "ms", lower_is_better=True),
        Figure("scheduled start p99", OURS, 0, 5.5, "ms", lower_is_better=True),
        Figure("begun early", OURS, 0, 2, "tasks", lower_is_better=True),
        Figure("begun early", BARE, 0, 5, "tasks", lower_is_better=True),
    ]
    found = json.loads(json.dumps(report.summary(figures)))
    assert found == {
        "drain_1_vs_bare": 0.5,
        "drain_2_vs_bare": 0.8,
        "drain_2_vs_1": 1.6,
        "start_p99_ms": 3.25,
        "scheduled_p99_ms": 5.5,
        "early": 2,
    }


def test_the_table_has_a_line_for_everybody() -> None:
    lines = report.table(drains([50.0, 60.0], [100.0, 100.0]))
    assert lines[2:] == [
        "| drain 1, tasks/s | taskscheduler | 55.0 [50.0-60.0] |  | 2 |",
        "| drain 1, tasks/s | bare psycopg | 100 [100-100] | 0.550 [0.500-0.600] times | 2 |",
    ]


def test_the_picture_is_to_scale_and_well_formed() -> None:
    drawn = plot.picture(drains([30.0, 50.0], [80.0, 100.0]), ["here & now", "<today>"])
    root = ET.fromstring(drawn)  # noqa: S314 - we have just written it
    bars = [float(bar.attrib["width"]) for bar in root.iter("{http://www.w3.org/2000/svg}rect")]
    ours, bare = bars
    assert ours / bare == pytest.approx(40 / 90, rel=0.01)
    whiskers = root.findall("{http://www.w3.org/2000/svg}line")
    assert len(whiskers) == 2
    assert "here & now\n<today>" in "".join(root.itertext())
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for element in root:
        assert 0 <= float(element.attrib.get("y", "0")) <= height
        assert 0 <= float(element.attrib.get("x", "0")) <= width


def test_a_measure_of_one_alone_is_not_drawn() -> None:
    figures = [figure for figure in drains([1.0], [2.0]) if figure.contestant == OURS]
    assert "<rect" not in plot.picture(figures, ["alone"])


def test_contestants_are_chosen_by_name() -> None:
    assert chosen(None) == list(ALL)
    assert [each.name for each in chosen([])] == [OURS, BARE]
    assert [each.name for each in chosen(["awa"])] == [OURS, BARE, "awa"]
    with pytest.raises(ValueError, match="nobody is called kafka"):
        chosen(["kafka"])


def test_questions_to_the_database_can_be_filled_in() -> None:
    for contestant in ALL:
        statements = [contestant.done, *contestant.future, *contestant.past]
        filled = [statement.format(tasks=5, rows=7, mark=9) for statement in statements]
        assert not [text for text in filled if re.search(r"[{}]", text)]


def test_every_measure_says_what_it_is() -> None:
    for name, measure in MEASURES.items():
        assert measure.run.__module__ == f"benchmarks.measures.{name}"
        assert measure.run.__doc__


def test_wakeups_have_tables_of_their_own() -> None:
    figures = [
        Figure(start_name("postgres", 1, 50), OURS, 0, 2.0, "ms", lower_is_better=True),
        Figure(start_name("postgres", 1, 50), OURS, 1, 4.0, "ms", lower_is_better=True),
        Figure(writers_name("postgres", 100, 8), OURS, 0, 500.0, "tasks/s"),
        Figure(writers_name("poll", 100, 8), OURS, 0, 1000.0, "tasks/s"),
        Figure(writers_name("poll", 0, 1), OURS, 0, 1000.0, "tasks/s"),
    ]
    lines = tables(figures)
    assert "| `postgres` | 1 | 3.00 [2.00-4.00] ms | not measured |" in lines
    assert "| 8 | 100 | 500 tasks/s | 1,000 tasks/s | 0.500 |" in lines
    assert "| 1 | nobody | not measured | 1,000 tasks/s | not measured |" in lines


def test_what_a_measure_hands_on_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_QUEUE", "before")
    monkeypatch.delenv("BENCH_WORKERS", raising=False)
    with environment(BENCH_QUEUE="elsewhere", BENCH_WORKERS="25"):
        assert (os.environ["BENCH_QUEUE"], os.environ["BENCH_WORKERS"]) == ("elsewhere", "25")
    assert os.environ["BENCH_QUEUE"] == "before"
    assert "BENCH_WORKERS" not in os.environ
