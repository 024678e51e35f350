"""What becomes of a task whose unique key an earlier task holds."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from taskscheduler.domain.errors import InvalidTask
from taskscheduler.domain.status import Event, TaskStatus, after

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from taskscheduler.domain.new_task import NewTask
    from taskscheduler.domain.task import Task
    from taskscheduler.domain.values import TaskId

MAX_DELAY_MAX: Final = timedelta(days=366)


class OnConflict(StrEnum):
    """What becomes of a task whose unique key an earlier task holds.

    ``KEEP``: the earlier one stays as it is, whatever has become of it. ``REPLACE``: while it is
    Pending, it becomes what is asked for now. ``DEBOUNCE``: the same, but not later than
    ``max_delay`` after the earlier one was stored. An earlier task that is not Pending any more
    cannot be replaced: the new one is stored, and takes the key over.
    """

    KEEP = "keep"
    REPLACE = "replace"
    DEBOUNCE = "debounce"


class StoredIds(list["TaskId"]):
    """The ids that answer for tasks, in their order; ``earlier`` are the places of earlier tasks.

    It is needed where the ids alone do not say it: a repeated request makes new ids for its tasks.
    """

    def __init__(self, ids: Iterable[TaskId], earlier: Iterable[int] = ()) -> None:
        """Keep ``ids``."""
        super().__init__(ids)
        self.earlier = frozenset(earlier)


def earlier_of(tasks: Sequence[NewTask], ids: Sequence[TaskId]) -> frozenset[int]:
    """Return the places of those of ``tasks`` for which ``ids`` name earlier tasks."""
    if isinstance(ids, StoredIds):
        return ids.earlier
    return frozenset(
        place
        for place, (task, task_id) in enumerate(zip(tasks, ids, strict=True))
        if task.id != task_id
    )


def require_conflict(
    on_conflict: object, max_delay: object, unique_key: str | None, comes_after: object = None
) -> OnConflict | None:
    """Return what is asked for. Raises InvalidTask: it makes no sense."""
    if on_conflict is max_delay is None:
        return None
    if on_conflict is not None:
        try:
            on_conflict = OnConflict(on_conflict)
        except ValueError:
            known = ", ".join(OnConflict)
            raise InvalidTask("on_conflict", f"must be one of {known}") from None
        if unique_key is None:
            raise InvalidTask("on_conflict", "needs a unique_key: nothing else is in conflict")
        if comes_after is not None and on_conflict is not OnConflict.KEEP:
            raise InvalidTask("on_conflict", "must be keep for a task that comes after others")
    if max_delay is not None:
        if on_conflict is not OnConflict.DEBOUNCE:
            raise InvalidTask("max_delay_s", "is for on_conflict debounce")
        if not isinstance(max_delay, timedelta):
            raise InvalidTask("max_delay_s", f"must be a timedelta, not {type(max_delay).__name__}")
        if not timedelta(0) < max_delay <= MAX_DELAY_MAX:
            raise InvalidTask("max_delay_s", "must be above 0 and at most 366 days")
    return on_conflict


def gives_way(task: Task, new: NewTask) -> bool:
    """Tell whether ``task``, which holds the key of ``new``, can become what that asks for."""
    return changes(new) and task.status is TaskStatus.PENDING


def changes(new: NewTask) -> bool:
    """Tell whether ``new`` does something to the holder of its key."""
    return new.on_conflict in {OnConflict.REPLACE, OnConflict.DEBOUNCE}


def replaced(task: Task, new: NewTask, *, now: datetime) -> Task:
    """Return what ``task`` is once it has become what ``new`` asks for.

    It keeps its id, the time when it was stored, and the attempts that it has had; it waits on if
    it waits for other tasks.
    """
    at = now if new.execute_at is None else new.execute_at
    if new.max_delay is not None:
        at = min(at, task.created_at + new.max_delay)
    return replace(
        task,
        status=after(task.status, Event.EDIT),
        queue=new.queue,
        priority=new.priority,
        payload_json=new.payload_json,
        execute_at=at,
        process_at=task.process_at if task.waits else max(at, now),
        max_attempts=new.max_attempts,
        timeout=new.timeout,
        expires_at=new.expires_at,
        tags=new.tags,
        group=new.group,
    )
