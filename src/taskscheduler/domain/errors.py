"""The one tree of errors. Facts are attributes; nothing here knows of HTTP or SQL.

``entrypoints/http/errors.py`` holds the one map from this tree to HTTP statuses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from taskscheduler.domain.lease import AttemptError


VERBS: Final[Mapping[str, str]] = {"revive": "retry", "edit": "change"}
"""What callers call the events that have another name in the table of transitions."""


class TaskSchedulerError(Exception):
    """The root: catching it catches everything that this package raises on purpose."""


class InvalidTask(TaskSchedulerError):
    """What was asked to be stored cannot be a task."""

    def __init__(self, field: str, reason: str, *, index: int | None = None) -> None:
        """Say which ``field`` is at fault and why; ``index`` is its place in a batch."""
        self.field = field
        self.reason = reason
        self.index = index
        super().__init__(field, reason)

    def __str__(self) -> str:
        """Name the place and the fault."""
        where = self.field if self.index is None else f"[{self.index}].{self.field}"
        return f"{where}: {self.reason}"


class PayloadTooLarge(InvalidTask):
    """The payload is larger than a task may carry."""

    def __init__(self, bytes_max: int) -> None:
        """Name the limit, in bytes of JSON."""
        self.bytes_max = bytes_max
        super().__init__("payload", f"must be at most {bytes_max} bytes of JSON")


class InvalidSchedule(InvalidTask):
    """What was asked for cannot be a schedule."""


class InvalidLimit(InvalidTask):
    """What was asked for cannot be a limit."""


class LimitNotFound(TaskSchedulerError):
    """No limit has this name."""

    def __init__(self, name: str) -> None:
        """Name what was looked for."""
        self.name = name
        super().__init__(f"no limit has the name {name!r}")


class LimitChanged(TaskSchedulerError):
    """The limit is not what the caller believes that it is."""

    def __init__(self, name: str) -> None:
        """Name the limit."""
        self.name = name
        super().__init__(f"the limit {name!r} has changed since it was looked at")


class ScheduleUnread(TaskSchedulerError):
    """A schedule is there, and this program does not understand it: a newer one has written it."""

    def __init__(self, name: str, reason: str) -> None:
        """Name the schedule and what is not understood."""
        super().__init__(f"schedule {name!r} is not understood by this version: {reason}")
        self.name = name
        self.reason = reason


class ScheduleBusy(TaskSchedulerError):
    """Somebody else's open transaction holds what a schedule's fire is to write."""

    def __init__(self) -> None:
        """Say so."""
        super().__init__("another transaction holds the unique key of its task")


class ScheduleNotFound(TaskSchedulerError):
    """No schedule has this name."""

    def __init__(self, name: str) -> None:
        """Name what was looked for."""
        self.name = name
        super().__init__(f"no schedule has the name {name!r}")


class ScheduleExists(TaskSchedulerError):
    """The name belongs to another schedule."""

    def __init__(self, name: str) -> None:
        """Name what is taken."""
        self.name = name
        super().__init__(f"the name {name!r} belongs to another schedule")


class ScheduleChanged(TaskSchedulerError):
    """The schedule is not what the caller believes that it is."""

    def __init__(self, name: str) -> None:
        """Name the schedule."""
        self.name = name
        super().__init__(f"the schedule {name!r} has changed since it was looked at")


class UnknownKind(TaskSchedulerError):
    """No worker or app has registered a handler for this kind on this database."""

    def __init__(self, kind: str, known: Sequence[str]) -> None:
        """Name the ``kind`` that was asked for and those that are ``known``."""
        self.kind = kind
        self.known = tuple(sorted(known))
        super().__init__(f"unknown kind {kind!r}; known kinds: {', '.join(self.known) or 'none'}")


class TaskNotFound(TaskSchedulerError):
    """No task has this id."""

    def __init__(self, task_id: UUID) -> None:
        """Name the id that was looked for."""
        self.task_id = task_id
        super().__init__(f"no task has the id {task_id}")


class TaskExists(TaskSchedulerError):
    """The id belongs to another task, with other contents."""

    def __init__(self, task_id: UUID) -> None:
        """Name the id that is taken."""
        self.task_id = task_id
        super().__init__(f"the id {task_id} belongs to a task with other contents")


class TaskChanged(TaskSchedulerError):
    """The task is not what the caller believes that it is."""

    def __init__(self, task_id: UUID) -> None:
        """Name the task."""
        self.task_id = task_id
        super().__init__(f"the task {task_id} has changed since it was looked at")


class IdempotencyConflict(TaskSchedulerError):
    """The idempotency key was used before, with another request."""

    def __init__(self, key: str) -> None:
        """Name the key."""
        self.key = key
        super().__init__(f"the idempotency key {key!r} was used for another request")


class IllegalTransition(TaskSchedulerError):
    """The event cannot happen to a task in this status."""

    def __init__(self, *, status: str, event: str, verb: str | None = None) -> None:
        """Name the ``status`` that the task is in and the ``event`` that was tried.

        ``verb`` is what its caller calls it, where that is another word.
        """
        self.status = status
        self.event = event
        super().__init__(f"cannot {verb or VERBS.get(event, event)} a task that is {status}")


class NotInTransaction(TaskSchedulerError):
    """The caller's connection has no transaction that a task could become part of."""


