"""A worker's right to run one attempt, and the word it sends back.

Both are tuples, not dataclasses: a busy worker makes tens of thousands of them a second.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from taskscheduler.domain.status import Event
from taskscheduler.domain.trace import TraceContext  # noqa: TC001
from taskscheduler.domain.values import TaskId, WorkerId  # noqa: TC001

SUSPECT_AFTER: Final = 2
"""So many crashes in company are bad luck; after them a task is suspect, and runs beside nothing
but others that are as suspect as it is."""


class Suspects(NamedTuple):
    """Due tasks that are equally suspect: how often each was excused, and how many there are."""

    excused: int
    number: int


def company(excused: int, concurrency: int) -> int:
    """Return how many suspects that were ``excused`` so often may run at once.

    Half as many with each crash, and in the end each alone: so the one to blame is found in few
    crashes, and those that are not to blame need not wait for each other.
    """
    return max(1, concurrency >> (excused - SUSPECT_AFTER + 1))


@dataclass(frozen=True, slots=True)
class AttemptError:
    """What went wrong in an attempt: the exception's type, its message, a bounded traceback."""

    type: str
    message: str
    traceback: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One line of a task's history.

    ``number`` is 1-based. ``finished_at`` and ``outcome`` are None while the attempt runs;
    ``outcome`` is the event that ended it.
    """

    number: int
    started_at: datetime | None
    finished_at: datetime | None
    outcome: Event | None
    worker_id: WorkerId | None
    error: AttemptError | None = None


class Lease(NamedTuple):
    """One claimed task, with what its handler needs.

    ``token`` is unique to this claim and larger than that of any earlier claim of the task: it
    must accompany whatever settles it. ``excused`` attempts do not count. ``expired`` says that
    the task's time was up before it was claimed. ``trace`` is looked up only by workers that trace.
    """

    task_id: TaskId
    token: int
    kind: str
    queue: str
    priority: int
    attempt: int
    max_attempts: int | None
    process_at: datetime
    timeout: timedelta | None
    payload_json: bytes
    excused: int = 0
    expired: bool = False
    trace: TraceContext | None = None
    group: str | None = None

    @property
    def payload(self) -> Any:
        """What the payload's JSON text says; read anew each time that it is asked for."""
        return json.loads(self.payload_json)

    @property
    def is_suspect(self) -> bool:
        """Whether it had begun when several workers went down: then it runs apart from others."""
        return self.excused >= SUSPECT_AFTER


class Settlement(NamedTuple):
    """What became of one attempt. ``delay`` counts from the store's now (RETRY and SNOOZE).

    ``result`` is JSON text, of a COMPLETE whose handler returned something. ``waits_for`` names the
    signal that ends a SNOOZE before its time.
    """

    task_id: TaskId
    token: int
    event: Event
    delay: timedelta = timedelta(0)
    error: AttemptError | None = None
    result: bytes | None = None
    waits_for: str | None = None


SETTLING = frozenset(
    {
        *(Event.COMPLETE, Event.RETRY, Event.SNOOZE, Event.RELEASE),
        *(Event.EXPIRE, Event.FAIL, Event.CANCEL),
    }
)
"""The events by which a worker may end its own lease."""
