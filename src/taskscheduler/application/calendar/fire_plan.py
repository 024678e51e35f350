"""What a schedule that is due comes to: which fires are stored, and when it fires next."""

from __future__ import annotations

from functools import partial
from itertools import islice, takewhile
from operator import ge
from typing import TYPE_CHECKING, Final, NamedTuple

from taskscheduler.application.calendar.recurrence import TICK, Timetable
from taskscheduler.application.calendar.zones import version_for
from taskscheduler.domain.ledger import Outcome, Untaken
from taskscheduler.domain.policies import SINGLE, CatchUp, Overlap
from taskscheduler.domain.schedule import GRACE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime, timedelta

    from taskscheduler.domain.fire import Due
    from taskscheduler.domain.rule import Rule

PLANNED_AT_ONCE: Final = 100
"""So many fires of one schedule at a time, so that it does not keep others waiting."""
COUNTED_MAX: Final = 500
"""Missed fires are counted up to here; who was away for long does not also count for long."""


class Plan(NamedTuple):
    """Tasks for ``fires``, and then ``next_fire_at``.

    ``missed`` is how many fires are let go because they passed in an outage, ``COUNTED_MAX`` if it
    is that many or more, and ``overlapped`` how many because the one before them has just begun.
    ``untaken`` are these fires, as the ledger is to have them.
    """

    fires: Sequence[datetime]
    fired_at: datetime
    next_fire_at: datetime | None
    missed: int = 0
    overlapped: int = 0
    untaken: Sequence[Untaken] = ()


def timetable_of(due: Due) -> Timetable:
    """Return the timetable of a schedule. Raises InvalidSchedule: it is not understood here."""
    return Timetable(due.rule, made_at=due.created_at)


def zone_data_of(rule: Rule) -> str | None:
    """Return which version of the time zones a time reckoned by ``rule`` depends on."""
    goes_by_clocks = rule.every is None or rule.except_
    return version_for(rule.time_zone) if goes_by_clocks else None


def plan(due: Due, now: datetime, watched_since: datetime) -> Plan:
    """Return what ``due`` comes to at ``now``.

    What passed before ``watched_since`` passed in an outage, and ``catch_up`` says what becomes of
    it; so does what passed of a schedule that could not be fired. What is later than
    ``catch_up_window`` is let go, and what is more than ``catch_up_max``. Everything else is
    stored. The time that was written down is due whatever the rule says; the others follow from the
    rule, since it holds.

    Raises:
        InvalidSchedule: what it fires by is not understood here.
    """
    timetable = timetable_of(due)
    first = due.next_fire_at
    after = max(first, due.ruled_at)
    cuts = (
        _cut_of_an_outage(due, timetable, after, now, now if due.has_problem else watched_since),
        *_cuts_of_bounds(due, timetable, after, now),
    )
    cut = max((each for each in cuts if each is not None), default=None)
    fires: list[datetime] = []
    untaken: list[Untaken] = []
    missed = 0
    fired_at = first
    if cut is None or first >= cut.at:
        fires.append(first)
    else:
        fired_at = timetable.latest(after, cut.at - TICK) or first
        passed = _passed(timetable, first, after, fired_at)
        untaken += [Untaken(at, Outcome.MISSED, cut.reason) for at in passed]
        missed = len(passed)
        if passed[-1] < fired_at:
            more = f"{cut.reason}; all that follow until {fired_at:%FT%TZ} were missed too"
            untaken[-1] = untaken[-1]._replace(reason=more)
        after = max(after, fired_at)
    next_fire_at: datetime | None = None
    for at in timetable.fires(after):
        if at > now or len(fires) >= PLANNED_AT_ONCE:
            next_fire_at = at
            break
        fires.append(at)
        fired_at = at
    overlapped = 0
    if due.overlap in SINGLE and len(fires) > 1:
        overlapped = len(fires) - 1
        # The first one runs on; one that cancels others is the last one.
        kept = fires[-1] if due.overlap is Overlap.CANCEL_RUNNING else fires[0]
        reason = f"the fire of {kept:%FT%TZ} was stored at the same moment"
        untaken += [Untaken(at, Outcome.SKIPPED, reason) for at in fires if at != kept]
        fires = [kept]
    if due.left is not None:
        fires = fires[: due.left]
    return Plan(fires, fired_at, next_fire_at, missed, overlapped, untaken)


