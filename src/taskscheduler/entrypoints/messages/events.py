"""The shape of one change in the stream of events."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from msgspec import Struct

from taskscheduler.domain.status import TaskStatus

if TYPE_CHECKING:
    from taskscheduler.domain.change import TaskState


class ChangeMessage(Struct):
    """Where a task stands now."""

    id: UUID
    kind: str
    queue: str
    status: TaskStatus
    attempt: int
    process_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, state: TaskState) -> ChangeMessage:
        """Return ``state`` as it is sent."""
        return cls(*(getattr(state, name) for name in cls.__struct_fields__))
