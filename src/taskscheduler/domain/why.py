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
    LIMIT_REACHED = "LimitReached"
    """It is due, and as many run as a limit lets run."""
    RATE_LIMITED = "RateLimited"
    """It is due, and a limit lets the next one begin later."""
    BEHIND_OTHERS = "BehindOthers"
    """It is due, and waits for the turn of its group, beside those of others."""
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


class GroupTurn(NamedTuple):
    """How a due task waits for the turn of its group.

    ``ahead`` of it come so many of its own group, queue and priority; ``has_rivals`` tells whether
    due tasks of other groups of that queue and priority wait as well.
    """

    ahead: int
    has_rivals: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One reason, in words, and what belongs to it.

    ``until`` is when it ends by itself; ``since`` when it began. ``worker_id`` goes with RUNNING,
    ``before`` with READY. ``left`` tells how many there still are, with WAITING_FOR. ``limit``
    names what LIMIT_REACHED and RATE_LIMITED are about, and ``running`` is how many run under it.
    ``task_ids`` are the first of those that are waited for, or that run. ``group`` and ``ahead``,
    how many of that group come before it, go with BEHIND_OTHERS.
    """

    reason: Reason
    detail: str
    until: datetime | None = None
    since: datetime | None = None
    worker_id: WorkerId | None = None
    before: Count | None = None
    left: int | None = None
    task_ids: tuple[TaskId, ...] = ()
    limit: str | None = None
    running: int | None = None
    group: str | None = None
    ahead: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """A task, and every reason that holds at this look: one at least."""

    task: Task
    causes: tuple[Cause, ...]
