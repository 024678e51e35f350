"""What is kept of a task beside its body and its outcome."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from taskscheduler.domain.lease import AttemptError
    from taskscheduler.domain.status import TaskStatus

RESULT_BYTES_MAX: Final = 64 * 1024
"""How large a result may be where nobody says otherwise."""
RESULT_BYTES_LIMIT: Final = 1024 * 1024
"""How large anybody may allow results to be."""


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
    """What a task has to show beside its fields. ``result`` is JSON text."""

    result: bytes | None = None
