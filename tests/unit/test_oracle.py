"""Schedules against an oracle, in a few of the zones; `make oracle` does all of them."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from taskscheduler.domain.rule import Fold, Gap
from tests import oracle

ZONES = (
    "Europe/Berlin",
    "America/Havana",  # at midnight
    "Australia/Lord_Howe",  # by half an hour
    "Antarctica/Troll",  # by two hours
    "Africa/Casablanca",  # back in spring
    "Asia/Gaza",
    "America/Santiago",
    "Pacific/Chatham",
)
FEW = oracle.EXPRESSIONS[::5]


@pytest.mark.parametrize("zone", ZONES)
def test_a_sample_of_the_oracle(zone: str):
    looked_at, wrong = oracle.compared(zone, years=1)
    assert looked_at >= 2 * len(oracle.EXPRESSIONS) >= 200
    assert wrong == []


@pytest.mark.parametrize("gap", Gap)
@pytest.mark.parametrize("fold", Fold)
def test_a_rule_may_choose_what_becomes_of_a_change(gap: Gap, fold: Fold):
    for zone in ("Europe/Berlin", "Australia/Lord_Howe", "America/Havana"):
        looked_at, wrong = oracle.compared(zone, FEW, years=1, gap=gap, fold=fold)
        assert looked_at >= 2 * len(FEW)
        assert wrong == []


@pytest.mark.parametrize(
    ("expression", "walls", "expected"),
    [
        ("30 2 * * *", ["2026-03-28T02:30", "2026-03-29T02:30"], [True, True]),
        ("5-5/10 * * * *", ["2026-03-28T02:05", "2026-03-28T02:15"], [True, False]),
        ("0 0 13 * FRI", ["2026-11-13T00:00", "2026-11-20T00:00", "2026-12-13T00:00"], [True] * 3),
        ("0 0 */2 * FRI", ["2026-11-13T00:00", "2026-11-20T00:00"], [True, False]),
        ("0 0 L * *", ["2028-02-29T00:00", "2028-02-28T00:00"], [True, False]),
        ("0 0 LW * *", ["2026-05-29T00:00", "2026-05-31T00:00"], [True, False]),
        ("0 0 * * SUN#2", ["2026-03-08T00:00", "2026-03-15T00:00"], [True, False]),
        ("0 0 * * 7L", ["2026-03-29T00:00", "2026-03-22T00:00"], [True, False]),
    ],
)
def test_the_oracle_reads_as_it_should(expression: str, walls: list[str], expected: list[bool]):
    spec = oracle.spec_of(expression)
    assert [spec.shows(datetime.fromisoformat(wall)) for wall in walls] == expected


def test_the_oracle_finds_what_is_wrong(monkeypatch: pytest.MonkeyPatch):
    """A timetable that is a minute late differs everywhere."""

    class Late(oracle.Timetable):
        def fires(self, moment: datetime):
            return (at + timedelta(minutes=1) for at in super().fires(moment))

    monkeypatch.setattr(oracle, "Timetable", Late)
    looked_at, wrong = oracle.compared("Europe/Berlin", ("30 2 * * *", "* * * * *"), years=1)
    assert len(wrong) == looked_at == 4
