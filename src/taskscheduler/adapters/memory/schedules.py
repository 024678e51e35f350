"""Schedules in memory."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from taskscheduler.domain.audit import Action
from taskscheduler.domain.errors import ScheduleChanged, ScheduleExists, ScheduleNotFound
from taskscheduler.domain.fire import TAKE, Due, Fired, Outlook, Taken, Waiting
from taskscheduler.domain.ledger import ALREADY_THERE, HAS_WAITED, HAVING_A_TASK, Outcome
from taskscheduler.domain.policies import Overlap
from taskscheduler.domain.schedule import GRACE
from taskscheduler.domain.status import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from taskscheduler.adapters.memory.state import State
    from taskscheduler.domain.access import Caller
    from taskscheduler.domain.fire import Fire
    from taskscheduler.domain.ledger import LedgerEntry, NewEntry, Place
    from taskscheduler.domain.ports.tasks import TaskRepository
    from taskscheduler.domain.schedule import Schedule
    from taskscheduler.domain.values import TaskId


class MemoryScheduleRepository:
    """``ScheduleRepository`` in memory."""

    def __init__(self, state: State, tasks: TaskRepository) -> None:
        """Work on ``state``; store what is fired into ``tasks``."""
        self._state = state
        self._tasks = tasks
        self._taken: dict[str, datetime] = {}
        self._looked_at = self._watched_since = state.now()

    async def now(self) -> datetime:
        """See ``ScheduleRepository.now``."""
        return self._state.now()

    async def add(self, schedule: Schedule, *, by: Caller | None = None) -> None:
        """See ``ScheduleRepository.add``."""
        if schedule.name in self._state.schedules:
            raise ScheduleExists(schedule.name)
        self._state.schedules[schedule.name] = schedule
        self._state.tell(by, Action.SCHEDULE_ADDED, target=schedule.name)

    async def get(self, name: str) -> Schedule:
        """See ``ScheduleRepository.get``."""
        try:
            return self._state.schedules[name]
        except KeyError:
            raise ScheduleNotFound(name) from None

    async def list(
        self, *, after: str = "", limit: int, queue_prefix: str | None = None
    ) -> Sequence[Schedule]:
        """See ``ScheduleRepository.list``."""
        found = [
            schedule
            for name, schedule in sorted(self._state.schedules.items())
            if name > after and schedule.definition.queue.startswith(queue_prefix or "")
        ]
        return found[:limit]

    async def replace(
        self, old: Schedule, new: Schedule, *, action: Action, by: Caller | None = None
    ) -> None:
        """See ``ScheduleRepository.replace``."""
        if (await self.get(old.name)).revision != old.revision:
            raise ScheduleChanged(old.name)
        self._state.schedules[old.name] = new
        self._taken.pop(old.name, None)
        self._state.tell(by, action, target=old.name)

    async def delete(self, name: str, *, by: Caller | None = None) -> None:
        """See ``ScheduleRepository.delete``."""
        await self.get(name)
        del self._state.schedules[name]
        self._state.buffered.pop(name, None)
        self._taken.pop(name, None)
        self._state.tell(by, Action.SCHEDULE_DELETED, target=name)

    async def outlook(self, *, zone_data: str, aside: Collection[str] = ()) -> Outlook:
        """See ``ScheduleRepository.outlook``."""
        now = self._state.now()
        first = min((at for at, _ in self._free(zone_data, aside)), default=None)
        wait = None if first is None else first - now
        return Outlook(now, wait, self._looked_at, any(self._state.buffered.values()))

    async def watch(self) -> None:
        """See ``ScheduleRepository.watch``."""
        now = self._state.now()
        if now - self._looked_at > GRACE:
            self._watched_since = now
        elif self._watched_since > now:
            self._watched_since = now - GRACE
        self._looked_at = now

    async def take(
        self, limit: int, *, zone_data: str, aside: Collection[str] = ()
    ) -> Taken | None:
        """See ``ScheduleRepository.take``."""
        now = self._state.now()
        due = sorted(found for found in self._free(zone_data, aside) if found[0] <= now)
        if len(due) > limit:
            half = limit // 2
            due = due[: limit - half] + due[len(due) - half :]
        if not due:
            return None
        self._taken.update((name, now + TAKE) for _, name in due)
        schedules = [Due.of(self._state.schedules[name]) for _, name in due]
        return Taken(now, self._watched_since, schedules, {})

    async def fire(self, fires: Sequence[Fire]) -> Sequence[Fired | None]:
        """See ``ScheduleRepository.fire``."""
        answers: list[Fired | None] = []
        for fire in fires:
            kept = self._same(fire.due)
            if kept is None:
                answers.append(None)
                continue
            buffered = self._state.buffered.setdefault(kept.name, [])
            overlaps = self._overlaps(kept) or bool(buffered)
            room = kept.definition.overlap.buffered_max
            goes = fire.tasks[: 0 if overlaps else 1 if room else None]
            waits = fire.tasks[len(goes) :][: max(room - len(buffered), 0)]
            tasks = [kept.definition.task(*task) for task in goes]
            ids = await self._tasks.put(tasks)
            buffered += [at for _, at in waits]
            self._note(kept, fire, ids, len(waits), overlaps=overlaps)
            self._state.schedules[kept.name] = kept.fire(fire, ids, len(waits))
            self._taken.pop(kept.name, None)
            fresh = sum(1 for task, task_id in zip(tasks, ids, strict=True) if task.id == task_id)
            answers.append(Fired(ids, fresh, overlaps, len(waits)))
        return answers

    def _overlaps(self, kept: Schedule) -> bool:
        """Tell whether a fire of ``kept`` is not stored because the last task has not ended."""
        if kept.definition.overlap in {Overlap.ALLOW, Overlap.CANCEL_RUNNING}:
            return False
        return not self._has_ended(kept)

    def _has_ended(self, kept: Schedule) -> bool:
        last = None if kept.last_task_id is None else self._state.tasks.get(kept.last_task_id)
        return last is None or last.status.is_final

    def _note(
        self, kept: Schedule, fire: Fire, ids: Sequence[TaskId], waits: int, *, overlaps: bool
    ) -> None:
        """Write into the ledger what became of ``fire``: stored, then waiting, then skipped."""
        overlapped = f"the task of the last fire had not ended: {kept.last_task_id}"
        buffered = overlapped if overlaps else "the fire before was stored at the same moment"
        room = kept.definition.overlap.buffered_max
        skipped = f"as many fires as may wait did: {room}" if room else overlapped
        for place, (task_id, at) in enumerate(fire.tasks):
            if place < len(ids):
                reason = fire.reason if ids[place] == task_id else ALREADY_THERE
                self._state.note(kept, at, Outcome.STORED, reason, ids[place])
            elif place < len(ids) + waits:
                self._state.note(kept, at, Outcome.BUFFERED, buffered)
            else:
                self._state.note(kept, at, Outcome.SKIPPED, skipped)
        for untaken in fire.untaken:
            self._state.note(kept, *untaken)

    async def release(self, task_ids: Sequence[TaskId]) -> Sequence[str]:
        """See ``ScheduleRepository.release``."""
        names = [
            name
            for name, waiting in sorted(self._state.buffered.items())
            if waiting
            and (kept := self._state.schedules[name]).paused_at is None
            and self._has_ended(kept)
        ]
        queues: list[str] = []
        for task_id, name in zip(task_ids, names, strict=False):
            kept = self._state.schedules[name]
            at = self._state.buffered[name].pop(0)
            (held,) = await self._tasks.put([kept.definition.task(task_id, at)])
            reason = HAS_WAITED if held == task_id else ALREADY_THERE
            self._state.note(kept, at, Outcome.STORED, reason, held)
            self._state.schedules[name] = kept.release(held)
            queues.append(kept.definition.queue)
        return queues

    async def pause_failing(self, dues: Sequence[Due]) -> Sequence[str]:
        """See ``ScheduleRepository.pause_failing``."""
        names: list[str] = []
        for due in dues:
            kept = self._same(due)
            if kept is None or not self._fails(kept, due.pause_after_failures or 0):
                continue
            most = due.pause_after_failures
            reason = f"the last {'task' if most == 1 else f'{most} tasks'} failed"
            told = f"the schedule was paused: {reason}"
            self._state.note(kept, due.next_fire_at, Outcome.SKIPPED, told)
            paused = kept.pause(now=self._state.now(), reason=reason)
            self._state.schedules[kept.name] = paused
            self._taken.pop(kept.name, None)
            names.append(kept.name)
        return names

    def _fails(self, kept: Schedule, most: int) -> bool:
        entries = sorted(
            (
                entry
                for name, _, entry in self._state.ledger
                if name == kept.name
                and entry.outcome is Outcome.STORED
                and entry.recorded_at >= kept.ruled_at
            ),
            key=lambda entry: (entry.at, entry.number),
            reverse=True,
        )
        tasks = [self._state.tasks.get(entry.task_id) for entry in entries if entry.task_id]
        ended = [
            task.status
            for task in tasks
            if task is not None and task.status in {TaskStatus.COMPLETED, TaskStatus.FAILED}
        ][:most]
        return ended == [TaskStatus.FAILED] * most

    async def fires(
        self, name: str, *, queue_prefix: str | None = None, before: Place | None = None, limit: int
    ) -> Sequence[LedgerEntry]:
        """See ``ScheduleRepository.fires``."""
        found = [
            entry
            for of, queue, entry in self._state.ledger
            if of == name
            and queue.startswith(queue_prefix or "")
            and (before is None or (entry.at, entry.number) < before)
        ]
        return sorted(found, key=lambda entry: (entry.at, entry.number), reverse=True)[:limit]

    async def note(self, schedule: Schedule, entry: NewEntry) -> None:
        """See ``ScheduleRepository.note``."""
        self._state.note(schedule, *entry)

    async def backfill(
        self,
        schedule: Schedule,
        tasks: Sequence[tuple[TaskId, datetime]],
        *,
        reason: str | None = None,
        by: Caller | None = None,
    ) -> Sequence[TaskId]:
        """See ``ScheduleRepository.backfill``."""
        present = {
            entry.at
            for name, _, entry in self._state.ledger
            if name == schedule.name and entry.outcome in HAVING_A_TASK
        }
        wanted = [(task_id, at) for task_id, at in tasks if at not in present]
        ids = await self._tasks.put([schedule.definition.task(*each) for each in wanted])
        fresh = [each for each, held in zip(wanted, ids, strict=True) if each[0] == held]
        for task_id, at in fresh:
            self._state.note(schedule, at, Outcome.BACKFILLED, reason, task_id)
        self._state.tell(by, Action.SCHEDULE_BACKFILLED, target=schedule.name)
        return [task_id for task_id, _ in fresh]

    async def put_aside(self, problems: Mapping[str, str]) -> None:
        """See ``ScheduleRepository.put_aside``."""
        for name, problem in problems.items():
            self._taken.pop(name, None)
            if name in self._state.schedules:
                kept = self._state.schedules[name]
                self._state.schedules[name] = replace(kept, problem=problem)

    async def waiting(self, after: str, limit: int) -> Waiting:
        """See ``ScheduleRepository.waiting``."""
        now = self._state.now()
        found = [
            Due.of(schedule)
            for name, schedule in sorted(self._state.schedules.items())
            if name > after and schedule.next_fire_at is not None and schedule.next_fire_at > now
        ][:limit]
        return Waiting(found, found[-1].name if len(found) == limit else None)

    async def reckon(
        self, due: Due, *, next_fire_at: datetime | None, zone_data: str | None
    ) -> bool:
        """See ``ScheduleRepository.reckon``."""
        kept = self._same(due)
        if kept is not None:
            self._state.schedules[kept.name] = replace(
                kept, revision=kept.revision + 1, next_fire_at=next_fire_at, zone_data=zone_data
            )
        return kept is not None

    def _same(self, due: Due) -> Schedule | None:
        """Return the schedule if its rule and its next time are those of ``due``."""
        kept = self._state.schedules.get(due.name)
        if kept is None or (kept.next_fire_at, kept.ruled_at) != (due.next_fire_at, due.ruled_at):
            return None
        return kept

    def _free(self, zone_data: str, aside: Collection[str]) -> list[tuple[datetime, str]]:
        """Return those that wait or are due and that nobody has taken, by their times."""
        now = self._state.now()
        return [
            (schedule.next_fire_at, name)
            for name, schedule in self._state.schedules.items()
            if schedule.next_fire_at is not None
            and not now < self._taken.get(name, now) <= now + TAKE
            and (schedule.zone_data is None or schedule.zone_data <= zone_data)
            and name not in aside
        ]
