"""A batch: a bag of tasks that are counted together, and perhaps one more that comes after them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NewType
from uuid import UUID

from taskscheduler.domain.errors import InvalidTask

if TYPE_CHECKING:
    from datetime import datetime

    from taskscheduler.domain.after import Otherwise, When
    from taskscheduler.domain.new_task import NewTask
    from taskscheduler.domain.values import TaskId

BatchId = NewType("BatchId", UUID)

NAME_CHARACTERS_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class NewBatch:
    """A batch as it is asked for. ``then`` is stored with it, and comes ``after`` it.

    Raises:
        InvalidTask: it cannot be called so.
    """

    id: BatchId
    name: str | None = None
    then: NewTask | None = None

    def __post_init__(self) -> None:
        """Check the name."""
        if self.name is not None and (
            not 1 <= len(self.name) <= NAME_CHARACTERS_MAX or not self.name.isprintable()
        ):
            raise InvalidTask("name", f"must be 1 to {NAME_CHARACTERS_MAX} printable characters")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A batch as it is now. It has ended once it is sealed and all of its tasks have ended.

    A task that was deleted before it ended counts as Cancelled. ``then`` comes after the batch, on
    the terms of ``when`` and ``otherwise``.
    """

    id: BatchId
    name: str | None
    created_at: datetime
    sealed_at: datetime | None
    ended_at: datetime | None
    total: int
    completed: int
    failed: int
    cancelled: int
    then: TaskId | None
    when: When | None = None
    otherwise: Otherwise | None = None

    @property
    def pending(self) -> int:
        """How many tasks have not ended."""
        return self.total - self.completed - self.failed - self.cancelled
