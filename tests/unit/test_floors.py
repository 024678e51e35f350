"""From where on a claimer looks into a lane, and how often from below."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from taskscheduler.adapters.postgres.floors import (
    AFTER_FULL_S,
    BEGINNING,
    CLAIMED_MAX,
    LOOK_EVERY_S,
    LOOK_SHARE,
    MARGIN,
    NEARBY_S,
    Floor,
    Looking,
    Place,
)
from taskscheduler.adapters.postgres.known_lanes import WARM_MAX, Seen
from taskscheduler.testing import ManualClock
from taskscheduler.testing.clock import START

SECOND = timedelta(seconds=1)


def places(number: int, *, step: timedelta) -> list[Place]:
    return [Place(START + each * step, each) for each in range(number)]


def test_a_floor_begins_at_the_beginning() -> None:
    assert Floor().at == BEGINNING


def test_a_floor_is_a_margin_below_the_last_that_was_claimed() -> None:
    floor = Floor()
    claimed = places(3, step=SECOND)
    floor.raise_to(claimed)
    assert floor.at == Place(claimed[-1].process_at - MARGIN, 0)


def test_a_floor_leaves_a_moment_behind_that_very_many_share() -> None:
    floor = Floor()
    claimed = places(300_000, step=timedelta(0))
    for begin in range(0, len(claimed), 1_000):
        floor.raise_to(claimed[begin : begin + 1_000])
        assert floor.at == claimed[begin + 1_000 - CLAIMED_MAX]
    assert floor.at.number == len(claimed) - CLAIMED_MAX


def test_what_comes_late_lowers_a_floor_and_no_margin_raises_it_again() -> None:
    floor = Floor()
    floor.raise_to(places(9, step=SECOND))
    late = Place(START - SECOND, 7)
    floor.meet(late, START + 9 * SECOND)
    assert floor.at == late
    floor.raise_to([late])
    assert late >= floor.at >= Place(late.process_at - MARGIN, 0)
    floor.raise_to(places(9, step=SECOND))
    assert floor.at == Place(START + 8 * SECOND - MARGIN, 0)


def test_a_look_that_finds_nothing_below_raises_a_floor_but_not_beyond_now() -> None:
    floor = Floor()
    floor.meet(Place(START + SECOND, 1), START + 5 * SECOND)
    assert floor.at == Place(START + SECOND - MARGIN, 0)
    floor.meet(Place(START + 9 * SECOND, 1), START + 5 * SECOND)
    assert floor.at == Place(START + 5 * SECOND - MARGIN, 0)


def test_a_near_look_begins_where_the_floor_was_when_that_was_noted_the_time_before() -> None:
    floor = Floor()
    for number in range(3):
        floor.note()
        floor.raise_to([Place(START + number * SECOND, number)])
    assert floor.nearby[1] == Place(START - MARGIN, 0)
    late = Place(START - SECOND, 7)
    floor.meet(late, START)
    assert floor.nearby == (late, late)


def test_looks_never_take_more_than_their_share() -> None:
    clock = ManualClock()
    looking = Looking(clock)
    assert looking.is_due()
    assert looking.is_full_due()
    began_at = clock.monotonic()
    clock.advance(seconds=3)
    looking.took(began_at, full=True)
    assert not looking.is_due()
    clock.advance(seconds=AFTER_FULL_S)
    # A near one meanwhile, with a share of its own.
    assert looking.is_due()
    assert not looking.is_full_due()
    began_at = clock.monotonic()
    clock.advance(seconds=0.1)
    looking.took(began_at, full=False)
    clock.advance(seconds=0.1 / LOOK_SHARE - 0.01)
    assert not looking.is_due()
    clock.advance(seconds=0.02)
    assert looking.is_due()
    clock.advance(seconds=3 / LOOK_SHARE)
    assert looking.is_full_due()


def test_a_look_is_overdue_after_half_a_second_and_work_in_hand_waits_for_it() -> None:
    clock = ManualClock()
    looking = Looking(clock)
    looking.took(clock.monotonic(), full=True)
    clock.advance(seconds=LOOK_EVERY_S - 0.01)
    assert looking.is_due()
    assert not looking.is_overdue()
    clock.advance(seconds=0.01)
    assert looking.is_overdue()


def test_it_is_noted_now_and_then_where_the_floors_are() -> None:
    clock = ManualClock()
    looking = Looking(clock)
    assert [looking.is_note_due() for _ in range(3)] == [True, False, False]
    clock.advance(seconds=NEARBY_S)
    assert looking.is_note_due()


def seen_lanes(clock: ManualClock, number: int, *, priority: int = 5) -> Seen:
    seen = Seen(clock)
    rows = [
        (lane, "default", f"kind{lane}", priority, START, UUID(int=lane), START, "", 1, None)
        for lane in range(number)
    ]
    seen.learn(rows, full=True)
    return seen


def test_lanes_are_claimed_from_once_their_first_task_is_due() -> None:
    clock = ManualClock()
    seen = Seen(clock)
    rows = [
        (1, "default", "mail", 5, START + SECOND, UUID(int=1), START, "", 1, None),
        (2, "default", "mail", 9, START, UUID(int=2), START, "", 1, None),
    ]
    seen.learn(rows, full=True)
    assert (seen.waits, seen.is_due) == (timedelta(0), True)
    assert seen.order() == [2]
    clock.advance(SECOND)
    assert seen.order() == [1, 2]
    seen.emptied([1])
    assert seen.order() == [2]


def test_lanes_that_became_empty_stay_known_for_a_while_and_not_very_many() -> None:
    seen = seen_lanes(ManualClock(), 1_000)
    assert len(seen.order()) == 1_000
    for number in range(1_000):
        seen.claimed(number, [Place(START, number)])
    seen.emptied(range(1_000))
    assert sorted(seen.order()) == list(range(1_000 - WARM_MAX, 1_000))
    seen.learn([], full=True)
    assert len(seen.lanes) == WARM_MAX
    assert (seen.waits, seen.is_due) == (None, False)


@pytest.mark.parametrize("full", [True, False])
def test_only_a_full_look_forgets_lanes(full: bool) -> None:  # noqa: FBT001
    seen = seen_lanes(ManualClock(), 10)
    seen.learn([], full=full)
    assert len(seen.lanes) == (0 if full else 10)
