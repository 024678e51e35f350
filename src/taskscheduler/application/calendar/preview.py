"""When a schedule will fire, and what the clocks do to it: what another policy would do is told."""

from __future__ import annotations

from datetime import UTC
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple

from taskscheduler.application.calendar.recurrence import Timetable
from taskscheduler.application.calendar.zones import zone_of
from taskscheduler.domain.rule import Fold, Gap

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from taskscheduler.domain.rule import Rule


class Foreseen(NamedTuple):
    """A fire to come.

    ``clocks`` is ``gap`` or ``fold`` where a change of clocks moves or doubles it, and ``note``
    says what another policy would do.
    """

    at: datetime
    clocks: str | None = None
    note: str | None = None


class Preview(NamedTuple):
    """The next fires, and those in between that the policies for changes of clocks leave out."""

    fires: Sequence[Foreseen]
    left_out: Sequence[Foreseen]


def foreseen(
    rule: Rule, *, made_at: datetime, after: datetime, fires: Sequence[datetime]
) -> Preview:
    """Return ``fires``, all fires of ``rule`` from ``after`` to the last of them, with notes."""
    if rule.every is not None or not fires:
        return Preview([Foreseen(at) for at in fires], [])
    zone = zone_of(rule.time_zone)
    if zone.utcoffset(None) is not None:  # its clocks never change
        return Preview([Foreseen(at) for at in fires], [])

    def walk(gap: Gap, fold: Fold) -> list[datetime]:
        table = Timetable(rule._replace(gap=gap, fold=fold), made_at=made_at)
        return list(takewhile(lambda at: at <= fires[-1], table.fires(after)))

    shown = set(walk(Gap.SKIP, Fold.BOTH))
    told = [_told(zone, at, is_shown=at in shown or at <= after) for at in fires]
    taken = set(fires)
    left_out = [_left_out(zone, at) for at in walk(Gap.AFTER, Fold.BOTH) if at not in taken]
    return Preview(told, left_out)


def _told(zone: ZoneInfo, at: datetime, *, is_shown: bool) -> Foreseen:
    if not is_shown:
        note = "the clocks leave its time out; gap skip would leave the fire out"
        return Foreseen(at, "gap", note)
    other = _other_pass(zone, at)
    if other is None:
        return Foreseen(at)
    policy, name = (Fold.SECOND, "first") if other > at else (Fold.FIRST, "second")
    note = (
        f"the clocks show its time twice, this is the {name}; fold {policy.value} would fire at "
        f"{_text(other)}, fold both at both"
    )
    return Foreseen(at, "fold", note)


def _left_out(zone: ZoneInfo, at: datetime) -> Foreseen:
    other = _other_pass(zone, at)
    if other is None:
        note = "the clocks leave its time out; gap after would fire now"
        return Foreseen(at, "gap", note)
    policy = Fold.FIRST if other > at else Fold.SECOND
    note = f"the clocks show its time twice; fold {policy.value} or both would fire now"
    return Foreseen(at, "fold", note)


def _other_pass(zone: ZoneInfo, at: datetime) -> datetime | None:
    """Return the other moment when the clocks show what they show at ``at``, if there is one."""
    wall = at.astimezone(zone)
    other = wall.replace(fold=1 - wall.fold).astimezone(UTC)
    return None if other == at else other


def _text(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
