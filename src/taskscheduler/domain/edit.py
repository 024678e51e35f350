"""What may be changed of a task that waits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from taskscheduler.domain.checks import PRIORITY_LOWEST, in_utc, require_payload, require_whole
from taskscheduler.domain.errors import InvalidTask

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
        if self.payload is not None:
            require_payload(self.payload)
        if self.priority is not None:
            priority = require_whole("priority", self.priority, 0, PRIORITY_LOWEST)
            object.__setattr__(self, "priority", priority)
