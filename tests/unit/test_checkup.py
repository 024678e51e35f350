"""What doctor thinks of the facts."""

from __future__ import annotations

from datetime import timedelta

import pytest

from taskscheduler.adapters.postgres import health_checks as c
from taskscheduler.application.doctor import worst

OK, WARN, FAIL = c.Severity.OK, c.Severity.WARN, c.Severity.FAIL
SECOND = timedelta(seconds=1)
NONE = timedelta(0)


@pytest.mark.parametrize(
    ("finding", "verdict"),
    [
        (c.judge_version(150_004, "15.4", least=15), OK),
        (c.judge_version(140_012, "14.12", least=15), FAIL),
        (c.judge_encoding("UTF8", "UTF8"), OK),
        (c.judge_encoding("LATIN1", "UTF8"), FAIL),
        (c.judge_settings({}, pooled=False), OK),
        (c.judge_settings({"array_nulls": "off"}, pooled=False), WARN),
        (c.judge_settings({"array_nulls": "off"}, pooled=True), WARN),
        (c.judge_durability("on"), OK),
        (c.judge_durability("local"), OK),
        (c.judge_durability("off"), WARN),
        (c.judge_schema("s", 8, 8), OK),
        (c.judge_schema("s", 0, 8), FAIL),
        (c.judge_schema("s", 7, 8), FAIL),
        (c.judge_schema("s", 9, 8), FAIL),
        (c.judge_schema("s", 9, 8, fits=True), OK),
        (c.judge_schema("s", 8, 8, foreign=True), FAIL),
        (c.judge_skew(0.9 * SECOND, NONE), OK),
        (c.judge_skew(-2 * SECOND, NONE), WARN),
        (c.judge_skew(2 * SECOND, 1.5 * SECOND), OK),
        (c.judge_skew(61 * SECOND, NONE), FAIL),
        (c.judge_held("it", c.HELD_WARN - SECOND, ""), OK),
        (c.judge_held("it", c.HELD_WARN, ""), WARN),
        (c.judge_held("it", c.HELD_FAIL, ""), FAIL),
        (c.judge_slot("s", c.SLOT_WARN - 1), OK),
        (c.judge_slot("s", c.SLOT_FAIL), FAIL),
        (c.judge_dead("live", c.DEAD_WARN, 10), WARN),
        (c.judge_dead("live", c.DEAD_WARN, c.DEAD_WARN), OK),
        (c.judge_dead("live", c.DEAD_FAIL, 10), FAIL),
        (c.judge_oldest(None, ""), OK),
        (c.judge_oldest(c.LATE_WARN, "x"), WARN),
        (c.judge_oldest(c.LATE_FAIL, "x"), FAIL),
        (c.judge_schedules(None, ""), OK),
        (c.judge_schedules(SECOND, "nightly"), OK),
        (c.judge_schedules(c.OVERDUE_WARN, "nightly"), WARN),
        (c.judge_schedules(c.LATE_WARN, "nightly"), FAIL),
        (c.judge_workers(1, 0, [], due=True), OK),
        (c.judge_workers(1, 1, [], due=True), WARN),
        (c.judge_threads({}), OK),
        (c.judge_threads({"a": 0, "b": 0}), OK),
        (c.judge_threads({"a": 0, "b": 2}), WARN),
        (c.judge_workers(0, 0, [], due=False), WARN),
        (c.judge_workers(0, 0, [], due=True), FAIL),
        (c.judge_workers(3, 0, ["kind a in queue b"], due=True), FAIL),
        (c.judge_wakeups(None, SECOND, pooled=False), OK),
        (c.judge_wakeups("no", NONE, pooled=True), FAIL),
        (c.judge_partitions(7, []), OK),
        (c.judge_partitions(1, []), WARN),
        (c.judge_partitions(-1, ["task_default"]), FAIL),
    ],
)
def test_what_is_wrong_says_what_it_means_and_what_to_do(finding: c.Finding, verdict: c.Severity):
    assert finding.verdict is verdict
    assert finding.found
    assert bool(finding.means) == bool(finding.remedy) == (verdict is not OK)


def test_the_worst_counts():
    findings = [c.judge_slot("s", size) for size in (0, c.SLOT_WARN, 0)]
    assert worst(findings) is WARN
    assert worst([*findings, c.judge_slot("s", c.SLOT_FAIL)]) is FAIL
    assert worst([]) is OK


def test_a_clock_says_which_way_it_is_off():
    assert "behind the database" in c.judge_skew(5 * SECOND, NONE).found
    assert "ahead of the database" in c.judge_skew(-5 * SECOND, NONE).found


@pytest.mark.parametrize(
    ("span", "text"),
    [(0.0012, "0.001 s"), (9.5, "9.500 s"), (90, "90 s"), (7_200, "2:00:00")],
)
def test_spans_read_well(span: float, text: str):
    assert c.seconds(timedelta(seconds=span)) == text
