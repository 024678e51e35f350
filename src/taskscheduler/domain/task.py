"""The task: what is stored, and the verbs that change it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast
from uuid import UUID

from taskscheduler.domain.after import WAITING_AT
from taskscheduler.domain.conflict import require_conflict
from taskscheduler.domain.errors import InvalidTask
from taskscheduler.domain.retry import MAX_ATTEMPTS_LIMIT
from taskscheduler.domain.status import Event, TaskStatus, after
from taskscheduler.domain.tags import require_tags
from taskscheduler.domain.values import (
    NOTHING,
    PRIORITY_DEFAULT,
    PRIORITY_LOWEST,
    QUEUE_DEFAULT,
    TaskId,
    WorkerId,
    in_utc,
    require_group,
    require_key,
    require_name,
    require_payload,
    require_timeout,
    require_whole,
    text_of,
    text_of_payload,
    uuid_if_any,
    uuid_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime, timedelta

    from taskscheduler.domain.access import Caller
    from taskscheduler.domain.after import After
    from taskscheduler.domain.batch import BatchId
    from taskscheduler.domain.conflict import OnConflict
    from taskscheduler.domain.task_edit import TaskEdit
    from taskscheduler.domain.trace import TraceContext


class _Asked(NamedTuple):
    """A tuple, not a dataclass: a busy producer makes tens of thousands of them a second."""

    id: TaskId
    kind: str
    payload_json: bytes
    execute_at: datetime | None
    queue: str
    priority: int
    max_attempts: int | None
    timeout: timedelta | None
    unique_key: str | None
    expires_at: datetime | None
    by: Caller | None
    trace: TraceContext | None
    group: str | None
    tags: tuple[str, ...]
    on_conflict: OnConflict | None
    max_delay: timedelta | None
    after: After | None
    batch: BatchId | None


class NewTask(_Asked):
    """A task as its producer asks for it.

    ``payload`` is what a JSON text says; who has that text gives it, in UTF-8, as ``payload_json``
    instead, and it is kept to the letter. ``execute_at`` is aware, or None for now. ``priority``
    runs from 0, the most urgent, to 9. ``max_attempts`` and ``timeout`` are None where the
    handler's own hold. A ``unique_key`` names the task among those of its kind: while the key
    lives, asking again answers with the first task's id; ``on_conflict`` says what becomes of that,
    and ``max_delay`` belongs to it. An attempt does not begin at or after ``expires_at``.
    ``group`` is whose task it is, a tenant's or a customer's: groups take turns.
    ``tags`` are up to 10 names by which it is found among others. ``by`` is who asks for it, where
    that is to be written down, and ``trace`` within which trace, where somebody traces; neither is
    a part of the task. It waits until those have ended that it comes ``after``, if it names any.
    ``batch`` is the one that it is counted with.

    Raises:
        InvalidTask: a field cannot be stored.
    """

    __slots__ = ()

    def __new__(  # noqa: PLR0913 - a field each
        cls,
        *,
        id: TaskId,  # noqa: A002 - the field's name
        kind: str,
        payload: object = NOTHING,
        payload_json: bytes = b"null",
        execute_at: datetime | None = None,
        queue: str = QUEUE_DEFAULT,
        priority: int = PRIORITY_DEFAULT,
        max_attempts: int | None = None,
        timeout: timedelta | None = None,
        unique_key: str | None = None,
        expires_at: datetime | None = None,
        by: Caller | None = None,
        trace: TraceContext | None = None,
        group: str | None = None,
        tags: Iterable[str] = (),
        on_conflict: OnConflict | str | None = None,
        max_delay: timedelta | None = None,
        after: After | None = None,
        batch: BatchId | None = None,
    ) -> Self:
        """Check each field, cheapest first."""
        # By their exact types first, which nearly all have. Whatever gets past here is stored with
        # those of others in one statement, which it must not spoil for them.
        if type(id) is not UUID or not type(kind) is type(queue) is str:
            id, kind, queue = TaskId(uuid_of(id)), text_of("kind", kind), text_of("queue", queue)  # noqa: A001
        require_name("kind", kind)
        require_name("queue", queue)
        if type(priority) is not int or not 0 <= priority <= PRIORITY_LOWEST:
            priority = require_whole("priority", priority, 0, PRIORITY_LOWEST)
        if max_attempts is not None:
            max_attempts = require_whole("max_attempts", max_attempts, 1, MAX_ATTEMPTS_LIMIT)
        if timeout is not None:
            require_timeout(timeout)
        # Kept in UTC, whatever offset they came with: not every store takes every offset.
        if execute_at is not None:
            execute_at = in_utc("execute_at", execute_at)
        if expires_at is not None:
            expires_at = in_utc("expires_at", expires_at)
            if execute_at is not None and expires_at <= execute_at:
                raise InvalidTask("expires_at", "must be after execute_at: it could never begin")
        if payload is not NOTHING:
            payload_json = text_of_payload(payload, payload_json)
        require_payload(payload_json)
        if unique_key is not None:
            require_key(unique_key, by)
        require_group(group)
        kept_tags = require_tags(tags) if tags else ()
        on_conflict = require_conflict(on_conflict, max_delay, unique_key, after)
        return tuple.__new__(
            cls,
            (
                id,
                kind,
                payload_json,
                execute_at,
                queue,
                priority,
                max_attempts,
                timeout,
                unique_key,
                expires_at,
                by,
                trace,
                group,
                kept_tags,
                on_conflict,
                max_delay,
                after,
                cast("BatchId | None", uuid_if_any("batch", batch)),
            ),
        )

    @property
    def payload(self) -> Any:
        """What the payload's JSON text says; read anew each time that it is asked for."""
        return json.loads(self.payload_json)

    def but(self, **changes: Any) -> Self:
        """Return a copy with ``changes``, which are checked like any other field."""
        kept = self._asdict()
        if "payload" in changes:
            del kept["payload_json"]
        return type(self)(**(kept | changes))

    def __getnewargs_ex__(self) -> tuple[tuple[()], dict[str, object]]:
        """Return what makes a copy: fields are given by name."""
        return (), self._asdict()

    def describes(self, task: Task) -> bool:
        """Tell whether ``task`` is what storing this again would have stored.

        A time left out fits any: at the second asking nobody knows what "now" was at the first.
        """
        return (
            self.id == task.id
            and self.kind == task.kind
            and self.queue == task.queue
            and self.payload_json == task.payload_json
            and self.unique_key == task.unique_key
            and (self.execute_at is None or self.execute_at == task.execute_at)
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
