"""What a schedule that is due comes to: which fires are stored, and when it fires next."""

from __future__ import annotations

from functools import partial
from itertools import islice, takewhile
from operator import ge
from typing import TYPE_CHECKING, Final, NamedTuple

from taskscheduler.application.calendar.recurrence import Timetable
from taskscheduler.application.calendar.zones import version_for
from taskscheduler.domain.ledger import Outcome, Untaken
from taskscheduler.domain.schedule import GRACE, CatchUp, Overlap

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

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
    return None if rule.every is not None else version_for(rule.time_zone)


def plan(due: Due, now: datetime, watched_since: datetime) -> Plan:
    """Return what ``due`` comes to at ``now``.

    What passed before ``watched_since`` passed in an outage, and ``catch_up`` says what becomes of
    it; so does what passed of a schedule that could not be fired. Everything else is stored. The
    time that was written down is due whatever the rule says; the others follow from the rule, since
    it holds.

    Raises:
        InvalidSchedule: what it fires by is not understood here.
    """
    timetable = timetable_of(due)
    first = due.next_fire_at
    after = max(first, due.ruled_at)
    outage_end = min(now if due.has_problem else watched_since, now)
    fires: list[datetime] = []
    untaken: list[Untaken] = []
    missed = 0
    fired_at = first
    if due.catch_up is CatchUp.ALL or first > outage_end:
        fires.append(first)
    else:
        last = timetable.latest(after, outage_end) if after < outage_end else None
        fired_at = first if last is None else last
        if due.catch_up is CatchUp.LATEST or now - fired_at <= GRACE:
            fires.append(fired_at)
        passed = _passed(timetable, first, after, fired_at)
        reason = f"no worker was alive, and catch_up is {due.catch_up.value}"
        untaken += [Untaken(at, Outcome.MISSED, reason) for at in passed if at not in fires]
        missed = len(passed) - len(fires)
        if passed[-1] < fired_at:
            more = f"{reason}; all that follow until {fired_at:%FT%TZ} were missed too"
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
    if due.overlap is Overlap.SKIP and len(fires) > 1:
        overlapped = len(fires) - 1
        reason = f"the fire of {fires[0]:%FT%TZ} was stored at the same moment"
        untaken += [Untaken(at, Outcome.SKIPPED, reason) for at in fires[1:]]
        fires = fires[:1]
    if due.left is not None:
        fires = fires[: due.left]
    return Plan(fires, fired_at, next_fire_at, missed, overlapped, untaken)


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
