"""The shape of one change in the stream of events."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from msgspec import Struct

from taskscheduler.domain.after import WAITING_AT
from taskscheduler.domain.status import TaskStatus

if TYPE_CHECKING:
    from taskscheduler.domain.change import TaskState


class ChangeMessage(Struct):
    """Where a task stands now; `process_at` is null while it waits for other tasks."""

    id: UUID
    kind: str
    queue: str
    status: TaskStatus
    attempt: int
    process_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, state: TaskState) -> ChangeMessage:
        """Return ``state`` as it is sent."""
        sent = cls(*(getattr(state, name) for name in cls.__struct_fields__))
        if sent.process_at == WAITING_AT:
            sent.process_at = None
        return sent
