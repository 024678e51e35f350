"""Spans of ids, cut into windows of days."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise
from uuid import UUID

import pytest

from taskscheduler.adapters.postgres.day_windows import DAYS, cut
from taskscheduler.adapters.postgres.partitions import first_id

LOW, HIGH = UUID(int=0), UUID(int=2**128 - 1)
FIRST = date(2030, 1, 1)


def days(number: int) -> list[date]:
    return [FIRST + timedelta(days=each) for each in range(number)]


@pytest.mark.parametrize("number", [0, 1, DAYS, DAYS + 1, 400])
@pytest.mark.parametrize("high", [HIGH, first_id(FIRST), first_id(FIRST + timedelta(days=40))])
def test_windows_leave_no_id_out_and_hold_few_days(number: int, high: UUID) -> None:
    known = days(number)
    spans = list(cut(LOW, high, known))
    assert spans[0][1] == high
    assert spans[-1][0] == LOW
    for (above, _), (_, below) in pairwise(spans):
        assert below.int == above.int - 1
    for low, top in spans:
        within = [day for day in known if low <= first_id(day) <= top]
        assert len(within) <= DAYS


def test_few_days_are_one_window() -> None:
    assert list(cut(LOW, HIGH, days(DAYS))) == [(LOW, HIGH)]
    assert len(list(cut(LOW, HIGH, days(DAYS + 1)))) == 2