class NotAConnection(NotInTransaction, TypeError):
    """What was given as the caller's connection is nothing that the store could join."""

    def __init__(self, found: type, takes: str = "") -> None:
        """Name the type of what was ``found``, and say what the store ``takes``."""
        self.found = found
        super().__init__(
            f"connection= is a {found.__module__}.{found.__qualname__}, which cannot be joined: "
            "give the connection whose transaction the task is to be part of, or leave it out"
            + (takes and f". {takes}")
        )


class LeaseLost(TaskSchedulerError):
    """The lease under which a handler ran no longer holds; nothing it settles counts."""

    def __init__(self, task_id: UUID) -> None:
        """Name the task whose lease was lost."""
        self.task_id = task_id
        super().__init__(f"the lease on task {task_id} was lost")


class InvalidResult(TaskSchedulerError):
    """What a handler returned cannot be kept, so its attempt failed."""

    def __init__(self, reason: str) -> None:
        """Say why."""
        self.reason = reason
        super().__init__(f"what the handler returned {reason}")


class InvalidStep(TaskSchedulerError):
    """A step of a handler cannot be kept, or its name was used before in the same attempt."""

    def __init__(self, name: str, reason: str) -> None:
        """Name the step, and say why."""
        self.name = name
        self.reason = reason
        super().__init__(f"step {name!r} {reason}")


class InvalidProgress(TaskSchedulerError):
    """What a handler said of its progress makes no sense."""

    def __init__(self, field: str, reason: str) -> None:
        """Say which ``field`` is at fault and why."""
        self.field = field
        self.reason = reason
        super().__init__(f"progress: {field} {reason}")


class SignalExists(TaskSchedulerError):
    """A signal of this name has come for the task before."""

    def __init__(self, task_id: UUID, name: str) -> None:
        """Name the task and the signal."""
        self.task_id = task_id
        self.name = name
        super().__init__(f"the signal {name!r} has come for the task {task_id} before")


class TaskEnded(TaskSchedulerError):
    """A task that somebody waits for has ended, and has no result."""

    def __init__(self, task_id: UUID, error: AttemptError | None, how: str) -> None:
        """Name the task; ``error`` is the last one that it had, if it had any."""
        self.task_id = task_id
        self.error = error
        why = "" if error is None else f": {error.type}: {error.message}"
        super().__init__(f"task {task_id} {how}{why}")


class TaskFailed(TaskEnded):
    """A task that somebody waits for has failed for good."""

    def __init__(self, task_id: UUID, error: AttemptError | None) -> None:
        """Name the task; ``error`` is its last one."""
        super().__init__(task_id, error, "failed")


class TaskCancelled(TaskEnded):
    """A task that somebody waits for was cancelled."""

    def __init__(self, task_id: UUID, error: AttemptError | None) -> None:
        """Name the task; ``error`` is the last one that it had, or why its handler cancelled it."""
        super().__init__(task_id, error, "was cancelled")


class BatchNotFound(TaskSchedulerError):
    """No batch has this id."""

    def __init__(self, batch_id: UUID) -> None:
        """Name the id that was looked for."""
        self.batch_id = batch_id
        super().__init__(f"no batch has the id {batch_id}")


class BatchSealed(TaskSchedulerError):
    """The batch takes no more tasks."""

    def __init__(self, batch_id: UUID) -> None:
        """Name the batch."""
        self.batch_id = batch_id
        super().__init__(f"the batch {batch_id} is sealed: no task can be added to it")


class EngineLost(TaskSchedulerError):
    """The process or the cluster in which a handler ran has died, or cannot be reached."""


class WorkerLost(TaskSchedulerError):
    """The store no longer knows this worker: it was taken for dead and its tasks given away."""

    def __init__(self, worker_id: int) -> None:
        """Name the worker."""
        self.worker_id = worker_id
        super().__init__(f"worker {worker_id} is no longer registered")


class StoreUnavailable(TaskSchedulerError):
    """The store cannot be reached, or did not answer in time. Trying again may help."""


class StoreRefused(StoreUnavailable):
    """The store answers, and refuses us: the role, the password, the database or the TLS is wrong.

    Trying again does not help before somebody has changed one side.
    """


class TooManyWatchers(TaskSchedulerError):
    """This process has as many watchers as it takes. Another process may have room."""

    def __init__(self, watchers_max: int) -> None:
        """Name the limit."""
        self.watchers_max = watchers_max
        super().__init__(f"{watchers_max} watch this process already")


class SchemaMismatch(TaskSchedulerError):
    """The database's schema is missing, too old, or newer than this program knows."""


class InvalidKey(TaskSchedulerError):
    """What was asked for cannot be an API key."""

    def __init__(self, field: str, reason: str) -> None:
        """Say which ``field`` is at fault and why."""
        self.field = field
        self.reason = reason
        super().__init__(f"{field}: {reason}")


class KeyNotFound(TaskSchedulerError):
    """No API key has this id."""

    def __init__(self, key_id: str) -> None:
        """Name the id that was looked for."""
        self.key_id = key_id
        super().__init__(f"no key has the id {key_id!r}")


class Forbidden(TaskSchedulerError):
    """The caller is known, and may not do this."""


class QuotaUsedUp(Forbidden):
    """The caller may not keep more, until some of what it keeps has gone."""


class TooMuchWaiting(TaskSchedulerError):
    """Of the caller's tasks too many wait, or too large ones, to store more at present."""


class InvalidHandler(TaskSchedulerError):
    """A function cannot be registered as a handler."""


class InvalidConfiguration(TaskSchedulerError):
    """A setting is missing or makes no sense."""
