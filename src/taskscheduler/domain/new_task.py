"""The task as its producer asks for it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast
from uuid import UUID

from taskscheduler.domain.conflict import require_conflict
from taskscheduler.domain.errors import InvalidTask
from taskscheduler.domain.retry import MAX_ATTEMPTS_LIMIT
from taskscheduler.domain.tags import require_tags
from taskscheduler.domain.values import (
    NOTHING,
    PRIORITY_DEFAULT,
    PRIORITY_LOWEST,
    QUEUE_DEFAULT,
    TaskId,
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
    from taskscheduler.domain.task import Task
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
