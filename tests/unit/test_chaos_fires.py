"""The judge of the fires: it lets a good history pass and rejects every broken one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.chaos.fire_checker import Beat, Fired, judge_fires

FIRST = datetime(2027, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
BEATS = {"a": Beat(first=FIRST, step=SECOND), "b": Beat(first=FIRST, step=2 * SECOND)}
UNTIL = FIRST + 5.5 * SECOND


def fired(schedule: str, after_s: float, **others: datetime) -> Fired:
    nominal = FIRST + after_s * SECOND
    times = {"execute_at": nominal} | others
    return Fired(schedule=schedule, nominal=nominal, **times)


GOOD = [*(fired("a", n) for n in range(6)), *(fired("b", n) for n in range(0, 6, 2))]


def test_a_good_history_passes() -> None:
    """Also where the clock was ahead, and some fires beyond the end are there already."""
    verdict = judge_fires(BEATS, [*GOOD, fired("a", 9)], until=UNTIL)
    assert verdict.holds
    assert verdict.tasks == 10


@pytest.mark.parametrize(
    ("history", "let_go", "sort"),
    [
        (GOOD[:-1], [], "lost"),
        ([*GOOD, GOOD[3]], [], "doubled"),
        ([*GOOD[1:], fired("a", 0, execute_at=FIRST - SECOND)], [], "early"),
        ([*GOOD, fired("b", 3)], [], "other"),
        ([*GOOD, fired("a", 0.5)], [], "other"),
        ([*GOOD, fired("c", 1)], [], "other"),
        (GOOD, [("a", "missed")], "lost"),
    ],
)
def test_a_broken_history_is_rejected(
    history: list[Fired], let_go: list[tuple[str, str]], sort: str
) -> None:
    """With the sort of what is wrong."""
    verdict = judge_fires(BEATS, history, until=UNTIL, let_go=let_go)
    assert [found.sort for found in verdict.violations] == [sort]