class Cut(NamedTuple):
    """All fires before ``at`` are let go, because of ``reason``."""

    at: datetime
    reason: str


def _cut_of_an_outage(
    due: Due, timetable: Timetable, after: datetime, now: datetime, watched_since: datetime
) -> Cut | None:
    """Return what ``catch_up`` lets go of what passed before ``watched_since``."""
    outage_end = min(watched_since, now)
    if due.catch_up is CatchUp.ALL or due.next_fire_at > outage_end:
        return None
    last = timetable.latest(after, outage_end) if after < outage_end else None
    last = last or due.next_fire_at
    keeps_last = due.catch_up is CatchUp.LATEST or now - last <= GRACE
    reason = f"no worker was alive, and catch_up is {due.catch_up.value}"
    return Cut(last if keeps_last else last + TICK, reason)


def _cuts_of_bounds(
    due: Due, timetable: Timetable, after: datetime, now: datetime
) -> Iterator[Cut]:
    """Yield what ``catch_up_window`` and ``catch_up_max`` let go."""
    if due.catch_up_window is not None:
        reason = f"it was later than catch_up_window_s allows: {_seconds(due.catch_up_window)} s"
        yield Cut(now - due.catch_up_window, reason)
    if due.catch_up_max is not None:
        at = _begin_of_latest(due.catch_up_max, timetable, due.next_fire_at, after, now)
        if at is not None:
            reason = f"more were due at once than catch_up_max allows: {due.catch_up_max}"
            yield Cut(at, reason)


def _begin_of_latest(
    most: int, timetable: Timetable, first: datetime, after: datetime, now: datetime
) -> datetime | None:
    """Return when the latest ``most`` fires up to ``now`` begin; None if there are no more."""

    def count(since: datetime) -> int:
        found = islice(timetable.fires(since), most + 1)
        return sum(1 for _ in takewhile(partial(ge, now), found))

    if 1 + count(after) <= most:
        return None
    before, behind = after, now
    if count(before) <= most:  # all but the first
        return first + TICK
    # By halves, as in ``Timetable.latest``.
    while behind - before > TICK:
        middle = before + (behind - before) / 2
        match count(middle):
            case found if found > most:
                before = middle
            case found if found < most:
                behind = middle
            case _:
                return middle + TICK
    return behind


def _seconds(span: timedelta) -> str:
    return f"{span.total_seconds():g}"


def _passed(
    timetable: Timetable, first: datetime, after: datetime, last: datetime
) -> list[datetime]:
    """Return the fires from ``first`` to ``last``, up to ``COUNTED_MAX`` of them."""
    if last == first:
        return [first]
    between = islice(timetable.fires(after), COUNTED_MAX - 1)
    return [first, *takewhile(partial(ge, last), between)]


def rightly_next(due: Due, now: datetime, zone_data: str) -> tuple[bool, datetime | None]:
    """Tell whether the time that ``due`` waits for may stand, and when it fires next by its rule.

    It may not if it lies beyond the first fire after ``now``: it was written while the clock was
    ahead. Nor may another time than that if it was reckoned by zones older than ``zone_data``.

    Raises:
        InvalidSchedule: what it fires by is not understood here.
    """
    expected = timetable_of(due).after(now)
    if expected is None or due.next_fire_at > expected:
        return due.next_fire_at == expected, expected
    is_older = due.zone_data is not None and due.zone_data < zone_data
    return due.next_fire_at == expected or not is_older, expected
