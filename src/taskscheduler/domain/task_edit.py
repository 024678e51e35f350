"""What may be changed of a task that waits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from taskscheduler.domain.errors import InvalidTask
from taskscheduler.domain.values import (
    PRIORITY_LOWEST,
    in_utc,
    require_group,
    require_payload,
    require_whole,
)

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskEdit:
    """New values for a pending task; None leaves a field as it is.

    ``execute_at`` is aware, and in the past means now. ``payload_json`` is JSON text in
    UTF-8. ``priority`` runs from 0, the most urgent, to 9. An empty ``group`` takes the task
    out of its group.

    Raises:
        InvalidTask: a value cannot be stored, or there is none.
    """

    execute_at: datetime | None = None
    payload_json: bytes | None = None
    priority: int | None = None
    group: str | None = None

    def __post_init__(self) -> None:
        """Check each value."""
        given = (self.execute_at, self.payload_json, self.priority, self.group)
        if all(each is None for each in given):
            raise InvalidTask("edit", "give at least one of execute_at, payload, priority, group")
        if self.execute_at is not None:
            object.__setattr__(self, "execute_at", in_utc("execute_at", self.execute_at))
        if self.payload_json is not None:
            require_payload(self.payload_json)
        if self.priority is not None:
            priority = require_whole("priority", self.priority, 0, PRIORITY_LOWEST)
            object.__setattr__(self, "priority", priority)
        if self.group:
            require_group(self.group)
