"""Schedules, and the tasks that they fire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from taskscheduler.domain.access import Caller
    from taskscheduler.domain.audit import Action
    from taskscheduler.domain.fire import Due, Fire, Fired, Outlook, Taken, Waiting
    from taskscheduler.domain.ledger import LedgerEntry, NewEntry, Place
    from taskscheduler.domain.schedule import Schedule
    from taskscheduler.domain.values import TaskId


class ScheduleRepository(Protocol):
    """Schedules, and the tasks that they fire. What calendars mean is decided elsewhere.

    What is done ``by`` somebody is written into the audit trail, in the same transaction.
    """

    async def now(self) -> datetime:
        """Return the time on the store's clock, in UTC."""
        ...

    async def add(self, schedule: Schedule, *, by: Caller | None = None) -> None:
        """Keep a new schedule.

        Raises:
            ScheduleExists: the name is taken, perhaps by this very call, whose answer was lost.
        """
        ...

    async def get(self, name: str) -> Schedule:
        """Return the schedule as it is now.

        Raises:
            ScheduleNotFound: there is none.
            ScheduleUnread: this program does not understand it.
        """
        ...

    async def list(
        self, *, after: str = "", limit: int, queue_prefix: str | None = None
    ) -> Sequence[Schedule]:
        """Return up to ``limit`` schedules by name, those after ``after``, by bytes.

        With ``queue_prefix``, only those whose queue begins so. Those that this program does not
        understand are left out.
        """
        ...

    async def replace(
        self, old: Schedule, new: Schedule, *, action: Action, by: Caller | None = None
    ) -> None:
        """Keep ``new`` in place of ``old``, if that is still there in this revision.

        A repeat after a lost answer is refused with ``ScheduleChanged``.

        Raises:
            ScheduleNotFound: there is none of that name.
            ScheduleChanged: it has another revision.
        """
        ...

    async def delete(self, name: str, *, by: Caller | None = None) -> None:
        """Remove the schedule. The tasks that it has fired stay.

        Raises:
            ScheduleNotFound: there is none.
        """
        ...

    async def outlook(self, *, zone_data: str, aside: Collection[str] = ()) -> Outlook:
        """Return when to look at schedules again; see ``take`` for what is left out.

        It writes nothing, and costs one look into an index.
        """
        ...

    async def watch(self) -> None:
        """Say that schedules are watched: somebody with a clock and a worker looks at them now.

        Whoever says so for the first time after more than ``GRACE`` ends an outage: from then on
        ``Taken.watched_since`` is now. A clock that is set back begins no outage, and one that was
        ahead when the last one ended leaves the last ``GRACE`` watched. Those who say it within
        ``WATCH_EVERY`` of another need not.
        """
        ...

    async def take(
        self, limit: int, *, zone_data: str, aside: Collection[str] = ()
    ) -> Taken | None:
        """Take up to ``limit`` schedules that are due, for ``TAKE``; None if there are none.

        Of any number of callers each is given others, and none waits. What is taken is to be fired
        or put aside; if it is neither, because the caller died or stands still, others are given it
        once ``TAKE`` has passed. Half are those that have been due for longest, half those that
        became due last, so that no backlog is in the way of what is punctual.

        Left out are those named in ``aside``, and those whose time was reckoned by zones newer than
        ``zone_data``. One that this program does not understand is ``unread``, and harms no other.
        """
        ...

    async def fire(self, fires: Sequence[Fire]) -> Sequence[Fired | None]:
        """Store the tasks of each fire and let its schedule go on, both or neither.

        Of any number of callers with the same fire one does it; the others are returned None, as
        is who finds the schedule's rule or next time changed, or it paused or deleted. So repeating
        is safe: after a lost answer it is None, and the tasks are there. No schedule may be fired
        twice in one call. What else is changed meanwhile, such as the payload, holds already.

        Where the schedule skips overlaps and its last task has not ended, nothing is stored, and
        it goes on. Where it buffers them the fires wait, as many as may, also behind others that
        wait: see ``release``; of several fires the first is stored if it need not wait, and the
        others wait for it. The rest is skipped. What waits counts as a task of the schedule's own.
        A task whose unique key is held is not stored, as in ``TaskRepository.put``.

        It is one transaction, which waits for nobody else's for long: any error is that of all.
        """
        ...

    async def fires(
        self, name: str, *, queue_prefix: str | None = None, before: Place | None = None, limit: int
    ) -> Sequence[LedgerEntry]:
        """Return up to ``limit`` entries of a schedule's ledger, the latest fires first.

        They are those behind ``before``; with ``queue_prefix`` those that were written while its
        tasks went into such queues. The ledger outlives its schedule: who makes another of the
        name goes on with it.
        """
        ...

    async def note(self, schedule: Schedule, entry: NewEntry) -> None:
        """Write into the ledger of ``schedule`` what was done beside its fires.

        A repeat after a lost answer writes it twice.
        """
        ...

    async def release(self, task_ids: Sequence[TaskId]) -> Sequence[str]:
        """Store the task of the first waiting fire of each schedule whose last task has ended.

        Up to as many as ``task_ids``, which they are given; return the queue of each. Those of
        schedules that are paused go on waiting. Each is its own transaction, and goes into the
        ledger once more. Of any number of callers one does it; repeating is safe.
        """
        ...

    async def pause_failing(self, dues: Sequence[Due]) -> Sequence[str]:
        """Pause those of ``dues`` whose last tasks failed; return their names.

        That is: of the tasks that it has stored by itself since its rule holds, and that have
        ended, but not by being cancelled, the last ``pause_after_failures`` are Failed. The fire
        that is due is skipped. It holds while the rule and the next time are those of the due.
        """
        ...

    async def backfill(
        self,
        schedule: Schedule,
        tasks: Sequence[tuple[TaskId, datetime]],
        *,
        reason: str | None = None,
        by: Caller | None = None,
    ) -> Sequence[TaskId]:
        """Store a task for each fire, given by its time, that has none; return their ids.

        A fire has one if the ledger tells of it, stored or backfilled, or while the unique key of
        such a task lives. What is stored is written into the ledger with ``reason``. It is all or
        nothing, and repeating is safe: then the fires have tasks. The schedule stays as it is.
        """
        ...

    async def put_aside(self, problems: Mapping[str, str]) -> None:
        """Let go of taken schedules that could not be fired, and keep why, by name."""
        ...

    async def waiting(self, after: str, limit: int) -> Waiting:
        """Return up to ``limit`` schedules whose time has not come, by name, those after ``after``.

        Those that this program does not understand are left out.
        """
        ...

    async def reckon(
        self, due: Due, *, next_fire_at: datetime | None, zone_data: str | None
    ) -> bool:
        """Let a schedule go on to another time, if its rule and its next time are those of ``due``.

        Return whether they were.
        """
        ...
