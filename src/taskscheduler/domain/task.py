"""The task: what is stored, and the verbs that change it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from taskscheduler.domain.after import WAITING_AT
from taskscheduler.domain.errors import InvalidTask
from taskscheduler.domain.retry import MAX_ATTEMPTS_LIMIT
from taskscheduler.domain.status import Event, TaskStatus, after

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from taskscheduler.domain.new_task import NewTask
    from taskscheduler.domain.task_edit import TaskEdit
    from taskscheduler.domain.values import (
        TaskId,
        WorkerId,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A stored task. Each verb returns the next one; none changes this one.

    ``execute_at`` is what was asked for; ``process_at`` is the earliest next run, which retries
    and snoozes move. ``attempt`` counts the attempts begun; ``max_attempts`` is None where the
    handler's retry policy holds. The count stands still at ``MAX_ATTEMPTS_LIMIT``. ``worker_id``
    and ``token`` are there while the task is leased: ``token`` fences, because no two leases are
    ever given the same. ``excused`` counts attempts
    that ended in a crash which another task may have caused.
    """

    id: TaskId
    kind: str
    queue: str
    priority: int
    payload_json: bytes
    execute_at: datetime
    process_at: datetime
    created_at: datetime
    status: TaskStatus
    attempt: int = 0
    max_attempts: int | None = None
    timeout: timedelta | None = None
    unique_key: str | None = None
    expires_at: datetime | None = None
    group: str | None = None
    excused: int = 0
    worker_id: WorkerId | None = None
    token: int | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    tags: tuple[str, ...] = ()

    @property
    def payload(self) -> Any:
        """What the payload's JSON text says; read anew each time that it is asked for."""
        return json.loads(self.payload_json)

    @classmethod
    def store(cls, new: NewTask, *, now: datetime) -> Task:
        """Return the pending task that ``new`` becomes; a time in the past means ``now``."""
        execute_at = now if new.execute_at is None else new.execute_at
        return cls(
            id=new.id,
            kind=new.kind,
            queue=new.queue,
            priority=new.priority,
            payload_json=new.payload_json,
            execute_at=execute_at,
            process_at=max(execute_at, now),
            created_at=now,
            status=TaskStatus.PENDING,
            max_attempts=new.max_attempts,
            timeout=new.timeout,
            unique_key=new.unique_key,
            expires_at=new.expires_at,
            group=new.group,
            tags=new.tags,
        )

    def claim(self, *, worker_id: WorkerId, token: int, now: datetime) -> Task:
        """Lease the task to ``worker_id`` for one attempt."""
        return replace(
            self,
            status=after(self.status, Event.CLAIM),
            worker_id=worker_id,
            token=token,
            started_at=now,
            attempt=min(self.attempt + 1, MAX_ATTEMPTS_LIMIT),
        )

    def complete(self, *, now: datetime) -> Task:
        """Record that the handler returned."""
        return self._end(Event.COMPLETE, now)

    def expire(self, *, now: datetime) -> Task:
        """Record that the task's time was up before this attempt, which does not count."""
        return replace(self._end(Event.EXPIRE, now), attempt=self.attempt - 1, started_at=None)

    def fail(self, *, now: datetime) -> Task:
        """Record that the task failed for good."""
        return self._end(Event.FAIL, now)

    def cancel(self, *, now: datetime) -> Task:
        """Call the task off, before or while it runs."""
        return self._end(Event.CANCEL, now)

    def retry(self, *, now: datetime, delay: timedelta) -> Task:
        """Put the task back for another attempt after ``delay``; this attempt counts."""
        return self._back(Event.RETRY, process_at=now + delay, attempt=self.attempt)

    def snooze(self, *, now: datetime, delay: timedelta) -> Task:
        """Put the task back for ``delay``; this attempt does not count."""
        return self._back(Event.SNOOZE, process_at=now + delay, attempt=self.attempt - 1)

    def release(self, *, now: datetime) -> Task:
        """Give the lease back unused; the task is due, and this attempt does not count."""
        return self._back(Event.RELEASE, process_at=now, attempt=self.attempt - 1)

    def rescue(
        self, *, now: datetime, max_attempts: int, alone: bool = True, begun: bool = True
    ) -> Task:
        """Take the task from a worker that is gone; fail it if that was its last attempt.

        ``max_attempts`` is what holds where the task itself does not say. If the attempt had not
        ``begun``, it never was. Unless this was the ``alone`` one that had, nobody knows which one
        brought the worker down: the attempt is excused.
        """
        if not begun:
            return self.release(now=now)
        if self.attempt >= MAX_ATTEMPTS_LIMIT:
            return self.fail(now=now)
        if not alone:
            back = self._back(Event.RESCUE, process_at=now, attempt=self.attempt)
            return replace(back, excused=min(self.excused + 1, MAX_ATTEMPTS_LIMIT))
        if self.attempt - self.excused >= (self.max_attempts or max_attempts):
            return self.fail(now=now)
        return self._back(Event.RESCUE, process_at=now, attempt=self.attempt)

    def revive(self, *, now: datetime, max_attempts: int, at: datetime | None = None) -> Task:
        """Let a task that ended without success run once more, at least.

        A Failed task is due now. A Cancelled one comes back to the time that was asked for, so
        that calling off and bringing back never runs a task early. With ``at``, that is what is
        asked for from now on; a time in the past means ``now``. ``max_attempts`` is what holds
        where the task itself does not say.
        """
        used = self.attempt - self.excused
        used_up = used >= (self.max_attempts or max_attempts)
        execute_at = self.execute_at if at is None else max(at, now)
        waits = at is not None or self.status is TaskStatus.CANCELLED
        return replace(
            self,
            status=after(self.status, Event.REVIVE),
            execute_at=execute_at,
            process_at=max(execute_at, now) if waits else now,
            started_at=None,
            finished_at=None,
            # No store counts further than the limit: the last number is given out once more.
            attempt=min(self.attempt, MAX_ATTEMPTS_LIMIT - 1),
            max_attempts=min(used + 1, MAX_ATTEMPTS_LIMIT) if used_up else self.max_attempts,
        )

    def run_now(self, *, now: datetime) -> Task:
        """Make a pending task due."""
        return replace(
            self,
            status=after(self.status, Event.EDIT, verb="run"),
            process_at=min(self.process_at, now),
        )

    def edit(self, edit: TaskEdit, *, now: datetime) -> Task:
        """Change what a pending task is to do, or when; a time in the past means ``now``."""
        self.require_editable(edit)
        at = edit.execute_at
        return replace(
            self,
            status=after(self.status, Event.EDIT),
            execute_at=self.execute_at if at is None else at,
            process_at=self.process_at if at is None or self.waits else max(at, now),
            payload_json=self.payload_json if edit.payload_json is None else edit.payload_json,
            priority=self.priority if edit.priority is None else edit.priority,
            group=self.group if edit.group is None else edit.group or None,
        )

    def require_editable(self, edit: TaskEdit) -> None:
        """Check that ``edit`` can be made now.

        Raises:
            IllegalTransition: the task is not Pending.
            InvalidTask: it could never begin at its new time.
        """
        after(self.status, Event.EDIT)
        at = edit.execute_at
        if at is not None and self.expires_at is not None and at >= self.expires_at:
            raise InvalidTask("execute_at", "must be before the task's expires_at")

    @property
    def waits(self) -> bool:
        """Whether it waits for other tasks to end."""
        return self.status is TaskStatus.PENDING and self.process_at == WAITING_AT

    def wait(self) -> Task:
        """Let a task that has just become Pending wait for others."""
        return replace(self, process_at=WAITING_AT)

    def stop_waiting(self, *, now: datetime) -> Task:
        """Let a task that waited for others begin at its own time."""
        return replace(
            self, status=after(self.status, Event.EDIT), process_at=max(self.execute_at, now)
        )

    @property
    def earliest_at(self) -> datetime:
        """When it may begin at the earliest, as far as anybody can tell."""
        if self.process_at == WAITING_AT:
            return max(self.execute_at, self.created_at)
        return self.process_at

    def _back(self, event: Event, *, process_at: datetime, attempt: int) -> Task:
        return replace(
            self,
            status=after(self.status, event),
            process_at=process_at,
            attempt=attempt,
            worker_id=None,
            token=None,
            started_at=None,
        )

    def _end(self, event: Event, now: datetime) -> Task:
        return replace(
            self,
            status=after(self.status, event),
            finished_at=now,
            worker_id=None,
            token=None,
        )
