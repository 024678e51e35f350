"""Why a task is where it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime

    from taskscheduler.domain.queue import Count
    from taskscheduler.domain.task import Task
    from taskscheduler.domain.values import TaskId, WorkerId


class Reason(StrEnum):
    """What keeps a task from running, or that nothing does."""

    NOT_DUE = "NotDue"
    """Its time has not come."""
    WAITING_FOR_RETRY = "WaitingForRetry"
    """An attempt failed, and the time of the next has not come."""
    WAITING_FOR_SIGNAL = "WaitingForSignal"
    """Its handler waits for a signal, and the time until which it waits has not come."""
    WAITING_FOR = "WaitingFor"
    """Other tasks must end first."""
    QUEUE_PAUSED = "QueuePaused"
    """Somebody paused its queue."""
    NO_WORKER = "NoWorker"
    """No worker that was heard of lately runs its kind from its queue."""
    SUSPECT = "Suspect"
    """It had begun when several workers went down, and waits for one that has nothing in hand."""
    READY = "Ready"
    """It is due, and waits its turn."""
    RUNNING = "Running"
    """A worker holds it."""
    FINISHED = "Finished"
    """It has ended."""


class QueuePosition(NamedTuple):
    """Where a Pending task stands: whether it is due and how many of its queue come before it."""

    is_due: bool
    before: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One reason, in words, and what belongs to it.

    ``until`` is when it ends by itself; ``since`` when it began. ``worker_id`` goes with RUNNING,
    ``before`` with READY; how many are ``left``, and the first of their ``task_ids``, with
    WAITING_FOR.
    """

    reason: Reason
    detail: str
    until: datetime | None = None
    since: datetime | None = None
    worker_id: WorkerId | None = None
    before: Count | None = None
    left: int | None = None
    task_ids: tuple[TaskId, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """A task, and every reason that holds at this look: one at least."""

    task: Task
    causes: tuple[Cause, ...]
