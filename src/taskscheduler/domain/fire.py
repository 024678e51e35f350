"""What happens when schedules are due: what is taken, what is reckoned, what it comes to."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from taskscheduler.domain.schedule import due_at, key_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from taskscheduler.domain.ledger import Untaken
    from taskscheduler.domain.rule import Rule
    from taskscheduler.domain.schedule import CatchUp, Overlap, Schedule
    from taskscheduler.domain.values import TaskId

TAKE: Final = timedelta(seconds=2)
"""How long a schedule that was taken is left to whoever took it."""
WATCH_EVERY: Final = timedelta(seconds=15)
"""How often somebody says that schedules are watched: well within ``GRACE``."""


class Due(NamedTuple):
    """As much of a schedule as its next fire is reckoned from.

    ``zone_data`` is the version of the time zones by which ``next_fire_at`` was reckoned.
    ``has_problem`` tells that it could not be fired when it was due before. ``left`` is how many
    tasks it may store still, None if that is not limited. ``tagged``: its tasks have tags.
    """

    name: str
    queue: str
    rule: Rule
    catch_up: CatchUp
    overlap: Overlap
    created_at: datetime
    ruled_at: datetime
    next_fire_at: datetime
    zone_data: str | None = None
    has_problem: bool = False
    jitter: timedelta | None = None
    left: int | None = None
    catch_up_window: timedelta | None = None
    catch_up_max: int | None = None
    pause_after_failures: int | None = None
    last_task_id: TaskId | None = None
    tagged: bool = False

    @classmethod
    def of(cls, schedule: Schedule) -> Due:
        """Return what the next fire of ``schedule`` is reckoned from; there must be one."""
        assert schedule.next_fire_at is not None  # noqa: S101 - whoever calls has looked
        definition = schedule.definition
        return cls(
            name=schedule.name,
            queue=definition.queue,
            rule=definition.rule,
            catch_up=definition.catch_up,
            overlap=definition.overlap,
            created_at=schedule.created_at,
            ruled_at=schedule.ruled_at,
            next_fire_at=schedule.next_fire_at,
            zone_data=schedule.zone_data,
            has_problem=schedule.problem is not None,
            jitter=definition.jitter,
            left=left_of(definition.max_fires, schedule.fire_count),
            catch_up_window=definition.catch_up_window,
            catch_up_max=definition.catch_up_max,
            pause_after_failures=definition.pause_after_failures,
            last_task_id=schedule.last_task_id,
            tagged=bool(definition.tags),
        )


class Fire(NamedTuple):
    """What a schedule that is due comes to: a task for each of ``tasks``, and how it goes on.

    A task is given with the time of its fire. ``untaken`` are fires that come to none. ``reason``
    is what the ledger says of those that are stored.
    It holds while the schedule's rule and its next time are those of ``due``.
    """

    due: Due
    tasks: Sequence[tuple[TaskId, datetime]]
    fired_at: datetime
    next_fire_at: datetime | None
    zone_data: str | None = None
    untaken: Sequence[Untaken] = ()
    reason: str | None = None

    def due_times(self) -> list[datetime]:
        """Return when each of its tasks is due."""
        return [due_at(self.due.name, at, self.due.jitter) for _, at in self.tasks]

    def unique_keys(self) -> list[str]:
        """Return the unique key of each of its tasks."""
        return [key_of(self.due.name, at) for _, at in self.tasks]


def left_of(max_fires: int | None, fire_count: int) -> int | None:
    """Return how many tasks a schedule may store still, None if that is not limited."""
    return None if max_fires is None else max(max_fires - fire_count, 0)


class Fired(NamedTuple):
    """What a fire came to.

    ``task_ids`` are those of its tasks, or of the tasks that hold their keys; ``fresh`` of them are
    new. ``overlapped`` tells that the last task has not ended, or that fires wait for it to end, so
    that nothing was stored; ``buffered`` is how many of its fires wait from now on.
    """

    task_ids: Sequence[TaskId]
    fresh: int
    overlapped: bool
    buffered: int = 0


class Taken(NamedTuple):
    """Some schedules that are due, taken by one worker, to be fired or put aside by it.

    ``now`` is the time on the store's clock, ``watched_since`` how long somebody has looked at
    schedules without an outage. ``unread`` are those that are not understood here, with the reason.
    """

    now: datetime
    watched_since: datetime
    due: Sequence[Due]
    unread: Mapping[str, str]


class Waiting(NamedTuple):
    """A page of schedules whose time has not come, and the name to go on after, if it was full."""

    schedules: Sequence[Due]
    last: str | None


class Outlook(NamedTuple):
    """When to look at schedules again.

    ``now`` is the time on the store's clock, ``wait`` how long until the first one is due that
    nobody has taken, None if none ever will be. ``looked_at`` is when somebody last said that
    schedules are watched. ``buffered`` tells whether fires wait for the task of another to end.
    """

    now: datetime
    wait: timedelta | None
    looked_at: datetime
    buffered: bool = False
