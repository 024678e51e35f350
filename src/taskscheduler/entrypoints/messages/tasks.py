"""What goes over the wire."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, cast
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType, field

from taskscheduler.domain.after import Otherwise, When
from taskscheduler.domain.conflict import MAX_DELAY_MAX, OnConflict
from taskscheduler.domain.errors import PayloadTooLarge
from taskscheduler.domain.ids import ID_FORM
from taskscheduler.domain.lease import Attempt
from taskscheduler.domain.moment import EXAMPLE
from taskscheduler.domain.status import Event, TaskStatus
from taskscheduler.domain.tags import TAGS_MAX
from taskscheduler.domain.task import Task
from taskscheduler.domain.values import (
    GROUP_CHARACTERS_MAX,
    GROUP_FORM,
    NAME,
    NAME_FORM,
    PAYLOAD_BYTES_MAX,
    PRIORITY_DEFAULT,
    PRIORITY_LOWEST,
    QUEUE_DEFAULT,
    TIMEOUT_MAX,
    UNIQUE_KEY_CHARACTERS_MAX,
)
from taskscheduler.entrypoints.messages.after import AfterIds, AfterOtherwise, AfterWhen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskscheduler.application.client.scheduler import TaskChanges
    from taskscheduler.domain.lease import AttemptError
    from taskscheduler.domain.notes import Ending, Progress, TaskNotes


BATCH_MAX: Final = 10_000

Name = Annotated[
    str, Meta(pattern=f"^{NAME.pattern}$", min_length=1, max_length=128, description=NAME_FORM)
]
YEARS: Final = {"type": "string", "format": "date-time", "pattern": "^(?!000[01])[0-8]"}
"""What ``in_utc`` lets through, but for the first instant of the year 9000."""


class Instant(datetime):
    """A time as a body has it; a type of its own, because ours alone rounds it as it should."""

    @classmethod
    def of(cls, moment: datetime) -> Instant:
        """Return ``moment``."""
        return cls.combine(moment.date(), moment.timetz())


Moment = Annotated[
    Instant,
    Meta(
        description="ISO 8601 with an offset; a time in the past means now",
        examples=[EXAMPLE],
        extra_json_schema=YEARS,
    ),
]
Deadline = Annotated[
    Instant,
    Meta(
        description="no attempt begins at or after this time; it is after execute_at, and now",
        extra_json_schema=YEARS,
    ),
]
Payload = Annotated[
    Raw,
    Meta(description="any JSON value, handed to the handler to the letter"),
]
PAYLOAD_LEFT_OUT: Final = {"default": None}
Group = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=GROUP_CHARACTERS_MAX,
        description=f"whose task it is: {GROUP_FORM}",
        examples=["customer-7"],
        extra_json_schema={"pattern": r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*$"},
    ),
]
UniqueKey = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=UNIQUE_KEY_CHARACTERS_MAX,
        extra_json_schema={"pattern": r"^[^\u0000]*$"},
    ),
]


def no_payload() -> Raw:
    """Return what stands for a payload that is left out."""
    return Raw(b"null")


def payload_of(given: Raw) -> bytes:
    """Return a payload to the letter. Raises InvalidTask, PayloadTooLarge."""
    # Looked at before it is taken out of the body: the one limit that costs nothing to check.
    if len(memoryview(given)) > PAYLOAD_BYTES_MAX:
        raise PayloadTooLarge(PAYLOAD_BYTES_MAX)
    return bytes(given)


Tags = Annotated[
    list[Name],
    Meta(max_length=TAGS_MAX, description="names by which it is found: filter=tag:<tag>"),
]


ConflictPolicy = Annotated[
    OnConflict,
    Meta(
        description="what becomes of an earlier task that holds the unique_key: it is kept; or, "
        "while it is Pending, replaced by this one; or replaced and put off, up to max_delay_s"
    ),
]
MaxDelay = Annotated[
    float,
    Meta(
        ge=0.000_001,
        le=MAX_DELAY_MAX.total_seconds(),
        description="debounce: it is due so long after the first was stored, at the latest",
    ),
]


class NewTaskMessage(Struct, forbid_unknown_fields=True, rename=None):
    """A task to be stored."""

    kind: Annotated[Name, Meta(examples=["Foo"])]
    execute_at: Moment | None = None
    payload: Annotated[Payload, Meta(extra_json_schema=PAYLOAD_LEFT_OUT)] = field(
        default_factory=no_payload
    )
    queue: Name = QUEUE_DEFAULT
    priority: Annotated[int, Meta(ge=0, le=PRIORITY_LOWEST, description="0 is the most urgent")] = (
        PRIORITY_DEFAULT
    )
    max_attempts: Annotated[int, Meta(ge=1, le=32_767)] | None = None
    timeout_s: Annotated[float, Meta(ge=0.000_001, le=TIMEOUT_MAX.total_seconds())] | None = None
    unique_key: UniqueKey | None = None
    expires_at: Deadline | None = None
    group: Group | None = None
    tags: Tags = []
    on_conflict: ConflictPolicy | None = None
    max_delay_s: MaxDelay | None = None
    id: Annotated[UUID, Meta(description=f"{ID_FORM}, so that a repeat is harmless")] | None = None
    after: AfterIds | None = None
    when: AfterWhen | None = None
    otherwise: AfterOtherwise | None = None
    batch: Annotated[UUID, Meta(description="the batch that it is counted with")] | None = None

    @property
    def timeout(self) -> timedelta | None:
        """``timeout_s`` as a span."""
        return None if self.timeout_s is None else timedelta(seconds=self.timeout_s)

    @property
    def max_delay(self) -> timedelta | None:
        """``max_delay_s`` as a span."""
        return None if self.max_delay_s is None else timedelta(seconds=self.max_delay_s)


class TaskEditMessage(Struct, forbid_unknown_fields=True, rename=None):
    """New values for a task that waits; what is left out stays as it is."""

    execute_at: Moment | UnsetType = UNSET
    payload: Payload | UnsetType = UNSET
    priority: (
        Annotated[int, Meta(ge=0, le=PRIORITY_LOWEST, description="0 is the most urgent")]
        | UnsetType
    ) = UNSET
    group: Group | UnsetType | None = UNSET

    def changes(self) -> TaskChanges:
        """Return what is not left out."""
        given: dict[str, Any] = {name: getattr(self, name) for name in self.__struct_fields__}
        if given["payload"] is not UNSET:
            given["payload"] = Raw(payload_of(given["payload"]))
        return cast(
            "TaskChanges", {name: value for name, value in given.items() if value is not UNSET}
        )


class Stored(Struct):
    """The answer to storing one task."""

    id: UUID


class StoredMany(Struct):
    """The answer to storing a batch, in its order.

    `created` is there if one of its tasks has an `on_conflict`: false where an earlier one answers.
    """

    ids: list[UUID]
    created: list[bool] | UnsetType = UNSET


class HeldByEarlier(Struct):
    """The answer to storing a task whose `unique_key` an earlier one holds."""

    id: UUID
    created: Literal[False] = False


class ErrorMessage(Struct):
    """What went wrong in an attempt."""

    type: str
    message: str
    traceback: str | None

    @classmethod
    def of(cls, error: AttemptError | None) -> ErrorMessage | None:
        """Return ``error`` as it is sent."""
        return None if error is None else cls(error.type, error.message, error.traceback)


class AttemptMessage(Struct):
    """One attempt."""

    number: int
    started_at: datetime | None
    finished_at: datetime | None
    outcome: Event | None
    worker_id: int | None
    error: ErrorMessage | None

    @classmethod
    def of(cls, attempt: Attempt) -> AttemptMessage:
        """Return ``attempt`` as it is sent."""
        return cls(
            number=attempt.number,
            started_at=attempt.started_at,
            finished_at=attempt.finished_at,
            outcome=attempt.outcome,
            worker_id=attempt.worker_id,
            error=ErrorMessage.of(attempt.error),
        )


class TaskMessage(Struct, kw_only=True):
    """A task as it is now."""

    id: UUID
    kind: str
    queue: str
    group: str | None
    priority: int
    status: TaskStatus
    execute_at: datetime
    process_at: datetime
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    attempt: int
    max_attempts: int | None
    timeout_s: float | None
    unique_key: str | None
    expires_at: datetime | None
    tags: list[str]
    payload: Any

    @classmethod
    def of(cls, task: Task) -> TaskMessage:
        """Return ``task`` as it is sent."""
        return cls(**_fields(task))


class ProgressMessage(Struct):
    """How far a task was `at` that time, by its handler's word; `fraction` is 0 to 1."""

    fraction: float | None
    message: str | None
    data: Any
    at: datetime

    @classmethod
    def of(cls, progress: Progress) -> ProgressMessage:
        """Return ``progress`` as it is sent."""
        return cls(progress.fraction, progress.message, raw(progress.data), progress.at)


