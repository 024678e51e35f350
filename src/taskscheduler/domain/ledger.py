"""The ledger of schedules: what became of each of their fires."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from taskscheduler.domain.values import TaskId


EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Outcome(StrEnum):
    """What became of a fire."""

    STORED = "stored"
    """Its task was stored."""
    SKIPPED = "skipped"
    """It has no task, because of its schedule's ``overlap``."""
    MISSED = "missed"
    """It has no task, because it passed in an outage and ``catch_up`` lets it go."""
    BUFFERED = "buffered"
    """It waits until the task of the last fire has ended."""
    BACKFILLED = "backfilled"
    """Its task was stored because somebody asked for all fires of a span."""
    TRIGGERED = "triggered"
    """Somebody asked for a task at that moment."""


ALREADY_THERE: Final = "its task was there already"
HAS_WAITED: Final = "it has waited for the task of the fire before"
HAVING_A_TASK: Final = frozenset({Outcome.STORED, Outcome.BACKFILLED})
"""Fires that came to this are not backfilled."""


class Untaken(NamedTuple):
    """A fire of which is known beforehand that it comes to no task."""

    at: datetime
    outcome: Outcome
    reason: str


class NewEntry(NamedTuple):
    """What is to be written of the fire at ``at``, whose task, if there is one, was stored now."""

    at: datetime
    outcome: Outcome
    reason: str | None = None
    task_id: TaskId | None = None


class LedgerEntry(NamedTuple):
    """What became of the fire at ``at``.

    ``late`` is how long after that its task was stored. ``number`` tells apart entries of one time.
    """

    at: datetime
    number: int
    recorded_at: datetime
    outcome: Outcome
    reason: str | None = None
    task_id: TaskId | None = None
    late: timedelta | None = None


class BackfillStep(NamedTuple):
    """What one step of a backfill came to: ``task_ids`` are the tasks that it stored.

    It looked at ``looked_at`` fires, of which ``present`` had a task already. While ``next_from``
    is not None the span goes on there.
    """

    looked_at: int
    task_ids: Sequence[TaskId]
    present: int
    next_from: datetime | None


class Place(NamedTuple):
    """Where a page of the ledger begins: behind the entry of that time and number."""

    at: datetime
    number: int
