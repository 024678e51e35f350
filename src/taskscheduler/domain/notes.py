"""What is kept of a task beside its body and its outcome."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime

    from taskscheduler.domain.after import After
    from taskscheduler.domain.batch import BatchId
    from taskscheduler.domain.lease import AttemptError
    from taskscheduler.domain.status import TaskStatus
    from taskscheduler.domain.values import TaskId

RESULT_BYTES_MAX: Final = 64 * 1024
"""How large a result may be where nobody says otherwise."""
RESULT_BYTES_LIMIT: Final = 1024 * 1024
"""How large anybody may allow results to be."""

STEPS_BYTES_MAX: Final = 1024 * 1024
"""How much all steps of a task may keep together."""
STEP_NAME_CHARACTERS_MAX: Final = 256


class Report(NamedTuple):
    """How far an attempt is, by its own word; ``data`` is JSON text."""

    task_id: TaskId
    token: int
    fraction: float | None
    message: str | None
    data: bytes | None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a task was ``at`` that time; ``fraction`` is 0 to 1, and ``data`` JSON text."""

    fraction: float | None
    message: str | None
    data: bytes | None
    at: datetime


class Awaited(NamedTuple):
    """The signal that a task waits for, or waited for, and until when."""

    name: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Ending:
    """How a task ended: ``result`` is JSON text, and ``error`` the last one that it had.

    ``result`` is None where the handler returned None, or nothing. A Completed task has no
    ``error``: what went wrong in attempts before the last is in its history.
    """

    status: TaskStatus
    result: bytes | None = None
    error: AttemptError | None = None


@dataclass(frozen=True, slots=True)
class TaskNotes:
    """What a task has to show beside its fields. ``result`` is JSON text.

    ``after`` is what it was stored to come after, whether or not it still waits, and ``batch`` the
    one that it is counted with.
    """

    result: bytes | None = None
    progress: Progress | None = None
    after: After | None = None
    batch: BatchId | None = None
