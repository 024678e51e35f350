"""What may be changed of a task that waits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from taskscheduler.domain.errors import InvalidTask, PayloadTooLarge
from taskscheduler.domain.task import PAYLOAD_BYTES_MAX, PRIORITY_LOWEST, in_utc

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEdit:
    """New values for a pending task; None leaves a field as it is.

    ``execute_at`` is aware, and in the past means now. ``payload`` is JSON text in UTF-8.
    ``priority`` runs from 0, the most urgent, to 9.

    Raises:
        InvalidTask: a value cannot be stored, or there is none.
    """

    execute_at: datetime | None = None
    payload: bytes | None = None
    priority: int | None = None

    def __post_init__(self) -> None:
        """Check each value."""
        if self.execute_at is None and self.payload is None and self.priority is None:
            raise InvalidTask("edit", "give at least one of execute_at, payload, priority")
        if self.execute_at is not None:
            object.__setattr__(self, "execute_at", in_utc("execute_at", self.execute_at))
        if self.payload is not None and len(self.payload) > PAYLOAD_BYTES_MAX:
            raise PayloadTooLarge(PAYLOAD_BYTES_MAX)
        if self.priority is not None and not 0 <= self.priority <= PRIORITY_LOWEST:
            raise InvalidTask("priority", "must be 0 (most urgent) to 9")