class TaskWithAttempts(TaskMessage, kw_only=True):
    """A task and its history, the oldest attempt first."""

    attempts: list[AttemptMessage]
    result: Annotated[Any, Meta(description="what the handler returned; null for nothing")]
    progress: ProgressMessage | None
    after: Annotated[list[UUID], Meta(description="what it was stored to come after")] | None
    when: When | None
    otherwise: Otherwise | None
    batch: Annotated[UUID | None, Meta(description="the batch that it is counted with")]

    @classmethod
    def with_attempts(
        cls, task: Task, attempts: Sequence[Attempt], notes: TaskNotes
    ) -> TaskWithAttempts:
        """Return ``task``, its ``attempts`` and its ``notes`` as they are sent."""
        return cls(
            **_fields(task),
            attempts=[AttemptMessage.of(each) for each in attempts],
            result=raw(notes.result),
            progress=notes.progress and ProgressMessage.of(notes.progress),
            after=None if notes.after is None else list(notes.after.task_ids),
            when=notes.after and notes.after.when,
            otherwise=notes.after and notes.after.otherwise,
            batch=notes.batch,
        )


def _fields(task: Task) -> dict[str, Any]:
    return {
        "id": task.id,
        "kind": task.kind,
        "queue": task.queue,
        "group": task.group,
        "priority": task.priority,
        "status": task.status,
        "execute_at": task.execute_at,
        "process_at": task.earliest_at,
        "created_at": task.created_at,
        "started_at": task.started_at,
        "finished_at": task.finished_at,
        "attempt": task.attempt,
        "max_attempts": task.max_attempts,
        "timeout_s": None if task.timeout is None else task.timeout.total_seconds(),
        "unique_key": task.unique_key,
        "expires_at": task.expires_at,
        "tags": list(task.tags),
        # It is JSON text already, and is sent as it was stored.
        "payload": msgspec.Raw(task.payload_json),
    }


class EndingMessage(Struct, kw_only=True):
    """How a task ended: what its handler returned, or the last error."""

    status: TaskStatus
    result: Annotated[Any, Meta(description="what the handler returned; null for nothing")]
    error: ErrorMessage | None

    @classmethod
    def of(cls, ending: Ending) -> EndingMessage:
        """Return ``ending`` as it is sent."""
        return cls(
            status=ending.status, result=raw(ending.result), error=ErrorMessage.of(ending.error)
        )


class GoingOnMessage(Struct):
    """Where a task stands that has not ended."""

    status: TaskStatus


def raw(text: bytes | None) -> msgspec.Raw | None:
    """Return JSON text as it is sent: as it was stored."""
    return None if text is None else msgspec.Raw(text)
